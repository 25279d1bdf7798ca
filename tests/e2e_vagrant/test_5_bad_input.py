"""What is wrong stands in the status line and in the journal; heads that can be are there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e_vagrant.hosts import HEAD, MIRROR, Hosts
from vagrant.vms.machine import Machine

CONFIG = "/etc/frazil/config.toml"
REMOVAL = """
for turn in 1 2 3 4 5 6 7 8 9; do
    for name in $(dmsetup ls | awk '/^frazil/ { print $1 }'); do
        dmsetup remove --retry "$name" 2>/dev/null || true
    done
done
losetup -D
udevadm settle
! dmsetup ls | grep frazil
"""

MOUNTED = "systemctl is-active --quiet srv-data.mount || mount /srv/data"

POOL = "/var/lib/frazil/pool"
BESIDE = "/dev/disk/by-id/virtio-log,offset=960MiB,length=32MiB"
POOL_DISK = "/dev/disk/by-id/virtio-more"
POOL_APART = f"""
mkfs.ext4 -q -F {POOL_DISK}
mv {POOL} {POOL}.inside
mkdir -m 700 {POOL}
echo '{POOL_DISK} {POOL} ext4 nofail,x-systemd.device-timeout=10s 0 2' >>/etc/fstab
systemctl daemon-reload
mount {POOL}
cp -a {POOL}.inside/. {POOL}/
rm -r {POOL}.inside
"""
POOL_BACK = f"""
mkdir -m 700 {POOL}.inside
cp -a {POOL}/. {POOL}.inside/
rm -rf {POOL}.inside/lost+found
umount {POOL}
rmdir {POOL}
mv {POOL}.inside {POOL}
sed -i '\\|{POOL}|d' /etc/fstab
systemctl daemon-reload
wipefs -aq {POOL_DISK}
"""


@pytest.fixture
def settled(hosts: Hosts) -> Iterator[Hosts]:
    """Configurations and pools are as they were afterwards."""
    for machine in (hosts.local, hosts.remote):
        machine.run(f"cp -a {CONFIG} {CONFIG}.kept; cp -a /etc/frazil/host.key /root/host.key")
    yield hosts
    for machine in (hosts.local, hosts.remote):
        machine.run(
            f"mv {CONFIG}.kept {CONFIG}; mv /root/host.key /etc/frazil/host.key;"
            "systemctl restart frazild"
        )


def said(hosts: Hosts, machine: Machine, *words: str) -> None:
    """See that status line and journal hold all the words."""
    hosts.until(f"the status line says {words}", lambda: _holds(hosts.status_text(machine), words))
    journal = machine.out("journalctl --no-pager -b -u frazild -n 40")
    assert all(word in journal for word in words), journal


def _holds(text: str, words: tuple[str, ...]) -> bool:
    return all(word in text for word in words)


def take_heads_away(hosts: Hosts) -> None:
    """As before the boot: nothing mounted, nothing mapped, nothing running."""
    hosts.local.run(f"umount /srv/data; systemctl stop frazild frazil-activate\n{REMOVAL}")


def test_without_a_configuration(settled: Hosts) -> None:
    settled.remote.run(f"rm {CONFIG}; systemctl restart frazild")
    said(settled, settled.remote, "there is no /etc/frazil/config.toml", "config.toml.example")


def test_with_certificates_that_do_not_match(settled: Hosts) -> None:
    settled.remote.run(
        "frazil pki init --directory /root/other --name other;"
        "frazil pki issue remote --directory /root/other;"
        "cp /root/other/remote/host.key /etc/frazil/host.key; rm -r /root/other;"
        "systemctl restart frazild"
    )
    said(settled, settled.remote, "/etc/frazil/host.key is not the key of", "frazil pki issue")


def test_with_a_configuration_of_a_newer_version(settled: Hosts) -> None:
    take_heads_away(settled)
    local = settled.local
    local.run(f"sed -i 's/^version = 1/version = 9/' {CONFIG}")
    started = local.run("systemctl start frazil-activate frazild", check=False)
    assert started.code != 0
    said(settled, local, "version: 9 is newer than this frazil", "install the frazil")
    assert "version: 9 is newer" in local.out("journalctl --no-pager -b -u frazil-activate -n 20")
    local.run(f"test -b {HEAD}; mount /srv/data; cat /srv/data/first")
    shown = settled.shown(local, "frazild", "ActiveState", "NRestarts", "ExecMainStatus")
    assert shown["ActiveState"] == "failed"
    assert shown["ExecMainStatus"] == "2"
    local.run(f"sed -i 's/^version = 9/version = 1/' {CONFIG}")
    local.run("systemctl reset-failed; systemctl start frazil-activate frazild")
    assert settled.failed_units(local) == []


@pytest.fixture
def pool_apart(settled: Hosts) -> Iterator[Hosts]:
    """The pool on a disk of its own, and a volume that needs nothing of it."""
    local = settled.local
    local.run(f"frazil volume create beside {BESIDE}")
    take_heads_away(settled)
    local.run(POOL_APART)
    start_again(settled)
    yield settled
    local.run("frazil volume remove beside")
    take_heads_away(settled)
    local.run(POOL_BACK)
    start_again(settled)


def start_again(hosts: Hosts) -> None:
    """As after a boot that went well."""
    hosts.local.run(f"systemctl reset-failed; systemctl start frazil-activate frazild; {MOUNTED}")


def test_with_the_pools_disk_missing_at_boot(pool_apart: Hosts) -> None:
    hosts, local = pool_apart, pool_apart.local
    committed = hosts.goes_on(hosts.mirror().committed).committed
    with hosts.without_disk("local", "more") as plug_in:
        said(hosts, local, f"the pool {POOL} is not there", "mount or attach its disk")
        journal = local.out("journalctl --no-pager -b -u frazil-activate -n 20")
        assert f"volume data: the pool {POOL} is not there" in journal
        # The head that needs nothing of the pool is there; the other is not.
        local.run(f"test -b /dev/mapper/frazil-beside; ! test -e {HEAD}")
        # Nothing is put where the pool's disk is to be mounted.
        assert local.out(f"ls -A {POOL}") == ""
        plug_in()
        local.run(f"udevadm settle; mountpoint -q {POOL} || mount {POOL}")
    hosts.until("the head comes by itself", lambda: local.run(f"test -b {HEAD}").code == 0)
    local.run(f"systemctl reset-failed; {MOUNTED}")
    local.run("echo back >/srv/data/back; sync")
    assert not hosts.json(local, "verify", MIRROR)["differences"]
    committed = hosts.goes_on(committed).committed

    # With the disk it is there before heads are given out, and those are mounted after that began:
    # each as soon as it is there.
    local.reboot()
    ready, begun = "ActiveEnterTimestampMonotonic", "InactiveExitTimestampMonotonic"
    order = {
        "var-lib-frazil-pool.mount": ready,
        "frazil-activate": begun,
        "srv-data.mount": ready,
        "frazild": ready,
    }
    stamps = [int(hosts.shown(local, unit, stamp)[stamp]) for unit, stamp in order.items()]
    assert stamps == sorted(stamps)
    assert stamps[0] > 0
    assert local.out("cat /srv/data/back") == "back"
    now = hosts.goes_on(committed)
    assert {one.kind for one in now.recent if one.generation > 1} == {"delta"}
