"""A traced stack of plain layers, its writers, and the witnesses they are judged by.

Layers here are linears over one base: the event that is traced comes from the head, whatever the
layer below it is, and two of them in turn allow hundreds of freezes a minute.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import random
import sqlite3
import struct
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from bpf.btf import running_bio_flags
from bpf.client import Attached, LayerTrace, TracerClient, TracerUnavailable, start_tracer
from bpf.compiling import FUNCTION, SOURCE, compile_here
from bpf.layout import BLOCK, blocks_in, device_key, new_layer, parse_key, parse_regions
from bpf.watching import Watched
from control.blocks import BlockSet
from dm_tables.device import Device
from dm_tables.errors import FrazilError
from dm_tables.freezer import Freezer
from dm_tables.names import DmName
from dm_tables.table import Table
from dm_tables.targets import Delay, Leg, Linear, LogWrites
from dm_tables.units import MIB, SECTOR, Sectors
from dm_tables.window import FreezePlan, HeadPlan
from tests.guest.inside.rig import BASES, LOGS, Rig
from tests.guest.inside.trace_workloads import put, run

SOCKET = Path("/run/trace-test/tracer.sock")
READY_SECONDS = 240.0
SIZE = Sectors(320 * MIB // SECTOR)
SUPER = struct.Struct("<QQQI")
ENTRY = struct.Struct("<QQQQ")
MARK, DISCARD = 8, 4
FLUSH_MS = 10
"""What a flush takes in a freeze: long enough for writers to run into the suspended head."""


def client() -> TracerClient:
    """A client of this guest's tracer."""
    return TracerClient(SOCKET, start=start_tracer, patience=20.0, rest=0.0)


def start() -> dict[str, Any]:
    """Start a tracer, or find the one that runs, and wait until it traces."""
    found = client()
    found.ensure()
    began = time.monotonic()
    while time.monotonic() - began < READY_SECONDS:
        with contextlib.suppress(TracerUnavailable):
            status = found.status()
            if status.state != "compiling":
                return {
                    "state": status.state,
                    "why": status.why,
                    "epoch": status.epoch,
                    "pid": status.pid,
                    "seconds": round(time.monotonic() - began, 1),
                }
        time.sleep(0.2)
    raise TimeoutError("the tracer is not ready")


def marked(found: LayerTrace) -> set[int]:
    """The blocks of a trace."""
    return set(blocks_in(parse_regions(found.regions)))


