"""Where devices are mounted."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from dm_tables.device import Device
from dm_tables.errors import Unavailable

MOUNTINFO = Path("/proc/self/mountinfo")
LIBC = ctypes.CDLL(None, use_errno=True)


def mounts() -> list[tuple[str, Path]]:
    """Every mounted block device as (``major:minor``, mount point).

    A filesystem with a device number of its own, as btrfs has, counts as its source's.
    """
    found: list[tuple[str, Path]] = []
    for line in MOUNTINFO.read_text().splitlines():
        fields = line.split(" ")
        source = Path(_plain(fields[fields.index("-") + 2]))
        number = fields[2]
        if number.startswith("0:") and source.is_block_device():
            device = source.stat().st_rdev
            number = f"{os.major(device)}:{os.minor(device)}"
        found.append((number, Path(_plain(fields[4]))))
    return found


def _plain(text: str) -> str:
    """A field of mountinfo without its octal escapes."""
    return text.encode().decode("unicode_escape").encode("latin-1").decode()


def sync_filesystem(point: Path) -> None:
    """Write out the filesystem mounted at ``point`` (``syncfs(2)``).

    :raises Unavailable: an I/O error, or it was just unmounted.
    """
    try:
        fd = os.open(point, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    except NotADirectoryError:
        fd = os.open(point, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if LIBC.syncfs(fd) != 0:
            code = ctypes.get_errno()
            raise Unavailable(f"writing out {point} failed: {os.strerror(code)}")
    finally:
        os.close(fd)


def mountpoints_of(device: Device) -> tuple[Path, ...]:
    """Where a filesystem on ``device`` is mounted."""
    devno = device.devno
    return tuple(point for number, point in mounts() if number == devno)
