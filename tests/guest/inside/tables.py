"""Tables, statuses and devices on the kernel's device-mapper: run inside a guest."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NoReturn, cast

from dm_tables import dmsetup as tool
from dm_tables import targets
from dm_tables.dmsetup import DmsetupFailed
from dm_tables.looking import Looks
from dm_tables.names import DmName, DmUuid
from dm_tables.status import parse_snapshot
from dm_tables.table import Extent, Segment, Table, linear_over
from dm_tables.targets import Delay, Flakey, Leg, Linear, Snapshot, Target
from dm_tables.units import Sectors
from tests.guest.inside.rig import BASES, CHUNK, LOGS, SIZE, STORE, STORES, Disk, Rig, Volume

S = Sectors


def versions() -> list[str]:
    """The driver's version, and targets that it has when asked to have them."""
    with Rig() as rig:
        rig.make("t", Table.single(SIZE, Snapshot(BASES, rig.store().devno, CHUNK)))
        return [rig.dmsetup.version().driver, *sorted(rig.dmsetup.targets())]


def round_trips() -> dict[str, list[str]]:
    """What the kernel prints for each target, and what does not come back equal."""
    printed: list[str] = []
    unequal: list[str] = []
    with Rig() as rig:
        cow, log = rig.store(), rig.slice(LOGS, S(2048))
        leg = Leg(BASES, S(8), 0)
        made: list[Target] = [
            targets.Error(),
            targets.Zero(),
            Linear(BASES, S(64)),
            Snapshot(BASES, str(cow.path), CHUNK),
            targets.SnapshotOrigin(BASES),
            Flakey(BASES, S(0), 10, 0),
            Flakey(BASES, S(0), 10, 1, ("drop_writes",)),
            Delay(Leg(BASES, S(8), 5)),
            Delay(leg, leg),
            Delay(leg, leg, Leg(BASES, S(8), 7)),
            targets.LogWrites(BASES, str(log.path)),
        ]
        for number, target in enumerate(made):
            table = Table.single(SIZE, target)
            device = rig.make(f"trip-{number}", table)
            kernels = device.table()
            assert kernels is not None
            printed.append(kernels.text().strip())
            if not device.matches(table) or device.matches(Table.single(S(8), target)):
                unequal.append(table.text())
            device.remove()
    return {"printed": printed, "unequal": unequal}


def ensured() -> list[str]:
    """What bringing a device to this and that table took, step by step."""
    spans = linear_over([Extent(BASES, S(0), S(64)), Extent(STORES, S(8), S(32))])
    other = Table.single(S(96), Linear(BASES, S(128)))
    with Rig() as rig:
        device = rig.make("ensured", spans)
        said = [device.ensure(spans).value, device.ensure(other).value]
        rig.dmsetup.load(device.name, spans)
        said.append(device.ensure(other).value)
        info = device.info()
        assert info is not None
        said.append(f"inactive {info.inactive}")
        rig.dmsetup.suspend(device.name)
        said.append(device.ensure(other).value)
        said.append(device.ensure(other, readonly=True).value)
        info = device.info()
        assert info is not None
        said.append(f"readonly {info.readonly} suspended {info.suspended}")
    return said


def refused() -> dict[str, Any]:
    """A swap that the kernel refuses, since the disk below ends: the device runs as before."""
    beyond = Table.single(SIZE, Linear(STORES, S(2**40)))
    with Rig() as rig:
        device = rig.make("refused", Table.single(SIZE, Linear(BASES, S(0))))
        before = device.table()
        error = _error(lambda: device.swap(beyond))
        disk = Disk(device)
        disk.write(5)
        disk.close()
        info = device.info()
        assert info is not None
        return {
            "error": error,
            "same": device.table() == before,
            "suspended": info.suspended,
            "inactive": info.inactive,
        }


