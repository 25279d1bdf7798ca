"""What the daemon makes of traces: which layers are traced, and by which blocks."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest

from bpf.client import TracerClient
from control.blocks import BlockSet
from control.events import Events
from control.journal import Journal
from control.live_trace import add_rates, layer_trace, tracer_message
from control.pool.pool import Pool
from control.records import LayerRecord, LayerState, VolumeRecord, VolumeState
from control.spans import Span
from control.trace import OFF, Tracing
from dm_tables.device import Device
from dm_tables.units import Bytes
from proto.frazil.v1 import control_pb2 as pb
from tests.fake_maps import FakeProgram
from tests.store_tools import compact
from tests.unit.test_trace_tracer import ready, serving

CHUNK = Bytes(65536)
SIZE = Bytes(64 << 20)
DEVNO = "254:1"


@dataclass(frozen=True)
class FakeDevice:
    """As much of a device as the trace needs."""

    devno: str
    uuid: str = "FRAZIL-x-layer-1"


@dataclass(frozen=True)
class FakePool:
    """As much of a pool as the trace needs: objects are files in a folder."""

    folder: Path

    def open(self, name: str) -> FakePool:
        return FakePool(self.folder / name)

    @property
    def path(self) -> Path:
        return self.folder


class Host:
    """A daemon's tracing of one volume, with a tracer in plain Python."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.program = FakeProgram()
        self.client = TracerClient(folder / "tracer.sock", rest=0.0)
        self.journal = Journal(folder / "journal.db")
        self.events = Events(folder / "events.db")
        self.tracing = self.tracing_with(self.client)
        span = Span(Path("/dev/null"), Bytes(0), SIZE)
        self.journal.add_volume(
            VolumeRecord("data", str(uuid.uuid4()), (span,), SIZE, CHUNK, VolumeState.ACTIVE, 0)
        )

    def tracing_with(self, client: TracerClient | None) -> Tracing:
        return Tracing(self.journal, self.events, cast(Pool, FakePool(self.folder)), client)

    def layer(self, sequence: int = 1, devno: str = DEVNO) -> LayerRecord:
        """A layer that gets the head now."""
        prepared = LayerRecord("data", sequence, f"data.{sequence}", CHUNK, LayerState.PREPARED)
        self.journal.save_layer(prepared)
        self.tracing.watch(prepared, cast(Device, FakeDevice(devno)))
        return self.now(prepared, LayerState.LIVE)

    def frozen(self, layer: LayerRecord, chunks: list[int]) -> LayerRecord:
        """It is frozen, and its store has these chunks."""
        content = [(chunk, bytes(CHUNK)) for chunk in chunks]
        compact(CHUNK, content).write(self.folder / layer.object_name)
        return self.now(layer, LayerState.FROZEN)

    def now(self, layer: LayerRecord, state: LayerState) -> LayerRecord:
        changed = replace(layer, state=state)
        self.journal.save_layer(changed)
        return changed

    def state(self, sequence: int = 1) -> tuple[str, str]:
        record = self.journal.trace("data", sequence)
        assert record is not None
        return record.state.value, record.why

    def told(self) -> list[str]:
        return [event.kind for event in self.events.since(0)]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path)
    with serving(ready(made.program), tmp_path / "tracer.sock"):
        yield made
        made.client.close()


def blocks(*numbers: int) -> BlockSet:
    made = BlockSet()
    made.add_blocks(numbers)
    return made


def test_a_layer_traced_from_its_first_write_to_its_freeze_has_exact_blocks(host: Host) -> None:
    layer = host.layer()
    host.program.write(DEVNO, 4096, 4096)
    host.program.write(DEVNO, 5 * CHUNK + 3 * 4096, 512)
    assert host.tracing.blocks_of(layer) is None, "a live layer has no final answer"
    frozen = host.frozen(layer, [0, 5])
    assert host.tracing.blocks_of(frozen) == blocks(1, 83)
    assert host.state() == ("traced", "")
    assert host.told() == []
    assert host.program.regions.content == {}, "its room is free again"


def test_the_answer_stays_the_same_without_tracer_and_after_a_restart(host: Host) -> None:
    layer = host.layer()
    host.program.write(DEVNO, 0, 4096)
    frozen = host.frozen(layer, [0])
    host.tracing.collect("data")
    host.program.write(DEVNO, CHUNK, 4096)
    assert host.tracing_with(None).blocks_of(frozen) == blocks(0)
    assert host.tracing.blocks_of(frozen) == blocks(0)


def test_nothing_written_is_known_too(host: Host) -> None:
    frozen = host.frozen(host.layer(), [])
    found = host.tracing.blocks_of(frozen)
    assert found is not None
    assert len(found) == 0


def test_a_chunk_that_was_not_traced_makes_the_layer_untraced(host: Host) -> None:
    layer = host.layer()
    host.program.write(DEVNO, 0, 4096)
    frozen = host.frozen(layer, [0, 7])
    assert host.tracing.blocks_of(frozen) is None
    assert host.state() == ("untraced", "1 chunks of its store were not traced")
    assert host.told() == ["trace-differs", "untraced"]
    event = host.events.since(0)[0]
    assert (event.fields["missed"], event.fields["extra"]) == ("1", "0")


def test_a_traced_chunk_that_the_store_has_not_is_left_out(host: Host) -> None:
    """A write that failed: the store wins."""
    layer = host.layer()
    for chunk in (0, 7):
        host.program.write(DEVNO, chunk * CHUNK, 4096)
    frozen = host.frozen(layer, [0])
    assert host.tracing.blocks_of(frozen) == blocks(0)
    assert host.told() == ["trace-differs"]


