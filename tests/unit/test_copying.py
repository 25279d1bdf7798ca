"""What a mirror sends of a layer, from the trace to the replica's image."""

from __future__ import annotations

import dataclasses
import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from control.blocks import BLOCK, BlockSet
from control.config import Config
from control.copying import Copier, CopyResult
from control.frozen import FrozenVolume
from control.journal import Journal
from control.limiter import RateLimiter
from control.needed import needed_blocks
from control.records import (
    CycleKind,
    GenerationRecord,
    LayerRecord,
    LayerState,
    MirrorRecord,
    MirrorState,
    StandingRecord,
    VolumeRecord,
    VolumeState,
)
from control.replica.retention import Retention
from control.replica.seeds import seed
from control.replica.server import PeerServer
from control.spans import Span
from control.store.direct import DirectFile
from control.store.reader import StoreReader
from control.wire.blocks import layer_delta
from control.wire.errors import BadStream, OnOwnDevice
from dm_tables.units import Bytes
from tests.replica_tools import VOLUME_UUID, Replica, generation, messages, resume, say, whole
from tests.traced_layer import TracedLayer, Write, block_set
from tests.unit.test_replica_growth import delta

CHUNK = 64 << 10
SIZE = 16 * CHUNK + 512
BEFORE = random.Random(1).randbytes(SIZE)
SAME = Write(2 * CHUNK, 3 * BLOCK, 0)


class Source:
    """A volume with one frozen layer, its images as files: what a copier needs of a host."""

    def __init__(self, directory: Path, layer: TracedLayer) -> None:
        self.directory = directory
        self.layer = layer
        self.stack = ExitStack()
        self.stack.enter_context(layer.store(directory))
        for number, image in enumerate((layer.before, layer.after), 1):
            self.image(number).write_bytes(image)
        self.journal = Journal(directory / "journal.db")
        spans = (Span(self.image(1), Bytes(0), Bytes(SIZE)),)
        self.record = VolumeRecord(
            "data", VOLUME_UUID, spans, Bytes(SIZE), Bytes(CHUNK), VolumeState.ACTIVE, 0
        )
        self.journal.add_volume(self.record)
        self.generations = [
            GenerationRecord("data", n, _uuid(n), "", 1.0 + n, n - 1) for n in (1, 2)
        ]
        for record in self.generations:
            self.journal.save_generation(record)
        self.frozen = LayerRecord("data", 1, "data.1", Bytes(CHUNK), LayerState.FROZEN)
        self.traced: set[int] | None = None
        self.skip_same = False
        self.held: list[int] = []

    def image(self, generation: GenerationRecord | int) -> Path:
        number = generation if isinstance(generation, int) else generation.number
        return self.directory / f"image.{number}"

    def reader(self, record: LayerRecord) -> StoreReader:
        return StoreReader(self.directory / "store", Bytes(SIZE), record.chunk)

    @contextmanager
    def hold(self, layer: int, *, firm: bool) -> Iterator[None]:
        self.held.append(layer)
        yield

    def blocks_of(self, record: LayerRecord) -> BlockSet | None:
        return None if self.traced is None else block_set(self.traced)

    def copy(self, generation: int, mirror: MirrorRecord, layers: Sequence[LayerRecord]) -> Any:
        """Bring a generation to the mirror's peer."""
        config = Config()
        copying = configured(config.copy, skip_same=self.skip_same)
        context = SimpleNamespace(
            journal=self.journal,
            tracing=self,
            config=configured(config, copy=copying),
        )
        volume = SimpleNamespace(
            name="data",
            uuid=VOLUME_UUID,
            record=self.record,
            layers=list(layers),
            stack=SimpleNamespace(
                spans=self.record.spans, layer=lambda number: self.image(number + 1)
            ),
            size_at=lambda found: self.record.size,
            open_image=lambda found: DirectFile(self.image(found)),
            reader=self.reader,
            hold=self.hold,
            image_layers=lambda: {self.record.bottom, *(one.sequence for one in layers)},
            context=context,
        )
        copier = Copier(
            cast(Any, context),
            FrozenVolume(cast(Any, volume), self.generations[generation - 1]),
            mirror,
            limiter=RateLimiter(0),
            cancel=threading.Event(),
        )
        return copier.plan.kind, copier.run()


