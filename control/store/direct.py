"""Files and block devices read and written past the page cache.

The kernel writes COW devices below the page cache, so buffered reads of them go stale; every
block device has a cache of its own, so base, store and layer would disagree. Hence O_DIRECT,
always, on block devices. A plain file falls back to buffered where its filesystem refuses.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import stat
import struct
from pathlib import Path
from types import TracebackType

from control.store.errors import NotAligned, os_failure
from dm_tables.units import KIB, MIB, SECTOR, Bytes

BLKSSZGET = 0x1268
BLKZEROOUT = 0x127F
FALLOC_FL_KEEP_SIZE = 0x01
FALLOC_FL_PUNCH_HOLE = 0x02

FILE_BLOCK = 4 * KIB
"""What a direct write to a plain file is aligned to: enough for every filesystem."""

BOUNCE = 1 * MIB
MOST_VECTORS = 1024
"""The kernel's UIO_MAXIOV."""

_ZEROES = bytes(1 * MIB)
_libc = ctypes.CDLL(None, use_errno=True)


def aligned_buffer(size: int) -> memoryview:
    """A zeroed, page-aligned buffer of ``size`` bytes, fit for direct reads and writes."""
    return memoryview(mmap.mmap(-1, max(size, 1)))[:size]


def is_zero(view: memoryview) -> bool:
    """Whether every byte is zero. Costs next to nothing when the first 4 KiB are not."""
    if bytes(view[:FILE_BLOCK]) != _ZEROES[: min(FILE_BLOCK, len(view))]:
        return False
    for start in range(FILE_BLOCK, len(view), len(_ZEROES)):
        piece = bytes(view[start : start + len(_ZEROES)])
        if piece != (_ZEROES if len(piece) == len(_ZEROES) else _ZEROES[: len(piece)]):
            return False
    return True


def _is_aligned(view: memoryview, block: int) -> bool:
    if view.readonly:
        return False
    return len(view) % block == 0 and ctypes.addressof(ctypes.c_char.from_buffer(view)) % block == 0


def _punch(fd: int, at: int, length: int) -> None:
    mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
    if _libc.fallocate(fd, mode, ctypes.c_int64(at), ctypes.c_int64(length)) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


