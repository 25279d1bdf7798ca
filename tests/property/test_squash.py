"""Two layers squashed into one: whatever they hold, the stack shows the same, byte for byte.

``s << d0 << d1 = s << (d0 ++ d1)`` for chunks of any two sizes; the model is plain bytes.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control.image import StackImage
from control.limiter import Interrupted, RateLimiter
from control.spans import Span
from control.store import squash
from control.store.direct import DirectFile
from control.store.reader import StoreReader
from control.store.squash import Overlay, UnlikeStores
from control.store.writer import StoreWriter
from dm_tables.units import Bytes
from tests.replica_tools import MEMORY
from tests.store_tools import filled, naive_read

SIZES = [4096, 8192, 16384, 65536]


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here depends on what the machine's own disk keeps; batches are small."""
    monkeypatch.setattr(DirectFile, "fsync", lambda file: None)
    monkeypatch.setattr(squash, "BATCH", 65536)


@dataclass(frozen=True)
class Layer:
    """Chunks of ``chunk`` bytes, and the seed of each one's bytes; 0: zeroes."""

    chunk: int
    seeds: dict[int, int]

    def over(self, image: bytes) -> bytes:
        """The model."""
        out = bytearray(image)
        for old, seed in self.seeds.items():
            out[old * self.chunk : (old + 1) * self.chunk] = self.data(seed)
        return bytes(out[: len(image)])

    def data(self, seed: int) -> bytes:
        return filled(seed, self.chunk) if seed else bytes(self.chunk)

    def write(self, path: Path, size: int) -> Path:
        path.touch()
        with StoreWriter(path, Bytes(self.chunk), Bytes(size)) as it:
            it.create()
            for old, seed in self.seeds.items():
                it.append(old, 1, self.data(seed) if seed else None)
            it.finish()
        return path


@st.composite
def volumes(draw: st.DrawFn) -> int:
    """Sizes in bytes, of any number of sectors, some of several areas."""
    kib = draw(st.one_of(st.integers(4, 300), st.sampled_from([1024, 1028, 2600])))
    return kib * 1024 - draw(st.sampled_from([0, 0, 512, 1536, 3584]))


