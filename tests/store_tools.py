"""Exception stores made and read by hand, from the format's description alone: what the
store's own reader and writer are measured against."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path

Pair = tuple[int, int]


@dataclass
class HandMade:
    """A store put together byte by byte.

    ``pairs`` are (chunk of the volume, chunk of the store), ``data`` the content of chunks of
    the store; the terminator is left out when ``open_end``.
    """

    chunk: int
    pairs: list[Pair]
    data: dict[int, bytes] = field(default_factory=dict)
    magic: int = 0x70416E53
    valid: int = 1
    version: int = 1
    sectors: int | None = None
    open_end: bool = False
    chunks: int | None = None

    def image(self) -> bytearray:
        """The store's bytes."""
        per_area = self.chunk // 16
        areas = len(self.pairs) // per_area + 1
        used = 1 + (per_area + 1) * (areas - 1) + 1 + per_area
        out = bytearray(self.chunk * (self.chunks or used))
        sectors = self.chunk // 512 if self.sectors is None else self.sectors
        struct.pack_into("<IIII", out, 0, self.magic, self.valid, self.version, sectors)
        for i, (old, new) in enumerate(self.pairs):
            area, entry = divmod(i, per_area)
            at = (1 + (per_area + 1) * area) * self.chunk + 16 * entry
            struct.pack_into("<QQ", out, at, old, new)
        for new, data in self.data.items():
            out[new * self.chunk : new * self.chunk + len(data)] = data
        if self.open_end:
            del out[(1 + (per_area + 1) * (areas - 1)) * self.chunk :]
        return out

    def write(self, path: Path) -> Path:
        path.write_bytes(self.image())
        return path


def place(ordinal: int, chunk: int) -> int:
    """The store's chunk of the ``ordinal``-th exception when none is left out."""
    per_area = chunk // 16
    return 2 + ordinal + ordinal // per_area


def compact(chunk: int, content: list[tuple[int, bytes]]) -> HandMade:
    """A store of these (chunk of the volume, data), in this order, without gaps."""
    pairs = [(old, place(i, chunk)) for i, (old, _) in enumerate(content)]
    data = {place(i, chunk): data for i, (_, data) in enumerate(content)}
    return HandMade(chunk, pairs, data)


def naive_read(image: bytes, chunk: int) -> list[tuple[int, bytes]]:
    """The (chunk of the volume, data) of a store's bytes, in order, as the kernel takes them."""
    magic, valid, version, sectors = struct.unpack_from("<IIII", image)
    assert (magic, valid, version, sectors) == (0x70416E53, 1, 1, chunk // 512)
    per_area = chunk // 16
    found: list[tuple[int, bytes]] = []
    area = 0
    while True:
        begin = (1 + (per_area + 1) * area) * chunk
        assert begin + chunk <= len(image), f"area {area} is cut off"
        for entry in range(per_area):
            old, new = struct.unpack_from("<QQ", image, begin + 16 * entry)
            if new == 0:
                return found
            assert (new + 1) * chunk <= len(image), f"data of {old} are cut off"
            found.append((old, bytes(image[new * chunk : (new + 1) * chunk])))
        area += 1


def filled(seed: int, length: int) -> bytes:
    """``length`` bytes that tell where they came from; never all zero."""
    word = struct.pack("<Q", (seed + 1) * 0x9E3779B97F4A7C15 % (1 << 64) | 1)
    return (word * (length // 8 + 1))[:length]
