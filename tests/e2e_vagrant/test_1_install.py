"""Installed by the README's words: nothing runs before it is told to, then a volume is mirrored."""

from __future__ import annotations

from tests.e2e_vagrant.hosts import HEAD, MIRROR, Hosts


def test_installing_starts_and_enables_nothing(hosts: Hosts) -> None:
    assert hosts.after_installing == ["", ""]
    # The negative control: now that it runs, the same look sees it.
    assert "enabled" in hosts.traces_of_running("local")


def test_the_volume_is_mirrored_with_what_was_on_it(hosts: Hosts) -> None:
    assert hosts.local.out("cat /srv/data/first") == "written before frazil"
    assert hosts.local.out("findmnt -no SOURCE /srv/data") == HEAD
    assert hosts.mirror().committed >= 1
    hosts.remote.run("frazil replica mount data /mnt/data")
    assert hosts.remote.out("cat /mnt/data/first") == "written before frazil"
    hosts.remote.run("frazil replica unmount data")
    said = hosts.json(hosts.local, "verify", MIRROR)
    assert said["finished"]
    assert said["differences"] == []


def test_the_unit_says_how_it_stands(hosts: Hosts) -> None:
    for machine in (hosts.local, hosts.remote):
        shown = hosts.shown(machine, "frazild", "Type", "ActiveState", "WatchdogUSec", "StatusText")
        assert shown["Type"] == "notify"
        assert shown["ActiveState"] == "active"
        assert shown["WatchdogUSec"] == "2min"
        # These machines have no headers of their kernel: what is missing is said, and what to do.
        assert "headers of kernel" in shown["StatusText"]
        assert "apt install linux-headers-" in shown["StatusText"]
        journal = machine.out("journalctl --no-pager -u frazild")
        assert "apt install linux-headers-" in journal


def test_the_doctor_finds_what_is_missing_here_and_nothing_else(hosts: Hosts) -> None:
    said = hosts.local.run("frazil doctor --json", check=False)
    assert said.code == 7, said
    import json

    findings = json.loads(said.out)["findings"]
    warned = {(one["area"], one["level"]) for one in findings if one["level"] != "ok"}
    # The README mounts the head before the network.
    assert warned == {("tracing", "warning"), ("time", "warning"), ("boot", "note")}
    assert all(one["remedy"] for one in findings if one["level"] == "warning")
    peers = [one["what"] for one in findings if one["area"] == "peers"]
    assert peers == ["remote:7420 is remote, and knows this host as local"]


def test_nobody_sees_a_disk_twice(hosts: Hosts) -> None:
    local = hosts.local
    local.run("udevadm settle")
    assert local.out("readlink -f /dev/disk/by-label/application") == local.out(
        f"readlink -f {HEAD}"
    )
    assert local.out("findfs LABEL=application") == HEAD
    # blkid, asked for all that it can read, reads the layers too; asked for one, it takes the head.
    assert len(local.out("blkid -t LABEL=application -o device").split()) > 2
    assert local.out("blkid -t LABEL=application -l -o device") == HEAD
    # Layers come and go while it is mirrored; some are there when it is asked.
    properties = "udevadm info -q property"
    layers = local.out(
        f"for layer in /dev/mapper/frazil-data-[0-9]*; do {properties} $layer || true; done"
    )
    assert "DM_NAME=frazil-data-" in layers
    assert "ID_FS_" not in layers
    assert "/dev/disk/" not in layers
    # The negative control: the head is seen.
    assert "ID_FS_LABEL=application" in local.out(f"{properties} {HEAD}")
    lvm = local.run("pvs 2>&1; vgs 2>&1; lvs 2>&1")
    assert "duplicate" not in lvm.out.lower()
    # Of a layer that is merged while LVM opens it, LVM says that it has lost its name.
    assert [line for line in lvm.out.splitlines() if "has no path names" not in line] == []
