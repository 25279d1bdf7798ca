"""Writers on a head, with the program in each of its states."""

from __future__ import annotations

import ctypes
import itertools
import mmap
import os
import select
import statistics
import struct
import time
from pathlib import Path
from typing import Any

from bpf.compiling import HOOK, Compilation, Program
from bpf.syscalls import OBJECT_INFO, bpf
from bpf.watching import Watched
from dm_tables.device import Device
from dm_tables.table import Table
from dm_tables.targets import Linear, Zero
from dm_tables.units import KIB, SECTOR, Sectors
from tests.guest.inside.rig import BASES, Rig
from tests.guest.inside.tracing import SIZE

RAW_TRACEPOINT_OPEN = 17
SLICE_SECONDS = 0.25
STATS = Path("/proc/sys/kernel/bpf_stats_enabled")
WORKLOADS = {
    "4 KiB writes to a layer that takes no time": ("zero", 4 * KIB),
    "4 KiB writes to a disk": ("disk", 4 * KIB),
    "128 KiB writes to a disk": ("disk", 128 * KIB),
}
STATES = ("detached", "elsewhere", "traced")


class Setting:
    """A head over a layer: of a disk, or of dm-zero, which is done with a write at once."""

    def __init__(self, rig: Rig, kind: str) -> None:
        if kind == "zero":
            table = Table.single(SIZE, Zero())
        else:
            table = Table.single(SIZE, Linear(rig.slice(BASES, SIZE).devno, Sectors(0)))
        self.layer = rig.make(f"{kind}-layer", table)
        over = Table.single(SIZE, Linear(self.layer.devno, Sectors(0)))
        self.head = rig.make(f"{kind}-head", over)


class Writer:
    """Writes at random places of a head, one after the other, past the page cache."""

    def __init__(self, head: Device, length: int) -> None:
        self._fd = os.open(head, os.O_RDWR | os.O_DIRECT)
        self._page = mmap.mmap(-1, length)
        places = SIZE * SECTOR // length
        # A fixed walk over all places, the same for each state.
        self._places = itertools.cycle(n * 7919 % places * length for n in range(4096))

    def write(self, seconds: float) -> dict[str, float]:
        """Write for a while: writes a second, and latencies in microseconds."""
        took: list[int] = []
        clock, pwrite, fd, page = time.monotonic_ns, os.pwrite, self._fd, self._page
        began = clock()
        end = began + int(seconds * 1e9)
        for place in self._places:
            before = clock()
            pwrite(fd, page, place)
            after = clock()
            took.append(after - before)
            if after > end:
                break
        took.sort()
        return {
            "iops": len(took) / ((after - began) / 1e9),
            "p10_us": took[len(took) // 10] / 1000,
            "median_us": statistics.median(took) / 1000,
            "p99_us": took[len(took) * 99 // 100] / 1000,
        }

    def close(self) -> None:
        """Let the head go."""
        os.close(self._fd)


def compiled() -> tuple[Program, float]:
    """The program, attached, and the seconds it took."""
    began = time.monotonic()
    compilation = Compilation(65536)
    while True:
        select.select([compilation.channel], [], [])
        outcome = compilation.outcome()
        if isinstance(outcome, Program):
            return outcome, time.monotonic() - began
        if outcome is not None:
            raise RuntimeError(outcome)


def attach(program: Program) -> int:
    """Attach it again. :return: the attachment's descriptor."""
    name = ctypes.create_string_buffer(HOOK.encode())
    attributes = struct.pack("=QIxxxx", ctypes.addressof(name), program.program)
    return bpf(RAW_TRACEPOINT_OPEN, attributes)[0]


def runs(program: Program) -> tuple[int, int]:
    """(runs, nanoseconds in all): run_cnt and run_time_ns of ``struct bpf_prog_info``."""
    info = ctypes.create_string_buffer(208)
    bpf(OBJECT_INFO, struct.pack("=IIQ", program.program, 208, ctypes.addressof(info)))
    nanoseconds, count = struct.unpack_from("=QQ", info.raw, 192)
    return count, nanoseconds


def measure(rounds: int) -> dict[str, Any]:
    """Each workload in each state, a slice of each in turn, ``rounds`` times."""
    program, seconds = compiled()
    os.close(program.attachment)
    watched = Watched(*program.maps, program.missed, lambda: True)
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in WORKLOADS}
    with Rig() as rig:
        settings = {kind: Setting(rig, kind) for kind in ("zero", "disk")}
        for name, (kind, length) in WORKLOADS.items():
            writer = Writer(settings[kind].head, length)
            writer.write(SLICE_SECONDS)
            for state in STATES * rounds:
                found = in_state(state, program, watched, settings[kind].layer, writer)
                results[name].append({"state": state, **found})
            writer.close()
        count, nanoseconds = timed(program, watched, settings["zero"])
    return {
        "workloads": results,
        "compile_seconds": seconds,
        "events": count,
        "ns": nanoseconds / max(count, 1),
    }


def in_state(
    state: str, program: Program, watched: Watched, layer: Device, writer: Writer
) -> dict[str, float]:
    """A slice with the program in a state."""
    if state == "detached":
        return writer.write(SLICE_SECONDS)
    attachment = attach(program)
    watch = watched.add(layer.devno if state == "traced" else "1:15", state)
    found = writer.write(SLICE_SECONDS)
    counted = watched.read(watch.trace, blocks=False).counters.writes
    assert bool(counted) == (state == "traced"), (state, counted)
    watched.drop(watch.trace)
    os.close(attachment)
    return found


def timed(program: Program, watched: Watched, setting: Setting) -> tuple[int, int]:
    """The program's own time, as the kernel measures it."""
    STATS.write_text("1")
    attachment = attach(program)
    watch = watched.add(setting.layer.devno, "timed")
    writer = Writer(setting.head, 4 * KIB)
    before = runs(program)
    writer.write(2.0)
    after = runs(program)
    writer.close()
    watched.drop(watch.trace)
    os.close(attachment)
    STATS.write_text("0")
    return after[0] - before[0], after[1] - before[1]
