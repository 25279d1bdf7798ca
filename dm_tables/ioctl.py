"""The device-mapper's ioctl, for the freeze window, and to look: what changes devices elsewhere
goes through dmsetup.

A forked dmsetup may have to page in from the very disk that is suspended; an ioctl on a
descriptor opened before, with a buffer made before, touches nothing. Layout and numbers are
those of ``linux/dm-ioctl.h``; ``do_suspend``, ``do_resume``, ``table_clear`` of dm-ioctl.c.
Only the standard library is imported: the freezer's and the guard's memory is locked.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dm_tables.status import StatusLine, parse_status

CONTROL = Path("/dev/mapper/control")

HEADER = struct.Struct("=3IIIIiIIIQ128s129s7x")
"""``struct dm_ioctl``: version, data_size, data_start, target_count, open_count, flags,
event_nr, padding, dev, name, uuid."""

SPEC = struct.Struct("=QQiI16s")
"""``struct dm_target_spec``: sector_start, length, status, next, target_type."""

NAME_LIST = struct.Struct("=QI")
"""The head of ``struct dm_name_list``: dev, next; the name follows."""

VERSION = (4, 0, 0)
"""The interface asked for: the oldest minor, since nothing newer is used."""


def _iowr(number: int) -> int:
    """``_IOWR(DM_IOCTL, number, struct dm_ioctl)``."""
    return 3 << 30 | HEADER.size << 16 | 0xFD << 8 | number


DM_VERSION = _iowr(0)
DM_LIST_DEVICES = _iowr(2)
DM_DEV_SUSPEND = _iowr(6)
DM_DEV_STATUS = _iowr(7)
DM_TABLE_CLEAR = _iowr(10)
DM_TABLE_STATUS = _iowr(12)

READONLY_FLAG = 1 << 0
SUSPEND_FLAG = 1 << 1
STATUS_TABLE_FLAG = 1 << 4
ACTIVE_PRESENT_FLAG = 1 << 5
INACTIVE_PRESENT_FLAG = 1 << 6
BUFFER_FULL_FLAG = 1 << 8
SKIP_LOCKFS_FLAG = 1 << 10
NOFLUSH_FLAG = 1 << 11
QUERY_INACTIVE_TABLE_FLAG = 1 << 12


@dataclass(frozen=True, slots=True)
class State:
    """A device as DM_DEV_STATUS has it; ``devno`` is ``major:minor``."""

    name: str
    uuid: str
    devno: str
    suspended: bool
    live: bool
    inactive: bool


class DeviceMapper(Protocol):
    """What the window and the guard need; tests put a device-mapper of their own in its place.

    Every method raises OSError as the ioctl does; ENXIO when there is no such device.
    """

    def prepare(self, names: Sequence[str], *, lockfs: bool) -> None:
        """Make everything that the calls for ``names`` need, so that they allocate nothing."""

    def suspend(self, name: str) -> None:
        """Hold back I/O; freeze a filesystem on the device first if prepared with ``lockfs``."""

    def resume(self, name: str) -> None:
        """Swap in the inactive table if there is one, and let I/O through."""

    def clear(self, name: str) -> None:
        """Empty the inactive slot; not an error when it is empty."""

    def state(self, name: str) -> State:
        """How the device stands."""

    def table(self, name: str) -> tuple[str, ...]:
        """The live table's lines: ``start length kind params``."""

    def names(self) -> tuple[str, ...]:
        """Every device's name."""

    def close(self) -> None:
        """Let it go."""