class DirectFile:
    """A file or block device opened with O_DIRECT; offsets and lengths are in bytes.

    :param create: make the (plain) file when it is not there.
    :raises FileMissing, FileDenied, DeviceFailed: it cannot be opened.

    ``direct`` tells whether the page cache is really passed by, ``device`` whether it is a block
    device, ``block`` what direct access is aligned to. Reads may be anywhere; so may writes to a
    plain file, whose unaligned ends go through the page cache; a write to a block device must be
    whole logical blocks.
    """

    def __init__(
        self, path: str | os.PathLike[str], writable: bool = False, create: bool = False
    ) -> None:
        self.path = Path(path)
        self.writable = writable
        self._flags = (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC
        self._edges = -1
        try:
            # A device node that is late must not become a plain file of that name.
            made = create and not self.path.is_relative_to("/dev")
            self._open(os.O_CREAT if made else 0)
        except OSError as error:
            raise os_failure(error, path, "cannot open") from error

    def _open(self, create: int) -> None:
        try:
            self._fd = os.open(self.path, self._flags | create | os.O_DIRECT, 0o600)
            self.direct = True
        except OSError as error:
            if error.errno != errno.EINVAL or not self.path.is_file():
                raise
            self._fd = os.open(self.path, self._flags | create, 0o600)
            self.direct = False
        self.device = stat.S_ISBLK(os.fstat(self._fd).st_mode)
        self.block = FILE_BLOCK
        if self.device:
            answer = fcntl.ioctl(self._fd, BLKSSZGET, bytes(4))
            self.block = struct.unpack("I", answer)[0]
        elif self.direct:
            self._probe()

    def _probe(self) -> None:
        # Some filesystems (overlay over tmpfs) take O_DIRECT at open and refuse it at the read.
        try:
            os.preadv(self._fd, [aligned_buffer(FILE_BLOCK)], 0)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            os.close(self._fd)
            self._fd = os.open(self.path, self._flags)
            self.direct = False

    def __enter__(self) -> DirectFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __fspath__(self) -> str:
        return str(self.path)

    def fileno(self) -> int:
        """The descriptor, for ioctls."""
        return self._fd

    def close(self) -> None:
        """Close it; harmless when done twice."""
        for fd in (self._fd, self._edges):
            if fd >= 0:
                os.close(fd)
        self._fd = self._edges = -1

    def size(self) -> Bytes:
        """The size as it is now: a device may grow while it is open."""
        return Bytes(os.lseek(self._fd, 0, os.SEEK_END))

    def read_into(self, view: memoryview, at: int) -> int:
        """Fill ``view`` from ``at`` on. Returns the bytes read: fewer only at the end.

        Fastest when ``view`` is from :func:`aligned_buffer` and ``at`` and its length are whole
        blocks; otherwise the bytes pass through a buffer that is.

        :raises DeviceFailed: an I/O error.
        """
        try:
            if not self.direct or (at % self.block == 0 and _is_aligned(view, self.block)):
                return self._read_straight(view, at)
            return self._read_widened(view, at)
        except OSError as error:
            raise os_failure(error, self.path, f"reading {len(view)} bytes at {at}") from error

    def read(self, at: int, length: int) -> memoryview:
        """``length`` bytes from ``at`` on, in a buffer of their own; fewer only at the end."""
        first = at - at % self.block
        buffer = aligned_buffer(-(-(at + length - first) // self.block) * self.block)
        got = self.read_into(buffer, first)
        return buffer[at - first : min(got, at - first + length)]

    def _read_straight(self, view: memoryview, at: int) -> int:
        done = 0
        while done < len(view):
            got = os.preadv(self._fd, [view[done:]], at + done)
            done += got
            if got == 0 or (self.direct and done % self.block):
                break
        return done

    def _read_widened(self, view: memoryview, at: int) -> int:
        bounce = aligned_buffer(min(BOUNCE, (-(-len(view) // self.block) + 2) * self.block))
        done = 0
        while done < len(view):
            first = (at + done) - (at + done) % self.block
            got = self._read_straight(bounce, first)
            piece = bounce[at + done - first : got][: len(view) - done]
            view[done : done + len(piece)] = piece
            done += len(piece)
            if got < len(bounce):
                break
        return done

    def write(self, data: bytes | memoryview, at: int) -> None:
        """Write all of ``data`` at ``at``; durable after :meth:`fsync`.

        :raises NotAligned: not whole logical blocks of a block device.
        :raises NoRoom, DeviceFailed: the write failed.
        """
        view = memoryview(data).cast("B")
        self._check_aligned(len(view), at)
        try:
            if not self.direct or (at % self.block == 0 and _is_aligned(view, self.block)):
                self._write_straight([view], at)
            else:
                self._write_split(view, at)
        except OSError as error:
            raise os_failure(error, self.path, f"writing {len(view)} bytes at {at}") from error

    def write_vectors(self, views: list[memoryview], at: int) -> None:
        """Write the buffers one behind the other at ``at``, in as few calls as can be.

        :raises NotAligned, NoRoom, DeviceFailed: as :meth:`write`.
        """
        whole = sum(map(len, views))
        aligned = at % self.block == 0 and all(_is_aligned(view, self.block) for view in views)
        if self.direct and not aligned:
            for view in views:
                self.write(view, at)
                at += len(view)
            return
        try:
            for start in range(0, len(views), MOST_VECTORS):
                group = views[start : start + MOST_VECTORS]
                self._write_straight(group, at)
                at += sum(map(len, group))
        except OSError as error:
            raise os_failure(error, self.path, f"writing {whole} bytes at {at}") from error

    def _check_aligned(self, length: int, at: int) -> None:
        if self.device and (at % self.block or length % self.block):
            raise NotAligned(
                f"{self.path}: {length} bytes at {at} are not whole blocks of {self.block} bytes",
                "spans and sizes must be whole logical blocks of their device",
            )

    def _write_straight(self, views: list[memoryview], at: int) -> None:
        while views:
            put = os.pwritev(self._fd, views, at)
            at += put
            while views and put >= len(views[0]):
                put -= len(views[0])
                views = views[1:]
            if put:
                views = [views[0][put:], *views[1:]]

    def _write_split(self, view: memoryview, at: int) -> None:
        """The whole blocks directly, from an aligned copy; the ends of a file through its cache."""
        head = min(-at % self.block, len(view))
        tail = (len(view) - head) % self.block
        self._write_edge(view[:head], at)
        bounce = aligned_buffer(min(BOUNCE, max(len(view) - head - tail, 1)))
        for start in range(head, len(view) - tail, BOUNCE):
            piece = view[start : min(start + BOUNCE, len(view) - tail)]
            bounce[: len(piece)] = piece
            self._write_straight([bounce[: len(piece)]], at + start)
        self._write_edge(view[len(view) - tail :], at + len(view) - tail)

    def _write_edge(self, view: memoryview, at: int) -> None:
        if not view:
            return
        if self._edges < 0:
            self._edges = os.open(self.path, os.O_WRONLY | os.O_CLOEXEC)
        while view:
            put = os.pwrite(self._edges, view, at)
            view, at = view[put:], at + put

    def zero(self, at: int, length: int) -> None:
        """Make the stretch read as zeroes, giving its room back where that can be done.

        A plain file keeps its size. :raises NotAligned, NoRoom, DeviceFailed: as :meth:`write`.
        """
        self._check_aligned(length, at)
        if length <= 0:
            return
        try:
            if self.device:
                fcntl.ioctl(self._fd, BLKZEROOUT, struct.pack("QQ", at, length))
            else:
                _punch(self._fd, at, length)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOTTY, errno.EINVAL):
                raise os_failure(error, self.path, f"zeroing {length} bytes at {at}") from error
            self._write_zeroes(at, length)

    def _write_zeroes(self, at: int, length: int) -> None:
        end = at + length
        if not self.device:
            end = min(end, self.size())
        blank = aligned_buffer(BOUNCE)
        while at < end:
            piece = blank[: min(BOUNCE - at % SECTOR, end - at)]
            self.write(piece, at)
            at += len(piece)

    def truncate(self, size: int) -> None:
        """Set a plain file's size; what is new reads as zeroes."""
        try:
            os.ftruncate(self._fd, size)
        except OSError as error:
            raise os_failure(error, self.path, f"setting the size to {size} bytes") from error

    def fsync(self) -> None:
        """Bring everything written to stable storage. :raises DeviceFailed: it did not get there.

        After a failure the kernel forgets what was dirty: what was written since the last good
        fsync has to be written again.
        """
        try:
            os.fsync(self._fd)
        except OSError as error:
            raise os_failure(error, self.path, "fsync") from error
