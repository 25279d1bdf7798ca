"""A stack whose layers have different chunk sizes: what is sent, received, merged and shown."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from control import cycle
from control.blocks import BLOCK, BlockSet
from control.config import Config
from control.context import Context
from control.copying import Copier
from control.frozen import FrozenVolume
from control.image import StackImage
from control.limiter import RateLimiter
from control.merge import merge
from control.needed import needed_blocks
from control.records import (
    GenerationRecord,
    LayerRecord,
    LayerState,
    MirrorRecord,
    MirrorState,
    StandingRecord,
    VolumeRecord,
    VolumeState,
)
from control.spans import Span
from control.store.direct import DirectFile
from control.store.reader import StoreReader
from control.volume import Volume
from control.wire.deltas import Delta
from control.wire.send import send
from dm_tables.units import KIB, MIB, Bytes
from tests.replica_tools import Replica, manifest, noise, patched, whole, write_store

SIZE = Bytes(4 * MIB + 6 * KIB)
"""The last chunk is partial in every size."""

LAYERS = (
    (64 * KIB, (3, 64)),
    (4 * KIB, (0, 49, 50, 1025)),
    (MIB, (1, 4)),
    (16 * KIB, (12, 13, 256)),
)
"""(chunk, chunks written) of layers 1 to 4; each overlaps others' chunks in part."""


UNTRACED = SimpleNamespace(config=Config(), tracing=SimpleNamespace(blocks_of=lambda layer: None))


class Source:
    """As much of a volume as a copy reads: a base, stores, and the images they make."""

    def __init__(self, folder: Path, fixed: int = 0) -> None:
        self.folder = folder
        self.images = [noise(SIZE)]
        base = folder / "base"
        base.write_bytes(self.images[0])
        self.name, self.uuid = "data", "u"
        self.stack = SimpleNamespace(spans=(Span(base, Bytes(0), SIZE),))
        self.record = VolumeRecord(
            "data", "u", self.stack.spans, SIZE, Bytes(fixed), VolumeState.ACTIVE, 0
        )
        self.layers: list[LayerRecord] = []
        self.context = UNTRACED
        for sequence, (chunk, numbers) in enumerate(LAYERS, 1):
            changes = {number: noise(chunk) for number in numbers}
            write_store(folder / f"data.{sequence}", changes, chunk, SIZE)
            self.images.append(patched(self.images[-1], chunk, changes))
            state = LayerState.FROZEN
            self.layers.append(
                LayerRecord("data", sequence, f"data.{sequence}", Bytes(chunk), state)
            )
        for number, image in enumerate(self.images, 1):
            (folder / f"image-{number}").write_bytes(image)

    def size_at(self, generation: GenerationRecord) -> Bytes:
        return self.record.size

    def open_image(self, generation: GenerationRecord) -> DirectFile:
        return DirectFile(self.folder / f"image-{generation.number}")

    def reader(self, layer: LayerRecord) -> StoreReader:
        return StoreReader(self.folder / layer.object_name, SIZE, layer.chunk)

    def delta(self, committed: int, number: int, stack: ExitStack, lacking: bytes = b"") -> Delta:
        """What a cycle sends from generation ``committed`` to ``number``."""
        state = MirrorState.RUNNING
        mirror = MirrorRecord("m", "data", "p:1", "data", state, 0, 0, False, False, False)
        uuid = f"uuid-{committed}" if committed else ""
        standing = StandingRecord("m", "data", uuid, committed, committed - 1, 0.0, lacking)
        generation = GenerationRecord("data", number, f"uuid-{number}", "", 1.0, number - 1)
        journal = SimpleNamespace(standing=lambda _mirror, _volume: standing)
        copier = Copier(
            cast(Context, SimpleNamespace(**vars(UNTRACED), journal=journal)),
            FrozenVolume(cast(Volume, self), generation),
            mirror,
            limiter=RateLimiter(),
            cancel=threading.Event(),
        )
        assert copier.plan == cycle.plan_delta(standing, generation, self.layers)
        return copier._delta(stack)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(tmp_path)


