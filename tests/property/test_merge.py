"""Apply and merge as algebra (WalB's apply-merge-model), on real files against plain dicts.

``s << d`` is a merge of the diff d into the image s; ``d0 ++ d1`` the diff that is d0 overlaid by
d1; both are computed twice: by :mod:`control.merge` on spans and stores, and on dicts of chunks.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from control.image import StackImage
from control.limiter import Interrupted, RateLimiter
from control.merge import merge
from control.spans import Span
from control.store.direct import DirectFile
from control.store.reader import StoreReader
from control.store.writer import StoreWriter
from dm_tables.units import Bytes
from tests.store_tools import filled

CHUNK = Bytes(4096)
Diff = dict[int, int]
"""Chunk → seed of its bytes; 0: zeroes."""

quick = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here depends on what the machine's own disk keeps."""
    monkeypatch.setattr(DirectFile, "fsync", lambda file: None)
    monkeypatch.setattr("control.merge.BATCH", 32 * 4096)


@dataclass(frozen=True)
class Volume:
    """A size in bytes, and where its spans are cut."""

    size: int
    cuts: tuple[int, ...]

    @property
    def chunks(self) -> int:
        return -(-self.size // CHUNK)

    def lay(self, folder: Path, content: bytes) -> tuple[Span, ...]:
        """The volume over files in ``folder``, a span a file, at some offset in it."""
        ends = [*self.cuts, self.size]
        spans, begin = [], 0
        for i, end in enumerate(ends):
            path = folder / f"span{i}"
            path.write_bytes(b"\xee" * 512 * i + content[begin:end])
            spans.append(Span(path, Bytes(512 * i), Bytes(end - begin)))
            begin = end
        return tuple(spans)


@st.composite
def volumes(draw: st.DrawFn) -> Volume:
    small = st.integers(1, 30)
    chunks = draw(st.one_of(small, st.sampled_from([100, 257, 300])))
    size = chunks * 4096 - draw(st.sampled_from([0, 0, 512, 3584]))
    sectors = draw(st.sets(st.integers(1, size // 512), max_size=2))
    return Volume(size, tuple(sorted(s * 512 for s in sectors if s * 512 < size)))


@st.composite
def diffs(draw: st.DrawFn, volume: Volume) -> Diff:
    """Distinct chunks in any order: a few, or nearly all of them."""
    dice = random.Random(draw(st.integers(0, 1 << 30)))
    share = draw(st.sampled_from([0.05, 0.5, 1.0]))
    olds = [i for i in range(volume.chunks) if dice.random() < share]
    if draw(st.booleans()):
        dice.shuffle(olds)
    return {old: 0 if dice.random() < 0.2 else dice.randrange(1, 1 << 30) for old in olds}


def chunk_data(seed: int) -> bytes:
    return filled(seed, 4096) if seed else bytes(4096)


def apply(content: bytes, *diffs: Diff) -> bytes:
    """The model: s << d0 << d1 ..."""
    out = bytearray(content)
    for diff in diffs:
        for old, seed in diff.items():
            out[old * 4096 : old * 4096 + 4096] = chunk_data(seed)
    return bytes(out[: len(content)])


def store(path: Path, volume: Volume, diff: Diff) -> Path:
    with StoreWriter(path, CHUNK, Bytes(volume.size)) as it:
        it.create()
        for old, seed in diff.items():
            it.append(old, 1, chunk_data(seed) if seed else None)
        it.finish()
    return path


def fold(path: Path, volume: Volume, spans: tuple[Span, ...], start: int = 0,
         punch: bool = False) -> None:  # fmt: skip
    with StoreReader(path, Bytes(volume.size), CHUNK) as layer:
        merge(layer, spans, limiter=RateLimiter(), start=start, punch=punch)


def content_of(spans: tuple[Span, ...]) -> bytes:
    return b"".join(s.path.read_bytes()[s.offset : s.offset + s.length] for s in spans)


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@given(st.data())
@quick
def test_two_merges_are_the_merge_of_the_overlaid_diffs(data: st.DataObject) -> None:
    """s << d0 << d1 = s << (d0 ++ d1)"""
    volume = data.draw(volumes())
    d0, d1 = data.draw(diffs(volume)), data.draw(diffs(volume))
    base = filled(1 << 40, volume.size)
    punch = data.draw(st.booleans())
    with folder() as at:
        spans = volume.lay(at, base)
        fold(store(at / "0", volume, d0), volume, spans, punch=punch)
        fold(store(at / "1", volume, d1), volume, spans, punch=punch)
        apart = content_of(spans)
        spans = volume.lay(at, base)
        fold(store(at / "01", volume, d0 | d1), volume, spans, punch=punch)
        assert apart == content_of(spans) == apply(base, d0, d1)
        for i, span in enumerate(spans):
            assert span.path.read_bytes()[: span.offset] == b"\xee" * 512 * i


@given(st.data())
@quick
def test_merging_again_changes_nothing(data: st.DataObject) -> None:
    """d ++ d = d, so s << d << d = s << d"""
    volume = data.draw(volumes())
    diff = data.draw(diffs(volume))
    base = filled(1 << 40, volume.size)
    with folder() as at:
        spans = volume.lay(at, base)
        path = store(at / "0", volume, diff)
        fold(path, volume, spans)
        once = content_of(spans)
        fold(path, volume, spans, start=data.draw(st.integers(0, len(diff))))
        assert content_of(spans) == once == apply(base, diff)


@given(st.data())
@quick
def test_a_dirty_base_under_its_diff_is_clean(data: st.DataObject) -> None:
    """A base whose changed chunks are half written, in any sectors, << its diff = clean; and
    the stack shows the clean image all the while."""
    volume = data.draw(volumes())
    diff = data.draw(diffs(volume))
    base = filled(1 << 40, volume.size)
    dice = random.Random(data.draw(st.integers(0, 1 << 30)))
    clean = apply(base, diff)
    dirty = bytearray(base)
    for old in diff:
        for at in range(old * 4096, min(old * 4096 + 4096, volume.size), 512):
            if dice.random() < 0.5:
                dirty[at : at + 512] = clean[at : at + 512]
    with folder() as place:
        spans = volume.lay(place, bytes(dirty))
        path = store(place / "0", volume, diff)
        assert image_of(spans, [path], volume) == clean
        fold(path, volume, spans)
        assert content_of(spans) == clean == image_of(spans, [path], volume)


def image_of(spans: tuple[Span, ...], stores: list[Path], volume: Volume) -> bytes:
    with StackImage(spans, [(path, CHUNK) for path in stores], Bytes(volume.size)) as image:
        return bytes(image.read(Bytes(0), Bytes(volume.size)))


@given(st.data())
@quick
def test_a_stopped_merge_goes_on_from_what_was_durable(data: st.DataObject) -> None:
    volume = data.draw(volumes())
    diff = data.draw(diffs(volume))
    base = filled(1 << 40, volume.size)
    takes = data.draw(st.integers(0, 40))
    durable = [0]
    with folder() as at:
        spans = volume.lay(at, base)
        path = store(at / "0", volume, diff)
        limiter = RateLimiter()
        count = iter(range(1 << 30))

        def take(length: int) -> None:
            if next(count) >= takes:
                raise Interrupted("the test says so")

        with mock.patch.object(limiter, "take", take), StoreReader(path, Bytes(volume.size)) as it:
            try:
                merge(it, spans, limiter=limiter, on_durable=durable.append, sync_every=CHUNK)
            except Interrupted:
                for old, seed in list(diff.items())[: durable[-1]]:
                    now = content_of(spans)[old * 4096 : old * 4096 + 4096]
                    assert now == chunk_data(seed)[: len(now)]
        assert image_of(spans, [path], volume) == apply(base, diff)
        fold(path, volume, spans, start=durable[-1])
        assert content_of(spans) == apply(base, diff)


@given(st.data())
@quick
def test_every_level_of_a_stack_stays_the_same_while_its_lowest_layer_is_merged(
    data: st.DataObject,
) -> None:
    volume = data.draw(volumes())
    layers = [data.draw(diffs(volume)) for _ in range(data.draw(st.integers(1, 3)))]
    base = filled(1 << 40, volume.size)
    with folder() as at:
        spans = volume.lay(at, base)
        stores = [store(at / str(i), volume, diff) for i, diff in enumerate(layers)]
        levels = [apply(base, *layers[: i + 1]) for i in range(len(layers))]
        for level, want in enumerate(levels):
            assert image_of(spans, stores[: level + 1], volume) == want
        fold(stores[0], volume, spans)
        for level, want in enumerate(levels):
            assert image_of(spans, stores[: level + 1], volume) == want
            assert image_of(spans, stores[1 : level + 1], volume) == want


@given(st.data())
@quick
def test_negative_control_one_chunk_less_is_seen(data: st.DataObject) -> None:
    volume = data.draw(volumes())
    diff = data.draw(diffs(volume))
    assume(diff)
    base = filled(1 << 40, volume.size)
    lost = data.draw(st.sampled_from(sorted(diff)))
    less = {old: seed for old, seed in diff.items() if old != lost}
    with folder() as at:
        spans = volume.lay(at, base)
        fold(store(at / "0", volume, less), volume, spans)
        assert content_of(spans) != apply(base, diff)


def test_negative_control_the_order_of_diffs_and_the_base_count(tmp_path: Path) -> None:
    volume = Volume(4096 * 20 - 512, (4096 * 3 + 512,))
    d0, d1 = {1: 5, 2: 6, 19: 7}, {2: 8, 19: 0}
    base, other = filled(1 << 40, volume.size), filled(1 << 41, volume.size)
    first, second = (store(tmp_path / n, volume, d) for n, d in [("0", d0), ("1", d1)])
    spans = volume.lay(tmp_path, base)
    fold(second, volume, spans)
    fold(first, volume, spans)
    assert content_of(spans) == apply(base, d1, d0) != apply(base, d0, d1)
    spans = volume.lay(tmp_path, other)
    fold(first, volume, spans)
    fold(second, volume, spans)
    assert content_of(spans) != apply(base, d0, d1)


def test_negative_control_dirt_outside_the_diff_stays(tmp_path: Path) -> None:
    """A diff cleans its own chunks only: dirt anywhere else would be seen."""
    volume = Volume(4096 * 20, ())
    base = filled(1 << 40, volume.size)
    dirty = bytearray(base)
    dirty[4096 * 7 + 100] ^= 1
    spans = volume.lay(tmp_path, bytes(dirty))
    path = store(tmp_path / "0", volume, {6: 1, 8: 2})
    fold(path, volume, spans)
    assert content_of(spans) != apply(base, {6: 1, 8: 2})
    assert image_of(spans, [path], volume) != apply(base, {6: 1, 8: 2})
