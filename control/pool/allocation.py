"""Room on a filesystem that is really there: fallocate without a change of the file's size.

posix_fallocate lets the size grow in steps while it works, and a crash would leave a size that
nobody chose; one size in E + 1 is dangerous for a snapshot's COW device. So the room is
allocated behind the end first, and the size follows in one truncate.
"""

from __future__ import annotations

import ctypes
import errno
import os
from functools import cache
from pathlib import Path

from control.pool.errors import PoolUnsuitable
from dm_tables.units import Bytes

_KEEP_SIZE = 0x01
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class NoRoom(Exception):
    """The filesystem has not so much room. What was taken on the way is given back."""


def set_size(descriptor: int, size: Bytes, *, sparse: bool = False) -> None:
    """Let the file grow to ``size`` bytes, all of the new ones allocated, on stable storage.

    :raises NoRoom: the file is as it was.
    :raises PoolUnsuitable: the filesystem cannot allocate ahead of writing.
    """
    before = os.fstat(descriptor).st_size
    try:
        if not sparse:
            _allocate(descriptor, before, size - before)
            os.fsync(descriptor)
        os.ftruncate(descriptor, size)
        os.fsync(descriptor)
    except OSError as error:
        os.ftruncate(descriptor, before)
        if error.errno in _NO_ROOM:
            raise NoRoom from error
        raise


def sync_directory(directory: Path) -> None:
    """Make names that came or went in ``directory`` durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _allocate(descriptor: int, offset: int, length: int) -> None:
    while _fallocate()(descriptor, _KEEP_SIZE, offset, length) != 0:
        code = ctypes.get_errno()
        if code == errno.EINTR:
            continue
        if code in (errno.EOPNOTSUPP, errno.ENOSYS):
            path = Path(f"/proc/self/fd/{descriptor}").readlink()
            raise PoolUnsuitable(
                f"the filesystem of {path} cannot allocate room ahead of writing",
                "put the pool on ext4, XFS or tmpfs, or use a volume group",
            )
        raise OSError(code, os.strerror(code))


@cache
def _fallocate() -> ctypes._NamedFuncPointer:
    function = ctypes.CDLL(None, use_errno=True).fallocate64
    function.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    function.restype = ctypes.c_int
    return function
