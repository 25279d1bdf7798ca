"""What a torn area write leaves behind must be gone before the kernel sees it (A7)."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import pytest

from control.store import errors
from control.store.scrub import Scrubbed, blank, scrub
from dm_tables.errors import Usage
from dm_tables.units import Bytes
from tests.store_tools import HandMade, compact, filled, naive_read


def store_of(count: int) -> HandMade:
    return compact(4096, [(i, filled(i, 4096)) for i in range(count)])


def with_stale(image: bytearray, area: int, entries: dict[int, tuple[int, int]]) -> bytes:
    for entry, pair in entries.items():
        struct.pack_into("<QQ", image, (1 + 257 * area) * 4096 + 16 * entry, *pair)
    return bytes(image)


@pytest.mark.parametrize("count", [0, 5, 256, 300])
def test_stale_entries_behind_the_terminator_are_zeroed(tmp_path: Path, count: int) -> None:
    path = tmp_path / "store"
    clean = bytes(store_of(count).image())
    area, last = divmod(count, 256)
    stale = {last + 1: (77, 78), last + 40: (79, 80), 255: (81, 0)}
    path.write_bytes(with_stale(bytearray(clean), area, stale))
    assert path.read_bytes() != clean
    assert scrub(path) == Scrubbed(count, area, 3)
    assert path.read_bytes() == clean
    assert scrub(path) == Scrubbed(count, area, 0)


def test_an_old_chunk_alone_in_the_terminator_is_stale_too(tmp_path: Path) -> None:
    path = tmp_path / "store"
    path.write_bytes(with_stale(store_of(3).image(), 0, {3: (9, 0)}))
    assert scrub(path) == Scrubbed(3, 0, 1)
    assert len(naive_read(path.read_bytes(), 4096)) == 3


def test_a_clean_store_is_not_written(tmp_path: Path) -> None:
    path = store_of(300).write(tmp_path / "store")
    before = path.stat().st_mtime_ns
    assert scrub(path).cleared == 0
    assert path.stat().st_mtime_ns == before


def test_only_what_the_terminator_hides_is_touched(tmp_path: Path) -> None:
    path = tmp_path / "store"
    dirty = with_stale(store_of(300).image(), 1, {100: (1, 2)})
    path.write_bytes(dirty)
    scrub(path)
    after = path.read_bytes()
    assert naive_read(after, 4096) == naive_read(dirty, 4096)
    changed = [i for i in range(0, len(dirty), 4096) if after[i : i + 4096] != dirty[i : i + 4096]]
    assert changed == [258 * 4096]


def test_a_blank_store_needs_nothing_and_a_broken_one_says_so(tmp_path: Path) -> None:
    path = tmp_path / "store"
    path.write_bytes(bytes(8192))
    assert scrub(path) == Scrubbed(0, 0, 0)
    replace(store_of(3), valid=0).write(path)
    with pytest.raises(errors.NotValid):
        scrub(path)
    replace(store_of(256), open_end=True).write(path)
    with pytest.raises(errors.CutOff):
        scrub(path)


def test_blanking_zeroes_the_first_two_chunks_only(tmp_path: Path) -> None:
    path = tmp_path / "store"
    path.write_bytes(filled(1, 65536 * 4))
    blank(path, Bytes(65536))
    assert path.read_bytes() == bytes(65536 * 2) + filled(1, 65536 * 4)[65536 * 2 :]
    with pytest.raises(Usage):
        blank(path, Bytes(1000))
