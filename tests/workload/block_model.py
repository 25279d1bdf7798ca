"""What a block device must hold, and where each chunk must lie: plain Python, no kernel.

The model knows every write by number, place, length and filling, from which its content
follows, and when it began and when it was certainly on the device. From that alone it says
what the head holds byte for byte, what a frozen instant may hold, and which chunks a cycle's
auxiliary volume has (the others are -1 in the patent's Freeze Table 1).
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from tests.workload.judge import Window

SECTOR: Final = 512
LARGEST_WRITE: Final = 2 << 20
TILE: Final = 4096
STREAMED: Final = 1 << 20


class Filling(StrEnum):
    """What a write's bytes look like: incompressible, compressible, or nothing."""

    RANDOM = "random"
    TILED = "tiled"
    ZEROES = "zeroes"


class Way(StrEnum):
    """How a write reaches the device."""

    DIRECT = "direct"
    BUFFERED = "buffered"
    ZEROOUT = "zeroout"


@dataclass(frozen=True, slots=True)
class Shape:
    """A write before it is done: ``address`` and ``length`` in bytes, whole sectors."""

    address: int
    length: int
    filling: Filling
    way: Way
    flush: bool


@dataclass(slots=True)
class Write:
    """A write that was done.

    :param begin_ns: wall clock before it. :param end_ns: wall clock when it was certainly on
        the device: after it returned, for a buffered one after the next flush; 0 until then.
    """

    number: int
    shape: Shape
    begin_ns: int
    end_ns: int = 0

    @property
    def end(self) -> int:
        """The first byte behind it."""
        return self.shape.address + self.shape.length