def bring(replica: Replica, delta: Delta, number: int, base: int) -> None:
    with replica.stub() as stub:
        send(stub, manifest(number, delta, base=base), delta)


def test_each_layer_travels_in_its_own_chunks_and_the_replica_stacks_them(
    source: Source, tmp_path: Path
) -> None:
    replica = Replica(tmp_path / "replica")
    bring(replica, whole(source.images[0], 64 * KIB), 1, 0)
    for number in range(2, 6):
        with ExitStack() as stack:
            delta = source.delta(number - 1, number, stack)
            assert delta.chunk == LAYERS[number - 2][0]
            bring(replica, delta, number, number - 1)
    for number in range(1, 6):
        assert replica.image(number) == source.images[number - 1]
    while replica.merger.merge_next():
        assert replica.image() == source.images[-1]
    assert not replica.store.journal.layers("data")
    replica = replica.reopened()
    assert replica.image() == source.images[-1]


@pytest.mark.parametrize("committed", [1, 2, 3])
def test_a_catch_up_over_layers_of_other_chunks_is_exact(
    source: Source, tmp_path: Path, committed: int
) -> None:
    replica = Replica(tmp_path / "replica")
    bring(replica, whole(source.images[committed - 1], 64 * KIB), committed, 0)
    with ExitStack() as stack:
        bring(replica, source.delta(committed, 5, stack), 5, committed)
    assert replica.image() == source.images[-1]


def test_a_catch_up_is_cut_the_same_after_some_of_its_layers_were_merged(source: Source) -> None:
    lacking = BlockSet()
    for layer in source.layers[:2]:
        with source.reader(layer) as store:
            lacking.update(needed_blocks(store, None))
    with ExitStack() as stack:
        before = list(source.delta(1, 5, stack).stretches())
        del source.layers[:2]
        after = source.delta(1, 5, stack, lacking.serialise())
        assert list(after.stretches()) == before


@pytest.mark.parametrize(("fixed", "chunk"), [(0, 64 * KIB), (16 * KIB, 16 * KIB)])
def test_a_whole_copy_of_the_image_over_all_layers(tmp_path: Path, fixed: int, chunk: int) -> None:
    source = Source(tmp_path, fixed)
    replica = Replica(tmp_path / "replica")
    with ExitStack() as stack:
        delta = source.delta(0, 5, stack)
        assert delta.chunk == chunk
        bring(replica, delta, 5, 0)
    assert replica.image() == source.images[-1]


def test_scattered_blocks_are_caught_up_with_as_blocks(tmp_path: Path) -> None:
    source = Source(tmp_path)
    source.layers = [source.layers[1]]
    lacking = BlockSet()
    lacking.add(3 * MIB, 1)
    with ExitStack() as stack:
        delta = source.delta(1, 3, stack, lacking.serialise())
        assert delta.chunk == BLOCK
        assert delta.count().length == 4 * BLOCK + SIZE % BLOCK


def test_the_stack_shows_and_merges_them(source: Source, tmp_path: Path) -> None:
    stores: Any = [(source.folder / layer.object_name, layer.chunk) for layer in source.layers]
    with StackImage(source.stack.spans, stores, SIZE) as image:
        assert bytes(image.read(Bytes(0), SIZE)) == source.images[-1]
        for layer, upto in zip(source.layers, source.images[1:], strict=True):
            with source.reader(layer) as store:
                merge(store, source.stack.spans, limiter=RateLimiter())
            assert (tmp_path / "base").read_bytes() == upto
            assert bytes(image.read(Bytes(0), SIZE)) == source.images[-1]


def test_a_layer_read_by_anothers_chunk_size_is_refused(source: Source) -> None:
    """Negative control: chunk sizes that were mixed up do not go unnoticed."""
    first, second = source.layers[:2]
    with pytest.raises(Exception, match="chunk"):
        StoreReader(source.folder / first.object_name, SIZE, second.chunk).count()