def errors() -> dict[str, str]:
    """The type of error for each thing that cannot be."""
    zero = Table.single(S(8), targets.Zero())
    none = DmName("none-such")
    with Rig() as rig:
        dm = rig.dmsetup
        there = rig.make("there", zero)
        found = {
            "create twice": _error(lambda: dm.create(there.name, DmUuid("TEST-x"), zero)),
            "uuid twice": _error(lambda: dm.create(DmName("second"), there.uuid, zero)),
            "load": _error(lambda: dm.load(none, zero)),
            "status": _error(lambda: dm.status(none)),
            "suspend": _error(lambda: dm.suspend(none)),
            "resume": _error(lambda: dm.resume(none)),
            "remove": _error(lambda: dm.remove(none)),
            "clear": _error(lambda: dm.clear(none)),
            "table of none": str(dm.table(none)),
            "info of none": str(dm.info(none)),
        }
        bad = Table.single(S(8), targets.Other("nonsense", "x"))
        found["unknown target"] = _error(lambda: dm.load(there.name, bad))
        held = os.open(there, os.O_RDONLY)
        found["remove open"] = _error(lambda: dm.remove(there.name, retry=False))
        os.close(held)
        failed = _error(lambda: dm.create(DmName("half"), DmUuid("TEST-half"), bad))
        found["create with a bad table"] = failed
        found["left by it"] = str(dm.info(DmName("half")))
        found["missing program"] = _error(tool.Dmsetup(program="no-dmsetup").version)
        found["unprivileged"] = _unprivileged()
    return found


def _error(action: Callable[[], object]) -> str:
    try:
        action()
    except DmsetupFailed as error:
        return type(error).__name__
    return "nothing"


def _unprivileged() -> str:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.setuid(65534)
        os.write(write, _error(tool.Dmsetup().version).encode())
        os._exit(0)
    os.waitpid(child, 0)
    return os.read(read, 100).decode()


def statuses() -> dict[str, list[str]]:
    """A store from fresh to overflow, with and without PO."""
    found: dict[str, list[str]] = {}
    with Rig() as rig:
        for persistent in ("PO", "P"):
            cow = rig.store()
            target = Snapshot(BASES, cow.devno, CHUNK, persistent)
            device = rig.make(f"full-{persistent}", Table.single(SIZE, target))
            said: list[str] = []
            disk = Disk(device)
            for chunks in (0, 1, 4, 2 * STORE // CHUNK):
                try:
                    for chunk in range(chunks):
                        disk.write(1, chunk * CHUNK * 512)
                except OSError as error:
                    said.append(os.strerror(error.errno or 0))
                said.append(repr(parse_snapshot(device.status()[0].text)))
            disk.close()
            found[persistent] = said
    return found


def ioctl_agrees() -> list[str]:
    """Where looks by ioctl and dmsetup tell different things of the same devices: nowhere."""
    differences: list[str] = []

    def nobody(argv: tuple[str, ...], **_: object) -> NoReturn:
        raise AssertionError(f"a process was made: {argv}")

    def compare(what: str, told: object, seen: object) -> None:
        if told != seen:
            differences.append(f"{what}: {told} {seen}")

    with Rig() as rig:
        volume = Volume(rig, "agree")
        volume.push()
        two = Table(
            (
                Segment(S(0), S(8), targets.Zero()),
                Segment(S(8), S(8), Linear(BASES, S(0))),
                Segment(S(16), S(8), targets.Error()),
            )
        )
        many = rig.make("many-segments", two)
        rig.make("read-only", two).ensure(two, readonly=True)
        rig.dmsetup.suspend(volume.layers[1].name)
        rig.dmsetup.load(many.name, Table.single(S(8), targets.Zero()))
        told, looking = tool.Dmsetup(), tool.Dmsetup(cast(Any, nobody), looks=Looks())
        compare("list", told.list(""), looking.list(""))
        for info in told.list(""):
            name = DmName(info.name)
            compare(name, info, looking.info(name))
            compare(name, told.status(name), looking.status(name))
            for inactive in (False, True):
                table = told.table(name, inactive=inactive)
                compare(name, table, looking.table(name, inactive=inactive))
        if len(told.list("")) < 7 or not any(info.readonly for info in told.list("")):
            differences.append("not enough was compared")
        rig.dmsetup.resume(volume.layers[1].name)
    return differences
