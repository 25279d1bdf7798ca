"""Freezing real devices: run inside a guest."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dm_tables.device import Device
from dm_tables.freezer import FreezeFailed, Freezer
from dm_tables.guard import leftovers
from dm_tables.ioctl import DM_DEV_SUSPEND, Control
from dm_tables.table import Table
from dm_tables.targets import Delay, Leg, Linear
from dm_tables.units import MIB, Sectors
from dm_tables.window import FreezePlan, HeadPlan, Token, Window
from tests.guest.inside.log_writes import Log
from tests.guest.inside.rig import SIZE, STORE, STORES, Disk, Rig, Volume, Writer, blank
from tests.guest.inside.trace import Trace

MOUNTPOINT = Path("/mnt/frozen")

FLUSH_MS = 1500
"""How long a flush takes while a process is killed: the window is open for as long."""


@contextmanager
def frozen_by() -> Iterator[Freezer]:
    """A freezer with its processes, until the end."""
    freezer = Freezer(lock=Path("/run/freezer-test.lock"))
    freezer.start()
    try:
        yield freezer
    finally:
        freezer.close()


@contextmanager
def mounted(volume: Volume) -> Iterator[Path]:
    """An ext4 on the head."""
    MOUNTPOINT.mkdir(exist_ok=True)
    subprocess.run(["mkfs.ext4", "-q", "-E", "lazy_itable_init=1", volume.head], check=True)
    subprocess.run(["mount", volume.head, MOUNTPOINT], check=True)
    try:
        yield MOUNTPOINT
    finally:
        subprocess.run(["umount", MOUNTPOINT], check=True)


def plan_of(*volumes: Volume, deadline: float = 30.0, lockfs: bool = True) -> FreezePlan:
    """The next freeze of volumes that nothing is mounted on."""
    return FreezePlan(tuple(v.plan() for v in volumes), deadline, lockfs)


def pauses(heads: int, cycles: int, writing: bool) -> dict[str, Any]:
    """The times of some freezes of a group, and the longest that a write took meanwhile."""
    results: list[dict[str, Any]] = []
    with Rig() as rig, frozen_by() as freezer:
        volumes = [Volume(rig, f"pause{number}") for number in range(heads)]
        for _ in range(cycles):
            for volume in volumes:
                volume.push()
            writer = Writer(*(volume.head for volume in volumes)) if writing else None
            if writer:
                writer.wait(3)
            result = freezer.freeze(plan_of(*volumes))
            if writer:
                writer.wait(1)
                writer.stop()
            results.append(
                {
                    "pause_us": result.pause_us,
                    "fsync_us": result.fsync_us,
                    "suspended_us": result.suspended_us,
                    "sync_us": result.sync_us,
                    "write_us": writer.longest_us if writer else 0,
                }
            )
        return {
            "results": results,
            "moved": [volume.on for volume in volumes] == [cycles] * heads,
            "locked": freezer.locked_in_memory,
            "memory": [_memory(pid) for pid in freezer.pids],
        }


def _memory(pid: int) -> dict[str, Any]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (locked,) = (int(line.split()[1]) for line in lines if line.startswith("VmLck:"))
    return {
        "locked_kib": locked,
        "oom": Path(f"/proc/{pid}/oom_score_adj").read_text().strip(),
    }


def traced() -> dict[str, list[str]]:
    """The freezer's system calls and page faults, in the window of its second freeze and around."""
    with Rig() as rig, frozen_by() as freezer:
        volumes = [Volume(rig, f"traced{number}") for number in range(2)]
        for _ in range(2):
            for volume in volumes:
                volume.push()
            with Trace(freezer.pids[1]) as trace:
                freezer.freeze(plan_of(*volumes))
    first = trace.events.index(f"ioctl {DM_DEV_SUSPEND:x}")
    last = len(trace.events) - trace.events[::-1].index(f"ioctl {DM_DEV_SUSPEND:x}")
    return {
        "within": trace.events[first:last],
        "around": trace.events[:first] + trace.events[last:],
    }


