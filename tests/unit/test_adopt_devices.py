"""Devices that are taken, held or not to be written: refused, whatever path leads to them."""

from __future__ import annotations

from pathlib import Path

import pytest

from control import beneath
from control.adopt import OwnDevice, ReadOnly, SpanOverlaps, check_adoptable, resolve
from control.holders import InUse
from control.records import VolumeRecord, VolumeState
from control.spans import Span
from dm_tables.errors import Usage
from dm_tables.units import MIB, SECTOR, Bytes
from tests.unit.fake_disks import FakeDisks, disks

__all__ = ["disks"]

LINEAR = f"0 {8 * MIB // SECTOR} linear 8:0 {16 * MIB // SECTOR}\n"


@pytest.fixture
def disk(disks: FakeDisks) -> Path:
    return disks.disk("sda", "8:0", 64 * MIB)


def span(path: Path, offset: int = 0, length: int = 4 * MIB) -> Span:
    return Span(path, Bytes(offset), Bytes(length))


def volume(*spans: Span) -> VolumeRecord:
    size = Bytes(sum(one.length for one in spans))
    return VolumeRecord("taken", "u", spans, size, Bytes(65536), VolumeState.ACTIVE, bottom=0)


def check(disks: FakeDisks, spans: list[Span], *volumes: VolumeRecord) -> None:
    check_adoptable(spans, volumes, disks.table_of)


def test_a_partition_is_part_of_its_disk(disks: FakeDisks, disk: Path) -> None:
    part = disks.partition("sda", 1, "8:1", 8 * MIB, 8 * MIB)
    with pytest.raises(SpanOverlaps, match="sda1 is already part of volume taken"):
        check(disks, [span(part, 4 * MIB)], volume(span(disk, 15 * MIB)))
    with pytest.raises(SpanOverlaps, match="sda is already part of volume taken"):
        check(disks, [span(disk, 11 * MIB)], volume(span(part)))
    with pytest.raises(SpanOverlaps, match=r"sda1 and .*sda have bytes in common"):
        check(disks, [span(disk, 5 * MIB), span(part)])
    check(disks, [span(part)], volume(span(disk, 16 * MIB)))


def test_a_disk_and_its_partition_in_one_volume(disks: FakeDisks, disk: Path) -> None:
    part = disks.partition("sda", 1, "8:1", 8 * MIB, 8 * MIB)
    other = disks.partition("sda", 2, "8:2", 16 * MIB, 8 * MIB)
    check(disks, [span(part), span(other)])
    with pytest.raises(SpanOverlaps, match=r"sda1 is a partition of .*sda"):
        check(disks, [span(disk), span(part)])


def test_a_linear_device_is_part_of_what_it_maps_to(disks: FakeDisks, disk: Path) -> None:
    one = disks.mapped("one", "253:0", 8 * MIB, LINEAR)
    other = disks.mapped("other", "253:1", 8 * MIB, LINEAR.replace("32768", "40960"))
    with pytest.raises(SpanOverlaps, match="already part of volume taken"):
        check(disks, [span(other)], volume(span(one, 4 * MIB)))
    with pytest.raises(SpanOverlaps, match="already part of volume taken"):
        check(disks, [span(disk, 20 * MIB)], volume(span(one, 4 * MIB)))
    check(disks, [span(other)], volume(span(one)))


