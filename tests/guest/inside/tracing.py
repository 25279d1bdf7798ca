"""This guest's tracer, and ways of writing to a traced head, judged by dm-log-writes.

The layer here is a linear, below which each write can be logged as it was: the event that is
traced comes from the head, whatever the layer is.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import sqlite3
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bpf.client import LayerTrace, TracerClient, TracerUnavailable, start_tracer
from bpf.compiling import compile_here
from bpf.layout import BLOCK, blocks_in, parse_regions
from bpf.watching import Watched
from control.blocks import BlockSet
from dm_tables.device import Device
from dm_tables.errors import FrazilError
from dm_tables.names import DmName
from dm_tables.table import Table
from dm_tables.targets import Linear, LogWrites, Snapshot
from dm_tables.units import MIB, SECTOR, Sectors
from tests.guest.inside.rig import BASES, CHUNK, LOGS, Rig
from tests.guest.inside.trace_workloads import put, run, zeroed

SOCKET = Path("/run/trace-test/tracer.sock")
READY_SECONDS = 900.0
SIZE = Sectors(320 * MIB // SECTOR)
SUPER = struct.Struct("<QQQI")
ENTRY = struct.Struct("<QQQQ")
MARK, DISCARD = 8, 4


def client() -> TracerClient:
    """A client of this guest's tracer."""
    return TracerClient(SOCKET, start=start_tracer, patience=20.0, rest=0.0)


def start() -> dict[str, Any]:
    """Start a tracer, or find the one that runs, and wait until it traces."""
    client().ensure()
    return ready(str(SOCKET))


def ready(path: str) -> dict[str, Any]:
    """Wait until the tracer at a socket traces, quietly: it compiles at low priority."""
    found = TracerClient(Path(path), patience=20.0, rest=0.0)
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
    """A head over a layer over a base that may log its writes."""

    def __init__(self, rig: Rig, *, logged: bool = False) -> None:
        self.rig = rig
        below = rig.slice(BASES, SIZE)
        self.log = rig.slice(LOGS, Sectors(512 * MIB // SECTOR)) if logged else None
        if self.log is not None:
            target = LogWrites(below.devno, self.log.devno)
            below = rig.make("logged", Table.single(SIZE, target))
        self.layer = rig.make("layer", Table.single(SIZE, Linear(below.devno, Sectors(0))))
        over = Table.single(SIZE, Linear(self.layer.devno, Sectors(0)))
        self.head = rig.make("traced-head", over)


@contextmanager
def stack(*, logged: bool = False) -> Iterator[Stack]:
    """A stack, until the end; with writes that are logged."""
    with Rig() as rig:
        yield Stack(rig, logged=logged)


def lossy() -> dict[str, str]:
    """A map with room for four regions, and a write longer than the program marks."""
    program = compile_here(regions=4)
    watched = Watched(*program.maps, program.missed, program.attached)
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


def zeroing() -> dict[str, Any]:
    """Zeroes asked of the kernel (BLKZEROOUT) on a head over a linear, and over a snapshot."""
    with Rig() as rig:
        base = rig.slice(BASES, SIZE)
        store = rig.store()
        plain = rig.make("plain", Table.single(SIZE, Linear(base.devno, Sectors(0))))
        target = Snapshot(plain.devno, store.devno, CHUNK)
        layers = {"linear": plain, "snapshot": rig.make("snap", Table.single(SIZE, target))}
        return {name: _zeroed(rig, layer) for name, layer in layers.items()}


def _zeroed(rig: Rig, layer: Device) -> dict[str, Any]:
    head = rig.make(f"{layer.name}-head", Table.single(SIZE, Linear(layer.devno, Sectors(0))))
    tracer = client()
    begun = tracer.add(layer.devno, layer.name)
    wanted = zeroed(head)
    found = tracer.read(begun.epoch, begun.trace)
    tracer.drop(begun.epoch, begun.trace)
    queue = Path(f"/sys/block/{head.path.name}/queue")
    return {
        "exact": marked(found) == wanted and found.why_lost == "",
        "zeroes": found.counters.zeroes,
        "writes": found.counters.writes,
        "bytes": found.counters.bytes,
        "can": {
            kind: int((queue / f"{kind}_max_bytes").read_text()) > 0
            for kind in ("write_zeroes", "discard")
        },
    }


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