def filesystem(lockfs: bool) -> dict[str, Any]:
    """Freeze a filesystem that is written to, and look at the frozen image."""
    with Rig() as rig, frozen_by() as freezer:
        volume = Volume(rig, "fs")
        volume.push()
        with mounted(volume) as folder:
            (folder / "before").write_bytes(b"x" * MIB)
            os.sync()
            (folder / "dirty").write_bytes(b"y" * MIB)
            plan = FreezePlan((volume.plan(folder),), 30.0, lockfs)
            result = freezer.freeze(plan)
            (folder / "after").write_bytes(b"z")
        frozen = volume.layers[0]
        features = subprocess.run(
            ["dumpe2fs", "-h", frozen], capture_output=True, text=True, check=True
        ).stdout
        check = subprocess.run(["e2fsck", "-fn", frozen], capture_output=True, check=False)
        return {
            "needs_recovery": "needs_recovery" in features,
            "e2fsck": check.returncode,
            "files": _files(rig, frozen),
            "pause_us": result.pause_us,
            "sync_us": result.sync_us,
        }


def _files(rig: Rig, frozen: Device) -> dict[str, int]:
    # What is frozen is claimed by the layer above; a linear over it can be mounted.
    table = Table.single(SIZE, Linear(frozen.devno, Sectors(0)))
    view = rig.make("view", table)
    MOUNTPOINT.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", "ro", view, MOUNTPOINT], check=True)
    try:
        return {path.name: path.stat().st_size for path in MOUNTPOINT.iterdir() if path.is_file()}
    finally:
        subprocess.run(["umount", MOUNTPOINT], check=True)


class WritesLate(Control):
    """Writes once more, unflushed and acknowledged, just before the head is suspended."""

    def __init__(self, late: Callable[[], None]) -> None:
        super().__init__()
        self._late = late

    def suspend(self, name: str) -> None:
        self._late()
        super().suspend(name)


def flushes(fsync: bool) -> dict[str, int]:
    """What the auxiliary volume saw from the last acknowledged write to the end of the window."""
    with Rig() as rig, frozen_by() as freezer:
        volume = Volume(rig, "flush")
        log = Log(rig)
        volume.push(log.device)
        freezer.freeze(plan_of(volume))
        disk = Disk(volume.head)
        disk.write(1)
        disk.flush()
        volume.push()

        def late() -> None:
            disk.write(2)
            log.mark("acknowledged")

        _window(volume, late, os.fsync if fsync else lambda _: None)
        log.mark("swapped")
        disk.close()
        between = log.between("acknowledged", "swapped")
        return {"flushes": sum(entry.flush for entry in between), "on": volume.on}


def _window(volume: Volume, late: Callable[[], None], fsync: Callable[[int], None]) -> None:
    dm, token = WritesLate(late), Token.create()
    dm.prepare([volume.head.name], lockfs=False)
    layer = os.open(volume.layers[volume.on], os.O_RDONLY)
    token.put()
    far = time.monotonic_ns() + 10**12
    window = Window(dm, [volume.head.name], [layer], token, far, fsync=fsync)
    window.run()
    assert window.failure is None
    for descriptor in (layer, token.fd):
        os.close(descriptor)
    dm.close()


def slow_store(rig: Rig, milliseconds: int) -> Device:
    """An auxiliary volume whose flushes take long."""
    under = rig.slice(STORES, STORE)
    blank(under)
    leg = Leg(under.devno, Sectors(0), 0)
    slow = Leg(under.devno, Sectors(0), milliseconds)
    return rig.make("slow", Table.single(STORE, Delay(leg, leg, slow)))


@contextmanager
def on_slow_store(rig: Rig, freezer: Freezer, milliseconds: int) -> Iterator[Volume]:
    """A volume on a layer whose flush takes long, with its next table loaded."""
    volume = Volume(rig, "slow-volume")
    volume.push(slow_store(rig, milliseconds))
    freezer.freeze(plan_of(volume))
    volume.push()
    yield volume