def test_pieces_of_a_device_lie_where_its_table_says(disks: FakeDisks, disk: Path) -> None:
    disks.disk("sdb", "8:16", 64 * MIB)
    lines = ["0 2048 linear 8:16 2048", "2048 2048 striped 1 128 8:16 0", "4096 2048 linear 8:0 0"]
    node = disks.mapped("pieces", "253:0", 3 * MIB, "\n".join(lines))
    found = beneath.beneath(span(node, MIB // 2, 2 * MIB), disks.table_of)
    assert [(one.place, one.offset, one.length) for one in found] == [
        ("8:16", MIB + MIB // 2, MIB // 2),
        ("253:0", MIB, MIB),
        ("8:0", 0, MIB // 2),
    ]


def test_a_loop_device_is_part_of_its_file(disks: FakeDisks, tmp_path: Path) -> None:
    file = tmp_path / "file.img"
    file.write_bytes(bytes(16 * MIB))
    loop = disks.loop("loop0", "7:0", file, offset=4 * MIB)
    with pytest.raises(SpanOverlaps, match="loop0 is already part of volume taken"):
        check(disks, [span(loop)], volume(span(file, 4 * MIB)))
    link = tmp_path / "hard"
    link.hardlink_to(file)
    with pytest.raises(SpanOverlaps, match="have bytes in common"):
        check(disks, [span(file, 6 * MIB), span(link, 7 * MIB)])
    check(disks, [span(loop)], volume(span(file)))


def test_a_volume_whose_device_is_away_takes_nothing(disks: FakeDisks, disk: Path) -> None:
    check(disks, [span(disk)], volume(span(disks.nodes / "away")))


@pytest.mark.parametrize(
    ("uuid", "words"),
    [
        ("LVM-abc", "LVM's logical volume upper"),
        ("CRYPT-abc", "the device-mapper device upper"),
        ("", "the device-mapper device upper"),
    ],
)
def test_a_device_that_device_mapper_holds(
    disks: FakeDisks, disk: Path, uuid: str, words: str
) -> None:
    disks.mapped("upper", "253:0", 8 * MIB, LINEAR, uuid=uuid, below="sda")
    with pytest.raises(InUse, match=f"sda is held by {words}"):
        check(disks, [span(disk)])


def test_a_device_of_an_array(disks: FakeDisks, disk: Path) -> None:
    disks.partition("sda", 2, "8:2", 8 * MIB, 8 * MIB)
    disks.array("md0", "9:0", "sda2")
    with pytest.raises(InUse, match=r"/dev/sda2, a partition of .*sda, is held by the md array"):
        check(disks, [span(disk)])


def test_a_disk_and_its_partitions_are_held_together(disks: FakeDisks, disk: Path) -> None:
    part = disks.partition("sda", 1, "8:1", 8 * MIB, 8 * MIB)
    mapped = disks.mapped(
        "frazil-taken-0", "253:0", 8 * MIB, LINEAR, uuid="FRAZIL-x-layer-0", below="sda"
    )
    assert mapped.exists()
    taken = volume(span(disk, 16 * MIB, 8 * MIB))
    # The kernel lets a disk and its partition not be held by two.
    with pytest.raises(InUse, match=r"of which .*sda1 is a partition, is held by frazil's own"):
        check(disks, [span(part)], taken)
    check(disks, [span(disk)], taken)
    with pytest.raises(InUse, match="held by frazil's own device frazil-taken-0"):
        check(disks, [span(disk)])


def test_mounted_or_swapped_to_by_whatever_way(
    disks: FakeDisks, disk: Path, tmp_path: Path
) -> None:
    part = disks.partition("sda", 1, "8:1", 8 * MIB, 8 * MIB)
    disks.mount("8:1", "/srv")
    with pytest.raises(InUse, match="sda1 is mounted at /srv") as caught:
        check(disks, [span(part)])
    assert caught.value.hint == "umount /srv, then try again"
    with pytest.raises(InUse, match=r"/dev/sda1, a partition of .*sda, is mounted at /srv"):
        check(disks, [span(disk)])
    file = tmp_path / "file.img"
    file.write_bytes(bytes(8 * MIB))
    check(disks, [span(file)])
    disks.loop("loop3", "7:3", file)
    disks.mount("7:3", "/mnt/x")
    with pytest.raises(InUse, match=r"file.img, through /dev/loop3, is mounted at /mnt/x"):
        check(disks, [span(file)])
    disks.mount("0:0", "/nowhere")
    disks.swap(disk)
    disks.swap(file)
    with pytest.raises(InUse, match="sda is swap space"):
        check(disks, [span(disk)])
    with pytest.raises(InUse, match=r"file.img is swap space"):
        check(disks, [span(file)])


def test_something_else_has_it_open_alone(
    disks: FakeDisks, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, flags: int) -> int:
        raise OSError(16, "Device or resource busy")

    monkeypatch.setattr("control.holders.os.open", refuse)
    with pytest.raises(InUse, match="sda is in use: Device or resource busy"):
        check(disks, [span(disk)])


def test_frazils_own_devices(disks: FakeDisks, disk: Path) -> None:
    layer = disks.mapped("frazil-db-0", "253:0", 8 * MIB, LINEAR, uuid="FRAZIL-x-layer-0")
    head = disks.mapped("frazil-db", "253:1", 8 * MIB, LINEAR, uuid="FRAZIL-x-head", below="dm-0")
    upper = disks.mapped("vg-lv", "253:2", 8 * MIB, LINEAR, uuid="LVM-x", below="dm-1")
    loop = disks.loop("loop0", "7:0", head)
    named = {layer: "frazil-db-0", head: "frazil-db", upper: "frazil-db", loop: "frazil-db"}
    for node, name in named.items():
        with pytest.raises(OwnDevice, match=f"frazil's own device {name} "):
            check(disks, [span(node)])


def test_what_cannot_be_written(disks: FakeDisks, disk: Path, tmp_path: Path) -> None:
    disks.read_only("sda")
    with pytest.raises(ReadOnly, match="sda is read-only"):
        resolve(str(disk), 0, 0)


def test_a_file_on_a_filesystem_that_is_read_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file.img"
    file.write_bytes(bytes(2 * MIB))

    def refuse(path: Path, flags: int) -> int:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("control.adopt.os.open", refuse)
    with pytest.raises(ReadOnly, match=r"file.img cannot be written: Read-only file system"):
        resolve(str(file), 0, 0)


def test_large_sectors(disks: FakeDisks) -> None:
    disk = disks.disk("sdc", "8:32", 8 * MIB + 512, sector=4096)
    disks.partition("sdc", 1, "8:33", MIB, 4 * MIB)
    assert resolve(str(disk), 0, 0).length == 8 * MIB
    for path in (disk, disks.nodes / "sdc1"):
        with pytest.raises(Usage, match="multiples of 4096"):
            resolve(str(path), 512, 2 * MIB)
