#!/bin/sh
# The guest's first process after the initramfs: file systems, modules, then the agent.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DM_DISABLE_UDEV=1 LANG=C.UTF-8 HOME=/root
mkdir -p /dev/pts /dev/shm /dev/mapper /run/lock /dev/disk/by-id
mount -t devpts -o ptmxmode=0666 devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mount -t tracefs tracefs /sys/kernel/tracing
mount -t debugfs debugfs /sys/kernel/debug
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /run/lock /run/lvm
ln -sf /proc/self/fd /dev/fd
ln -sf fd/0 /dev/stdin
ln -sf fd/1 /dev/stdout
ln -sf fd/2 /dev/stderr
for block in /sys/block/vd*; do
    serial=$(cat "$block/serial")
    [ -n "$serial" ] && ln -sf "../../${block##*/}" "/dev/disk/by-id/virtio-$serial"
done
for module in $(sed -n 's/.*frazil.modules=\([^ ]*\).*/\1/p' /proc/cmdline | tr , ' '); do
    modprobe "$module" || echo "no module $module"
done
echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6
echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6
echo 0 >/proc/sys/kernel/hung_task_timeout_secs 2>/dev/null
ip link set lo up
for name in frazil:control.cli frazild:control.daemon frazild-broken:tests.sabotage; do
    printf '#!/usr/bin/python3\nimport sys\nsys.path.insert(0, "/opt/frazil")\n' \
        >"/usr/local/bin/${name%:*}"
    printf 'from %s import main\nsys.exit(main())\n' "${name#*:}" \
        >>"/usr/local/bin/${name%:*}"
    chmod 755 "/usr/local/bin/${name%:*}"
done
cd /opt/lab
exec python3 -X frozen_modules=on -m lab_inside.agent
