"""What an area of the store holds: pairs of chunks, and the runs they make."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass

from dm_tables.units import Bytes, Chunks


@dataclass(frozen=True, slots=True)
class Extent:
    """Bytes of the volume and where the store has them: ``length`` bytes, at ``at``, for
    ``address``. The volume's last chunk is clipped to the volume's end."""

    address: Bytes
    length: Bytes
    at: Bytes


@dataclass(frozen=True, slots=True)
class Run:
    """``count`` exceptions in store order whose chunks follow each other on both sides.

    ``first`` is the ordinal of the first one (from 0, over the whole store), ``old`` its chunk
    of the volume, ``new`` its chunk of the store.
    """

    first: int
    old: Chunks
    new: Chunks
    count: int

    def extent(self, chunk: Bytes, origin: Bytes) -> Extent:
        """The run in bytes, for chunks of ``chunk`` bytes and a volume of ``origin`` bytes."""
        address = self.old * chunk
        length = min(self.count * chunk, origin - address)
        return Extent(Bytes(address), Bytes(length), Bytes(self.new * chunk))


@dataclass(frozen=True, slots=True)
class Exceptions:
    """The exceptions of one area, or the rest of them from some ordinal on.

    ``old[i]`` and ``new[i]`` belong to exception number ``first + i``; both are ``array('Q')``.
    """

    area: int
    first: int
    old: array[int]
    new: array[int]

    def __len__(self) -> int:
        return len(self.old)

    def since(self, ordinal: int) -> Exceptions:
        """Without those before exception number ``ordinal``."""
        skip = ordinal - self.first
        if skip <= 0:
            return self
        return Exceptions(self.area, ordinal, self.old[skip:], self.new[skip:])

    def runs(self, limit: int = 1 << 63) -> Iterator[Run]:
        """The runs of at most ``limit`` chunks, in store order.

        They depend only on what is still to come, so a reader that starts again at the end of
        a run sees the same runs as one that went on.
        """
        if not self.old:
            return
        first, begin_old, begin_new = self.first, self.old[0], self.new[0]
        count = 0
        for old, new in zip(self.old, self.new, strict=True):
            if old == begin_old + count and new == begin_new + count and count < limit:
                count += 1
                continue
            yield Run(first, Chunks(begin_old), Chunks(begin_new), count)
            first, begin_old, begin_new, count = first + count, old, new, 1
        yield Run(first, Chunks(begin_old), Chunks(begin_new), count)
