"""The kernel's half of the trace, in plain Python: maps, and the program that fills them."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence

from bpf.layout import (
    BLOCK,
    BUCKETS,
    REGION_BLOCKS,
    REGION_BYTES,
    Counters,
    device_key,
    new_layer,
    parse_layer,
    region_key,
)

FIELDS = ("writes", "bytes", "zeroes", "discards", "flushes", "fua", "metadata")
LOSSES = ("full", "busy", "too_long", "unread")


class FakeMap:
    """A hash map with room for so many."""

    def __init__(self, room: int = 1 << 20) -> None:
        self.room = room
        self.content: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        """The value of a key."""
        return self.content.get(key)

    def add(self, key: bytes, value: bytes) -> None:
        """Put a value where there was none."""
        if key in self.content:
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
        if len(self.content) >= self.room:
            raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))
        self.content[key] = value

    def remove(self, keys: Sequence[bytes]) -> None:
        """Remove keys that are there."""
        for key in keys:
            del self.content[key]

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Everything in it."""
        yield from list(self.content.items())


class FakeProgram:
    """What ``layers.c`` does with a bio, for tests of everything above it."""

    def __init__(self, regions: int = 1 << 20, layers: int = 1024) -> None:
        self.layers = FakeMap(layers)
        self.regions = FakeMap(regions)
        self.missed = 0
        self.attached = True

    def write(self, devno: str, address: int, length: int) -> None:
        """A bio of ``length`` bytes at ``address`` that a device gets."""
        key = device_key(devno)
        value = self.layers.get(key)
        if value is None:
            return
        trace, before = parse_layer(value)
        self._count(key, trace, before, "writes")
        for block in range(address // BLOCK, -(-(address + length) // BLOCK)):
            self._mark(devno, trace, block)

    def lose(self, devno: str, reason: str) -> None:
        """Count a loss of a layer's."""
        key = device_key(devno)
        trace, before = parse_layer(self.layers.content[key])
        self._count(key, trace, before, reason)

    def _mark(self, devno: str, trace: int, block: int) -> None:
        key = region_key(trace, block // REGION_BLOCKS)
        if self.regions.get(key) is None:
            try:
                self.regions.add(key, bytes(REGION_BYTES))
            except OSError:
                self.lose(devno, "full")
                return
        bits = bytearray(self.regions.content[key])
        place = block % REGION_BLOCKS
        bits[place // 8] |= 1 << place % 8
        self.regions.content[key] = bytes(bits)

    def _count(self, key: bytes, trace: int, before: Counters, name: str) -> None:
        numbers = [getattr(before, field) for field in (*FIELDS, *LOSSES)]
        numbers[(*FIELDS, *LOSSES).index(name)] += 1
        words = [trace, *numbers, *before.sizes, *before.alignments]
        assert len(words) * 8 == len(new_layer(trace)) == 8 * (12 + 2 * BUCKETS)
        self.layers.content[key] = b"".join(word.to_bytes(8, "little") for word in words)
