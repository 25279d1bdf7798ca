"""Loop devices over whole files, found again by the file's inode: never two over one file.

Loop devices read and write their file with direct I/O where its filesystem can; where not
(tmpfs), the file's page cache is the same for the loop device and for the file's other readers.
"""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from control.pool.errors import LoopFailed, ObjectBusy, ToolFailed
from control.pool.tools import Tool
from dm_tables.units import SECTOR

LOSETUP = Tool("losetup", "mount", LoopFailed)
MODPROBE = Tool("modprobe", "kmod", LoopFailed)
CONTROL = Path("/dev/loop-control")
SYS_BLOCK = Path("/sys/block")
GOING_AWAY_SECONDS = 5.0
"""How long a loop device that is given up may take to go away."""

_COLUMNS = "NAME,OFFSET,SIZELIMIT,AUTOCLEAR,RO"
_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class LoopDevice:
    """A loop device over a file. ``going``: it goes away at its last close (autoclear)."""

    path: str
    whole: bool
    going: bool
    readonly: bool

    @property
    def _sys(self) -> Path:
        return SYS_BLOCK / self.path.removeprefix("/dev/")

    def holders(self) -> list[str]:
        """The devices that stand on it: ``["dm-3"]``."""
        directory = self._sys / "holders"
        return sorted(one.name for one in directory.iterdir()) if directory.is_dir() else []

    def size(self) -> int:
        """Its capacity in bytes, as the kernel has it."""
        return int((self._sys / "size").read_text()) * SECTOR


def find_loop(file: Path, tool: Tool = LOSETUP) -> str | None:
    """The loop device over the whole of ``file``, or None."""
    usable = [one for one in _loops_of(file, tool) if _is_usable(one)]
    return usable[0].path if usable else None


def attach_loop(file: Path, tool: Tool = LOSETUP) -> str:
    """The loop device over the whole of ``file``, made if there is none, of the file's size now.

    :raises LoopFailed: losetup or the kernel refused.
    :raises ObjectBusy: a loop device over it is going away, and does not go.
    """
    with _lock:
        there = _settled(file, tool)
        for one in there:
            if _is_usable(one):
                if one.size() != file.stat().st_size // SECTOR * SECTOR:
                    tool.call("--set-capacity", one.path)
                return one.path
        if there:
            raise ObjectBusy(file, [f"{one.path} (another kind of loop)" for one in there])
        _load_module()
        direct = "on" if _takes_direct_io(file) else "off"
        return tool.call("--find", "--show", f"--direct-io={direct}", str(file)).strip()


def detach_loop(file: Path, tool: Tool = LOSETUP) -> None:
    """Give up the loop device over ``file``, and wait until it is gone.

    :raises ObjectBusy: a device stands on it, or something keeps it open.
    """
    with _lock:
        for one in _loops_of(file, tool):
            if holders := one.holders():
                raise ObjectBusy(one.path, holders)
            if not one.going:
                tool.call("--detach", one.path)
        left = _wait_until_gone(lambda: _loops_of(file, tool))
        if left:
            raise ObjectBusy(file, [one.path for one in left])


def refresh_loop(file: Path, tool: Tool = LOSETUP) -> None:
    """Let the loop device over ``file``, where there is one, have the file's size now."""
    with _lock:
        device = find_loop(file, tool)
        if device is not None:
            tool.call("--set-capacity", device)


def _is_usable(loop: LoopDevice) -> bool:
    return loop.whole and not loop.going and not loop.readonly


def _settled(file: Path, tool: Tool) -> list[LoopDevice]:
    """The loop devices over ``file``, after those that are going away have gone."""

    def going() -> list[LoopDevice]:
        return [one for one in _loops_of(file, tool) if one.going]

    there = _loops_of(file, tool)
    if not any(one.going for one in there):
        return there
    if left := _wait_until_gone(going):
        raise ObjectBusy(file, [f"{one.path}, which goes away at its last close" for one in left])
    return _loops_of(file, tool)


def _wait_until_gone(look: Callable[[], list[LoopDevice]]) -> list[LoopDevice]:
    deadline = time.monotonic() + GOING_AWAY_SECONDS
    while (left := look()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def _loops_of(file: Path, tool: Tool) -> list[LoopDevice]:
    """Every loop device over ``file``, found by device and inode."""
    said = tool.call("--json", "--list", "--output", _COLUMNS, "--associated", str(file))
    if not said.strip():
        return []
    rows: list[dict[str, object]] = json.loads(said)["loopdevices"]
    return [
        LoopDevice(
            path=str(row["name"]),
            whole=_number(row["offset"]) == 0 and _number(row["sizelimit"]) == 0,
            going=_flag(row["autoclear"]),
            readonly=_flag(row["ro"]),
        )
        for row in rows
    ]


def _number(value: object) -> int:
    return int(str(value))


def _flag(value: object) -> bool:
    """losetup writes flags as 0 and 1, or as booleans, by version."""
    return value is True or str(value) == "1"


def _takes_direct_io(file: Path) -> bool:
    """Whether the file's filesystem can: losetup fails on one that cannot, when asked for it."""
    try:
        os.close(os.open(file, os.O_RDONLY | os.O_DIRECT))
    except OSError as error:
        if error.errno == errno.EINVAL:
            return False
        raise
    return True


def _load_module() -> None:
    """Without udev nobody loads the module when the control node is opened."""
    if not CONTROL.exists():
        try:
            MODPROBE.call("loop")
        except ToolFailed:
            return  # losetup says what is missing.
