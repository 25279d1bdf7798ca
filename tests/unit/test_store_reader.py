"""Reading stores made by hand; each kind of damage has its own error, naming the place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from control.store import errors
from control.store.exceptions import Extent, Run
from control.store.reader import StoreReader
from dm_tables.units import Bytes, Chunks
from tests.store_tools import HandMade, compact, filled, place

K4 = Bytes(4096)
ORIGIN = Bytes(4096 * 1000)


def some(count: int, step: int = 3) -> list[tuple[int, bytes]]:
    return [(i * step % 997, filled(i, 4096)) for i in range(count)]


def read_all(path: Path, origin: Bytes = ORIGIN) -> list[tuple[int, bytes]]:
    with StoreReader(path, origin) as store:
        return [
            (run.old + i, bytes(store.read_chunks(run.new + i, 1)))
            for run in store.runs()
            for i in range(run.count)
        ]


@pytest.mark.parametrize("count", [0, 1, 255, 256, 257, 512, 600])
def test_reads_what_was_put_there(tmp_path: Path, count: int) -> None:
    path = compact(4096, some(count)).write(tmp_path / "store")
    assert read_all(path) == some(count)
    with StoreReader(path, ORIGIN, K4) as store:
        assert store.count() == count
        assert store.chunk == K4
        assert sorted(store.changed()) == sorted(old for old, _ in some(count))
        assert [len(area) for area in store.areas()] in (
            [*[256] * (count // 256), count % 256],
            [256] * (count // 256),
        )


@pytest.mark.parametrize("start", [0, 1, 255, 256, 300, 512, 599, 600])
def test_starts_anywhere(tmp_path: Path, start: int) -> None:
    path = compact(4096, some(600)).write(tmp_path / "store")
    with StoreReader(path, ORIGIN) as store:
        pairs = list(store.exceptions(start))
        assert pairs == [(old, place(i, 4096)) for i, (old, _) in enumerate(some(600))][start:]
        firsts = [area.first for area in store.areas(start)]
        assert not firsts or firsts[0] == start


def test_a_start_behind_the_end_is_cut_off(tmp_path: Path) -> None:
    path = compact(4096, some(300)).write(tmp_path / "store")
    with StoreReader(path, ORIGIN) as store, pytest.raises(errors.CutOff, match="after 300"):
        list(store.areas(301))


def test_runs_follow_each_other_on_both_sides(tmp_path: Path) -> None:
    olds = [10, 11, 12, 20, 21, 5, 6, 8]
    path = compact(4096, [(old, filled(old, 4096)) for old in olds]).write(tmp_path / "store")
    with StoreReader(path, ORIGIN) as store:
        runs = [(r.first, r.old, r.new, r.count) for r in store.runs()]
        assert runs == [(0, 10, 2, 3), (3, 20, 5, 2), (5, 5, 7, 2), (7, 8, 9, 1)]
        short = [(r.old, r.count) for r in store.runs(limit=2)]
        assert short == [(10, 2), (12, 1), (20, 2), (5, 2), (8, 1)]
        assert [r.first for r in store.runs(start_exception=2, limit=2)] == [2, 3, 5, 7]


def test_runs_end_at_the_metadata_between_areas(tmp_path: Path) -> None:
    path = compact(4096, [(i, filled(i, 4096)) for i in range(300)]).write(tmp_path / "store")
    with StoreReader(path, ORIGIN) as store:
        assert [(r.old, r.new, r.count) for r in store.runs()] == [(0, 2, 256), (256, 259, 44)]


def test_data_may_stand_in_any_order(tmp_path: Path) -> None:
    store = HandMade(4096, [(7, 4), (9, 2), (3, 3)], {n: filled(n, 4096) for n in (2, 3, 4)})
    found = read_all(store.write(tmp_path / "store"))
    assert found == [(7, filled(4, 4096)), (9, filled(2, 4096)), (3, filled(3, 4096))]


def test_neighbours_in_the_volume_alone_are_no_run(tmp_path: Path) -> None:
    store = HandMade(4096, [(7, 4), (8, 2), (9, 3)], {n: filled(n, 4096) for n in (2, 3, 4)})
    found = read_all(store.write(tmp_path / "store"))
    assert found == [(7, filled(4, 4096)), (8, filled(2, 4096)), (9, filled(3, 4096))]


def test_the_last_chunk_is_clipped_to_the_volume() -> None:
    run = Run(0, Chunks(9), Chunks(2), 2)
    assert run.extent(K4, Bytes(4096 * 10 + 512)) == Extent(Bytes(36864), Bytes(4608), Bytes(8192))
    assert run.extent(K4, Bytes(4096 * 11)) == Extent(Bytes(36864), Bytes(8192), Bytes(8192))


def test_a_larger_chunk_is_read_from_the_header(tmp_path: Path) -> None:
    content = [(i, filled(i, 65536)) for i in (3, 1)]
    assert read_all(compact(65536, content).write(tmp_path / "store")) == content


GOOD = compact(4096, some(300))


def swapped(index: int, pair: tuple[int, int]) -> HandMade:
    return replace(GOOD, pairs=[*GOOD.pairs[:index], pair, *GOOD.pairs[index + 1 :]])


DAMAGE: list[tuple[str, HandMade, type[errors.StoreCorrupt], int | None, int]] = [
    ("magic", replace(GOOD, magic=0x70416E54), errors.BadMagic, None, -1),
    ("blank", replace(GOOD, magic=0), errors.BlankStore, None, -1),
    ("version", replace(GOOD, version=2), errors.BadVersion, None, -1),
    ("chunk 0", replace(GOOD, sectors=0), errors.BadChunkSize, None, -1),
    ("chunk odd", replace(GOOD, sectors=9), errors.BadChunkSize, None, -1),
    ("chunk huge", replace(GOOD, sectors=1 << 20), errors.BadChunkSize, None, -1),
    ("invalid", replace(GOOD, valid=0), errors.NotValid, None, -1),
    ("old past", swapped(7, (1000, place(7, 4096))), errors.AddressPastDevice, 0, 7),
    ("old far past", swapped(299, (1 << 63, place(299, 4096))), errors.AddressPastDevice, 1, 43),
    ("new past", swapped(260, (1, 515)), errors.AddressPastDevice, 1, 4),
    ("new is an area", swapped(5, (1, 258)), errors.MetadataAddress, 0, 5),
    ("new is area 0", swapped(6, (1, 1)), errors.MetadataAddress, 0, 6),
    ("old doubled", swapped(9, (3, place(9, 4096))), errors.DoubledChunk, 0, 9),
    ("old doubled far", swapped(290, (3, place(290, 4096))), errors.DoubledChunk, 1, 34),
    ("new doubled", swapped(9, (999, place(8, 4096))), errors.DoubledChunk, 0, 9),
    ("new doubled far", swapped(290, (999, place(8, 4096))), errors.DoubledChunk, 1, 34),
    ("no terminator", replace(compact(4096, some(256)), open_end=True), errors.CutOff, 1, -1),
    ("in an area", replace(compact(4096, some(256)), chunks=258), errors.CutOff, 1, -1),
]


@pytest.mark.parametrize(
    ("store", "error", "area", "entry"), [d[1:] for d in DAMAGE], ids=[d[0] for d in DAMAGE]
)
def test_damage_is_told_by_its_type_and_place(
    tmp_path: Path, store: HandMade, error: type[errors.StoreCorrupt], area: int | None, entry: int
) -> None:
    path = store.write(tmp_path / "store")
    with pytest.raises(error) as caught, StoreReader(path, ORIGIN) as reader:
        list(reader.areas())
    assert type(caught.value) is error
    assert (caught.value.area, caught.value.entry) == (area, entry)
    assert str(path) in caught.value.what
    assert caught.value.hint


def test_what_the_damaged_stores_were_made_from_is_sound(tmp_path: Path) -> None:
    assert read_all(GOOD.write(tmp_path / "good")) == some(300)
    assert read_all(compact(4096, some(256)).write(tmp_path / "full")) == some(256)


def test_damage_in_front_of_the_start_is_found_too(tmp_path: Path) -> None:
    path = swapped(7, (1000, place(7, 4096))).write(tmp_path / "store")
    with StoreReader(path, ORIGIN) as store, pytest.raises(errors.AddressPastDevice):
        list(store.areas(280))


def test_another_chunk_size_than_the_layers(tmp_path: Path) -> None:
    path = GOOD.write(tmp_path / "store")
    with pytest.raises(errors.BadChunkSize, match="8192 are expected"):
        StoreReader(path, ORIGIN, Bytes(8192))


def test_data_that_are_not_there(tmp_path: Path) -> None:
    path = GOOD.write(tmp_path / "store")
    with StoreReader(path, ORIGIN) as store, pytest.raises(errors.CutOff):
        store.read_chunks(10_000, 1)


def test_files_that_are_no_store(tmp_path: Path) -> None:
    with pytest.raises(errors.FileMissing, match="nothing"):
        StoreReader(tmp_path / "nothing", ORIGIN)
    short = tmp_path / "short"
    short.write_bytes(GOOD.image()[:100])
    with pytest.raises(errors.CutOff, match="100 bytes"):
        StoreReader(short, ORIGIN)


def test_a_failed_open_leaks_no_descriptor(tmp_path: Path) -> None:
    path = replace(GOOD, magic=1).write(tmp_path / "store")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        with pytest.raises(errors.BadMagic):
            StoreReader(path, ORIGIN)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
