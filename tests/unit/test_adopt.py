"""What may become a volume, and what is refused with one clear sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from control.adopt import (
    SpanOverlaps,
    SpanPastEnd,
    VolumeTooSmall,
    check_adoptable,
    check_name_free,
    checked_chunk,
    resolve,
)
from control.records import VolumeRecord, VolumeState
from dm_tables.errors import Exists, NotFound, Usage
from dm_tables.units import KIB, MIB, Bytes


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    path.write_bytes(bytes(4 * MIB + 700))
    return path


def volume_on(path: Path) -> VolumeRecord:
    span = resolve(str(path), MIB, 2 * MIB)
    return VolumeRecord(
        "taken", "u", (span,), span.length, Bytes(65536), VolumeState.ACTIVE, bottom=0
    )


def test_a_span_to_the_end_is_whole_sectors(disk: Path) -> None:
    span = resolve(str(disk), MIB, 0)
    assert span.length == 3 * MIB + 512
    check_adoptable([span], [])


def test_spans_that_cannot_be(disk: Path) -> None:
    with pytest.raises(SpanPastEnd, match="would leave it"):
        resolve(str(disk), 4 * MIB, MIB)
    with pytest.raises(SpanPastEnd):
        resolve(str(disk), 40 * MIB, 0)
    with pytest.raises(Usage, match="multiples of 512"):
        resolve(str(disk), 100, 0)
    with pytest.raises(Usage, match="absolute"):
        resolve("disk", 0, 0)
    with pytest.raises(Usage, match="neither"):
        resolve(str(disk.parent), 0, 0)
    with pytest.raises(NotFound, match="lsblk"):
        resolve("/nowhere/at/all", 0, 0)


def test_a_volume_needs_a_mebibyte(disk: Path) -> None:
    with pytest.raises(VolumeTooSmall, match="1 MiB"):
        check_adoptable([resolve(str(disk), 0, 512 * KIB)], [])
    with pytest.raises(Usage, match="at least one"):
        check_adoptable([], [])


def test_bytes_belong_to_one_volume_only(disk: Path) -> None:
    taken = volume_on(disk)
    check_adoptable([resolve(str(disk), 0, MIB)], [taken])
    check_adoptable([resolve(str(disk), 3 * MIB, MIB)], [taken])
    with pytest.raises(SpanOverlaps, match="volume taken"):
        check_adoptable([resolve(str(disk), 0, MIB + 512)], [taken])
    link = disk.parent / "link"
    link.symlink_to(disk)
    with pytest.raises(SpanOverlaps, match="volume taken"):
        check_adoptable([resolve(str(link), 2 * MIB, 0)], [taken])
    with pytest.raises(SpanOverlaps, match="twice"):
        check_adoptable([resolve(str(disk), 0, MIB), resolve(str(disk), 512, MIB)], [])


def test_a_name_is_given_once(disk: Path) -> None:
    check_name_free("other", [volume_on(disk)])
    with pytest.raises(Exists, match="taken"):
        check_name_free("taken", [volume_on(disk)])


@pytest.mark.parametrize("chunk", [1, 2048, 5000, 3 * KIB, 2 * MIB])
def test_chunk_sizes_that_cannot_be(chunk: int) -> None:
    with pytest.raises(Usage, match="power of two"):
        checked_chunk(chunk)


def test_chunk_sizes_that_can() -> None:
    assert checked_chunk(0) == 0
    assert checked_chunk(4 * KIB) == 4 * KIB
    assert checked_chunk(MIB) == MIB