def test_a_store_that_cannot_be_read_confirms_nothing(host: Host) -> None:
    layer = host.layer()
    host.program.write(DEVNO, 0, 4096)
    frozen = host.frozen(layer, [0])
    (host.folder / "data.1").write_bytes(b"no store")
    assert host.tracing.blocks_of(frozen) is None
    assert "cannot be read to compare" in host.state()[1]


@pytest.mark.parametrize("reason", ["full", "busy", "too_long", "unread"])
def test_a_loss_makes_the_layer_untraced(host: Host, reason: str) -> None:
    layer = host.layer()
    host.program.write(DEVNO, 0, 4096)
    host.program.lose(DEVNO, reason)
    assert not host.tracing.view(layer).traced
    frozen = host.frozen(layer, [0])
    assert host.tracing.blocks_of(frozen) is None
    record = host.journal.trace("data", 1)
    assert record is not None
    assert json.loads(record.counters)[reason] == 1
    assert host.told() == ["untraced"]


def test_a_program_that_the_kernel_left_out_makes_the_layer_untraced(host: Host) -> None:
    layer = host.layer()
    host.program.missed += 1
    assert host.tracing.blocks_of(host.frozen(layer, [])) is None
    assert "left the program out" in host.state()[1]


def test_a_tracer_that_died_leaves_the_running_layer_untraced(tmp_path: Path) -> None:
    host = Host(tmp_path)
    path = tmp_path / "tracer.sock"
    with serving(ready(host.program), path):
        one = host.layer(1, "254:1")
    assert not host.tracing.view(one).traced
    with serving(ready(host.program), path):
        host.tracing._asked_at = -10.0
        assert not host.tracing.view(one).traced
        two = host.layer(2, "254:2")
        assert host.tracing.blocks_of(host.frozen(one, [])) is None
        assert "anew" in host.state(1)[1]
        assert host.tracing.view(two).traced
        assert host.tracing.blocks_of(host.frozen(two, [])) is not None
        host.client.close()


def test_without_a_tracer_everything_goes_on_untraced(tmp_path: Path) -> None:
    host = Host(tmp_path)
    layer = host.layer()
    assert host.state()[0] == "untraced"
    assert "nothing serves it" in host.state()[1]
    assert host.tracing.blocks_of(host.frozen(layer, [0])) is None
    host.tracing.forget(layer)
    host.tracing.start()
    host.tracing.close()
    assert tracer_message(host.tracing).state == "missing"


def test_switched_off(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.tracing = host.tracing_with(None)
    layer = host.layer()
    assert host.state() == ("untraced", OFF)
    assert host.tracing.view(layer).why == OFF
    assert tracer_message(host.tracing) == pb.Tracer(state="off", problem=OFF)


def test_devices_made_anew_end_the_trace_of_what_is_not_frozen(host: Host) -> None:
    one = host.layer(1, "254:1")
    frozen = host.frozen(one, [])
    two = host.layer(2, "254:2")
    host.tracing.interrupted("data", "its devices were made anew")
    assert host.tracing.blocks_of(frozen) == blocks()
    assert host.tracing.blocks_of(host.frozen(two, [])) is None
    assert host.state(2) == ("untraced", "its devices were made anew")


def test_a_layer_before_tracing_is_untraced(host: Host) -> None:
    old = LayerRecord("data", 9, "data.9", CHUNK, LayerState.FROZEN)
    host.journal.save_layer(old)
    assert host.tracing.blocks_of(old) is None
    assert not host.tracing.view(old).traced


def test_a_freeze_that_did_not_happen_gives_the_room_back(host: Host) -> None:
    layer = host.layer()
    host.tracing.forget(layer)
    host.journal.remove_layer("data", 1)
    assert host.program.layers.content == {}
    again = host.layer()
    host.program.write(DEVNO, 0, 1)
    assert host.tracing.blocks_of(host.frozen(again, [0])) == blocks(0)


def test_traces_that_nobody_knows_are_ended_at_the_start(host: Host) -> None:
    kept = host.layer(1, "254:1")
    host.client.add("254:9", "of a daemon that died before it wrote it down")
    assert len(host.program.layers.content) == 2
    host.tracing.start()
    host.tracing.close()
    assert len(host.program.layers.content) == 1
    assert host.tracing.view(kept).traced


class FakeVolume:
    """As much of a volume as a reading needs."""

    def __init__(self, host: Host) -> None:
        self.name = "data"
        self.context = self
        self.tracing = host.tracing


def test_a_live_reading_counts_blocks_chunks_and_rates(host: Host) -> None:
    layer = host.layer()
    volume = cast(Any, FakeVolume(host))
    host.program.write(DEVNO, 0, 3 * 4096)
    first = layer_trace(volume, layer)
    assert (first.trace, first.blocks, first.chunks, first.writes) == ("traced", 3, 1, 1)
    assert not first.HasField("writes_per_second")
    host.program.write(DEVNO, CHUNK, 4096)
    second = layer_trace(volume, layer)
    second.read_at.FromNanoseconds(first.read_at.ToNanoseconds() + 500_000_000)
    add_rates(second, first)
    assert (second.blocks, second.chunks) == (4, 2)
    assert (second.writes_per_second, second.blocks_per_second) == (2.0, 2.0)
    other = pb.LayerTrace()
    other.CopyFrom(second)
    other.sequence = 2
    other.ClearField("writes_per_second")
    add_rates(other, first)
    assert not other.HasField("writes_per_second")
