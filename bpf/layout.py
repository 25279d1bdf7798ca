"""What ``layers.c`` keeps in its maps, as values; pure."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

BLOCK = 4096
"""Bytes that a bit stands for."""

WORDS = 8
REGION_BLOCKS = WORDS * 64
"""Blocks of a region: 2 MiB of a layer."""

REGION = struct.Struct("<Q64s")
"""How regions travel: their number, and a bit for each block, the lowest block's lowest."""

BUCKETS = 16
DEV = struct.Struct("=I")
KEY = struct.Struct("=Q")
LAYER_BYTES = 8 * (12 + 2 * BUCKETS)
REGION_BYTES = 8 * WORDS

_LAYER = struct.Struct(f"={12 + 2 * BUCKETS}Q")
_BITS = tuple(tuple(bit for bit in range(8) if byte >> bit & 1) for byte in range(256))


@dataclass(frozen=True, slots=True)
class Counters:
    """What was counted of a layer's writes.

    :ivar writes: bios that change the layer, write-zeroes and discards too; ``bytes`` is theirs.
    :ivar flushes: with a flush before the write, or without any write.
    :ivar fua: through to stable storage. :ivar metadata: of a filesystem.
    :ivar full: marks lost for want of room in the map; ``busy``: the map was being changed on that
        CPU; ``too_long``: a bio longer than the program can mark; ``unread``: one it cannot read.
    :ivar sizes: bucket ``n`` counts bios of 2^n sectors and more, below 2^(n+1).
    :ivar alignments: bucket ``n`` counts bios that begin at a multiple of 2^n sectors, no more.
    """

    writes: int = 0
    bytes: int = 0
    zeroes: int = 0
    discards: int = 0
    flushes: int = 0
    fua: int = 0
    metadata: int = 0
    full: int = 0
    busy: int = 0
    too_long: int = 0
    unread: int = 0
    sizes: tuple[int, ...] = (0,) * BUCKETS
    alignments: tuple[int, ...] = (0,) * BUCKETS

    @property
    def lost(self) -> int:
        """Marks and events that are not in the blocks."""
        return self.full + self.busy + self.too_long + self.unread

    def why_lost(self) -> str:
        """One sentence; empty when nothing was lost."""
        reasons = {
            "the map of blocks was full": self.full,
            "the map was being changed": self.busy,
            "a write was too long to mark": self.too_long,
            "a write could not be read": self.unread,
        }
        return ", ".join(f"{reason} ({times} times)" for reason, times in reasons.items() if times)

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def of(cls, found: dict[str, object]) -> Counters:
        """From JSON; what is not known is left out, what is missing is 0."""
        names = {field.name for field in dataclasses.fields(cls)}
        known = {name: value for name, value in found.items() if name in names}
        for name in ("sizes", "alignments"):
            if isinstance(known.get(name), list):
                known[name] = tuple(known[name])  # type: ignore[arg-type]
        return cls(**known)  # type: ignore[arg-type]


_PLAIN = tuple(field.name for field in dataclasses.fields(Counters))[:11]


def new_layer(trace: int) -> bytes:
    """A layer's value in the map before its first write."""
    return _LAYER.pack(trace, *(0,) * (11 + 2 * BUCKETS))


def parse_layer(value: bytes) -> tuple[int, Counters]:
    """(trace, counters) of a layer's value."""
    trace, *numbers = _LAYER.unpack(value)
    plain = dict(zip(_PLAIN, numbers, strict=False))
    sizes, alignments = numbers[-2 * BUCKETS : -BUCKETS], numbers[-BUCKETS:]
    return trace, Counters(**plain, sizes=tuple(sizes), alignments=tuple(alignments))


def device_key(devno: str) -> bytes:
    """``MAJOR:MINOR`` as the kernel numbers devices. :raises ValueError: it is none."""
    major, minor = map(int, devno.split(":"))
    return DEV.pack(major << 20 | minor)


def region_key(trace: int, region: int) -> bytes:
    """A region's key."""
    return KEY.pack(trace << 32 | region)


def parse_key(key: bytes) -> tuple[int, int]:
    """(trace, region) of a key."""
    (number,) = KEY.unpack(key)
    return number >> 32, number & 0xFFFFFFFF


def blocks_in(regions: Iterable[tuple[int, bytes]]) -> Iterator[int]:
    """The numbers of the blocks that are marked, rising within each region."""
    for region, bits in regions:
        start = region * REGION_BLOCKS
        for place, byte in enumerate(bits):
            if byte:
                base = start + 8 * place
                for bit in _BITS[byte]:
                    yield base + bit


def parse_regions(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(number, bits) of each region that travelled. :raises ValueError: it is cut off."""
    if len(data) % REGION.size:
        raise ValueError(f"{len(data)} bytes are no whole regions")
    return REGION.iter_unpack(data)
