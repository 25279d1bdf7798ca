"""What the kernel says of devices, by ioctl: what only looks needs no process of its own.

A cycle looks at its devices more often than it changes them, and a fork and an exec for each look
would be most of what it costs. What changes a device goes through dmsetup, which waits for udev.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from typing import TypeVar

from dm_tables.ioctl import HEADER, READONLY_FLAG, Control, read_state
from dm_tables.status import DeviceInfo, StatusLine

Answer = TypeVar("Answer")


class Looks:
    """Looks at devices. Each raises OSError where it cannot be: dmsetup can say why.

    What it needs is opened by the first look, and kept.
    """

    def __init__(self, control: Callable[[], Control] = Control) -> None:
        self._open = control
        self._control: Control | None = None
        self._lock = threading.Lock()

    def info(self, name: str) -> DeviceInfo | None:
        """A device's state; None when there is none."""
        header = self._ask(lambda control: control.header(name))
        return None if header is None else read_info(header)

    def table(self, name: str, *, inactive: bool = False) -> str | None:
        """The live (or the inactive) table's lines; None when there is no device."""
        lines = self._ask(lambda control: control.table(name, inactive=inactive))
        return None if lines is None else "\n".join(lines)

    def status(self, name: str) -> tuple[StatusLine, ...] | None:
        """Every live target's status; None when there is no device."""
        return self._ask(lambda control: control.status(name))

    def every(self) -> list[DeviceInfo]:
        """Every device there is, by name; one that goes meanwhile is none."""
        found = (self.info(name) for name in sorted(self._here().names()))
        return [one for one in found if one is not None]

    def open(self) -> None:
        """See that it can be looked."""
        self._here()

    def _here(self) -> Control:
        with self._lock:
            if self._control is None:
                self._control = self._open()
            return self._control

    def _ask(self, look: Callable[[Control], Answer]) -> Answer | None:
        # What cannot be opened is no answer, whatever the error.
        control = self._here()
        try:
            return look(control)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            return None


def read_info(header: bytes | bytearray) -> DeviceInfo:
    """The device that an answer's header tells of: ``__dev_status`` of dm-ioctl.c."""
    state, fields = read_state(header), HEADER.unpack_from(header)
    return DeviceInfo(
        name=state.name,
        uuid=state.uuid,
        major=os.major(fields[10]),
        minor=os.minor(fields[10]),
        live=state.live,
        inactive=state.inactive,
        suspended=state.suspended,
        readonly=bool(fields[7] & READONLY_FLAG),
        open_count=fields[6],
        events=fields[8],
    )
