"""What is wrong stands in the status line and in the journal; heads that can be are there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e_vagrant.hosts import HEAD, Hosts
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


@pytest.fixture
def settled(hosts: Hosts) -> Iterator[Hosts]:
    """Configurations and pools are as they were afterwards."""
    for machine in (hosts.local, hosts.remote):
        machine.run(f"cp -a {CONFIG} {CONFIG}.kept; cp -a /etc/frazil/host.key /root/host.key")
    yield hosts
    for machine in (hosts.local, hosts.remote):
        machine.run(
            f"mv {CONFIG}.kept {CONFIG}; mv /root/host.key /etc/frazil/host.key;"
            "systemctl restart frazild",
            timeout=600,
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
    settled.remote.run(f"rm {CONFIG}; systemctl restart frazild", timeout=600)
    said(settled, settled.remote, "there is no /etc/frazil/config.toml", "config.toml.example")


def test_with_certificates_that_do_not_match(settled: Hosts) -> None:
    settled.remote.run(
        "frazil pki init --directory /root/other --name other;"
        "frazil pki issue remote --directory /root/other;"
        "cp /root/other/remote/host.key /etc/frazil/host.key; rm -r /root/other;"
        "systemctl restart frazild",
        timeout=600,
    )
    said(settled, settled.remote, "/etc/frazil/host.key is not the key of", "frazil pki issue")


def test_with_a_configuration_of_a_newer_version(settled: Hosts) -> None:
    take_heads_away(settled)
    local = settled.local
    local.run(f"sed -i 's/^version = 1/version = 9/' {CONFIG}")
    started = local.run("systemctl start frazil-activate frazild", check=False, timeout=600)
    assert started.code != 0
    said(settled, local, "version: 9 is newer than this frazil", "install the frazil")
    assert "version: 9 is newer" in local.out("journalctl --no-pager -b -u frazil-activate -n 20")
    local.run(f"test -b {HEAD}; mount /srv/data; cat /srv/data/first")
    shown = settled.shown(local, "frazild", "ActiveState", "NRestarts", "ExecMainStatus")
    assert shown["ActiveState"] == "failed"
    assert shown["ExecMainStatus"] == "2"
    local.run(f"sed -i 's/^version = 9/version = 1/' {CONFIG}")
    local.run("systemctl reset-failed; systemctl start frazil-activate frazild", timeout=600)
    assert settled.failed_units(local) == []


def test_with_the_pools_disk_missing(settled: Hosts) -> None:
    local = settled.local
    local.run("frazil volume create more /dev/disk/by-id/virtio-more")
    committed = settled.mirror().committed
    take_heads_away(settled)
    local.run("mv /var/lib/frazil/pool /var/lib/frazil/away")
    activated = local.run("systemctl start frazil-activate", check=False, timeout=600)
    assert activated.code != 0
    local.run("systemctl start frazild", timeout=600)
    said(settled, local, "the pool /var/lib/frazil/pool is not there", "mount or attach its disk")
    journal = local.out("journalctl --no-pager -b -u frazil-activate -n 20")
    assert "volume data: the pool /var/lib/frazil/pool is not there" in journal
    # The head that needs nothing of the pool is there; the other is not.
    local.run(f"test -b /dev/mapper/frazil-more; ! test -e {HEAD}; ! test -e /var/lib/frazil/pool")
    local.run("mv /var/lib/frazil/away /var/lib/frazil/pool")
    settled.until("the head comes by itself", lambda: local.run(f"test -b {HEAD}").code == 0)
    local.run("mount /srv/data; echo back >/srv/data/back; sync; systemctl reset-failed")
    settled.goes_on(committed, 600)
    local.run("frazil volume remove more")
