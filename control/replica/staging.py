"""Where an incoming generation is put until it is committed.

A delta becomes an exception store of its own (remote volume RVx/s), a whole copy a base of its
own (RVx/1, figure 7B): what is committed is never touched, so a broken copy is never seen.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Protocol

from pyroaring import BitMap64

from control.pool.errors import PoolObjectMissing
from control.pool.pool import Pool
from control.replica.records import IncomingRecord
from control.store.direct import DirectFile
from control.store.layout import room_for
from control.store.reader import StoreReader
from control.store.writer import StoreWriter
from control.wire.checking import CheckedRun, Once, Placing, Rising
from dm_tables.units import MIB, Bytes

FILL_STEP = 256 * MIB
"""How much of a device is zeroed at once: some seconds, where it must be written."""


class Staging(Protocol):
    """A staged generation. A failed write or checkpoint leaves it unusable: close, open again."""

    def placing(self) -> Placing:
        """Where its next runs may lie, given those it has."""

    def fill(self, end: int) -> Iterator[None]:
        """Make everything up to byte ``end`` what it is where no run comes, in short steps.

        A checkpoint may be made at each. :raises NoRoom, DeviceFailed: as said.
        """

    def write(self, run: CheckedRun) -> None:
        """Take a run; durable after the next checkpoint. :raises NoRoom, DeviceFailed: as said."""

    def checkpoint(self) -> int:
        """Make everything durable. :return: the position to open it at again."""

    def finish(self) -> None:
        """Make the whole of it durable, with its name; nothing comes behind."""

    def close(self) -> None:
        """Let go; what came after the last checkpoint is lost. Harmless when done twice."""


def open_staging(pool: Pool, record: IncomingRecord, size: Bytes) -> Staging:
    """The staged object of ``record``, as its last checkpoint left it.

    :param size: the volume's.
    :raises PoolFull, NoRoom: there is no room for it.
    :raises PoolObjectMissing, StoreCorrupt: it is not what the checkpoint says.
    """
    if record.whole:
        return BaseStaging(pool, record, size)
    return LayerStaging(pool, record, size)


class LayerStaging:
    """A delta in an exception store that the kernel would accept."""

    def __init__(self, pool: Pool, record: IncomingRecord, size: Bytes) -> None:
        """See :func:`open_staging`."""
        self._size = size
        self._chunk = record.chunk
        if record.position == 0:
            room = room_for(record.expected, record.chunk) * record.chunk
            self._path = _fresh(pool, record.object_name, Bytes(room))
        else:
            self._path = os.fspath(pool.open(record.object_name).path)
        self._writer = StoreWriter(self._path, record.chunk, size)
        try:
            if record.position == 0:
                self._writer.create()
            else:
                self._writer.resume(record.position)
        except BaseException:
            self._writer.close()
            raise

    def placing(self) -> Placing:
        """Each chunk once."""
        if self._writer.durable == 0:
            return Once(self._chunk, BitMap64())
        with StoreReader(self._path, self._size, self._chunk) as reader:
            return Once(self._chunk, reader.changed())

    def fill(self, end: int) -> Iterator[None]:
        """A delta leaves alone what it does not have."""
        yield from ()

    def write(self, run: CheckedRun) -> None:
        """See :meth:`Staging.write`."""
        count = -(-run.length // self._chunk)
        self._writer.append(run.address // self._chunk, count, run.data)

    def checkpoint(self) -> int:
        """See :meth:`Staging.checkpoint`; the position is the number of exceptions."""
        return self._writer.checkpoint()

    def finish(self) -> None:
        """See :meth:`Staging.finish`."""
        self._writer.finish()
        _sync_name(self._path)

    def close(self) -> None:
        """See :meth:`Staging.close`."""
        self._writer.close()


class BaseStaging:
    """A whole copy in a new base: what no run covers is zero.

    A sparse file is zero where nothing was written; on a device, which may hold anything, what
    lies between two runs is zeroed.
    """

    def __init__(self, pool: Pool, record: IncomingRecord, size: Bytes) -> None:
        """See :func:`open_staging`."""
        self._size = size
        self._end = self._durable = record.position
        if record.position == 0:
            path = _fresh(pool, record.object_name, size)
        else:
            path = os.fspath(pool.open(record.object_name).path)
        self._path = path
        self._file = DirectFile(path, writable=True)
        if not self._file.device:
            whole = self._file.size()
            # What came after the checkpoint goes: only what is named durable may stay.
            self._file.truncate(record.position)
            self._file.truncate(whole)

    def placing(self) -> Placing:
        """In address order."""
        return Rising(self._end)

    def fill(self, end: int) -> Iterator[None]:
        """Zeroes from the last run to ``end``: holes of a file, long work on a device."""
        while self._file.device and self._end < end:
            stop = min(self._end + FILL_STEP, end)
            self._zero(stop)
            self._end = stop
            yield
        self._end = max(self._end, end)

    def _zero(self, end: int) -> None:
        """The last block of the volume may be a part of the device's only."""
        stop = min(-(-end // self._file.block) * self._file.block, self._file.size())
        self._file.zero(self._end, stop - self._end)

    def write(self, run: CheckedRun) -> None:
        """See :meth:`Staging.write`; :meth:`fill` comes first."""
        end = run.address + run.length
        if run.data is not None:
            self._file.write(self._padded(run.data), run.address)
        elif self._file.device:
            self._zero(end)
        self._end = end

    def _padded(self, data: bytes) -> bytes:
        odd = len(data) % self._file.block if self._file.device else 0
        return data + bytes(self._file.block - odd) if odd else data

    def checkpoint(self) -> int:
        """See :meth:`Staging.checkpoint`; the position is a byte address."""
        if self._end != self._durable:
            self._file.fsync()
            self._durable = self._end
        return self._durable

    def finish(self) -> None:
        """See :meth:`Staging.finish`; :meth:`fill` to the volume's end comes first."""
        self._file.fsync()
        if not self._file.device:
            _sync_name(self._path)

    def close(self) -> None:
        """See :meth:`Staging.close`."""
        self._file.close()


def _fresh(pool: Pool, object_name: str, size: Bytes) -> str:
    """A new object, in the place of what a crash may have left. :return: its path."""
    try:
        pool.open(object_name)
    except PoolObjectMissing:
        pass
    else:
        pool.remove(object_name)
    return os.fspath(pool.create(object_name, size, sparse=True).path)


def _sync_name(path: str) -> None:
    """Make a file's name durable."""
    directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)  # noqa: PTH120
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