def outlived(milliseconds: int, deadline: float) -> dict[str, Any]:
    """A flush that takes longer than the window may: what becomes of the head, and of writes."""
    with (
        Rig() as rig,
        frozen_by() as freezer,
        on_slow_store(rig, freezer, milliseconds) as volume,
    ):
        writer = Writer(volume.head)
        writer.wait(1)  # the first write to a chunk flushes, and takes as long
        writer.longest_us = 0
        pids = freezer.pids
        failed = _failure(lambda: freezer.freeze(plan_of(volume, deadline=deadline)))
        writer.wait(1)
        writer.stop()
        stalled, on = writer.longest_us, volume.on
        waiting = rig.dmsetup.table(volume.head.name, inactive=True)
        volume.load()
        freezer.freeze(plan_of(volume))
        return {
            **failed,
            "stalled_us": stalled,
            "on": on,
            "cleared": waiting is None,
            "next": volume.on,
            "same processes": pids == freezer.pids,
        }


def _failure(action: Callable[[], object]) -> dict[str, Any]:
    try:
        action()
    except FreezeFailed as error:
        return {
            "step": error.step.value,
            "heads": [[head.table.value, head.suspended] for head in error.heads],
            "what": error.what,
        }
    return {"step": "none"}


def killed(who: str) -> dict[str, Any]:
    """SIGKILL one of the processes while the head is suspended and being flushed."""
    with Rig() as rig, frozen_by() as freezer, on_slow_store(rig, freezer, FLUSH_MS) as volume:
        _dirty(volume)
        found: dict[str, Any] = {}

        def freeze() -> None:
            found.update(_failure(lambda: freezer.freeze(plan_of(volume, deadline=60))))

        thread = threading.Thread(target=freeze)
        thread.start()
        guard, freezing = freezer.pids
        _until_suspended(volume.head.name, True)
        os.kill(guard if who == "guard" else freezing, signal.SIGKILL)
        began = time.monotonic()
        thread.join()
        found["seconds"] = time.monotonic() - began
        found["on"] = volume.on
        found["suspended"] = _suspended(volume.head.name)
        if volume.on == 1:
            volume.load()
        else:
            volume.push()
        freezer.freeze(plan_of(volume))
        found["next"] = volume.on
        return found


def killed_idle(who: str) -> dict[str, Any]:
    """SIGKILL one of the processes while nothing is frozen, and freeze."""
    with Rig() as rig, frozen_by() as freezer:
        volume = Volume(rig, "idle")
        before = freezer.pids
        guard, freezing = before
        os.kill(guard if who == "guard" else freezing, signal.SIGKILL)
        volume.push()
        freezer.freeze(plan_of(volume))
        return {"on": volume.on, "both are new": not set(before) & set(freezer.pids)}


def unguarded() -> dict[str, Any]:
    """SIGKILL guard and freezer both: nobody is left to free the head but the next daemon."""
    with Rig() as rig, frozen_by() as freezer, on_slow_store(rig, freezer, FLUSH_MS) as volume:
        _dirty(volume)
        found: dict[str, Any] = {}

        def freeze() -> None:
            found.update(_failure(lambda: freezer.freeze(plan_of(volume, deadline=60))))

        thread = threading.Thread(target=freeze)
        thread.start()
        pids = freezer.pids
        _until_suspended(volume.head.name, True)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        thread.join()
        freezer.start()
        control = Control()
        with contextlib.closing(control):
            freed = leftovers(control)
        found["freed"] = [[left.name, left.cleared, left.running] for left in freed]
        found["on"] = volume.on
        return found


def _dirty(volume: Volume) -> None:
    disk = Disk(volume.head)
    disk.write(1)
    disk.write(2)
    disk.close()


def _suspended(name: str) -> bool:
    control = Control()
    with contextlib.closing(control):
        return control.state(name).suspended


