"""Runs as they arrive: everything about one is checked before any of it is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from pyroaring import BitMap64

from control.wire.codec import Decompressor
from control.wire.errors import BadStream, DataLoss
from control.wire.frames import MAX_RUN_BYTES, MAX_ZERO_RUN_BYTES, Tally, checksum
from dm_tables.units import Bytes, chunks_covering
from proto.frazil.v1 import replica_pb2


@dataclass(frozen=True, slots=True)
class CheckedRun:
    """A run that may be written: ``data`` is None for zeroes; address and length in bytes.

    ``behind`` is the tally with it.
    """

    address: Bytes
    length: Bytes
    data: bytes | None
    behind: Tally


class Placing(Protocol):
    """Where the next run may lie."""

    def place(self, address: int, length: int) -> None:
        """Take the stretch. :raises BadStream: a run may not lie there."""


class Rising:
    """A whole copy's runs: in address order, none over another. Memory: one number."""

    def __init__(self, end: int = 0) -> None:
        """:param end: where the last run taken so far ended, in bytes."""
        self.end = end

    def place(self, address: int, length: int) -> None:
        """Take the stretch. :raises BadStream: it lies before the end of the last one."""
        if address < self.end:
            raise BadStream(
                f"a run of a whole copy lies at byte {address}, the last one ended at {self.end}"
            )
        self.end = address + length


class Once:
    """A delta's runs: in any order, no chunk twice. Memory follows the change."""

    def __init__(self, chunk: Bytes, seen: BitMap64 | None = None) -> None:
        """:param seen: the chunks that came already; it is written to."""
        self._chunk = chunk
        self._seen = BitMap64() if seen is None else seen

    def place(self, address: int, length: int) -> None:
        """Take the stretch. :raises BadStream: one of its chunks came before."""
        first = address // self._chunk
        end = first + chunks_covering(Bytes(length), self._chunk)
        if self._seen.range_cardinality(first, end):
            raise BadStream(f"a chunk between bytes {address} and {address + length} came twice")
        self._seen.add_range(first, end)


class RunChecker:
    """Checks a generation's runs one after another.

    :param size: the volume's, in bytes.
    :param tally: what was taken before.
    """

    def __init__(self, size: Bytes, chunk: Bytes, placing: Placing, tally: Tally) -> None:
        self._size = size
        self._chunk = chunk
        self._placing = placing
        self._decompressor = Decompressor()
        self.tally = tally

    def check_all(self, runs: replica_pb2.Runs) -> list[CheckedRun]:
        """A message's runs, unpacked; all of them are right, or none is given.

        A run's own checksum covers its bytes only; the message's digest covers where they go.

        :raises BadStream, DataLoss: as :meth:`check`.
        """
        checked = [self.check(run) for run in runs.run]
        if runs.digest != self.tally.digest:
            raise DataLoss(
                f"the runs before number {self.tally.runs} do not match their digest",
                "the connection or the memory of a host damages data",
            )
        return checked

    def check(self, run: replica_pb2.Run) -> CheckedRun:
        """``run``, unpacked.

        :raises BadStream: out of order, outside the volume, not whole chunks, or there before.
        :raises DataLoss: the bytes are not those that were sent.
        """
        if run.ordinal != self.tally.runs:
            raise BadStream(f"run {run.ordinal} came where run {self.tally.runs} belongs")
        self._check_place(run.address, run.length)
        data = self._data(run)
        self._placing.place(run.address, run.length)
        self.tally = self.tally.plus(run.address, run.length, run.checksum, self._chunk)
        return CheckedRun(Bytes(run.address), Bytes(run.length), data, self.tally)

    def _check_place(self, address: int, length: int) -> None:
        end = address + length
        if not length or end > self._size:
            raise BadStream(
                f"a run of {length} bytes at byte {address} does not lie in a volume of "
                f"{self._size} bytes"
            )
        if address % self._chunk or (length % self._chunk and end != self._size):
            raise BadStream(
                f"a run of {length} bytes at byte {address} is not whole chunks of {self._chunk}"
            )

    def _data(self, run: replica_pb2.Run) -> bytes | None:
        if run.encoding == replica_pb2.ENCODING_ZERO:
            if run.payload or run.checksum:
                raise BadStream(f"run {run.ordinal} is zeroes and carries bytes")
            if run.length > MAX_ZERO_RUN_BYTES:
                raise BadStream(f"run {run.ordinal} is longer than {MAX_ZERO_RUN_BYTES} bytes")
            return None
        if run.length > MAX_RUN_BYTES:
            raise BadStream(f"run {run.ordinal} is longer than {MAX_RUN_BYTES} bytes")
        data = self._decompressor.decode(run.encoding, run.payload, run.length)
        if checksum(data) != run.checksum:
            raise DataLoss(
                f"run {run.ordinal} at byte {run.address} does not match its checksum",
                "the connection or the memory of a host damages data",
            )
        return data

    def check_trailer(self, trailer: replica_pb2.Trailer) -> None:
        """:raises DataLoss: what arrived is not what the trailer says was sent."""
        if trailer != self.tally.trailer():
            raise DataLoss(
                f"the source sent {trailer.runs} runs, {trailer.chunks} chunks and "
                f"{trailer.bytes} bytes; {self.tally.runs}, {self.tally.chunks} and "
                f"{self.tally.length} arrived, or their digests differ"
            )
