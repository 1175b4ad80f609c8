#!/bin/busybox sh
# First process of the guest, in the initramfs: the host's root, read-only, under a layer of memory becomes the guest's root.
export PATH=/bin
busybox mount -t proc proc /proc
busybox mount -t sysfs sys /sys
busybox mount -t devtmpfs dev /dev
while read -r module; do
  busybox insmod "/modules/$module" || echo "VM: $module cannot be loaded"
done </modules/order

share="-t 9p -o trans=virtio,version=9p2000.L,msize=512000"
# What the host changes meanwhile need not be seen: the root may be cached.
busybox mount $share,ro,cache=loose root /lower &&
  busybox mount -t tmpfs -o size=75% upper /upper &&
  busybox mkdir /upper/data /upper/work &&
  busybox mount -t overlay -o lowerdir=/lower,upperdir=/upper/data,workdir=/upper/work root /new || {
  echo "VM: no root"
  busybox poweroff -f
}
busybox mount -t tmpfs run /new/run
busybox mkdir -p /new/run/vm /new/run/vm-tools
busybox cp /bin/busybox /new/run/vm-tools/
busybox mount $share,cache=none work /new/run/vm || busybox poweroff -f
for directory in proc sys dev; do busybox mount -o move "/$directory" "/new/$directory"; done
exec busybox switch_root /new /bin/sh /run/vm/guest.sh
