"""Reading and writing a block device past the page cache, with buffers that are aligned."""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import struct
from pathlib import Path
from typing import Final

BLKZEROOUT: Final = 0x127F
BUFFER_BYTES: Final = 2 << 20


def _open(path: Path, flags: int) -> int:
    direct = os.O_DIRECT if path.is_block_device() else 0
    return os.open(path, flags | direct)


class DirectReader:
    """Reads a device with O_DIRECT (a plain file plainly); a context manager."""

    def __init__(self, path: Path) -> None:
        self._fd = _open(path, os.O_RDONLY)
        self._buffer = mmap.mmap(-1, BUFFER_BYTES)
        self.size = os.lseek(self._fd, 0, os.SEEK_END)

    def __enter__(self) -> DirectReader:
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self._fd)

    def read(self, offset: int, length: int) -> bytes:
        """``length`` bytes (whole sectors, 2 MiB at most) from ``offset``.

        :raises EOFError: the device ends before.
        """
        with memoryview(self._buffer) as view:
            count = os.preadv(self._fd, [view[:length]], offset)
            if count != length:
                raise EOFError(f"{count} of {length} bytes at {offset}")
            return bytes(view[:length])

    def digest(self) -> str:
        """BLAKE2b-256 of the whole device."""
        digest = hashlib.blake2b(digest_size=32)
        for offset in range(0, self.size, BUFFER_BYTES):
            digest.update(self.read(offset, min(BUFFER_BYTES, self.size - offset)))
        return digest.hexdigest()


def digest_of(path: str) -> str:
    """BLAKE2b-256 of a whole device."""
    with DirectReader(Path(path)) as device:
        return device.digest()


class DeviceWriter:
    """Writes a device in every way an application may: direct, buffered, zeroed."""

    def __init__(self, path: Path) -> None:
        self._direct = _open(path, os.O_WRONLY)
        self._buffered = os.open(path, os.O_WRONLY)
        self._is_device = path.is_block_device()
        self._buffer = mmap.mmap(-1, BUFFER_BYTES)
        self.size = os.lseek(self._direct, 0, os.SEEK_END)

    def write_direct(self, offset: int, data: bytes) -> None:
        """O_DIRECT; on the device, though perhaps not on stable storage, when it returns."""
        self._buffer[: len(data)] = data
        with memoryview(self._buffer) as view:
            _whole(os.pwritev(self._direct, [view[: len(data)]], offset), len(data))

    def write_buffered(self, offset: int, data: bytes) -> None:
        """Into the page cache; on the device by the next flush."""
        _whole(os.pwrite(self._buffered, data, offset), len(data))

    def zero(self, offset: int, length: int) -> None:
        """BLKZEROOUT: the kernel writes the zeroes."""
        if self._is_device:
            fcntl.ioctl(self._direct, BLKZEROOUT, struct.pack("QQ", offset, length))
        else:
            self.write_direct(offset, bytes(length))

    def flush(self) -> None:
        """fsync: everything before is on stable storage."""
        os.fsync(self._buffered)

    def close(self) -> None:
        """Close both descriptors."""
        os.close(self._direct)
        os.close(self._buffered)


def _whole(done: int, wanted: int) -> None:
    if done != wanted:
        raise OSError(f"{done} of {wanted} bytes were written")
