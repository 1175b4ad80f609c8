#!/usr/bin/env bash
# Prepares what VM tests boot: Debian's own kernel 6.1, unpacked, with the modules that they use, and an initramfs. Prints the
# kernel's directory and the initramfs's file. Quick where they are there; otherwise one download of 70 MB. `--offline` never
# downloads: it fails and says why.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
series=6.1
cache=${XDG_CACHE_HOME:-$HOME/.cache}/waggle/vm
fail() { echo "$1" >&2; exit 1; }

[[ $(uname -m) == x86_64 ]] || fail "needs x86-64: the guest runs this machine's own programs"
command -v qemu-system-x86_64 >/dev/null ||
  fail "needs QEMU: apt-get install --no-install-recommends qemu-system-x86 busybox-static cpio, then make assets"

# The newest kernel of the series that is there whole: `ready` comes last.
kernel=$(find "$cache" -mindepth 2 -maxdepth 2 -path "$cache/$series.*/ready" -printf '%h\n' 2>/dev/null | sort -V | tail -1) || true

if [[ -z $kernel ]]; then
  [[ ${1-} != --offline ]] || fail "needs the kernel of Debian 12 in $cache: make assets"
  for tool in apt-get dpkg-deb xz busybox; do
    command -v "$tool" >/dev/null || fail "needs $tool: apt-get install --no-install-recommends xz-utils busybox-static"
  done
  package=$(apt-cache depends linux-image-amd64 | awk '$1 == "Depends:" { print $2; exit }')
  version=${package#linux-image-}
  [[ $version == "$series".* ]] ||
    fail "this distribution's kernel is ${version:-unknown}: VM tests are about Debian 12's $series"
  echo "fetching $package ..." >&2
  mkdir -p "$cache"
  new=$(mktemp -d "$cache/.new-XXXXXX")
  trap 'rm -rf "$new"' EXIT
  # apt drops its rights for a download and must still be able to write here.
  chmod 755 "$new"
  (cd "$new" && apt-get download -qq -o APT::Sandbox::User=root "$package" >&2)
  dpkg-deb -x "$new"/linux-image-*.deb "$new/package"
  # Inside a bzImage lies the kernel itself, compressed; QEMU boots it directly, in half the time.
  image=$new/package/boot/vmlinuz-$version
  offset=$(LC_ALL=C grep -abo -m1 -P '\xFD7zXZ\x00' "$image" | head -1 | cut -d: -f1)
  tail -c +$((offset + 1)) "$image" | xz -dc --single-stream >"$new/vmlinux" 2>/dev/null || true
  [[ $(head -c 4 "$new/vmlinux") == $'\x7fELF' ]] || fail "$package holds no kernel that is compressed with xz"
  # Of 390 MB of modules those that could matter to a VM with virtio devices and to networks.
  tree=$new/lib/modules/$version
  mkdir -p "$tree"
  cp "$new/package/lib/modules/$version"/modules.{builtin,order} "$tree/"
  (cd "$new/package/lib/modules/$version" &&
    find kernel/net kernel/lib kernel/crypto kernel/arch/x86/crypto kernel/fs/9p kernel/fs/netfs kernel/fs/fscache \
      kernel/fs/overlayfs kernel/drivers/virtio kernel/drivers/char/hw_random/virtio-rng.ko kernel/drivers/block/virtio_blk.ko \
      -name '*.ko' &&
    find kernel/drivers/net -maxdepth 1 -name '*.ko' &&
    find kernel/drivers/net/{vxlan,wireguard} -name '*.ko') | sort -u |
    (cd "$new/package/lib/modules/$version" && xargs cp --parents -t "$tree")
  busybox depmod -b "$new" "$version"
  rm -rf "$new/package" "$new"/*.deb
  date -u +%FT%TZ >"$new/ready"
  kernel=$cache/$version
  # Somebody else may have been faster: theirs is as good.
  mv -T "$new" "$kernel" 2>/dev/null || [[ -e $kernel/ready ]] || fail "cannot write $kernel"
fi

# The initramfs changes with this checkout, not with the kernel.
version=$(basename "$kernel")
initramfs=$kernel/initramfs-$(cat "$here/init.sh" "$0" | sha256sum | cut -c1-12).gz
if [[ ! -e $initramfs ]]; then
  for tool in cpio busybox; do
    command -v "$tool" >/dev/null || fail "needs $tool: apt-get install --no-install-recommends cpio busybox-static"
  done
  staging=$(mktemp -d "$kernel/.initramfs-XXXXXX")
  trap 'rm -rf "$staging"' EXIT
  mkdir -p "$staging/root"/{bin,proc,sys,dev,modules,lower,upper,new}
  cp "$(command -v busybox)" "$staging/root/bin/busybox"
  cp "$here/init.sh" "$staging/root/init"
  chmod 755 "$staging/root/init"
  # What the root needs before it is there, and what each of those needs, in the order of loading.
  dependencies() { # module's file name without .ko
    local line path
    line=$(grep -E "/$1\.ko:" "$kernel/lib/modules/$version/modules.dep") || return 0
    for path in $(tr -d : <<<"${line#*:}"); do dependencies "$(basename "$path" .ko)"; done
    echo "${line%%:*}"
  }
  for module in virtio_pci virtio-rng 9pnet_virtio 9p overlay; do dependencies "$module"; done |
    awk '!seen[$0]++' >"$staging/root/modules/order"
  while read -r path; do
    cp "$kernel/lib/modules/$version/$path" "$staging/root/modules/"
  done <"$staging/root/modules/order"
  sed -i 's|.*/||' "$staging/root/modules/order"
  (cd "$staging/root" && find . | cpio -o -H newc --quiet | gzip -1) >"$staging/initramfs"
  mv "$staging/initramfs" "$initramfs"
fi
echo "$kernel"
echo "$initramfs"