def configured(section: Any, **changed: object) -> Any:
    """A configuration with some keys set otherwise."""
    return msgspec.structs.replace(section, **changed)


def _uuid(number: int) -> str:
    return generation(number).uuid


@pytest.fixture
def layer() -> TracedLayer:
    """Scattered writes, one chunk written whole, and three blocks written as they were."""
    writes = [Write(n * CHUNK + n * BLOCK + 100, 700, n + 1) for n in (9, 4, 1, 11)]
    writes += [Write(14 * CHUNK, CHUNK, 50), Write(SIZE - 512, 512, 51)]
    before = bytearray(BEFORE)
    before[SAME.address : SAME.address + SAME.length] = bytes(SAME.length)
    return TracedLayer(bytes(before), CHUNK, [*writes, SAME])


@pytest.fixture
def source(tmp_path: Path, layer: TracedLayer) -> Iterator[Source]:
    (tmp_path / "source").mkdir()
    made = Source(tmp_path / "source", layer)
    yield made
    made.stack.close()
    made.journal.close()


@pytest.fixture
def replica(tmp_path: Path) -> Iterator[Replica]:
    (tmp_path / "replica").mkdir()
    made = Replica(tmp_path / "replica")
    server = PeerServer(made.service, f"unix:{tmp_path}/peer", plaintext=True)
    server.start()
    yield made
    server.stop(0)
    made.store.close()


def first(source: Source, replica: Replica) -> MirrorRecord:
    """The mirror, with the whole of generation 1 there."""
    peer = f"unix:{replica.directory.parent}/peer"
    mirror = MirrorRecord("m", "data", peer, "data", MirrorState.RUNNING, 0, 0, False, True, False)
    source.journal.save_mirror(mirror)
    kind, _ = source.copy(1, mirror, [])
    assert kind is CycleKind.WHOLE
    assert replica.image() == source.layer.before
    source.journal.save_standing(StandingRecord("m", "data", _uuid(1), 1, 0))
    return mirror


def second(source: Source, replica: Replica) -> CopyResult:
    """Generation 2 as a delta."""
    mirror = first(source, replica)
    kind, result = source.copy(2, mirror, [source.frozen])
    assert kind is CycleKind.DELTA
    assert isinstance(result, CopyResult)
    return result


def test_without_a_trace_whole_chunks_travel(source: Source, replica: Replica) -> None:
    result = second(source, replica)
    assert replica.image() == source.layer.after
    assert (result.chunks, result.changed_bytes) == (7, 6 * CHUNK + 512)


def test_with_a_trace_the_written_blocks_travel(source: Source, replica: Replica) -> None:
    source.traced = source.layer.blocks
    result = second(source, replica)
    assert replica.image() == source.layer.after
    written = (4 + 16 + 3) * BLOCK + 512
    assert (result.chunks, result.changed_bytes) == (24, written)
    assert result.payload_bytes == written - 3 * BLOCK, "zeroes carry no payload"
    assert result.sent_bytes < written


