"""What the trace has of a layer, as messages: its counters, and how fast they rise."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

from control.blocks import BLOCK
from control.freeze_table import layer_of
from control.records import LayerRecord
from control.trace import TraceView, Tracing
from control.volume import Volume
from proto.frazil.v1 import control_pb2 as pb

RATES = ("writes", "bytes", "blocks")
SHORTEST_SECONDS = 0.2


def trace_word(view: TraceView) -> str:
    """One word for it."""
    return "traced" if view.traced else "untraced"


def tracer_message(tracing: Tracing) -> pb.Tracer:
    """The tracer as it stands."""
    status = tracing.status()
    if status is None:
        return pb.Tracer(state="missing" if tracing.enabled else "off", problem=tracing.problem)
    message = pb.Tracer(
        state=status.state, problem=tracing.problem, epoch=status.epoch, layers=status.traces
    )
    message.started.FromNanoseconds(int(status.started * 1e9))
    return message


def live_traces(
    volume: Volume, sequence: int | None, interval: float, stop: threading.Event
) -> Iterator[pb.LayerTrace]:
    """A layer's trace now, and again every ``interval`` seconds until ``stop`` is set.

    :param sequence: None: the newest layer, and after a freeze the next one.
    :param interval: 0: only once.
    :raises NotFound, Precondition: the volume has no such layer, or none yet.
    """
    before: pb.LayerTrace | None = None
    while not stop.is_set():
        now = layer_trace(volume, layer_of(volume, sequence))
        if before is not None:
            add_rates(now, before)
        yield now
        if not interval:
            return
        before = now
        stop.wait(max(interval, SHORTEST_SECONDS))


def layer_trace(volume: Volume, layer: LayerRecord) -> pb.LayerTrace:
    """One reading."""
    view = volume.context.tracing.view(layer, blocks=True)
    counters = view.counters
    message = pb.LayerTrace(
        volume=volume.name,
        sequence=layer.sequence,
        state=layer.state.value,
        trace=trace_word(view),
        untraced_reason=view.why,
        chunk_bytes=layer.chunk,
        block_bytes=BLOCK,
        writes=counters.writes,
        bytes=counters.bytes,
        zeroes=counters.zeroes,
        discards=counters.discards,
        flushes=counters.flushes,
        fua=counters.fua,
        metadata=counters.metadata,
        sizes=counters.sizes,
        alignments=counters.alignments,
        lost=counters.lost,
    )
    if view.blocks is not None:
        message.blocks = len(view.blocks)
        message.chunks = len(view.blocks.chunks(layer.chunk))
    if view.since:
        message.since.FromNanoseconds(int(view.since * 1e9))
    message.read_at.FromNanoseconds(time.time_ns())
    return message


def add_rates(now: pb.LayerTrace, before: pb.LayerTrace) -> None:
    """What was written a second between two readings; nothing across a freeze."""
    same = (now.volume, now.sequence) == (before.volume, before.sequence)
    seconds = (now.read_at.ToNanoseconds() - before.read_at.ToNanoseconds()) / 1e9
    if not same or seconds <= 0:
        return
    for name in RATES:
        rate = max(0, getattr(now, name) - getattr(before, name)) / seconds
        setattr(now, f"{name}_per_second", rate)
