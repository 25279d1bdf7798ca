"""Hundreds of freezes of a group under the stamps' writer: run inside a guest.

Each head goes back and forth between two layers: the one it has left is the frozen image until
the next freeze has been judged. Tables are loaded by ioctl: a fork of dmsetup for each would take
longer than the freezes.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from dm_tables import names
from dm_tables.device import Device
from dm_tables.ioctl import CONTROL, HEADER, SPEC, VERSION
from dm_tables.table import Table
from dm_tables.targets import Linear
from dm_tables.units import MIB, SECTOR, Sectors
from dm_tables.window import FreezePlan, HeadPlan
from tests.guest.inside.freezes import frozen_by
from tests.guest.inside.rig import BASES, Rig
from tests.workload.stamps import Found, judge, look

SIZE = Sectors(4 * MIB // SECTOR)
DM_TABLE_LOAD = 3 << 30 | HEADER.size << 16 | 0xFD << 8 | 9


class Member:
    """A head and its two layers."""

    def __init__(self, rig: Rig, name: str) -> None:
        self.layers = [self._layer(rig) for _ in range(2)]
        self.on = 0
        table = Table.single(SIZE, Linear(self.layers[0].devno, Sectors(0)))
        self.head = rig.make(names.head_name(name), table, names.head_uuid(uuid.uuid4()))
        self.newest = 0
        self.since = 0

    def _layer(self, rig: Rig) -> Device:
        layer = rig.slice(BASES, SIZE)
        with open(layer, "wb", buffering=0) as file:
            file.write(bytes(SIZE * SECTOR))
        return layer

    def load(self, control: int) -> None:
        """Load the head's next table, over the layer that it is not on."""
        other = self.layers[1 - self.on]
        text = f"{other.devno} 0\0".encode()
        room = -(-len(text) // 8) * 8
        spec = SPEC.pack(0, SIZE, 0, SPEC.size + room, b"linear") + text.ljust(room, b"\0")
        start, size = HEADER.size, HEADER.size + len(spec)
        about = (start, 1, 0, 0, 0, 0, 0, self.head.name.encode(), b"")
        fcntl.ioctl(control, DM_TABLE_LOAD, bytearray(HEADER.pack(*VERSION, size, *about) + spec))

    def plan(self) -> HeadPlan:
        """The next freeze."""
        return HeadPlan(self.head.name, str(self.layers[self.on].path))

    def frozen(self) -> Found:
        """What the layer holds that the head just left."""
        self.on = 1 - self.on
        (found,) = look([str(self.layers[1 - self.on].path)])
        # Below what it held at the last freeze, this layer has leftovers of an older one.
        recent = frozenset(number for number in found.numbers if number > self.newest)
        self.since, self.newest = self.newest, max(self.newest, found.newest)
        return Found(recent | {self.newest}, found.torn)

    def live(self) -> int:
        """The newest stamp since the last freeze."""
        (found,) = look([str(self.layers[self.on].path)])
        return found.newest


@contextmanager
def stamping(members: Sequence[Member]) -> Iterator[subprocess.Popen[str]]:
    """The writer, as a process of its own."""
    heads = [str(member.head.path) for member in members]
    argv = [sys.executable, "-m", "tests.workload.stamps", *heads]
    writer = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    try:
        yield writer
    finally:
        writer.send_signal(signal.SIGTERM)
        writer.wait()


def freezes(heads: int, cycles: int, together: bool) -> dict[str, Any]:
    """Freeze that many heads that many times; the instants with faults, and how far it went.

    Not ``together``: one head after another, with the writer going on in between.
    """
    faults: list[list[str]] = []
    instants: list[list[int]] = []
    control = os.open(CONTROL, os.O_RDWR)
    with Rig() as rig, frozen_by() as freezer:
        members = [Member(rig, f"stamped{number}") for number in range(heads)]
        with stamping(members) as writer:
            for _ in range(cycles):
                for member in members:
                    member.load(control)
                for group in [members] if together else [[member] for member in members]:
                    _goes_on(writer, group[-1])
                    freezer.freeze(FreezePlan(tuple(one.plan() for one in group), 30.0))
                found = [member.frozen() for member in members]
                instants.append([member.newest for member in members])
                if wrong := judge(found, [member.since for member in members]):
                    faults.append(wrong)
    os.close(control)
    return {"faults": faults[:5], "red": len(faults), "instants": instants}


def _goes_on(writer: subprocess.Popen[str], member: Member) -> None:
    """Until the writer has stamped a head twice more from now on."""
    deadline = time.monotonic() + 120
    goal = max(member.newest, member.live()) + 2
    while member.live() < goal:
        assert writer.poll() is None, "the writer ended"
        assert time.monotonic() < deadline, "the writer does not go on"
        time.sleep(0.002)