def test_a_trace_that_dropped_a_chunk_brings_the_same_image(
    source: Source, replica: Replica
) -> None:
    source.traced = {block for block in source.layer.blocks if block * BLOCK // CHUNK != 4}
    result = second(source, replica)
    assert replica.image() == source.layer.after
    assert result.changed_bytes == (3 + 16 + 3) * BLOCK + 512 + CHUNK


def test_a_trace_that_dropped_a_block_is_seen(source: Source, replica: Replica) -> None:
    """The negative control: such a trace must never be taken for lossless."""
    source.traced = source.layer.blocks - {14 * CHUNK // BLOCK + 3}
    second(source, replica)
    assert replica.image() != source.layer.after


@pytest.mark.parametrize("traced", [True, False])
def test_what_was_written_as_it_was_can_stay(
    source: Source, replica: Replica, traced: bool
) -> None:
    """With the comparison the blocks that changed travel, whether or not anything was traced."""
    source.skip_same = True
    source.traced = source.layer.blocks if traced else None
    result = second(source, replica)
    assert replica.image() == source.layer.after
    assert result.changed_bytes == (4 + 16) * BLOCK + 512
    assert source.held == [0]


def test_a_catch_up_brings_blocks_too(source: Source, replica: Replica) -> None:
    """The layer was merged before its time; of a traced one only its blocks are lacking."""
    mirror = first(source, replica)
    with source.reader(source.frozen) as store:
        lacking = needed_blocks(store, block_set(source.layer.blocks))
    source.journal.change_standing("m", "data", lacking=lacking.serialise())
    kind, result = source.copy(2, mirror, [])
    assert kind is CycleKind.CATCH_UP
    assert replica.image() == source.layer.after
    assert result.changed_bytes == (4 + 16 + 3) * BLOCK + 512


def test_a_delta_that_became_a_catch_up_goes_on(source: Source, replica: Replica) -> None:
    """A place in a store is none in an image, however much alike what they send is."""
    source.traced = source.layer.blocks
    mirror = first(source, replica)
    with source.reader(source.frozen) as store:
        sent = messages(2, layer_delta(store, block_set(source.traced)), base=1)
        lacking = needed_blocks(store, block_set(source.traced))
    with pytest.raises(BadStream, match="without a trailer"):
        say(replica, sent[:4])
    incoming = replica.store.standing("data").incoming
    assert incoming is not None
    tally = incoming.tally
    assert tally.runs == 3
    source.journal.save_checkpoint("m", "data", _uuid(2), (tally.runs, 3, tally.digest))
    source.journal.change_standing("m", "data", lacking=lacking.serialise())
    kind, _ = source.copy(2, mirror, [])
    assert kind is CycleKind.CATCH_UP
    assert replica.image() == source.layer.after


def squashed_past(source: Source, replica: Replica) -> MirrorRecord:
    """A new mirror to a replica at generation 2, whose layer and the next one's are one here.

    What generation 2 had written otherwise than the ones before and after it is in that layer.
    """
    between = bytearray(source.layer.before)
    between[SAME.address : SAME.address + SAME.length] = b"x" * SAME.length
    say(replica, messages(2, whole(bytes(between), CHUNK)))
    source.generations = [
        GenerationRecord("data", number, _uuid(number), "", 1.0 + number, at)
        for number, at in ((1, 0), (2, -1), (3, 1))
    ]
    for record in source.generations:
        source.journal.save_generation(record)
    source.image(3).write_bytes(source.layer.after)
    peer = f"unix:{replica.directory.parent}/peer"
    mirror = MirrorRecord("m", "data", peer, "data", MirrorState.RUNNING, 0, 0, False, True, False)
    source.journal.save_mirror(mirror)
    return mirror


@pytest.mark.parametrize("skip_same", [True, False])
def test_a_new_mirror_goes_on_where_layers_were_squashed_past_the_replica(
    source: Source, replica: Replica, skip_same: bool
) -> None:
    mirror = squashed_past(source, replica)
    source.skip_same = skip_same
    _, result = source.copy(3, mirror, [source.frozen])
    assert replica.newest() == 3
    right = replica.image() == source.layer.after
    assert right
    assert result.changed_bytes == 6 * CHUNK + 512


def test_where_they_were_merged_past_it_what_differs_is_found_by_digests(
    source: Source, replica: Replica
) -> None:
    mirror = squashed_past(source, replica)
    source.record = dataclasses.replace(source.record, bottom=1)
    _, result = source.copy(3, mirror, [])
    right = replica.image() == source.layer.after
    assert right
    assert result.changed_bytes == (4 + 16 + 3) * BLOCK + 512


def test_a_replica_of_another_history_gets_all_of_it(source: Source, replica: Replica) -> None:
    mirror = squashed_past(source, replica)
    source.journal.remove_generation("data", _uuid(2))
    _, result = source.copy(3, mirror, [source.frozen])
    right = replica.image() == source.layer.after
    assert right
    assert result.changed_bytes == SIZE


def test_where_recovery_points_are_kept_no_whole_copy_takes_them_away(
    source: Source, replica: Replica
) -> None:
    replica.store.retention = Retention(last=5)
    before = source.layer.before
    say(replica, messages(1, whole(before, CHUNK)))
    say(replica, delta(2, before, before))
    source.journal.remove_generation("data", _uuid(1))
    source.journal.remove_generation("data", _uuid(2))
    made = GenerationRecord("data", 3, _uuid(3), "", 4.0, 1)
    source.generations = [made]
    source.journal.save_generation(made)
    source.image(3).write_bytes(source.layer.after)
    peer = f"unix:{replica.directory.parent}/peer"
    mirror = MirrorRecord("m", "data", peer, "data", MirrorState.RUNNING, 0, 0, False, True, False)
    source.journal.save_mirror(mirror)
    _, result = source.copy(1, mirror, [source.frozen])
    right = [replica.image(number) for number in (1, 2, 3)] == [before, before, source.layer.after]
    assert right
    assert 0 < result.changed_bytes < SIZE


def test_what_a_new_mirror_would_bring_may_be_there(source: Source, replica: Replica) -> None:
    mirror = first(source, replica)
    source.journal.change_standing("m", "data", committed_uuid="", committed_number=0)
    _, result = source.copy(1, mirror, [])
    assert (result.changed_bytes, result.payload_bytes) == (0, 0)
    standing = source.journal.standing("m", "data")
    assert (standing.committed_uuid, standing.committed_layer) == (_uuid(1), 0)


def test_a_smaller_replica_on_its_own_device_gets_what_differs_and_what_was_added(
    source: Source, replica: Replica, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing in common is known; the source grew since, in the middle of a block."""
    monkeypatch.setattr("control.adopt.SMALLEST_VOLUME", 0)
    size = 12 * CHUNK + 512
    (tmp_path / "seed").write_bytes(source.layer.before[:size])
    made = seed(
        replica.store, "data", (Span(tmp_path / "seed", Bytes(0), Bytes(size)),), "loopback"
    )
    small = delta(1, source.layer.before[:size], source.layer.before[:size])
    small[0].manifest.base_uuid = made.seed_uuid
    small[0].manifest.generation.uuid = generation(9).uuid
    resume(replica, small)
    peer = f"unix:{tmp_path}/peer"
    mirror = MirrorRecord("m", "data", peer, "data", MirrorState.RUNNING, 0, 0, False, True, False)
    source.journal.save_mirror(mirror)
    with pytest.raises(OnOwnDevice, match="not known") as caught:
        source.copy(2, mirror, [source.frozen])
    assert "frazil mirror start m --whole" in caught.value.hint
    assert replica.newest() == 1
    source.journal.change_standing("m", "data", lacking_all=True, asked_whole=True)
    _, result = source.copy(2, mirror, [source.frozen])
    assert replica.image() == source.layer.after
    differs = {
        at
        for at in range(0, size, BLOCK)
        if source.layer.after[at : at + BLOCK][: size - at]
        != source.layer.before[at : at + BLOCK][: size - at]
    }
    added = set(range(12 * CHUNK, SIZE, BLOCK))
    assert result.changed_bytes == len(differs | added) * BLOCK - (BLOCK - 512)