def draw(chance: random.Random, size: int, chunk: int) -> Shape:
    """The next random write on a device of ``size`` bytes: 512 B to 2 MiB, any alignment.

    One in four lies across a chunk border, one in twelve ends at the device's very end.
    """
    longest = min(LARGEST_WRITE, size) // SECTOR
    sectors = min(longest, int(2 ** chance.uniform(0, (LARGEST_WRITE // SECTOR).bit_length() - 1)))
    where, last = chance.random(), size // SECTOR - sectors
    if where < 1 / 4:
        border = chance.randrange(1, max(2, size // chunk)) * chunk // SECTOR
        start = min(last, max(0, border - chance.randrange(1, sectors + 1)))
    elif where < 1 / 3:
        start = last
    else:
        start = chance.randrange(last + 1)
    way = chance.choices(list(Way), [5, 4, 1])[0]
    filling = chance.choices(list(Filling), [5, 4, 1])[0]
    if way is Way.ZEROOUT:
        filling = Filling.ZEROES
    return Shape(start * SECTOR, sectors * SECTOR, filling, way, chance.random() < 1 / 5)


def small(chance: random.Random, size: int) -> Shape:
    """4 KiB anywhere, as a database writes them."""
    address = chance.randrange(size // TILE) * TILE
    return Shape(address, TILE, Filling.RANDOM, Way.DIRECT, False)


def streamed(number: int, size: int) -> Shape:
    """The next MiB of a stream from end to end, and again."""
    address = number % (size // STREAMED) * STREAMED
    return Shape(address, STREAMED, Filling.TILED, Way.DIRECT, False)


def content(seed: int, write: Write) -> bytes:
    """The bytes of a write, from its number alone; a sector tells which write it is from."""
    length = write.shape.length
    if write.shape.filling is Filling.ZEROES:
        return bytes(length)
    chance = random.Random(f"{seed}/{write.number}")
    if write.shape.filling is Filling.RANDOM:
        return chance.randbytes(length)
    return (chance.randbytes(TILE) * (length // TILE + 1))[:length]


class BlockModel:
    """The bytes that a device holds after its writes. Memory: the device's size."""

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.seed = seed
        self.image = bytearray(size)
        self.writes: list[Write] = []

    def apply(self, write: Write) -> bytes:
        """Take the write in; its content."""
        data = content(self.seed, write)
        self.image[write.shape.address : write.end] = data
        self.writes.append(write)
        return data

    def digest(self) -> str:
        """BLAKE2b-256 of the image."""
        return hashlib.blake2b(self.image, digest_size=32).hexdigest()


def compare(
    read: Callable[[int, int], bytes], image: bytes | bytearray
) -> Iterator[tuple[int, bytes]]:
    """The sectors whose bytes are not the image's, with the bytes that they have.

    :param read: (offset, length) → bytes.
    """
    step = 1 << 20
    view = memoryview(image)
    for at in range(0, len(image), step):
        wanted = view[at : at + step]
        got = read(at, len(wanted))
        if got == wanted:
            continue
        for offset in range(0, len(wanted), SECTOR):
            sector = got[offset : offset + SECTOR]
            if sector != wanted[offset : offset + SECTOR]:
                yield (at + offset) // SECTOR, sector


class InstantJudge:
    """Judges frozen instants of a device that was written meanwhile, in the order of freezes.

    A write that ended before the freeze is in; one that began after it is not; one under way
    may be in, sector by sector. Memory: the device's size twice.
    """

    def __init__(self, size: int, seed: int) -> None:
        self._seed = seed
        self._settled = BlockModel(size, seed)
        self._taken = 0

    def judge(
        self, writes: Sequence[Write], window: Window, read: Callable[[int, int], bytes]
    ) -> list[str]:
        """What is wrong with the instant frozen in ``window``; empty if nothing."""
        while self._taken < len(writes) and _is_before(writes[self._taken], window):
            self._settled.apply(writes[self._taken])
            self._taken += 1
        image = bytearray(self._settled.image)
        pending: list[_Pending] = []
        for write in writes[self._taken :]:
            if write.begin_ns > window.end_ns:
                break
            pending.append(_Pending(write, _is_before(write, window), content(self._seed, write)))
            if pending[-1].certain:
                image[write.shape.address : write.end] = pending[-1].data
        return [
            f"sector {sector} holds bytes of no write that may be there"
            for sector, data in compare(read, image)
            if not self._may_be(sector * SECTOR, data, pending)
        ]

    def _may_be(self, at: int, data: bytes, pending: Sequence[_Pending]) -> bool:
        for one in reversed(pending):
            start = at - one.write.shape.address
            if 0 <= start < one.write.shape.length:
                if one.data[start : start + SECTOR] == data:
                    return True
                if one.certain:
                    return False
        return self._settled.image[at : at + SECTOR] == data


@dataclass(frozen=True, slots=True)
class _Pending:
    write: Write
    certain: bool
    data: bytes


def _is_before(write: Write, window: Window) -> bool:
    return 0 < write.end_ns < window.begin_ns


@dataclass(frozen=True, slots=True)
class Places:
    """The chunks of one cycle: certainly in its auxiliary volume, and possibly so."""

    certain: frozenset[int]
    possible: frozenset[int]

    def judge(self, table: frozenset[int]) -> list[str]:
        """What is wrong with a freeze table that has these chunks; empty if nothing."""
        missing = sorted(self.certain - table)
        surplus = sorted(table - self.possible)
        faults = (
            [f"{len(missing)} chunks were written and are -1: {missing[:8]}"] if missing else []
        )
        if surplus:
            faults.append(f"{len(surplus)} chunks are in the AVL unwritten: {surplus[:8]}")
        return faults


def places(
    writes: Iterable[Write], chunk: int, since: Window | None, until: Window | None
) -> Places:
    """Each chunk's place in the cycle between two freezes (None: before all, after all)."""
    certain: set[int] = set()
    possible: set[int] = set()
    for write in writes:
        touched = range(write.shape.address // chunk, -(-write.end // chunk))
        ended = write.end_ns or float("inf")
        if (since and ended < since.begin_ns) or (until and write.begin_ns > until.end_ns):
            continue
        possible.update(touched)
        begun_inside = since is None or write.begin_ns > since.end_ns
        ended_inside = until is None or ended < until.begin_ns
        if begun_inside and ended_inside:
            certain.update(touched)
    return Places(frozenset(certain), frozenset(possible))
