"""Devices on the disk below a head: each is found, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import pytest

from control import beneath
from control.bypass import Bypassed, bypasses, check_not_bypassed
from control.doctor.boot import judge_users
from control.doctor.findings import Level
from control.holders import holders_of
from control.records import VolumeRecord, VolumeState
from control.spans import Span
from dm_tables.units import MIB, SECTOR, Bytes
from tests.unit.fake_disks import FakeDisks, disks

__all__ = ["disks"]


def linear(offset: int) -> str:
    """A table of 8 MiB on the disk."""
    return f"0 {8 * MIB // SECTOR} linear 8:0 {offset // SECTOR}\n"


@pytest.fixture
def disk(disks: FakeDisks) -> Path:
    node = disks.disk("sda", "8:0", 64 * MIB)
    disks.mapped("frazil-x-0", "253:0", MIB, linear(0), uuid="FRAZIL-x-layer-0", below="sda")
    return node


def volume(path: Path, offset: int = 0, length: int = 16 * MIB) -> VolumeRecord:
    span = Span(path, Bytes(offset), Bytes(length))
    size = Bytes(length)
    return VolumeRecord("data", "u", (span,), size, Bytes(65536), VolumeState.ACTIVE, bottom=0)


def found(disks: FakeDisks, record: VolumeRecord) -> list[str]:
    return [one.what for one in bypasses([record], disks.table_of)]


def test_frazils_own_devices_are_where_they_belong(disks: FakeDisks, disk: Path) -> None:
    assert found(disks, volume(disk)) == []
    check_not_bypassed([volume(disk)], disks.table_of)


def test_lvm_on_the_disk_below(disks: FakeDisks, disk: Path) -> None:
    disks.mapped("vg-lv", "253:1", 8 * MIB, linear(8 * MIB), uuid="LVM-x", below="sda")
    (said,) = found(disks, volume(disk))
    assert said.startswith(f"LVM's logical volume vg-lv uses {disk}, the disk below the volume")
    with pytest.raises(Bypassed) as caught:
        check_not_bypassed([volume(disk)], disks.table_of)
    assert "/dev/mapper/frazil-data" in caught.value.hint
    (finding,) = judge_users(volume(disk), disks.table_of)
    assert (finding.level, finding.what) == (Level.PROBLEM, said)


def test_what_has_other_bytes_of_the_disk_is_no_matter(disks: FakeDisks, disk: Path) -> None:
    disks.mapped("vg-lv", "253:1", 8 * MIB, linear(16 * MIB), uuid="LVM-x", below="sda")
    assert found(disks, volume(disk)) == []
    assert found(disks, volume(disk, 23 * MIB)) != []
    assert found(disks, volume(disk, 24 * MIB)) == []


def test_where_it_cannot_be_told_it_counts(disks: FakeDisks, disk: Path) -> None:
    disks.mapped("vg-lv", "253:1", MIB, "0 2048 striped 1 128 8:0 99999\n", below="sda")
    disks.array("md0", "9:0", below="sda")
    assert len(found(disks, volume(disk))) == 2


def test_a_disk_that_is_missing_is_said_elsewhere(disks: FakeDisks) -> None:
    assert found(disks, volume(Path("/dev/nowhere"))) == []


def test_a_device_that_is_being_removed_is_none(disks: FakeDisks, disk: Path) -> None:
    disks.mapped("frazil-old", "253:1", 8 * MIB, linear(8 * MIB), uuid="LVM-x", below="sda")
    for unreadable in ("name", "uuid"):
        path = beneath.SYS / "253:1" / "dm" / unreadable
        path.unlink()
        # Reading it fails, as of a device that is going.
        path.mkdir()
    assert found(disks, volume(disk)) == []
    assert holders_of("8:0") == [one for one in holders_of("8:0") if one.name != "dm-1"]
