"""The image of a stack, computed against a plain overlay."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from control.image import ChunkMap, OutsideImage, StackImage
from control.spans import Span
from control.store.errors import CutOff, DoubledChunk, FileMissing
from control.store.reader import StoreReader
from dm_tables.units import Bytes
from tests.store_tools import HandMade, compact, filled

SIZE = Bytes(4096 * 200 + 1536)
Layer = tuple[int, list[tuple[int, bytes]]]


def overlay(base: bytes, layers: list[Layer]) -> bytes:
    out = bytearray(base)
    for chunk, change in layers:
        for old, data in change:
            out[old * chunk : old * chunk + chunk] = data
        del out[len(base) :]
    return bytes(out)


LAYERS: list[Layer] = [
    (4096, [(i * 3 % 201, filled(i, 4096)) for i in range(60)]),
    (65536, [(i, filled(100 + i, 65536)) for i in (3, 12, 0)]),
    (8192, [(i, filled(200 + i, 8192)) for i in (100, 6, 7, 8, 9, 50)]),
]


@pytest.fixture
def base(tmp_path: Path) -> tuple[Span, ...]:
    data = filled(7, SIZE)
    (tmp_path / "a").write_bytes(b"x" * 512 + data[: 4096 * 90 + 512])
    (tmp_path / "b").write_bytes(data[4096 * 90 + 512 :])
    first = Bytes(4096 * 90 + 512)
    return (
        Span(tmp_path / "a", Bytes(512), first),
        Span(tmp_path / "b", Bytes(0), Bytes(SIZE - first)),
    )


def stores(folder: Path, layers: list[Layer]) -> list[tuple[Path, Bytes]]:
    made = []
    for i, (chunk, change) in enumerate(layers):
        made.append((compact(chunk, change).write(folder / f"s{i}"), Bytes(chunk)))
    return made


@pytest.mark.parametrize("height", [0, 1, 2, 3])
def test_each_level_shows_the_layers_up_to_it(
    tmp_path: Path, base: tuple[Span, ...], height: int
) -> None:
    want = overlay(filled(7, SIZE), LAYERS[:height])
    layers = stores(tmp_path, LAYERS[:height])
    with StackImage(base, [*layers], SIZE) as image:
        assert bytes(image.read(Bytes(0), SIZE)) == want
        rnd = random.Random(height)
        for _ in range(200):
            at = rnd.randrange(SIZE)
            length = min(rnd.choice([1, 511, 512, 4096, 70000]), SIZE - at)
            assert bytes(image.read(Bytes(at), Bytes(length))) == want[at : at + length]


def test_the_order_of_layers_counts(tmp_path: Path, base: tuple[Span, ...]) -> None:
    layers = stores(tmp_path, LAYERS)
    with StackImage(base, [*reversed(layers)], SIZE) as image:
        assert bytes(image.read(Bytes(0), SIZE)) != overlay(filled(7, SIZE), LAYERS)


def test_neighbours_in_one_file_are_read_at_once(tmp_path: Path, base: tuple[Span, ...]) -> None:
    change = [(i, filled(i, 4096)) for i in range(10, 60)]
    with StackImage(base, [*stores(tmp_path, [(4096, change)])], SIZE) as image:
        parts = [(p.length, p.at) for p in image.parts(Bytes(0), Bytes(4096 * 80))]
        assert parts == [(40960, 512), (204800, 8192), (81920, 512 + 60 * 4096)]


def test_a_map_is_as_large_as_its_runs(tmp_path: Path) -> None:
    change = [(i, filled(i, 4096)) for i in [*range(100, 200), *range(50), 70]]
    path = compact(4096, change).write(tmp_path / "store")
    with StoreReader(path, SIZE) as store:
        found = ChunkMap(store)
    assert list(zip(found.old, found.new, found.count, strict=True)) == [
        (0, 102, 50),
        (70, 152, 1),
        (100, 2, 100),
    ]
    assert list(found.stretches(40, 120)) == [
        (40, 10, 142),
        (50, 20, 0),
        (70, 1, 152),
        (71, 29, 0),
        (100, 20, 2),
    ]
    assert list(found.stretches(200, 201)) == [(200, 1, 0)]
    assert list(found.stretches(5, 5)) == []


def test_reads_outside_are_refused(base: tuple[Span, ...]) -> None:
    with StackImage(base, [], SIZE) as image:
        for at, length in [(SIZE - 1, 2), (-1, 1), (SIZE + 5, 0)]:
            with pytest.raises(OutsideImage):
                image.read(Bytes(at), Bytes(length))
    with pytest.raises(OutsideImage):
        StackImage(base, [], Bytes(SIZE + 1))


def test_a_broken_stack_says_which_file(tmp_path: Path, base: tuple[Span, ...]) -> None:
    with pytest.raises(FileMissing, match="nowhere"):
        StackImage(base, [(tmp_path / "nowhere", Bytes(4096))], SIZE)
    doubled = HandMade(4096, [(1, 2), (1, 3)]).write(tmp_path / "doubled")
    image = StackImage(base, [(doubled, Bytes(4096))], SIZE)
    with image, pytest.raises(DoubledChunk):
        image.read(Bytes(0), Bytes(512))
    (tmp_path / "b").write_bytes(b"short")
    with StackImage(base, [], SIZE) as image, pytest.raises(CutOff, match="/b"):
        image.read(Bytes(0), SIZE)
