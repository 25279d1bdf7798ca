#!/bin/sh
# What makes a Debian tree a Vagrant box. mmdebstrap runs it with the tree's path; VAGRANT_KEYS is
# the folder with the key pair that vagrant ships, which everybody knows.
set -eu
root=$1

chroot "$root" useradd --create-home --shell /bin/bash vagrant
echo 'vagrant ALL=(ALL) NOPASSWD: ALL' >"$root/etc/sudoers.d/vagrant"
chmod 440 "$root/etc/sudoers.d/vagrant"
for home in /home/vagrant /root; do
    install -d -m 700 "$root$home/.ssh"
    install -m 600 "$VAGRANT_KEYS/vagrant.pub" "$root$home/.ssh/authorized_keys"
done
# Root reaches root on the other machine, as an administrator would.
install -m 600 "$VAGRANT_KEYS/vagrant" "$root/root/.ssh/id_rsa"
printf 'Host local remote third\n    StrictHostKeyChecking no\n    LogLevel ERROR\n' >"$root/root/.ssh/config"
chroot "$root" chown -R vagrant:vagrant /home/vagrant/.ssh
printf 'UseDNS no\nGSSAPIAuthentication no\n' >"$root/etc/ssh/sshd_config.d/quick.conf"

echo frazil-box >"$root/etc/hostname"
printf '127.0.0.1 localhost\n' >"$root/etc/hosts"
printf 'auto lo\niface lo inet loopback\nauto eth0\niface eth0 inet dhcp\n' >"$root/etc/network/interfaces"
printf '/dev/vda1 / ext4 errors=remount-ro 0 1\n' >"$root/etc/fstab"

# Only what a virtual machine boots with: a small initramfs is read fast.
sed -i 's/^MODULES=.*/MODULES=list/' "$root/etc/initramfs-tools/initramfs.conf"
printf '%s\n' virtio_pci virtio_blk virtio_net ext4 crc32c_generic >>"$root/etc/initramfs-tools/modules"
echo RESUME=none >"$root/etc/initramfs-tools/conf.d/resume"
chroot "$root" update-initramfs -u

# No fsync for each file of a package.
echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/quick"

# Whoever waits for udev to settle before the network waits long under emulation.
ln -sf /dev/null "$root/etc/systemd/system/ifupdown-pre.service"
for unit in e2scrub_reap.service apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer man-db.timer; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
install -d "$root/etc/systemd/journald.conf.d" "$root/var/log/journal"
printf '[Journal]\nStorage=persistent\nSystemMaxUse=64M\n' >"$root/etc/systemd/journald.conf.d/box.conf"
rm -f "$root"/etc/ssh/ssh_host_*_key*
chroot "$root" ssh-keygen -A >/dev/null
: >"$root/etc/machine-id"
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin
