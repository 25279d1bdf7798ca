"""Freezes under writers that never pause, on a stack as the daemon makes it, and their judge.

Each layer is a snapshot with a store of its own, of another chunk size than the one below; each
frozen one is merged and dropped, as in a mirror whose replica keeps up.
"""

from __future__ import annotations

import itertools
import mmap
import os
import random
import threading
import time
import uuid
from bisect import bisect_left
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from bpf.client import Attached
from bpf.compiling import compile_here
from bpf.layout import BLOCK, blocks_in, device_key, new_layer, parse_key
from control.blocks import BlockSet
from control.limiter import RateLimiter
from control.merge import merge
from control.pool.pool import Pool
from control.spans import Span
from control.stack import StackDevices, StackLayer
from control.store.reader import StoreReader
from control.store.scrub import blank
from dm_tables.device import Device
from dm_tables.freezer import Freezer
from dm_tables.table import Table
from dm_tables.targets import Delay, Leg
from dm_tables.units import KIB, MIB, SECTOR, Bytes, Sectors
from dm_tables.window import FreezePlan, HeadPlan
from tests.guest.inside.rig import BASES, STORES, Rig
from tests.guest.inside.tracing import client, marked

SIZE = Bytes(128 * MIB)
ROOM = Sectors(136 * MIB // SECTOR)
CHUNKS = tuple(Bytes(kib * KIB) for kib in (4, 64, 16))
FLUSH_MS = 20
"""What a flush takes, in a freeze too: long enough for writers to run into the suspended head."""


@dataclass(frozen=True, slots=True)
class Slice:
    """A piece of a disk as an object of a pool."""

    path: Path

    def attach(self) -> str:
        """Its device."""
        return str(self.path)

    def detach(self) -> None:
        """Nothing is to be given up."""


class Slices:
    """As much of a pool as a stack needs: three slow slices of a disk, used in turn."""

    def __init__(self, rig: Rig) -> None:
        self._free = [Slice(_slow(rig, number).path) for number in range(3)]
        self._used: dict[str, Slice] = {}

    def create(self, name: str, chunk: Bytes) -> None:
        """A new object, blank."""
        self._used[name] = self._free.pop(0)
        blank(self._used[name].path, chunk)

    def open(self, name: str) -> Slice:
        """One that was created."""
        return self._used[name]

    def remove(self, name: str) -> None:
        """It is used no longer."""
        self._free.append(self._used.pop(name))

    def list(self) -> tuple[str, ...]:
        """Those in use."""
        return tuple(self._used)


def _slow(rig: Rig, number: int) -> Device:
    below = rig.slice(STORES, ROOM)
    prompt, late = Leg(below.devno, Sectors(0), 0), Leg(below.devno, Sectors(0), FLUSH_MS)
    return rig.make(f"slow-{number}", Table.single(ROOM, Delay(prompt, prompt, late)))


class Stack:
    """The devices of :mod:`control.stack`; there are never more than three layers."""

    def __init__(self, rig: Rig) -> None:
        base = rig.slice(BASES, Sectors(SIZE // SECTOR))
        self._slices = Slices(rig)
        spans = (Span(base.path, Bytes(0), SIZE),)
        pool = cast(Pool, self._slices)
        self._stack = StackDevices("traced", str(uuid.uuid4()), spans, pool, rig.dmsetup)
        self._chunks = itertools.cycle(CHUNKS)
        self.layers = [self._new(1)]
        self._stack.assemble(0, self.layers, scrub=False)
        self.head = self._stack.head

    def _new(self, sequence: int) -> StackLayer:
        layer = StackLayer(sequence, f"traced.{sequence}", next(self._chunks))
        self._slices.create(layer.object_name, layer.chunk)
        return layer

    @property
    def newest(self) -> Device:
        """The device of the layer that was made last."""
        return self._stack.layer(self.layers[-1].sequence)

    def push(self) -> None:
        """Make the next layer, and load the head's next table."""
        self.layers.append(self._new(self.layers[-1].sequence + 1))
        device = self._stack.push(self.layers[-1], self.layers[-2].sequence)
        self._stack.dmsetup.load(self.head.name, self._stack.linear_over(device))

    def plan(self) -> FreezePlan:
        """The freeze that moves the head onto it."""
        frozen = self._stack.layer(self.layers[-2].sequence)
        return FreezePlan((HeadPlan(self.head.name, str(frozen.path), ()),), 60.0, lockfs=False)

    def fold(self, traced: set[int]) -> int:
        """Merge the frozen layer. :return: chunks that only one of store and trace has."""
        layer = self.layers.pop(0)
        blocks = BlockSet()
        blocks.add_blocks(traced)
        with StoreReader(self._slices.open(layer.object_name).path, SIZE, layer.chunk) as store:
            differing = store.changed() ^ blocks.chunks(layer.chunk)
            merge(store, self._stack.spans, limiter=RateLimiter())
        self._stack.settle(layer.sequence)
        self._slices.remove(layer.object_name)
        return len(differing)

    def close(self) -> None:
        """Remove its devices."""
        self._stack.disassemble(self.layers[0].sequence - 1, self.layers)


class Witness(Protocol):
    """What says which blocks were written between two freezes."""

    def begin(self, stack: Stack) -> None:
        """Before the first write."""

    def before(self, stack: Stack) -> None:
        """Before a freeze."""

    def after(self) -> set[int]:
        """Right after it. :return: the blocks written up to it."""

    def end(self) -> set[int]:
        """After the last write. :return: the blocks since the last freeze."""


class Remapped:
    """The tracer, as the daemon uses it."""

    def __init__(self) -> None:
        self._client = client()
        self._now: Attached
        self._next: Attached

    def begin(self, stack: Stack) -> None:
        """Attach the first layer."""
        self._now = self._client.add(stack.newest.devno, "first")

    def before(self, stack: Stack) -> None:
        """Attach the next layer, with the head still on this one."""
        self._next = self._client.add(stack.newest.devno, "next")

    def after(self) -> set[int]:
        """Take the frozen layer's blocks."""
        blocks = self.end()
        self._now = self._next
        return blocks

    def end(self) -> set[int]:
        """Take the blocks, and end the trace."""
        found = self._client.read(self._now.epoch, self._now.trace)
        assert found.why_lost == "", found.why_lost
        self._client.drop(self._now.epoch, self._now.trace)
        return marked(found)


class Queued:
    """The same program on block_bio_queue, with the head's device: the negative control.

    At each freeze the head's writes are counted to the next generation, in one step, as soon as
    the freeze is over: none is lost, but those that a suspended head held are counted too early.
    """

    def __init__(self) -> None:
        self._program = compile_here(hook="block_bio_queue")
        self._layers, self._regions = self._program.maps
        self._trace = 1
        self._key = b""

    def begin(self, stack: Stack) -> None:
        """Follow the head."""
        self._key = device_key(stack.head.devno)
        self._layers.add(self._key, new_layer(self._trace))

    def before(self, stack: Stack) -> None:
        """Nothing can be done before."""

    def after(self) -> set[int]:
        """Count to the next one from now on."""
        last, self._trace = self._trace, self._trace + 1
        self._layers.change(self._key, new_layer(self._trace))
        time.sleep(0.001)
        return self._blocks(last)

    def end(self) -> set[int]:
        """The last one's blocks."""
        return self._blocks(self._trace)

    def _blocks(self, trace: int) -> set[int]:
        found = {parse_key(key): bits for key, bits in self._regions.items()}
        return set(blocks_in((region, bits) for (of, region), bits in found.items() if of == trace))


@dataclass(frozen=True, slots=True)
class Written:
    """A write: its blocks, and when it was asked for and done, in seconds since the epoch."""

    first: int
    last: int
    asked: float
    done: float


class Writers:
    """Threads that write at random, without a pause, and note every write.

    Each has a processor of its own, as far as there are so many. One more writes whenever it finds
    the head suspended: what it writes is certainly held.
    """

    def __init__(self, device: Device, threads: int) -> None:
        self._device = device
        self._suspended = Path(f"/sys/block/{device.path.name}/dm/suspended")
        self._stop = threading.Event()
        self._logs: list[list[Written]] = [[] for _ in range(threads + 1)]
        works = [self._write_on] * threads + [self._write_when_suspended]
        self._threads = [
            threading.Thread(target=self._run, args=(number, work))
            for number, work in enumerate(works)
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, number: int, work: Callable[[Callable[[], None]], None]) -> None:
        os.sched_setaffinity(0, {number % (os.cpu_count() or 1)})
        pick, log = random.Random(number), self._logs[number]
        descriptor = os.open(self._device, os.O_RDWR | os.O_DIRECT)
        with mmap.mmap(-1, 1 << 16) as page, memoryview(page) as view:
            work(lambda: log.append(_written(descriptor, view, pick)))
        os.close(descriptor)

    def _write_on(self, write: Callable[[], None]) -> None:
        while not self._stop.is_set():
            write()

    def _write_when_suspended(self, write: Callable[[], None]) -> None:
        while not self._stop.wait(FLUSH_MS / 10000):
            if self._suspended.read_text().startswith("1"):
                write()

    def stop(self) -> list[Written]:
        """End them. :return: what they wrote."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        return [written for log in self._logs for written in log]


def _written(descriptor: int, page: memoryview, pick: random.Random) -> Written:
    """Write once."""
    length = pick.choice((1, 8, 8, 8, 16, 40, 128)) * SECTOR
    start = pick.randrange((SIZE - length) // SECTOR) * SECTOR
    with page[:length] as data:
        asked = time.time()
        os.pwrite(descriptor, data, start)
        done = time.time()
    return Written(start // BLOCK, (start + length - 1) // BLOCK, asked, done)


@dataclass(frozen=True, slots=True)
class Frozen:
    """A freeze: from ``down`` to ``up`` at least nothing passed, in seconds since the epoch.

    What was asked for from ``began`` on, and not done before ``up``, was held.
    """

    began: float
    down: float
    up: float


def freezes(witness: Witness, count: int) -> dict[str, Any]:
    """Freeze so many times under writers."""
    freezer = Freezer(lock=Path("/run/trace-test.lock"))
    freezer.start()
    began = time.monotonic()
    try:
        with Rig() as rig, closing(Stack(rig)) as stack:
            found = _frozen(freezer, stack, witness, count)
    finally:
        freezer.close()
    return {**found, "seconds": round(time.monotonic() - began)}


def _frozen(freezer: Freezer, stack: Stack, witness: Witness, count: int) -> dict[str, Any]:
    traced: list[set[int]] = []
    frozen: list[Frozen] = []
    differing = 0
    witness.begin(stack)
    writers = Writers(stack.head, 3)
    try:
        for _ in range(count):
            stack.push()
            witness.before(stack)
            result = freezer.freeze(stack.plan())
            traced.append(witness.after())
            up = result.frozen_at + result.fsync_us / 1e6
            frozen.append(Frozen(up - result.pause_us / 1e6, result.frozen_at, up))
            differing += stack.fold(traced[-1])
    finally:
        log = writers.stop()
    traced.append(witness.end())
    return {**judged(log, frozen, traced), "differing": differing}


def judged(log: list[Written], frozen: list[Frozen], traced: list[set[int]]) -> dict[str, Any]:
    """The traces against the writers' own log.

    A write asked for after a freeze was complete cannot be before it; one that was done before the
    freeze ended cannot be behind it. In between it may be in either.
    """
    possible: list[set[int]] = [set() for _ in traced]
    downs, ups = [freeze.down for freeze in frozen], [freeze.up for freeze in frozen]
    missing, held = 0, 0
    for write in log:
        low, high = bisect_left(downs, write.asked), bisect_left(ups, write.done)
        near = frozen[max(0, low - 1) : low + 1]
        held += any(one.began < write.asked < one.up < write.done for one in near)
        blocks = set(range(write.first, write.last + 1))
        seen: set[int] = set()
        for generation in range(low, high + 1):
            possible[generation] |= blocks
            seen |= traced[generation] & blocks
        missing += len(blocks - seen)
    foreign = sum(len(blocks - may) for blocks, may in zip(traced, possible, strict=True))
    return {
        "freezes": len(frozen),
        "writes": len(log),
        "held": held,
        "missing": missing,
        "foreign": foreign,
        "blocks": sum(map(len, traced)),
    }


def freezes_by_tracer(count: int) -> dict[str, Any]:
    """:func:`freezes` with the tracer as the witness."""
    return freezes(Remapped(), count)


def freezes_by_queue(count: int) -> dict[str, Any]:
    """:func:`freezes` with a witness that sees bios when they are submitted to the head."""
    return freezes(Queued(), count)