@st.composite
def layers(draw: st.DrawFn, size: int) -> Layer:
    """Distinct chunks, in any order: a few, or nearly all of them; now and then whole runs."""
    chunk = draw(st.sampled_from(SIZES))
    dice = random.Random(draw(st.integers(0, 1 << 30)))
    share = draw(st.sampled_from([0.0, 0.05, 0.5, 1.0]))
    run = draw(st.sampled_from([1, 1, 5]))
    chunks = range(-(-size // chunk))
    groups = [chunks[at : at + run] for at in chunks[::run] if dice.random() < share]
    if draw(st.booleans()):
        dice.shuffle(groups)
    olds = [old for group in groups for old in group]
    zero = draw(st.sampled_from([0.0, 0.3, 1.0]))
    seeds = {old: 0 if dice.random() < zero else dice.randrange(1, 1 << 30) for old in olds}
    return Layer(chunk, seeds)


@dataclass
class Bench:
    """A base and two layers on disk."""

    at: Path
    size: int
    lower: Layer
    upper: Layer

    def __post_init__(self) -> None:
        self.base = filled(1 << 40, self.size)
        (self.at / "base").write_bytes(self.base)
        self.stores = [
            layer.write(self.at / name, self.size)
            for name, layer in (("lower", self.lower), ("upper", self.upper))
        ]

    def squashed(self, *, wrong: bool = False) -> Path:
        """Squash them; ``wrong``: the lower one wins."""
        stores = self.stores[::-1] if wrong else self.stores
        (self.at / "both").touch()
        readers = [StoreReader(path, Bytes(self.size)) for path in stores]
        with readers[0] as lower, readers[1] as upper:
            both = Overlay(lower, upper)
            count = both.count()
            made = both.write(self.at / "both", limiter=RateLimiter())
            assert made == count
        return self.at / "both"

    def image(self, *stores: Path) -> bytes:
        """The base seen through stores."""
        chunks: list[tuple[str | Path, Bytes]] = []
        for path in stores:
            with StoreReader(path, Bytes(self.size)) as store:
                chunks.append((path, store.chunk))
        base = (Span(self.at / "base", Bytes(0), Bytes(self.size)),)
        with StackImage(base, [*chunks], Bytes(self.size)) as image:
            return bytes(image.read(Bytes(0), Bytes(self.size)))


@given(st.data())
@settings(max_examples=150)
def test_a_squashed_layer_shows_what_the_two_did(data: st.DataObject) -> None:
    size = data.draw(volumes())
    lower, upper = data.draw(layers(size)), data.draw(layers(size))
    with TemporaryDirectory(dir=MEMORY) as at:
        bench = Bench(Path(at), size, lower, upper)
        want = upper.over(lower.over(bench.base))
        both = bench.squashed()
        as_two = bench.image(*bench.stores) == want
        as_one = bench.image(both) == want
        assert as_two and as_one
        check_store(both, bench)


def check_store(path: Path, bench: Bench) -> None:
    """The smaller chunk of both, exactly their union, and nothing but what the kernel takes."""
    chunk = min(bench.lower.chunk, bench.upper.chunk)
    chunks = range(-(-bench.size // chunk))
    wanted = {
        at // chunk
        for layer in (bench.lower, bench.upper)
        for old in layer.seeds
        for at in range(old * layer.chunk, (old + 1) * layer.chunk, chunk)
    } & set(chunks)
    found = naive_read(path.read_bytes(), chunk)
    assert len(found) == len(wanted)
    assert {old for old, _ in found} == wanted
    with StoreReader(path, Bytes(bench.size), Bytes(chunk)) as store:
        assert set(store.changed()) == wanted


@given(st.data())
@settings(max_examples=30)
def test_negative_control_the_lower_layer_must_not_win(data: st.DataObject) -> None:
    size = data.draw(volumes())
    lower, upper = data.draw(layers(size)), data.draw(layers(size))
    # One byte that both have, and have otherwise.
    lower = replace(lower, seeds={**lower.seeds, 0: 7})
    upper = replace(upper, seeds={**upper.seeds, 0: 8})
    with TemporaryDirectory(dir=MEMORY) as at:
        bench = Bench(Path(at), size, lower, upper)
        same = bench.image(bench.squashed(wrong=True)) == bench.image(*bench.stores)
        assert not same


def test_negative_control_a_chunk_left_out_is_seen(tmp_path: Path) -> None:
    size = 40 * 4096 - 512
    lower, upper = Layer(8192, {1: 3, 19: 4}), Layer(4096, {3: 5})
    bench = Bench(tmp_path, size, lower, upper)
    real = Overlay.pieces

    def short(self: Overlay) -> list[squash.Piece]:
        return list(real(self))[:-1]

    with mock.patch.object(Overlay, "pieces", short):
        both = bench.squashed()
    same = bench.image(both) == bench.image(*bench.stores)
    assert not same


def test_zeroes_stay_holes(tmp_path: Path) -> None:
    size = 600 * 4096
    lower = Layer(4096, dict.fromkeys(range(500), 0))
    bench = Bench(tmp_path, size, lower, Layer(65536, {2: 9, 30: 0}))
    both = bench.squashed()
    shown = bench.image(both) == bench.image(*bench.stores)
    assert shown
    # The header, some areas, and 16 chunks of data: not 500.
    assert both.stat().st_blocks * 512 <= 30 * 4096


def test_a_stop_is_heard(tmp_path: Path) -> None:
    bench = Bench(tmp_path, 4096 * 100, Layer(4096, {1: 1}), Layer(4096, {2: 2}))
    limiter = RateLimiter()
    limiter.stop.set()
    readers = [StoreReader(path, Bytes(bench.size)) for path in bench.stores]
    with readers[0] as lower, readers[1] as upper, pytest.raises(Interrupted):
        Overlay(lower, upper).write(tmp_path / "both", limiter=limiter)


def test_layers_of_a_volume_that_grew_between_them_are_refused(tmp_path: Path) -> None:
    small = Layer(4096, {1: 1}).write(tmp_path / "small", 4096 * 10)
    large = Layer(4096, {12: 1}).write(tmp_path / "large", 4096 * 20)
    with (
        StoreReader(small, Bytes(4096 * 10)) as lower,
        StoreReader(large, Bytes(4096 * 20)) as upper,
        pytest.raises(UnlikeStores, match="40960 bytes"),
    ):
        Overlay(lower, upper)
