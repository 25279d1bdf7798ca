"""Hundreds of freezes of a group under the stamps' writer: run inside a guest.

Each volume is a stack as frazil's: snapshots over a base, a new one on top with each freeze, and
the one below it merged into the base once it was judged. Tables are loaded by ioctl: a fork of
dmsetup for each would take longer than the freezes.
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
from contextlib import ExitStack, closing, contextmanager
from typing import Any

from control.limiter import RateLimiter
from control.merge import merge
from control.spans import Span
from control.store.reader import StoreReader
from dm_tables import names
from dm_tables.device import Device
from dm_tables.ioctl import CONTROL, DM_DEV_SUSPEND, HEADER, SPEC, VERSION, request
from dm_tables.table import Table
from dm_tables.targets import Linear, Snapshot, Target
from dm_tables.units import KIB, MIB, SECTOR, Bytes, Sectors
from dm_tables.window import FreezePlan, HeadPlan
from tests.guest.inside.freezes import frozen_by
from tests.guest.inside.rig import BASES, STORES, Rig
from tests.workload.device_io import DeviceWriter
from tests.workload.stamps import Found, judge, look

SIZE = Sectors(2 * MIB // SECTOR)
STORE = Sectors(MIB // SECTOR)
CHUNK = Bytes(4 * KIB)
DM_TABLE_LOAD = 3 << 30 | HEADER.size << 16 | 0xFD << 8 | 9


class Tables:
    """Loads and resumes."""

    def __init__(self) -> None:
        self._control = os.open(CONTROL, os.O_RDWR)

    def load(self, device: Device, target: Target) -> None:
        """A device's next table, of one target."""
        text = f"{target.params()}\0".encode()
        room = -(-len(text) // 8) * 8
        spec = SPEC.pack(0, SIZE, 0, SPEC.size + room, target.kind.encode()) + text.ljust(
            room, b"\0"
        )
        start, size = HEADER.size, HEADER.size + len(spec)
        about = (start, 1, 0, 0, 0, 0, 0, device.name.encode(), b"")
        asked = bytearray(HEADER.pack(*VERSION, size, *about) + spec)
        fcntl.ioctl(self._control, DM_TABLE_LOAD, asked)

    def swap(self, device: Device, target: Target) -> None:
        """Load it, and put it in place."""
        self.load(device, target)
        fcntl.ioctl(self._control, DM_DEV_SUSPEND, bytearray(request(device.name)))

    def close(self) -> None:
        """Let the control node go."""
        os.close(self._control)


class Member:
    """A volume: its head, and three layer devices that take turns.

    One is live, one below it was frozen last, and the third will be the next live one.
    """

    def __init__(self, rig: Rig, tables: Tables, name: str) -> None:
        self._tables = tables
        self._base = rig.slice(BASES, SIZE)
        self._below = Linear(self._base.devno, Sectors(0))
        with open(self._base, "wb", buffering=0) as file:
            file.write(bytes(SIZE * SECTOR))
            os.fsync(file.fileno())
        self._stores = [rig.slice(STORES, STORE) for _ in range(2)]
        self._blankers = [DeviceWriter(store.path) for store in self._stores]
        plain = Table.single(SIZE, self._below)
        self._layers = [rig.make(names.layer_name(name, number), plain) for number in range(3)]
        self.freezes = 0
        self._make_live(0, self._base)
        table = Table.single(SIZE, Linear(self._layer(0).devno, Sectors(0)))
        self.head = rig.make(names.head_name(name), table, names.head_uuid(uuid.uuid4()))

    def _layer(self, number: int) -> Device:
        return self._layers[number % len(self._layers)]

    def _make_live(self, number: int, below: Device) -> None:
        """A snapshot of what is below, on a blank store."""
        turn = number % len(self._stores)
        self._blankers[turn].write_direct(0, bytes(2 * CHUNK))
        cow = self._stores[turn].devno
        target = Snapshot(below.devno, cow, Sectors(CHUNK // SECTOR))
        self._tables.swap(self._layer(number), target)

    @property
    def live(self) -> Device:
        """The layer that is written to."""
        return self._layer(self.freezes)

    def prepare(self) -> HeadPlan:
        """Make the next layer and the head's next table; the freeze that is to come."""
        self._make_live(self.freezes + 1, self.live)
        self._tables.load(self.head, Linear(self._layer(self.freezes + 1).devno, Sectors(0)))
        return HeadPlan(self.head.name, str(self.live.path))

    def frozen(self) -> Found:
        """What the layer holds that the head just left."""
        left = self.live
        self.freezes += 1
        (found,) = look([str(left.path)])
        return found

    def merge(self) -> None:
        """Fold the layer that the head left last into the base."""
        number = self.freezes - 1
        store = self._stores[number % len(self._stores)]
        length = Bytes(SIZE * SECTOR)
        with StoreReader(store.path, length, CHUNK) as reader:
            merge(reader, (Span(self._base.path, Bytes(0), length),), limiter=RateLimiter())
        self._tables.swap(self._layer(number), self._below)

    def newest(self) -> int:
        """The newest stamp on it."""
        (found,) = look([str(self.live.path)])
        return found.newest

    def close(self) -> None:
        """Let the stores go."""
        for blanker in self._blankers:
            blanker.close()


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
    began = time.monotonic()
    with Rig() as rig, frozen_by() as freezer, ExitStack() as stack:
        tables = stack.enter_context(closing(Tables()))
        members = [
            stack.enter_context(closing(Member(rig, tables, f"stamped{number}")))
            for number in range(heads)
        ]
        with stamping(members) as writer:
            for _ in range(cycles):
                plans = {member: member.prepare() for member in members}
                for group in [members] if together else [[member] for member in members]:
                    _goes_on(writer, group[-1])
                    freezer.freeze(FreezePlan(tuple(plans[one] for one in group), 30.0))
                found = [member.frozen() for member in members]
                instants.append([one.newest for one in found])
                if wrong := judge(found):
                    faults.append(wrong)
                for member in members:
                    member.merge()
    seconds = time.monotonic() - began
    return {"faults": faults[:5], "red": len(faults), "instants": instants, "seconds": seconds}


def _goes_on(writer: subprocess.Popen[str], member: Member) -> None:
    """Until the writer has stamped a head twice more from now on."""
    deadline = time.monotonic() + 120
    goal = member.newest() + 2
    while member.newest() < goal:
        assert writer.poll() is None, "the writer ended"
        assert time.monotonic() < deadline, "the writer does not go on"
        time.sleep(0.002)
