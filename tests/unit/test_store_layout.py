"""Where things lie in a store, against numbers worked out by hand."""

from __future__ import annotations

import pytest

from control.store import layout
from dm_tables.units import Bytes, Chunks

K4 = Bytes(4096)
K64 = Bytes(65536)


def test_the_areas_of_four_kib_chunks() -> None:
    assert layout.entries_per_area(K4) == 256
    assert [layout.area_chunk(a, K4) for a in range(3)] == [1, 258, 515]
    assert [layout.data_chunk(i, K4) for i in (0, 255, 256, 511, 512)] == [2, 257, 259, 514, 516]


@pytest.mark.parametrize("chunk", [4096, 8192, 65536, 1 << 20])
def test_data_chunks_and_ordinals_are_inverse_and_skip_metadata(chunk: int) -> None:
    per_area = chunk // 16
    for i in [0, 1, per_area - 1, per_area, per_area + 1, 5 * per_area - 1, 5 * per_area]:
        new = layout.data_chunk(i, Bytes(chunk))
        assert not layout.is_metadata(new, Bytes(chunk))
        assert layout.ordinal_of(new, Bytes(chunk)) == i


def test_an_area_has_no_ordinal() -> None:
    for new in (0, 1, 258, 515):
        assert layout.is_metadata(new, K4)
        with pytest.raises(ValueError, match="metadata"):
            layout.ordinal_of(Chunks(new), K4)


def test_room_holds_the_header_every_area_and_the_terminator() -> None:
    # dm-facts: 1 + N + (N // E + 1)
    assert layout.room_for(0, K4) == 2
    assert layout.room_for(255, K4) == 257
    assert layout.room_for(256, K4) == 259
    for n in range(1, 2000):
        last = layout.data_chunk(n - 1, K4)
        terminator = layout.area_chunk(n // 256, K4)
        assert layout.room_for(n, K4) == max(last, terminator) + 1


def test_treacherous_sizes_end_behind_the_last_data_chunk_of_an_area() -> None:
    treacherous = {n for n in range(2, 2000) if layout.is_treacherous(n, K4)}
    assert treacherous == {layout.data_chunk(256 * a - 1, K4) + 1 for a in range(1, 8)}
    assert layout.is_treacherous(1 + 4097 * 3, K64)
    assert not layout.is_treacherous(2 + 4097 * 3, K64)


@pytest.mark.parametrize("chunk", [4096, 65536])
def test_full_room_is_never_treacherous(chunk: int) -> None:
    per_area = chunk // 16
    for n in [*range(1, 3 * 256 + 5), per_area * 7 - 1, per_area * 7, per_area * 7 + 1]:
        assert not layout.is_treacherous(layout.room_for(n, Bytes(chunk)), Bytes(chunk))


def test_headers_as_the_kernel_writes_them() -> None:
    assert layout.pack_header(K4) == bytes.fromhex("536e4170 01000000 01000000 08000000")
    assert layout.parse_header(layout.pack_header(K64)) == layout.Header(0x70416E53, 1, 1, K64)


@pytest.mark.parametrize("chunk", [0, 2048, 4097, 12288, 2 << 20])
def test_impossible_chunks_are_refused(chunk: int) -> None:
    with pytest.raises(layout.ImpossibleChunk, match=str(chunk)):
        layout.check_chunk(Bytes(chunk))


@pytest.mark.parametrize("chunk", [4096, 16384, 1 << 20])
def test_possible_chunks_are_not(chunk: int) -> None:
    layout.check_chunk(Bytes(chunk))