def _until_suspended(name: str, wanted: bool) -> float:
    began = time.monotonic()
    control = Control()
    with contextlib.closing(control):
        while control.state(name).suspended is not wanted:
            assert time.monotonic() - began < 60
            time.sleep(0.01)
    return time.monotonic() - began


def orphaned() -> dict[str, Any]:
    """SIGKILL the daemon while its window is open: the freezer finishes, and goes."""
    with Rig() as rig, frozen_by() as freezer, on_slow_store(rig, freezer, FLUSH_MS) as volume:
        _dirty(volume)
        freezer.close()
        argv = [sys.executable, "-m", __name__, volume.head.name, volume.plan().rsv_path]
        daemon = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        assert daemon.stdout is not None
        pids = [int(word) for word in daemon.stdout.readline().split()]
        _until_suspended(volume.head.name, True)
        daemon.send_signal(signal.SIGTERM)
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
        daemon.kill()
        daemon.wait()
        took = _until_suspended(volume.head.name, False)
        # The next daemon's freezer starts once theirs have let go of the lock.
        freezer.start()
        gone = [not Path(f"/proc/{pid}/cmdline").exists() or _zombie(pid) for pid in pids]
        return {"on": volume.on, "seconds": took, "gone": gone}


def _zombie(pid: int) -> bool:
    return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()


def group(together: bool, cycles: int) -> list[list[int]]:
    """The numbers on each frozen image, of a writer that counts onto three volumes in turn."""
    found: list[list[int]] = []
    with Rig() as rig, frozen_by() as freezer:
        volumes = [Volume(rig, f"group{number}") for number in range(3)]
        for cycle in range(cycles):
            for volume in volumes:
                volume.push()
            writer = Writer(*(volume.head for volume in volumes))
            writer.wait(5)
            for members in [volumes] if together else [[volume] for volume in volumes]:
                freezer.freeze(plan_of(*members))
                writer.wait(2)
            writer.stop()
            found.append([_number(volume.layers[cycle]) for volume in volumes])
    return found


def _number(device: Device) -> int:
    disk = Disk(device)
    try:
        return disk.read()
    finally:
        disk.close()


def left_over() -> dict[str, Any]:
    """A head and a layer that somebody left suspended, one with a table waiting."""
    with Rig() as rig:
        volume = Volume(rig, "left")
        volume.push()
        plain = rig.make("plain", Table.single(SIZE, Linear(STORES, Sectors(0))))
        for device in (volume.head, volume.layers[0], plain):
            rig.dmsetup.suspend(device.name)
        control = Control()
        with contextlib.closing(control):
            freed = leftovers(control)
            again = leftovers(control)
        found = {
            "freed": [[left.name, left.cleared, left.running] for left in freed],
            "again": len(again),
            "on": volume.on,
            "others": _suspended(plain.name),
        }
        rig.dmsetup.resume(plain.name)
        return found


def already_frozen() -> dict[str, Any]:
    """A filesystem that somebody else has frozen."""
    with Rig() as rig, frozen_by() as freezer:
        volume = Volume(rig, "fsfrozen")
        volume.push()
        with mounted(volume) as folder:
            subprocess.run(["fsfreeze", "--freeze", folder], check=True)
            try:
                plan = FreezePlan((volume.plan(folder),), 30.0)
                found = _failure(lambda: freezer.freeze(plan))
            finally:
                subprocess.run(["fsfreeze", "--unfreeze", folder], check=True)
            (folder / "goes-on").write_bytes(b"x")
            volume.load()
            freezer.freeze(plan)
        found["next"] = volume.on
        return found


def main() -> None:
    """A daemon that freezes one head: its name and its layer are the arguments."""
    name, rsv = sys.argv[1:]
    freezer = Freezer(lock=Path("/run/freezer-test.lock"))
    freezer.start()
    print(*freezer.pids, flush=True)
    freezer.freeze(FreezePlan((HeadPlan(name, rsv),), 60.0))


if __name__ == "__main__":
    main()
