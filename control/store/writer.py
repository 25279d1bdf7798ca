"""Writing an exception store from user space, so that the kernel accepts it at any moment."""

from __future__ import annotations

import os
from array import array
from types import TracebackType

from control.store import layout
from control.store.direct import DirectFile, aligned_buffer
from control.store.errors import CutOff, NoRoom
from control.store.reader import read_area, read_header
from dm_tables.errors import Precondition, Usage
from dm_tables.units import MIB, Bytes, Chunks, chunks_covering

STAGING = 1 * MIB


class WrongRun(Usage):
    """A run that the volume does not have, or whose data are not as long as its chunks."""


class NotBegun(Precondition):
    """A store writer that was used before it was told where to begin."""


class StoreWriter:
    """Fills the store at ``path`` in order: data chunk after data chunk, without gaps.

    Begin with :meth:`create` or :meth:`resume`. What was appended is durable, and visible to a
    reader, after the next :meth:`checkpoint`.

    What makes a crash harmless: the area that holds the durable terminator (the hinge) is
    written last. Until then its terminator hides everything behind it, so data and later areas
    may reach the disk in any order; a torn write of the hinge shows a prefix of what it holds,
    and all of that is durable already. The kernel commits in the same order
    (``persistent_commit_exception``: the next area is zeroed, then the full one written).

    On a plain file zeroes are holes; it grows as it is filled. A block device must be large
    enough, see :func:`control.store.layout.room_for`.
    """

    def __init__(self, path: str | os.PathLike[str], chunk: Bytes, origin_bytes: Bytes) -> None:
        layout.check_chunk(chunk)
        self.chunk = chunk
        self.origin_bytes = origin_bytes
        self.origin_chunks = chunks_covering(origin_bytes, chunk)
        self._path = path
        self._opened: DirectFile | None = None
        self._per_area = layout.entries_per_area(chunk)
        self._count = 0
        self._durable = 0
        self._hinge = aligned_buffer(chunk)
        self._hinge_area = 0
        self._current = self._hinge
        self._staging = aligned_buffer(max(STAGING, chunk))
        self._staged = 0
        self._staged_at = 0

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; what was not checkpointed is lost. Harmless when done twice."""
        if self._opened is not None:
            self._opened.close()

    @property
    def file(self) -> DirectFile:
        """The store's file. :raises NotBegun: neither created nor resumed."""
        if self._opened is None:
            raise NotBegun(f"{os.fspath(self._path)}: the store was neither created nor resumed")
        return self._opened

    @property
    def count(self) -> int:
        """How many exceptions were appended, the durable ones included."""
        return self._count

    @property
    def durable(self) -> int:
        """How many exceptions the last checkpoint made durable."""
        return self._durable

    def create(self) -> None:
        """Make the store empty, whatever was there, and durable.

        :raises NoRoom: a block device too small for the header and one area.
        :raises FileMissing, FileDenied: it cannot be opened.
        """
        self._open(create=True)
        self._require(layout.room_for(0, self.chunk))
        if not self.file.device:
            self.file.truncate(0)
            self.file.truncate(layout.room_for(0, self.chunk) * self.chunk)
        self._begin(0)
        # The area first: a header in front of an old area would bring its entries back.
        self._write_area(self._hinge, 0)
        self.file.fsync()
        header = aligned_buffer(self.chunk)
        data = layout.pack_header(self.chunk)
        header[: len(data)] = data
        self.file.write(header, 0)
        self.file.fsync()

    def resume(self, exceptions: int) -> None:
        """Go on behind exception number ``exceptions``; what lies behind it is dropped.

        :raises CutOff: fewer are in the store. :raises StoreCorrupt: it is no such store.
        :raises FileMissing, FileDenied: it cannot be opened.
        """
        self._open(create=False)
        read_header(self.file, self.chunk)
        self._begin(exceptions)
        area, entries = divmod(exceptions, self._per_area)
        if entries or exceptions == 0:
            self._keep(area, entries)
        else:
            self._keep(area - 1, self._per_area)
            self._hinge[:] = bytes(self.chunk)
        self._write_area(self._hinge, area)
        self.file.fsync()
        if not self.file.device:
            self.file.truncate(layout.data_chunk(exceptions, self.chunk) * self.chunk)

    def _keep(self, area: int, entries: int) -> None:
        """Load an area's first ``entries`` entries into the hinge, zeroes behind them."""
        old, _ = read_area(self.file, self.chunk, area, self._hinge)
        if len(old) < entries:
            end = area * self._per_area + len(old)
            what = f"it ends after {end} exceptions, where {self._count} were durable"
            raise CutOff(self.file, what, area)
        cut = entries * layout.ENTRY_BYTES
        self._hinge[cut:] = bytes(self.chunk - cut)

    def _open(self, create: bool) -> None:
        self.close()
        self._opened = DirectFile(self._path, writable=True, create=create)

    def _begin(self, exceptions: int) -> None:
        self._count = self._durable = exceptions
        self._hinge[:] = bytes(self.chunk)
        self._hinge_area = exceptions // self._per_area
        self._current = self._hinge
        self._staged = 0

    def append(self, old_chunk: int, count: int, data: bytes | memoryview | None) -> None:
        """Add ``count`` exceptions for the volume's chunks from ``old_chunk`` on.

        :param data: their bytes, one chunk behind the other; none: they are all zeroes. The
            volume's last chunk may be clipped to the volume's end, or whole.
        :raises WrongRun: the volume has no such chunks, or ``data`` has another length.
        :raises NoRoom: the device is full. The store keeps what the last checkpoint made durable.
        """
        if old_chunk < 0 or count < 1 or old_chunk + count > self.origin_chunks:
            raise WrongRun(
                f"{os.fspath(self._path)}: {count} chunks from chunk {old_chunk} on are not in a "
                f"volume of {self.origin_chunks}"
            )
        view = None if data is None else self._checked(old_chunk, count, memoryview(data))
        done = 0
        while done < count:
            area, entry = divmod(self._count, self._per_area)
            take = min(count - done, self._per_area - entry)
            new = layout.data_chunk(self._count, self.chunk)
            # The next area has to fit behind a full one.
            self._require(layout.room_for(self._count + take, self.chunk))
            piece = None
            if view is not None:
                piece = view[done * self.chunk : (done + take) * self.chunk]
            self._put(piece, new * self.chunk, take * self.chunk)
            self._enter(entry, old_chunk + done, new, take)
            self._count += take
            done += take
            if entry + take == self._per_area:
                self._next_area(area)

    def _checked(self, old_chunk: int, count: int, view: memoryview) -> memoryview:
        whole = count * self.chunk
        clipped = min(whole, self.origin_bytes - old_chunk * self.chunk)
        if len(view) not in (whole, clipped):
            raise WrongRun(
                f"{os.fspath(self._path)}: {len(view)} bytes of data for {count} chunks of "
                f"{self.chunk} bytes from chunk {old_chunk} on"
            )
        return view

    def _require(self, chunks: Chunks) -> None:
        if self.file.device and chunks * self.chunk > self.file.size():
            raise NoRoom(
                f"{os.fspath(self._path)}: {chunks * self.chunk} bytes are needed, the device has "
                f"{self.file.size()}",
                "grow the device",
            )

    def _enter(self, entry: int, old: int, new: int, count: int) -> None:
        pairs = array("Q", bytes(count * layout.ENTRY_BYTES))
        pairs[0::2] = array("Q", range(old, old + count))
        pairs[1::2] = array("Q", range(new, new + count))
        at = entry * layout.ENTRY_BYTES
        self._current[at : at + count * layout.ENTRY_BYTES] = memoryview(pairs).cast("B")

    def _next_area(self, full: int) -> None:
        if full != self._hinge_area:
            self._write_area(self._current, full)
            self._current[:] = bytes(self.chunk)
        else:
            self._current = aligned_buffer(self.chunk)

    def _write_area(self, buffer: memoryview, area: int) -> None:
        self.file.write(buffer, layout.area_chunk(area, self.chunk) * self.chunk)

    def _put(self, data: memoryview | None, at: int, length: int) -> None:
        """Stage ``data``, or zeroes up to ``length`` bytes, for the store's byte ``at``."""
        if data is None and not self.file.device:
            # A plain file was cut off behind its last durable exception: a hole is there.
            return
        if data is None and length >= len(self._staging):
            self.file.zero(at, length)
            return
        done = 0
        while done < length:
            if self._staged_at + self._staged != at + done or self._staged == len(self._staging):
                self._flush()
                self._staged_at = at + done
            take = min(length - done, len(self._staging) - self._staged)
            self._stage(memoryview(b"") if data is None else data[done : done + take], take)
            done += take

    def _stage(self, piece: memoryview, length: int) -> None:
        start = self._staged
        self._staging[start : start + len(piece)] = piece
        if len(piece) < length:
            self._staging[start + len(piece) : start + length] = bytes(length - len(piece))
        self._staged += length

    def _flush(self) -> None:
        if self._staged:
            self.file.write(self._staging[: self._staged], self._staged_at)
        self._staged = 0

    def checkpoint(self) -> int:
        """Make everything appended durable and visible.

        :returns: the count of durable exceptions: what :meth:`resume` takes.
        :raises NoRoom, DeviceFailed: nothing new is durable; close the writer, and resume with
            the last count.
        """
        if self._count == self._durable:
            return self._durable
        self._flush()
        self._extend()
        area = self._count // self._per_area
        if area != self._hinge_area:
            self._write_area(self._current, area)
        self.file.fsync()
        self._write_area(self._hinge, self._hinge_area)
        self.file.fsync()
        self._hinge, self._hinge_area = self._current, area
        self._durable = self._count
        return self._durable

    def _extend(self) -> None:
        """Make a plain file long enough for a hole that ends it."""
        size = layout.room_for(self._count, self.chunk) * self.chunk
        if not self.file.device and self.file.size() < size:
            self.file.truncate(size)

    def finish(self) -> int:
        """The last checkpoint; a plain file then ends behind its last chunk. Returns the count.

        Repeating it is harmless.
        """
        count = self.checkpoint()
        if not self.file.device:
            self.file.truncate(layout.room_for(count, self.chunk) * self.chunk)
            self.file.fsync()
        return count
