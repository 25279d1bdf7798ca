"""Two processors that write to one layer at once, into the same words of its bitmap."""

from __future__ import annotations

import mmap
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from bpf.compiling import SOURCE, compile_here
from bpf.layout import BLOCK, blocks_in, parse_regions
from bpf.watching import Watched
from dm_tables.device import Device
from dm_tables.table import Table
from dm_tables.targets import Linear, Zero
from dm_tables.units import SECTOR, Sectors
from tests.guest.inside.rig import Rig

WRITES = 20000
PROCESSORS = 2
SIZE = Sectors(PROCESSORS * WRITES * BLOCK // SECTOR)
IN_ONE = {
    "__sync_fetch_and_add(&(field), (by))": "APART(field, +, by)",
    "__sync_fetch_and_or(&region->words[word & (WORDS - 1)], mask)": (
        "APART(region->words[word & (WORDS - 1)], |, mask)"
    ),
}
APART = """
#define APART(field, with, by) do { \\
	u64 was = *(volatile u64 *)&(field); \\
	bpf_get_prandom_u32(); \\
	*(volatile u64 *)&(field) = was with (by); \\
} while (0)
"""
"""A read and a write with something in between."""


def counted(*, apart: bool = False) -> dict[str, Any]:
    """Write from both at once; what was counted, of what there was to count.

    :param apart: the negative control: the program reads, then writes, what it counts.
    """
    program = compile_here(source=_source(apart))
    watched = Watched(*program.maps, program.missed, program.attached)
    with Rig() as rig:
        layer = rig.make("nothing", Table.single(SIZE, Zero()))
        head = rig.make("both", Table.single(SIZE, Linear(layer.devno, Sectors(0))))
        watch = watched.add(layer.devno, "both")
        write(head)
        reading = watched.read(watch.trace, blocks=True)
    program.close()
    counters = reading.counters
    return {
        "processors": os.cpu_count(),
        "why_lost": reading.why_lost,
        "writes": counters.writes,
        "bytes": counters.bytes,
        "sizes": sum(counters.sizes),
        "alignments": sum(counters.alignments),
        "blocks": sum(1 for _ in blocks_in(parse_regions(reading.regions))),
    }


def _source(apart: bool) -> Path:
    if not apart:
        return SOURCE
    text = SOURCE.read_text()
    for one, other in IN_ONE.items():
        assert text.count(one) == 1, one
        text = text.replace(one, other)
    path = Path(tempfile.mkdtemp()) / "apart.c"
    path.write_text(APART + text)
    return path


def write(head: Device) -> None:
    """Each processor writes every other block, from a process of its own."""
    begin = time.monotonic() + 0.5
    children = [_writer(head, number, begin) for number in range(PROCESSORS)]
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert not any(codes), codes


def _writer(head: Device, number: int, begin: float) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.sched_setaffinity(0, {number})
        descriptor = os.open(head, os.O_RDWR | os.O_DIRECT)
        page = mmap.mmap(-1, BLOCK)
        while time.monotonic() < begin:
            pass
        for block in range(number, PROCESSORS * WRITES, PROCESSORS):
            os.pwrite(descriptor, page, block * BLOCK)
        code = 0
    finally:
        os._exit(code)
