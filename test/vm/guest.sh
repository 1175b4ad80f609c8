# First process of the guest once it has its root: mounts what a system has, runs one script, tells how it ended, switches off.
# Reads ./settings (shell variables) and ./run.sh beside it; writes ./output and, last, ./exit-code.
cd /run/vm || exit 1
. ./settings
busybox=/run/vm-tools/busybox
mount() { $busybox mount "$@"; }
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t tracefs tracefs /sys/kernel/tracing
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /run/netns "/lib/modules/$(uname -r)"
mount -o bind "$modules/$(uname -r)" "/lib/modules/$(uname -r)"
# The kernel asks for modules by this program; the host may have none of its own.
printf '#!/bin/sh\nexec %s modprobe "$@"\n' $busybox >/run/vm-tools/modprobe
chmod 755 /run/vm-tools/modprobe
echo /run/vm-tools/modprobe >/proc/sys/kernel/modprobe
hostname waggle-vm
$busybox ip link set lo up
ulimit -l unlimited
export PATH="$path:/usr/sbin:/usr/bin:/sbin:/bin" HOME=/root TERM=dumb
echo "VM: runs at $(cut -d' ' -f1 /proc/uptime) s"
# A child with its own session: a program that reads the console or signals its group must not end the first process.
(cd "$directory" && exec $busybox setsid /bin/bash /run/vm/run.sh) </dev/null >output 2>&1
echo $? >exit-code
sync
echo "VM: done at $(cut -d' ' -f1 /proc/uptime) s"
echo o >/proc/sysrq-trigger
while :; do $busybox sleep 1; done