class Control:
    """The kernel's device-mapper. :raises OSError: the control node cannot be opened."""

    def __init__(self, path: Path = CONTROL) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._buffers: dict[tuple[int, str], tuple[bytes, bytearray]] = {}
        self._call(DM_VERSION, bytearray(request()))

    def close(self) -> None:
        """Close the control node."""
        os.close(self._fd)

    def prepare(self, names: Sequence[str], *, lockfs: bool) -> None:
        """See :meth:`DeviceMapper.prepare`."""
        how = SUSPEND_FLAG | (0 if lockfs else SKIP_LOCKFS_FLAG)
        self._buffers.clear()
        for name in names:
            for action, flags in ((_SUSPEND, how), (_RESUME, 0), (_CLEAR, 0)):
                blank = request(name, flags)
                self._buffers[action, name] = (blank, bytearray(blank))

    def suspend(self, name: str) -> None:
        """See :meth:`DeviceMapper.suspend`."""
        self._prepared(DM_DEV_SUSPEND, _SUSPEND, name)

    def resume(self, name: str) -> None:
        """See :meth:`DeviceMapper.resume`."""
        self._prepared(DM_DEV_SUSPEND, _RESUME, name)

    def clear(self, name: str) -> None:
        """See :meth:`DeviceMapper.clear`."""
        self._prepared(DM_TABLE_CLEAR, _CLEAR, name)

    def state(self, name: str) -> State:
        """See :meth:`DeviceMapper.state`."""
        return read_state(self.header(name))

    def header(self, name: str) -> bytearray:
        """What DM_DEV_STATUS answers for a device."""
        buffer = bytearray(request(name))
        self._call(DM_DEV_STATUS, buffer)
        return buffer

    def table(self, name: str, *, inactive: bool = False) -> tuple[str, ...]:
        """See :meth:`DeviceMapper.table`; ``inactive`` asks for the other slot's."""
        flags = STATUS_TABLE_FLAG | (QUERY_INACTIVE_TABLE_FLAG if inactive else 0)
        return read_table(self._large(DM_TABLE_STATUS, name, flags))

    def status(self, name: str) -> tuple[StatusLine, ...]:
        """Every target's status, at once: a snapshot's is not flushed for it."""
        return parse_status("\n".join(read_table(self._large(DM_TABLE_STATUS, name, NOFLUSH_FLAG))))

    def names(self) -> tuple[str, ...]:
        """See :meth:`DeviceMapper.names`."""
        return read_names(self._large(DM_LIST_DEVICES, "", 0))

    def _prepared(self, number: int, action: int, name: str) -> None:
        # The kernel writes into the buffer, so what was asked is put back before each call.
        blank, buffer = self._buffers[action, name]
        buffer[:] = blank
        fcntl.ioctl(self._fd, number, buffer, True)

    def _large(self, number: int, name: str, flags: int) -> bytearray:
        room = 16 << 10
        while True:
            buffer = bytearray(request(name, flags, room)) + bytearray(room)
            self._call(number, buffer)
            if not HEADER.unpack_from(buffer)[7] & BUFFER_FULL_FLAG:
                return buffer
            room *= 4

    def _call(self, number: int, buffer: bytearray) -> None:
        fcntl.ioctl(self._fd, number, buffer, True)


_SUSPEND, _RESUME, _CLEAR = range(3)


def request(name: str = "", flags: int = 0, room: int = 0) -> bytes:
    """A ``struct dm_ioctl`` for a device, with ``room`` bytes behind it for the answer."""
    size = HEADER.size
    return HEADER.pack(*VERSION, size + room, size, 0, 0, flags, 0, 0, 0, name.encode(), b"")


def read_state(buffer: bytes | bytearray) -> State:
    """The device that an answer's header tells of."""
    fields = HEADER.unpack_from(buffer)
    flags, dev = fields[7], fields[10]
    return State(
        name=_text(fields[11]),
        uuid=_text(fields[12]),
        devno=_devno(dev),
        suspended=bool(flags & SUSPEND_FLAG),
        live=bool(flags & ACTIVE_PRESENT_FLAG),
        inactive=bool(flags & INACTIVE_PRESENT_FLAG),
    )


def read_table(buffer: bytes | bytearray) -> tuple[str, ...]:
    """The lines of an answer to DM_TABLE_STATUS: ``retrieve_status`` of dm-ioctl.c."""
    fields = HEADER.unpack_from(buffer)
    start, count = fields[4], fields[5]
    lines: list[str] = []
    at = start
    for _ in range(count):
        sector, length, _status, following, kind = SPEC.unpack_from(buffer, at)
        params = _text(bytes(buffer[at + SPEC.size : start + following]))
        lines.append(f"{sector} {length} {_text(kind)} {params}".rstrip())
        at = start + following
    return tuple(lines)


def read_names(buffer: bytes | bytearray) -> tuple[str, ...]:
    """The names of an answer to DM_LIST_DEVICES: ``list_devices`` of dm-ioctl.c."""
    at = HEADER.unpack_from(buffer)[4]
    names: list[str] = []
    while True:
        dev, following = NAME_LIST.unpack_from(buffer, at)
        if dev == 0:
            return tuple(names)
        end = buffer.index(0, at + NAME_LIST.size)
        names.append(bytes(buffer[at + NAME_LIST.size : end]).decode(errors="replace"))
        if following == 0:
            return tuple(names)
        at += following


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode(errors="replace")


def _devno(dev: int) -> str:
    # huge_encode_dev() of the kernel, which glibc's makedev() agrees with.
    return f"{os.major(dev)}:{os.minor(dev)}"
