"""fio on a head, with the program in each of its states."""

from __future__ import annotations

import ctypes
import json
import os
import select
import struct
import subprocess
import time
from pathlib import Path
from typing import Any

from bpf.compiling import HOOK, Compilation, Program
from bpf.syscalls import OBJECT_INFO, bpf
from bpf.watching import Watched
from dm_tables.device import Device
from tests.guest.inside.tracing import stack

RAW_TRACEPOINT_OPEN = 17
SECONDS = 4
STATS = Path("/proc/sys/kernel/bpf_stats_enabled")
WORKLOADS = {
    "4 KiB random writes, one at a time": ["--bs=4k", "--rw=randwrite", "--iodepth=1"],
    "4 KiB random writes, 16 at a time": ["--bs=4k", "--rw=randwrite", "--iodepth=16"],
    "128 KiB writes in order, 4 at a time": ["--bs=128k", "--rw=write", "--iodepth=4"],
}


def fio(head: Device, options: list[str]) -> dict[str, float]:
    """One round: IOPS, and latencies in microseconds."""
    words = ["fio", "--name=head", f"--filename={head.path}", "--direct=1", "--ioengine=libaio"]
    words += ["--time_based", f"--runtime={SECONDS}", "--output-format=json", "--randseed=7"]
    done = subprocess.run([*words, *options], check=True, capture_output=True, text=True)
    write = json.loads(done.stdout)["jobs"][0]["write"]
    return {
        "iops": write["iops"],
        "mean_us": write["clat_ns"]["mean"] / 1000,
        "p99_us": write["clat_ns"]["percentile"]["99.000000"] / 1000,
    }


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
    return bpf(
        RAW_TRACEPOINT_OPEN, struct.pack("=QIxxxx", ctypes.addressof(name), program.program)
    )[0]


def runs(program: Program) -> tuple[int, int]:
    """(runs, nanoseconds in all): run_cnt and run_time_ns of ``struct bpf_prog_info``."""
    info = ctypes.create_string_buffer(208)
    bpf(OBJECT_INFO, struct.pack("=IIQ", program.program, 208, ctypes.addressof(info)))
    nanoseconds, count = struct.unpack_from("=QQ", info.raw, 192)
    return count, nanoseconds


def measure(rounds: int) -> dict[str, Any]:
    """Each workload in each state, ``rounds`` times in turn."""
    program, seconds = compiled()
    os.close(program.attachment)
    watched = Watched(*program.maps, program.missed)
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in WORKLOADS}
    with stack() as one:
        for name, options in WORKLOADS.items():
            fio(one.head, options)
            for _ in range(rounds):
                for state, devno in states(one.layer):
                    attachment = attach(program) if devno else -1
                    watch = watched.add(devno, state) if devno else None
                    results[name].append({"state": state, **fio(one.head, options)})
                    if watch is not None:
                        assert bool(watched.read(watch.trace, blocks=False).counters.writes) == (
                            state == "traced"
                        )
                        watched.drop(watch.trace)
                        os.close(attachment)
        count, nanoseconds = timed(program, watched, one.layer, one.head)
    return {
        "workloads": results,
        "compile_seconds": seconds,
        "events": count,
        "ns": nanoseconds / max(count, 1),
    }


def states(layer: Device) -> list[tuple[str, str]]:
    """What the program is attached for; the empty one: it is not."""
    return [("detached", ""), ("elsewhere", "1:15"), ("traced", layer.devno)]


def timed(program: Program, watched: Watched, layer: Device, head: Device) -> tuple[int, int]:
    """The program's own time, as the kernel measures it."""
    STATS.write_text("1")
    attachment = attach(program)
    watch = watched.add(layer.devno, "timed")
    before = runs(program)
    fio(head, WORKLOADS["4 KiB random writes, 16 at a time"])
    after = runs(program)
    watched.drop(watch.trace)
    os.close(attachment)
    STATS.write_text("0")
    return after[0] - before[0], after[1] - before[1]
