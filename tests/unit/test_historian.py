"""From a trace to the history, and from there to the next layer's chunk size and the heat map."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from control.chunk_size import DEFAULT_CHUNK, Choice
from control.context import Context
from control.group import Group
from control.heatmap import heat_map
from control.historian import Historian
from control.history import History
from control.mirror import MirrorWorker
from control.outlook import cycle_forecast, pattern_message, room_message
from control.pattern import REGIONS, Pattern
from control.rates import Rates
from control.records import (
    GenerationRecord,
    LayerRecord,
    LayerState,
    MirrorRecord,
    MirrorState,
    VolumeRecord,
)
from control.store.reader import StoreReader
from control.volume import Volume
from dm_tables.errors import Precondition
from dm_tables.units import KIB, MIB, Bytes
from tests.unit.test_trace import CHUNK, DEVNO, SIZE, Host, blocks
from tests.unit.test_trace_tracer import ready, serving

REGION = SIZE // REGIONS
"""Bytes of a region of the heat map."""


class FakeVolume:
    """A volume without devices: its layers, its stores, and what the journal says."""

    def __init__(self, host: Host) -> None:
        found = host.journal.volume("data")
        assert found is not None
        self.host, self.name, self.uuid = host, "data", found.uuid
        self.fixed = Bytes(0)
        self.watched = ""
        self.history = History(host.folder / "history.db")
        self.rates = Rates()
        self.context = SimpleNamespace(
            journal=host.journal,
            tracing=host.tracing,
            history=self.history,
            rates=self.rates,
            pool=SimpleNamespace(free=lambda: Bytes(100 * MIB)),
        )

    def next_chunk(self) -> Choice:
        return Volume.next_chunk(self.volume)

    def evidence(self) -> list[Pattern]:
        return Volume.evidence(self.volume)

    @property
    def record(self) -> VolumeRecord:
        found = self.host.journal.volume("data")
        assert found is not None
        return replace(found, chunk=self.fixed)

    @property
    def layers(self) -> list[LayerRecord]:
        return self.host.journal.layers("data")

    def reader(self, layer: LayerRecord) -> StoreReader:
        return StoreReader(self.host.folder / layer.object_name, SIZE, layer.chunk)

    def freezes(self, number: int, at: float) -> None:
        """Generation ``number`` is frozen at a time."""
        self.host.journal.save_generation(
            GenerationRecord("data", number, f"uuid-{number}", "", at, number - 1)
        )

    @property
    def volume(self) -> Volume:
        return cast(Volume, self)

    def record_history(self) -> None:
        Historian(cast(Context, self.context), lambda: [self.volume]).record(self.volume)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path)
    with serving(ready(made.program), tmp_path / "tracer.sock"):
        yield made
        made.client.close()


@pytest.fixture
def volume(host: Host) -> FakeVolume:
    return FakeVolume(host)


def test_a_traced_layer_is_kept_to_the_block(host: Host, volume: FakeVolume) -> None:
    volume.freezes(1, 100.0)
    layer = host.layer()
    host.program.write(DEVNO, 4096, 4096)
    host.program.write(DEVNO, 3 * REGION, 8192)
    host.frozen(layer, [0, 3 * REGION // CHUNK])
    volume.freezes(2, 130.0)
    volume.record_history()
    (kept,) = volume.history.cycles(volume.uuid)
    assert (kept.sequence, kept.began, kept.frozen, kept.traced) == (1, 100.0, 130.0, True)
    assert {i: n for i, n in enumerate(kept.counts) if n} == {0: 1, 3: 2}
    assert (kept.pattern.blocks, kept.pattern.writes) == (3, 2)
    assert kept.stored == 2
    volume.record_history()
    assert volume.history.totals(volume.uuid)[0] == 2, "kept once"


def test_an_untraced_layer_is_kept_by_its_chunks_and_is_no_evidence(
    host: Host, volume: FakeVolume
) -> None:
    layer = host.layer()
    host.program.lose(DEVNO, "full")
    host.frozen(layer, [5, 6])
    volume.record_history()
    (kept,) = volume.history.cycles(volume.uuid)
    assert (kept.traced, kept.stored, kept.pattern.writes) == (False, 2, 0)
    assert kept.pattern.blocks == 2 * CHUNK // 4096
    assert volume.evidence() == []
    assert heat_map(volume.volume).rows[0].traced is False


def test_a_layer_that_cannot_be_read_stops_nothing(host: Host, volume: FakeVolume) -> None:
    broken = host.layer(1)
    host.frozen(broken, [])
    (host.folder / "data.1").unlink()
    volume.record_history()
    assert volume.history.cycles(volume.uuid) == []


def test_what_was_traced_decides_the_next_chunk(host: Host, volume: FakeVolume) -> None:
    assert volume.next_chunk().chunk == DEFAULT_CHUNK
    layer = host.layer()
    numbers = list(range(0, 1000, 10))
    for number in numbers:
        host.program.write(DEVNO, number * CHUNK, 4096)
    host.frozen(layer, numbers)
    volume.record_history()
    choice = volume.next_chunk()
    assert choice.chunk == 4 * KIB
    assert "100 writes" in choice.why
    volume.fixed = Bytes(16 * KIB)
    assert volume.next_chunk().chunk == 16 * KIB
    message = pattern_message(volume.volume)
    assert (message.cycles, message.writes, message.blocks) == (1, 100, 100)


def test_the_chunk_size_outlives_merged_layers(host: Host, volume: FakeVolume) -> None:
    layer = replace(host.layer(), chunk=Bytes(4 * KIB))
    host.journal.save_layer(layer)
    host.program.write(DEVNO, 0, 4096)
    host.program.write(DEVNO, 8192, 4096)
    host.now(layer, LayerState.FROZEN)
    from tests.replica_tools import write_store

    write_store(host.folder / "data.1", {0: bytes(4096), 2: bytes(4096)}, 4096, SIZE)
    volume.record_history()
    host.journal.remove_layer("data", 1)
    assert volume.layers == []
    assert volume.next_chunk().chunk == 4 * KIB


def test_the_running_cycle_is_the_last_row(host: Host, volume: FakeVolume) -> None:
    with pytest.raises(Precondition, match="not frozen yet"):
        heat_map(volume.volume)
    host.frozen(host.layer(1, "254:1"), [])
    volume.record_history()
    host.layer(2, "254:2")
    host.program.write("254:2", 7 * REGION, 4096)
    found = heat_map(volume.volume)
    assert [row.sequence for row in found.rows] == [1, 2]
    assert found.regions == REGIONS == len(found.rows[1].counts)
    assert found.rows[1].counts[7] == 1
    assert found.rows[0].HasField("frozen") is False or found.rows[0].frozen.seconds == 0
    assert not found.rows[1].HasField("frozen")
    assert [row.sequence for row in heat_map(volume.volume, 1).rows] == [2]
    assert pattern_message(volume.volume).writes == 1
    assert host.tracing.blocks_of(volume.layers[1]) is None, "looking at it ends nothing"
    frozen = host.frozen(volume.layers[1], [7 * REGION // CHUNK])
    assert host.tracing.blocks_of(frozen) == blocks(7 * REGION // 4096)


def test_room_is_foretold_where_it_may_be_short(volume: FakeVolume) -> None:
    volume.rates.look("data", 1, 0, 0.0)
    volume.rates.look("data", 1, 2 * MIB, 1.0)
    ample = room_message(volume.volume, 2 * MIB, 64 * MIB)
    assert ample.dirty_bytes_per_second == 2 * MIB
    assert not ample.HasField("layer_full_seconds") and not ample.HasField("pool_full_seconds")
    volume.watched = "frazil-data-1"
    tight = room_message(volume.volume, 2 * MIB, 64 * MIB)
    assert tight.layer_full_seconds == 31.0
    assert tight.pool_full_seconds == 81.0


def worker_of(volume: FakeVolume, due: float | None, progress: object = None) -> SimpleNamespace:
    """A mirror's worker, as far as a forecast looks at it."""
    record = MirrorRecord(
        "m", "data", "p:1", "data", MirrorState.RUNNING, 0, 0, False, False, False
    )
    return SimpleNamespace(
        record=record,
        committed=None,
        context=volume.context,
        group=Group("data", cast(Context, volume.context), [cast(Volume, volume)]),
        now=SimpleNamespace(progress=progress),
        due=lambda _record, *, idle: due,
    )


def test_a_mirror_that_does_not_run_has_no_forecast(host: Host, volume: FakeVolume) -> None:
    worker = worker_of(volume, due=None)
    running = cycle_forecast(cast(MirrorWorker, worker))
    assert running is not None and running.freeze_in is None
    worker.record = replace(worker.record, state=MirrorState.PAUSED)
    assert cycle_forecast(cast(MirrorWorker, worker)) is None


def test_the_forecast_goes_on_from_the_last_look(host: Host, volume: FakeVolume) -> None:
    import time

    host.layer(3)
    now = time.monotonic()
    volume.rates.look("data", 3, 0, now - 1.0)
    volume.rates.look("data", 3, 10 * MIB, now)
    progress = SimpleNamespace(total=30 * MIB, done=10 * MIB, rate=2.0 * MIB)
    worker = worker_of(volume, due=0.0, progress=progress)
    found = cycle_forecast(cast(MirrorWorker, worker))
    assert found is not None
    assert found.freeze_in == found.commit_in == 10.0
    assert 10 * MIB < found.size < SIZE
