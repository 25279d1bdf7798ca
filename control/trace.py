"""The daemon's side of the trace: which blocks of a layer were written, where that is known.

The store stays the authority for what changed. A layer counts as traced only if its trace was
attached before the layer got its first write, went on in one life of the tracer until its freeze,
lost nothing, and names a block in every chunk that the store has. All others are untraced: they
are copied by whole chunks, which costs bytes and nothing else. See docs/trace.md.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from bpf.client import LayerTrace, TraceGone, TracerClient, TracerStatus, TracerUnavailable
from bpf.layout import REGION_BLOCKS, REGION_BYTES, Counters, blocks_in, parse_regions
from control.blocks import BLOCK, BlockSet
from control.events import Events
from control.journal import Journal
from control.pool.pool import Pool
from control.records import LayerRecord, LayerState, TraceRecord, TraceState
from control.store.reader import StoreReader
from dm_tables.device import Device
from dm_tables.errors import FrazilError

log = logging.getLogger("frazil.trace")

OFF = "tracing is switched off"
STATUS_SECONDS = 1.0
_FULL = b"\xff" * REGION_BYTES


@dataclass(frozen=True, slots=True)
class TraceView:
    """A layer's trace as it stands.

    :ivar traced: whether every block written so far is known; ``why`` not, else.
    :ivar since: when the trace was attached, in seconds since the epoch; 0 if it never was.
    :ivar blocks: what was written; None where nobody asked, or nobody knows.
    """

    traced: bool
    why: str = ""
    since: float = 0.0
    counters: Counters = dataclasses.field(default_factory=Counters)
    blocks: BlockSet | None = None


class Tracing:
    """What of the volumes' layers is traced. Safe to use from several threads.

    No method raises for want of a tracer, and none waits for it longer than the client's patience.

    :param client: None: tracing is switched off.
    """

    def __init__(
        self, journal: Journal, events: Events, pool: Pool, client: TracerClient | None
    ) -> None:
        self._journal = journal
        self._events = events
        self._pool = pool
        self._client = client
        self._lock = threading.Lock()
        self._collecting = threading.Lock()
        self._adding = threading.Lock()
        self._status: TracerStatus | None = None
        self._asked_at = -STATUS_SECONDS
        self._starter: threading.Thread | None = None
        self.problem = "" if client else OFF

    @property
    def enabled(self) -> bool:
        """Whether the configuration wants it."""
        return self._client is not None

    # The tracer.

    def start(self) -> None:
        """See to it that there is a tracer, in the background; nothing waits for it."""
        if self._client is None:
            return
        with self._lock:
            if self._starter is not None and self._starter.is_alive():
                return
            self._starter = threading.Thread(target=self._start, name="tracer", daemon=True)
            self._starter.start()

    def _start(self) -> None:
        assert self._client is not None
        try:
            self._client.ensure()
            self._drop_strays()
        except FrazilError as error:
            log.info("%s", error)

    def _drop_strays(self) -> None:
        """End traces that the journal does not know: of layers that are gone."""
        assert self._client is not None
        with suppress(FrazilError), self._adding:
            epoch, traces = self._client.traces()
            known = {
                record.number
                for volume in self._journal.volumes()
                for record in self._journal.traces(volume.name)
                if record.epoch == epoch
            }
            for trace in set(traces) - known:
                self._client.drop(epoch, trace)

    def status(self) -> TracerStatus | None:
        """The tracer, at most a second old; None without one: ``problem`` says why."""
        if self._client is None:
            return None
        with self._lock:
            now = time.monotonic()
            if now - self._asked_at < STATUS_SECONDS:
                return self._status
            try:
                self._status = self._client.status()
                state = self._status.state
                self.problem = "" if state == "ready" else self._status.why or f"it is {state}"
            except FrazilError as error:
                self._status, self.problem = None, error.what
            self._asked_at = time.monotonic()
            return self._status

    def close(self) -> None:
        """Let the tracer go its own way."""
        if self._starter is not None:
            self._starter.join(10)
        if self._client is not None:
            self._client.close()

    # A layer's life.

    def watch(self, layer: LayerRecord, device: Device) -> None:
        """Trace a layer from its first write on: call it before the head is moved onto it.

        :param layer: in the journal. :param device: its layer device, which has no writes yet.
        """
        with self._adding:
            record = self._attached(layer, device)
            self._journal.save_trace(record)
        if record.state is TraceState.UNTRACED:
            # So that the next layer has a tracer, if nobody else starts it.
            self.start()

    def _attached(self, layer: LayerRecord, device: Device) -> TraceRecord:
        record = TraceRecord(layer.volume, layer.sequence, TraceState.UNTRACED, OFF)
        if self._client is None:
            return record
        try:
            made = self._client.add(device.devno, str(device.uuid))
        except FrazilError as error:
            return dataclasses.replace(record, why=error.what)
        return dataclasses.replace(
            record,
            state=TraceState.WATCHED,
            why="",
            epoch=made.epoch,
            number=made.trace,
            since=made.since,
        )

    def forget(self, layer: LayerRecord) -> None:
        """A layer that never got the head, or is gone: end its trace."""
        record = self._journal.trace(layer.volume, layer.sequence)
        if record is not None and record.state is not TraceState.TRACED:
            self._drop(record)

    def interrupted(self, volume: str, why: str) -> None:
        """The volume's devices were made anew: what was written meanwhile, no trace has."""
        for layer, record in self._watched(volume):
            if layer.state is not LayerState.FROZEN:
                self._give_up(record, why)

    def collect(self, volume: str) -> None:
        """Take the blocks of frozen layers from the tracer, once each: from then on they last."""
        for layer, record in self._watched(volume):
            if layer.state is LayerState.FROZEN:
                self._collect(layer, record)

    def _watched(self, volume: str) -> Iterator[tuple[LayerRecord, TraceRecord]]:
        layers = {layer.sequence: layer for layer in self._journal.layers(volume)}
        for record in self._journal.traces(volume):
            if record.state is TraceState.WATCHED and record.sequence in layers:
                yield layers[record.sequence], record

    def blocks_of(self, layer: LayerRecord) -> BlockSet | None:
        """Exactly the blocks that were written to a frozen layer; None: not known, it is untraced.

        In units of 4 KiB (:data:`control.blocks.BLOCK`) from the volume's begin: a block is in it
        if and only if some byte of it was written between the freeze that made the layer live
        and the freeze that ended it, write-zeroes and discards too, whether or not its content
        changed by that. Every chunk that the layer's store has holds at least one of them, and
        none lies in a chunk that the store has not. Of a chunk's other blocks the store holds
        copies of what is below: a replica has them from the generation before.

        The answer for a layer stays the same, also after the daemon or the host was started
        again, until the layer is merged: a copy that is resumed finds what it began with. A
        tracer that does not answer in time makes its layer untraced for good.

        :param layer: frozen; a live one is None.
        """
        if layer.state is LayerState.FROZEN:
            record = self._journal.trace(layer.volume, layer.sequence)
            if record is not None and record.state is TraceState.WATCHED:
                record = self._collect(layer, record)
            if record is not None and record.state is TraceState.TRACED:
                return BlockSet(record.blocks)
        return None

    def _collect(self, layer: LayerRecord, record: TraceRecord) -> TraceRecord:
        with self._collecting:
            newest = self._journal.trace(layer.volume, layer.sequence)
            if newest is None or newest.state is not TraceState.WATCHED:
                return newest or record
            found = self._read(record, blocks=True)
            if isinstance(found, str):
                ended = self._give_up(record, found)
            else:
                ended = self._end(layer, record, found)
        self._drop(record)
        return ended

    def _read(self, record: TraceRecord, *, blocks: bool) -> LayerTrace | str:
        """A trace, or why there is none."""
        if self._client is None:
            return OFF
        try:
            return self._client.read(record.epoch, record.number, blocks=blocks)
        except (TraceGone, TracerUnavailable) as error:
            return error.what

    def _end(self, layer: LayerRecord, record: TraceRecord, found: LayerTrace) -> TraceRecord:
        counters = json.dumps(found.counters.as_dict())
        if found.why_lost:
            return self._give_up(dataclasses.replace(record, counters=counters), found.why_lost)
        blocks = block_set(found.regions)
        missing = self._cross_check(layer, blocks)
        if missing:
            return self._give_up(dataclasses.replace(record, counters=counters), missing)
        ended = dataclasses.replace(
            record, state=TraceState.TRACED, blocks=blocks.serialise(), counters=counters
        )
        self._journal.save_trace(ended)
        return ended

    def _give_up(self, record: TraceRecord, why: str) -> TraceRecord:
        ended = dataclasses.replace(record, state=TraceState.UNTRACED, why=why)
        self._journal.save_trace(ended)
        self._events.add(
            "warning",
            record.volume,
            "untraced",
            f"layer {record.sequence} is untraced, and copied by whole chunks: {why}",
            layer=record.sequence,
        )
        return ended

    def _drop(self, record: TraceRecord) -> None:
        if self._client is not None and record.epoch:
            with suppress(FrazilError):
                self._client.drop(record.epoch, record.number)

    def _cross_check(self, layer: LayerRecord, blocks: BlockSet) -> str:
        """Compare the trace with the store, which wins: what it has not leaves ``blocks``.

        :return: why the trace does not hold; empty if it does.
        """
        volume = self._journal.volume(layer.volume)
        assert volume is not None
        try:
            path = self._pool.open(layer.object_name).path
            with StoreReader(path, volume.size, layer.chunk) as store:
                stored = store.changed()
        except FrazilError as error:
            return f"its store cannot be read to compare: {error.what}"
        traced = blocks.chunks(layer.chunk)
        missed, extra = stored - traced, traced - stored
        if missed or extra:
            self._events.add(
                "warning",
                layer.volume,
                "trace-differs",
                f"layer {layer.sequence}: {len(missed)} chunks are in the store and not traced, "
                f"{len(extra)} are traced and not in the store; the store counts",
                layer=layer.sequence,
                missed=len(missed),
                extra=len(extra),
            )
        blocks.remove_chunks(extra, layer.chunk)
        return f"{len(missed)} chunks of its store were not traced" if missed else ""

    # Looking at it.

    def view(self, layer: LayerRecord, *, blocks: bool = False) -> TraceView:
        """A layer's trace as it stands: of a live one, what was written up to now."""
        record = self._journal.trace(layer.volume, layer.sequence)
        if record is None:
            return TraceView(False, self.problem or "its trace was never attached")
        if record.state is not TraceState.WATCHED:
            traced = record.state is TraceState.TRACED
            kept = BlockSet(record.blocks) if blocks and traced else None
            return TraceView(traced, record.why, record.since, _counters(record), kept)
        if not blocks:
            status = self.status()
            if status is None or status.epoch != record.epoch:
                return TraceView(False, self.problem or "the tracer was started anew")
        found = self._read(record, blocks=blocks)
        if isinstance(found, str):
            return TraceView(False, found)
        marked = block_set(found.regions) if blocks else None
        return TraceView(not found.why_lost, found.why_lost, found.since, found.counters, marked)


def _counters(record: TraceRecord) -> Counters:
    return Counters.of(json.loads(record.counters)) if record.counters else Counters()


def block_set(regions: bytes) -> BlockSet:
    """The blocks of the regions that a tracer sent. :raises ValueError: they are cut off."""
    blocks = BlockSet()
    for region, bits in parse_regions(regions):
        if bits == _FULL:
            blocks.add(region * REGION_BLOCKS * BLOCK, REGION_BLOCKS * BLOCK)
        else:
            blocks.add_blocks(blocks_in([(region, bits)]))
    return blocks
