"""The log of an application's operations: what it began, and what it was told was done.

Two marks an operation, one before it starts and one after it returned, each with the wall
clock and the monotonic clock. The log must survive the power cut that the application's own
volume goes through: it goes to a stream that the host reads, or to a disk of its own.
"""

from __future__ import annotations

import json
import mmap
import os
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, TextIO

RECORD_BYTES: Final = 512
"""A mark on a raw disk takes one sector, which is written whole or not at all."""


class LogFull(Exception):
    """The raw log has no sector left for another mark."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One line of the log.

    :param number: of the operation, from 1 without gaps.
    :param stage: ``begin`` before the operation, ``done`` after it returned.
    :param kind: what was done: ``commit``, ``write``, ``delete``.
    :param name: what it was done to; empty where that says nothing.
    :param digest: of the content written; empty where there is none.
    """

    number: int
    stage: str
    kind: str
    name: str
    digest: str
    wall_ns: int
    mono_ns: int

    def encode(self) -> bytes:
        """One line of JSON, with its newline."""
        fields = (self.number, self.stage, self.kind, self.name, self.digest)
        return json.dumps([*fields, self.wall_ns, self.mono_ns]).encode() + b"\n"

    @staticmethod
    def decode(line: bytes) -> Mark:
        """:raises ValueError: the line is not a whole mark."""
        try:
            number, stage, kind, name, digest, wall_ns, mono_ns = json.loads(line)
        except (TypeError, json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"not a mark: {line[:80]!r}") from error
        return Mark(int(number), stage, kind, name, digest, int(wall_ns), int(mono_ns))


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation as the log has it; ``done_ns`` is None while nothing acknowledged it."""

    number: int
    kind: str
    name: str
    digest: str
    begin_ns: int
    done_ns: int | None


class Log(Protocol):
    """Where marks go."""

    def put(self, mark: Mark) -> None:
        """Write one mark; it has left this process when this returns."""


class StreamLog:
    """Marks as lines of text, for whoever reads the stream (the host, through a channel)."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def put(self, mark: Mark) -> None:
        self._stream.write(mark.encode().decode())
        self._stream.flush()


class DiskLog:
    """Marks on a raw device or file, one a sector, written past the page cache.

    What is behind the last mark must be zero: a fresh disk, or one that was blanked.
    """

    def __init__(self, path: Path, offset: int = 0, length: int = 0) -> None:
        direct = os.O_DIRECT if path.is_block_device() else 0
        self._fd = os.open(path, os.O_WRONLY | direct)
        self._at = offset
        self._end = offset + length if length else os.lseek(self._fd, 0, os.SEEK_END)
        self._sector = mmap.mmap(-1, mmap.PAGESIZE)

    def put(self, mark: Mark) -> None:
        """:raises LogFull: no sector is left. :raises ValueError: the mark is too long."""
        line = mark.encode()
        if len(line) > RECORD_BYTES:
            raise ValueError(f"a mark of {len(line)} bytes does not fit {RECORD_BYTES}")
        if self._at + RECORD_BYTES > self._end:
            raise LogFull(f"the log ends at {self._end} bytes")
        self._sector[:RECORD_BYTES] = line.ljust(RECORD_BYTES, b"\0")
        with memoryview(self._sector) as view:
            os.pwrite(self._fd, view[:RECORD_BYTES], self._at)
        self._at += RECORD_BYTES


def open_log(target: str) -> Log:
    """The log named on a command line: ``-`` is stdout, ``PATH[@OFFSET+LENGTH]`` is raw."""
    if target == "-":
        return StreamLog(sys.stdout)
    path, _, region = target.partition("@")
    offset, _, length = region.partition("+")
    return DiskLog(Path(path), int(offset or 0), int(length or 0))


class Recorder:
    """Numbers operations and marks them."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.number = 0

    def begin(self, kind: str, name: str = "", digest: str = "") -> int:
        """Mark that the next operation starts; its number."""
        self.number += 1
        self._put("begin", kind, name, digest)
        return self.number

    def done(self, kind: str, name: str = "", digest: str = "") -> None:
        """Mark that the operation begun last returned."""
        self._put("done", kind, name, digest)

    def _put(self, stage: str, kind: str, name: str, digest: str) -> None:
        wall, mono = time.time_ns(), time.monotonic_ns()
        self._log.put(Mark(self.number, stage, kind, name, digest, wall, mono))


def read_disk_log(path: Path, offset: int = 0, length: int = 0) -> list[Mark]:
    """Every mark of a raw log, up to the first sector that holds none."""
    with path.open("rb") as log:
        end = offset + length if length else log.seek(0, os.SEEK_END)
        return list(_sectors(log.fileno(), offset, end))


def _sectors(fd: int, offset: int, end: int) -> Iterator[Mark]:
    step = 1 << 18
    for at in range(offset, end, step):
        block = os.pread(fd, min(step, end - at), at)
        for start in range(0, len(block), RECORD_BYTES):
            line = block[start : start + RECORD_BYTES].rstrip(b"\0")
            if not line:
                return
            yield Mark.decode(line)


def read_lines(data: bytes) -> list[Mark]:
    """Every mark of a stream; a last line that the power cut broke off is left out."""
    whole = data[: data.rfind(b"\n") + 1]
    return [Mark.decode(line) for line in whole.splitlines() if line.startswith(b"[")]


def operations(marks: Iterable[Mark]) -> list[Operation]:
    """The operations that the marks tell of, in order.

    :raises ValueError: numbers with gaps, or an end without a beginning: a broken log.
    """
    found: list[Operation] = []
    for mark in marks:
        if mark.stage == "begin":
            if mark.number != len(found) + 1:
                raise ValueError(f"operation {mark.number} follows operation {len(found)}")
            found.append(
                Operation(mark.number, mark.kind, mark.name, mark.digest, mark.wall_ns, None)
            )
        elif found and found[-1].number == mark.number:
            last = found[-1]
            found[-1] = Operation(
                last.number, last.kind, last.name, last.digest, last.begin_ns, mark.wall_ns
            )
        else:
            raise ValueError(f"operation {mark.number} ends without having begun")
    return found
