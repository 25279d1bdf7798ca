"""Both machines boot again: heads are there before their mounts, and mirroring goes on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from tests.e2e_vagrant.hosts import HEAD, REPOSITORY, Hosts

LVM_HEAD = "/dev/mapper/frazil-more"
LVM_DISK = "/dev/disk/by-id/virtio-more"
LVM_CONFIG = "/etc/lvm/lvmlocal.conf"


@pytest.fixture(scope="module")
def group(hosts: Hosts) -> Iterator[str]:
    """A volume group on a volume of its own, active on its head."""
    local = hosts.local
    local.run(
        f"pvcreate {LVM_DISK}; vgcreate own {LVM_DISK}; lvcreate -L 64M -an -Zn -n one own;"
        f"frazil volume create more {LVM_DISK}; udevadm settle"
    )
    yield "own"
    local.run(
        f"vgchange -an own; frazil volume remove more; rm -f {LVM_CONFIG};"
        f"vgremove --yes own; pvremove {LVM_DISK}"
    )


def lvm_filter() -> str:
    """The line of docs/hosts.md, for this volume."""
    text = (REPOSITORY / "docs/hosts.md").read_text()
    assert "\n    update-initramfs -u\n" in text
    line = re.search(r"^ +(devices \{ global_filter = .*\})$", text, re.MULTILINE)
    assert line is not None
    return line[1].replace("NAME", "more")


def on_the_disk(group: str) -> str:
    """Activate a group as a boot without the filter may: on the disk below the head."""
    chosen = 'devices { global_filter = [ "a|^/dev/vd|", "r|.*|" ] }'
    return f"vgchange -ay {group} --config '{chosen}'"


def problems(hosts: Hosts) -> list[str]:
    """What the doctor calls a problem."""
    said = hosts.local.run("frazil doctor --json", check=False)
    return [one["what"] for one in json.loads(said.out)["findings"] if one["level"] == "problem"]


def test_lvm_sees_a_volume_on_its_head_alone(hosts: Hosts, group: str) -> None:
    local = hosts.local
    # The negative control: without the filter it sees the disk and the layers too.
    assert "Not using device" in local.out("pvs 2>&1")
    assert any("LVM sees a physical volume" in one for one in problems(hosts))
    local.put(f"{lvm_filter()}\n".encode(), LVM_CONFIG)
    assert local.out("pvs --noheadings -o pv_name 2>&1").split() == [LVM_HEAD]
    assert problems(hosts) == []
    local.run(f"vgchange -an {group}; vgchange -ay {group}")
    assert local.out(f"lvs --noheadings -o devices {group} 2>&1").strip() == f"{LVM_HEAD}(0)"


def test_lvm_on_the_disk_below_a_head_is_told(hosts: Hosts, group: str) -> None:
    local = hosts.local
    said = "LVM's logical volume own-one uses "
    local.run(f"vgchange -an {group}")
    assert said not in hosts.status_text(local)
    local.run(f"rm -f {LVM_CONFIG}; {on_the_disk(group)}")
    hosts.until("the status line says it", lambda: said in hosts.status_text(local))
    assert any(one.startswith(said) for one in problems(hosts))
    local.run("systemctl stop frazild; systemctl restart frazil-activate; systemctl start frazild")
    assert said in local.out("journalctl --no-pager -b -u frazil-activate -n 5")
    local.run(f"vgchange -an {group}; sleep 1")
    local.put(f"{lvm_filter()}\n".encode(), LVM_CONFIG)
    local.run(f"vgchange -ay {group}")
    hosts.until("it is over", lambda: said not in hosts.status_text(local))


def test_reboot_of_both(hosts: Hosts, group: str) -> None:
    hosts.local.run("update-initramfs -u")
    writer = hosts.writer()
    committed = hosts.goes_on(hosts.mirror().committed).committed
    hosts.remote.reboot()
    writer.goes_on()
    committed = hosts.goes_on(committed).committed
    hosts.local.reboot()

    local = hosts.local
    assert local.out("findmnt -no SOURCE /srv/data") == HEAD
    stamp = "ActiveEnterTimestampMonotonic"
    heads = int(hosts.shown(local, "frazil-activate", stamp)[stamp])
    mounted = int(hosts.shown(local, "srv-data.mount", stamp)[stamp])
    others = int(hosts.shown(local, "local-fs-pre.target", stamp)[stamp])
    daemon = int(hosts.shown(local, "frazild", stamp)[stamp])
    assert 0 < heads <= others <= mounted < daemon
    assert writer.faults(writer.found_at(local, "/srv/data")) == []
    # LVM came up on the head, not on the disk below, and is alone with it.
    assert problems(hosts) == []
    shown = f"lvs --noheadings -o lv_active,devices {group} 2>&1"
    assert local.out(shown).split() == ["active", f"{LVM_HEAD}(0)"]

    later = hosts.writer()
    now = hosts.goes_on(committed)
    later.stop()
    assert {one.kind for one in now.recent if one.generation > 1} == {"delta"}
    for machine in (local, hosts.remote):
        assert hosts.failed_units(machine) == []
    # The negative control: a failed unit of ours would be seen.
    local.run("systemd-run --quiet --unit=frazil-control false; sleep 2", check=False)
    assert hosts.failed_units(local) != []
    local.run("systemctl reset-failed frazil-control", check=False)


def test_a_mount_that_can_wait_gets_its_head_after_the_network(hosts: Hosts) -> None:
    """Who may have taken the volume over is asked first; without it heads come earlier: above."""
    local = hosts.local
    waits = "defaults,nofail,_netdev,x-systemd.device-timeout=10min"
    local.run(
        "cp -p /etc/fstab /etc/fstab.before;"
        f"sed -i 's|^{HEAD} /srv/data ext4 [^ ]*|{HEAD} /srv/data ext4 {waits}|' /etc/fstab;"
        "grep -q _netdev /etc/fstab"
    )
    committed = hosts.mirror().committed
    local.reboot()
    hosts.until("it is mounted", lambda: local.run("findmnt /srv/data", check=False).code == 0)
    assert local.out("findmnt -no SOURCE /srv/data") == HEAD
    stamp = "ActiveEnterTimestampMonotonic"
    online = int(hosts.shown(local, "network-online.target", stamp)[stamp])
    assert 0 < online <= int(hosts.shown(local, "srv-data.mount", stamp)[stamp])
    told = local.out("journalctl --no-pager -b -u frazil-activate")
    assert "data waits for remote:7420 to say that it did not take over" in told
    writer = hosts.writer()
    hosts.goes_on(committed)
    writer.stop()
    assert hosts.failed_units(local) == []
    local.run("mv /etc/fstab.before /etc/fstab; systemctl daemon-reload")