class Stack:
    """A head over one of two layer devices in turn, over a base that may log its writes."""

    def __init__(self, rig: Rig, *, logged: bool = False, slow: bool = False) -> None:
        self.rig = rig
        below = rig.slice(BASES, SIZE)
        if slow:
            prompt, late = Leg(below.devno, Sectors(0), 0), Leg(below.devno, Sectors(0), FLUSH_MS)
            below = rig.make("slow", Table.single(SIZE, Delay(prompt, prompt, late)))
        self.log = rig.slice(LOGS, Sectors(512 * MIB // SECTOR)) if logged else None
        if self.log is not None:
            target = LogWrites(below.devno, self.log.devno)
            below = rig.make("logged", Table.single(SIZE, target))
        table = Table.single(SIZE, Linear(below.devno, Sectors(0)))
        self.layers = [rig.make(f"layer-{n}", table) for n in range(2)]
        self.head = rig.make("traced-head", self._over(0))
        self.on = 0

    @property
    def layer(self) -> Device:
        """The layer that the head stands on."""
        return self.layers[self.on]

    @property
    def next_layer(self) -> Device:
        """The one that a freeze moves it to."""
        return self.layers[1 - self.on]

    def _over(self, number: int) -> Table:
        return Table.single(SIZE, Linear(self.layers[number].devno, Sectors(0)))

    def load(self) -> FreezePlan:
        """Load the head's next table: the plan of its freeze."""
        self.rig.dmsetup.load(self.head.name, self._over(1 - self.on))
        head = HeadPlan(self.head.name, str(self.layer.path), ())
        return FreezePlan((head,), 30.0, lockfs=False)


@contextmanager
def stack(*, logged: bool = False, slow: bool = False) -> Iterator[Stack]:
    """A stack, until the end; with writes that are logged, or flushes that are slow."""
    with Rig() as rig:
        yield Stack(rig, logged=logged, slow=slow)


class Witness(Protocol):
    """What says which blocks were written between two freezes."""

    def begin(self, stack: Stack) -> None:
        """Before the first write."""

    def before(self, stack: Stack) -> None:
        """Before a freeze."""

    def after(self, stack: Stack) -> set[int]:
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
        self._now = self._client.add(stack.layer.devno, "first")

    def before(self, stack: Stack) -> None:
        """Attach the next layer, with the head still on this one."""
        self._next = self._client.add(stack.next_layer.devno, "next")

    def after(self, stack: Stack) -> set[int]:
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


# Freezing under a writer that never pauses.


@dataclass(frozen=True, slots=True)
class Written:
    """A write: its blocks, and when it was asked for and done, in seconds since the epoch."""

    first: int
    last: int
    asked: float
    done: float


class Writers:
    """Threads that write at random, without a pause, and note every write."""

    def __init__(self, device: Device, threads: int, sectors: int) -> None:
        self._device = device
        self._sectors = sectors
        self._stop = threading.Event()
        self._logs: list[list[Written]] = [[] for _ in range(threads)]
        self._threads = [
            threading.Thread(target=self._run, args=(number,)) for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, number: int) -> None:
        pick, log = random.Random(number), self._logs[number]
        descriptor = os.open(self._device, os.O_RDWR | os.O_DIRECT)
        with mmap.mmap(-1, 1 << 16) as page:
            while not self._stop.is_set():
                length = pick.choice((1, 8, 8, 8, 16, 40, 128))
                start = pick.randrange(self._sectors - length)
                view = memoryview(page)[: length * SECTOR]
                asked = time.time()
                os.pwrite(descriptor, view, start * SECTOR)
                done = time.time()
                first, last = start * SECTOR // BLOCK, ((start + length) * SECTOR - 1) // BLOCK
                log.append(Written(first, last, asked, done))
                view.release()
        os.close(descriptor)

    def stop(self) -> list[Written]:
        """End them. :return: what they wrote."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        return [written for log in self._logs for written in log]


@dataclass(frozen=True, slots=True)
class Frozen:
    """A freeze: from ``down`` to ``up`` at least nothing passed, in seconds since the epoch."""

    down: float
    up: float


def freezes(witness: Witness, most: int, seconds: float) -> dict[str, Any]:
    """Freeze again and again under writers; at most so many times, and so long."""
    traced: list[set[int]] = []
    frozen: list[Frozen] = []
    freezer = Freezer(lock=Path("/run/trace-test.lock"))
    freezer.start()
    try:
        with stack(slow=True) as one:
            witness.begin(one)
            writers = Writers(one.head, 3, SIZE)
            began = time.monotonic()
            while len(frozen) < most and time.monotonic() - began < seconds:
                witness.before(one)
                result = freezer.freeze(one.load())
                traced.append(witness.after(one))
                frozen.append(Frozen(result.frozen_at, result.frozen_at + result.fsync_us / 1e6))
                one.on = 1 - one.on
            log = writers.stop()
            traced.append(witness.end())
    finally:
        freezer.close()
    return judged(log, frozen, traced)


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
        held += low > 0 and write.asked < ups[low - 1]
        blocks = set(range(write.first, write.last + 1))
        seen: set[int] = set()
        for generation in range(low, high + 1):
            possible[generation] |= blocks
            seen |= traced[generation]
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


def freezes_by_tracer(most: int, seconds: float) -> dict[str, Any]:
    """:func:`freezes` with the tracer as the witness."""
    return freezes(Remapped(), most, seconds)


def freezes_by_queue(most: int, seconds: float) -> dict[str, Any]:
    """:func:`freezes` with a witness that sees bios when they are submitted to the head."""
    return freezes(Queued(), most, seconds)


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

    def after(self, stack: Stack) -> set[int]:
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


def lossy() -> dict[str, str]:
    """A map with room for four regions, and a write longer than the program marks."""
    program = compile_here(regions=4)
    watched = Watched(*program.maps, program.missed)
    why: dict[str, str] = {}
    with stack() as one:
        for name, writes in {
            "fits": [(0, BLOCK), (7 * MIB, BLOCK)],
            "full": [(region * 4 * MIB, BLOCK) for region in range(12)],
            "dropped, it fits again": [(9 * MIB, BLOCK)],
        }.items():
            watch = watched.add(one.layer.devno, name)
            put(one.head, writes)
            why[name] = watched.read(watch.trace, blocks=False).why_lost
            watched.drop(watch.trace)
        watch = watched.add(one.layer.devno, "too long")
        run("blkdiscard", "-o", "0", "-l", str(64 * MIB), one.head)
        reading = watched.read(watch.trace, blocks=False)
        why["too long"] = reading.why_lost
        why["discards"] = str(reading.counters.discards)
    program.close()
    return why


def instructions() -> dict[str, int]:
    """How the program's atomic instructions are encoded: BPF_STX | BPF_ATOMIC | BPF_DW."""
    from bcc import BPF

    flags = [f"-DLAYERS_AT_MOST={16}", "-DREGIONS_AT_MOST=16", *running_bio_flags()]
    made = BPF(src_file=str(SOURCE), cflags=flags)
    made.load_func(FUNCTION, BPF.RAW_TRACEPOINT)
    code = made.dump_func(FUNCTION)
    found = {"or": 0, "add": 0}
    for at in range(0, len(code), 8):
        if code[at] == 0xDB:
            (kind,) = struct.unpack_from("<i", code, at + 4)
            found[{0x40: "or", 0x00: "add"}[kind & 0xF0]] += 1
    return found


# One workload at a time, against what dm-log-writes saw.


def logged_blocks(log: Device, mark: str) -> set[int] | None:
    """Every block that reached a logged device: ``struct log_write_entry`` of dm-log-writes.c.

    :return: None while the mark is not in it.
    """
    blocks: set[int] = set()
    descriptor = os.open(log, os.O_RDONLY | os.O_DIRECT)
    try:
        with mmap.mmap(-1, SECTOR) as page:
            os.preadv(descriptor, [page], 0)
            _, _, count, sector = SUPER.unpack_from(page[:])
            at = sector
            for _ in range(count):
                os.preadv(descriptor, [page], at)
                where, sectors, flags, length = ENTRY.unpack_from(page[:])
                if flags & MARK:
                    if page[ENTRY.size : ENTRY.size + length].rstrip(b"\0") == mark.encode():
                        return blocks
                elif sectors:
                    first, end = where * SECTOR // BLOCK, (where + sectors) * SECTOR
                    blocks.update(range(first, -(-end // BLOCK)))
                at += sector + (0 if flags & (MARK | DISCARD) else sectors * SECTOR)
    finally:
        os.close(descriptor)
    return None


def workload(name: str) -> dict[str, Any]:
    """Run one of :mod:`tests.guest.inside.trace_workloads` on a traced head.

    :return: how many blocks were traced, and how many of them only one witness knows.
    """
    from tests.guest.inside import trace_workloads

    tracer = client()
    with stack(logged=True) as one:
        begun = tracer.add(one.layer.devno, name)
        expected = getattr(trace_workloads, name)(one.head)
        flush(one.head)
        found = tracer.read(begun.epoch, begun.trace)
        tracer.drop(begun.epoch, begun.trace)
        traced, logged = marked(found), settled(one)
    return {
        "traced": len(traced),
        "untraced": len(logged - traced),
        "unlogged": len(traced - logged),
        "unexpected": len(traced ^ expected) if expected is not None else 0,
        "why_lost": found.why_lost,
        "counters": found.counters.as_dict(),
    }


def flush(device: Device) -> None:
    """dm-log-writes logs at a flush."""
    descriptor = os.open(device, os.O_RDWR)
    os.fsync(descriptor)
    os.close(descriptor)


def settled(one: Stack) -> set[int]:
    """The log's blocks when it is complete: it is written behind the writes' backs."""
    assert one.log is not None
    mark = f"end-{time.time_ns()}"
    one.rig.dmsetup.message(DmName("logged"), 0, f"mark {mark}")
    end = time.monotonic() + 30
    while time.monotonic() < end:
        found = logged_blocks(one.log, mark)
        if found is not None:
            return found
        time.sleep(0.1)
    raise TimeoutError("the log is not complete")


def journaled(volume: str, sequence: int) -> dict[str, Any]:
    """What the daemon of this guest wrote down of a layer's trace."""
    with contextlib.closing(sqlite3.connect("/var/lib/frazil/journal.db")) as db:
        rows = db.execute(
            "SELECT state, why, blocks FROM traces WHERE volume = ? AND sequence = ?",
            (volume, sequence),
        ).fetchall()
    if not rows:
        return {"state": "", "why": "", "blocks": []}
    state, why, blocks = rows[0]
    return {"state": state, "why": why, "blocks": list(BlockSet(blocks))}


def attach(devno: str) -> dict[str, Any]:
    """Trace a device."""
    begun = client().add(devno, "a device")
    return {"epoch": begun.epoch, "trace": begun.trace}


def read(epoch: str, trace: int) -> str:
    """Why a trace lost something, or the error's name."""
    try:
        return client().read(epoch, trace).why_lost
    except FrazilError as error:
        return error.name


def tracer_pid(path: str) -> int:
    """The process that serves a socket."""
    return TracerClient(Path(path)).status().pid
