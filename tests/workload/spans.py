"""A volume's spans, filled and read past frazil, and what they must hold after writes to the head.

A span is (path, offset, length): bytes of a device or a file, whole sectors. Runs in a guest.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from tests.workload.device_io import BUFFER_BYTES, DeviceWriter, DirectReader

Span = tuple[str, int, int]
SECTOR: Final = 512
AROUND: Final = 64 << 10
LONGEST: Final = 96 << 10
ROTTEN: Final = 16


def size_of(spans: Sequence[Span]) -> int:
    """The bytes of all of them."""
    return sum(length for _, _, length in spans)


def fill(spans: Sequence[Span], seed: int) -> None:
    """Random bytes in all of them, the same for the same seed, on stable storage."""
    content = random.Random(seed).randbytes(size_of(spans))
    for path, offset, length in spans:
        with closing(DeviceWriter(Path(path))) as writer:
            for at in range(0, length, BUFFER_BYTES):
                writer.write_direct(offset + at, content[at : min(at + BUFFER_BYTES, length)])
            writer.flush()
        content = content[length:]


def digest(spans: Sequence[Span]) -> str:
    """BLAKE2b-256 of all of them end to end."""
    found = hashlib.blake2b(digest_size=32)
    for path, offset, length in spans:
        _take(found, path, offset, offset + length)
    return found.hexdigest()


def around(spans: Sequence[Span]) -> str:
    """BLAKE2b-256 of the 64 KiB before and behind each span: what is nobody's business."""
    found = hashlib.blake2b(digest_size=32)
    for path, offset, length in spans:
        _take(found, path, max(0, offset - AROUND), offset)
        _take(found, path, offset + length, offset + length + AROUND)
    return found.hexdigest()


def write(device: str, seed: int, count: int) -> None:
    """``count`` writes anywhere on a device, one of them to its very end; then a flush."""
    with closing(DeviceWriter(Path(device))) as writer:
        for offset, data in _writes(writer.size, seed, count):
            writer.write_direct(offset, data)
        writer.flush()


def spoil(path: str, at: int) -> None:
    """Change bytes of a file or a device behind everybody's back."""
    with Path(path).open("r+b") as file:
        file.seek(at)
        was = file.read(ROTTEN)
        file.seek(at)
        file.write(bytes(byte ^ 0x55 for byte in was))
        file.flush()
        os.fsync(file.fileno())


def after(size: int, seed: int, writes: Sequence[tuple[int, int]]) -> str:
    """BLAKE2b-256 of what was filled with ``seed`` and then written: (seed, count) each."""
    content = bytearray(random.Random(seed).randbytes(size))
    for one, count in writes:
        for offset, data in _writes(size, one, count):
            content[offset : offset + len(data)] = data
    return hashlib.blake2b(content, digest_size=32).hexdigest()


def _writes(size: int, seed: int, count: int) -> Iterator[tuple[int, bytes]]:
    chance = random.Random(seed)
    for number in range(count):
        length = chance.randrange(1, LONGEST // SECTOR) * SECTOR
        last = size - length
        offset = chance.randrange(last // SECTOR + 1) * SECTOR if number else last
        yield offset, chance.randbytes(length)


def _take(found: hashlib.blake2b, path: str, start: int, end: int) -> None:
    with DirectReader(Path(path)) as reader:
        stop = min(end, reader.size)
        for at in range(start, stop, BUFFER_BYTES):
            found.update(reader.read(at, min(BUFFER_BYTES, stop - at)))
