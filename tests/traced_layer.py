"""A layer as the source has it: images, the store between them, and what was really written."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from control.blocks import BLOCK, BlockSet
from control.store.reader import StoreReader
from dm_tables.units import Bytes
from tests.replica_tools import write_store


@dataclass(frozen=True, slots=True)
class Write:
    """``length`` bytes at ``address``: noise of its ``seed``, or zeroes where that is 0."""

    address: int
    length: int
    seed: int

    def data(self) -> bytes:
        """What was written."""
        return random.Random(self.seed).randbytes(self.length) if self.seed else bytes(self.length)


@dataclass(frozen=True, slots=True)
class TracedLayer:
    """What dm-snapshot makes of ``writes`` on ``before``; ``chunk`` is in bytes."""

    before: bytes
    chunk: int
    writes: Sequence[Write]

    @property
    def size(self) -> int:
        """The volume's, in bytes."""
        return len(self.before)

    @property
    def after(self) -> bytes:
        """The image above the layer."""
        made = bytearray(self.before)
        for write in self.writes:
            made[write.address : write.address + write.length] = write.data()
        return bytes(made)

    @property
    def chunks(self) -> list[int]:
        """The chunks that the store has, in the order of their first writes."""
        touched: dict[int, None] = {}
        for write in self.writes:
            last = (write.address + write.length - 1) // self.chunk
            touched |= dict.fromkeys(range(write.address // self.chunk, last + 1))
        return list(touched)

    @property
    def blocks(self) -> set[int]:
        """The blocks that were written: what a lossless trace says."""
        return {
            block
            for write in self.writes
            for block in range(
                write.address // BLOCK, (write.address + write.length - 1) // BLOCK + 1
            )
        }

    @contextmanager
    def store(self, directory: Path) -> Iterator[StoreReader]:
        """The layer's store in ``directory``; past the volume's end its last chunk holds noise."""
        image = self.after + random.Random(0).randbytes(-self.size % self.chunk)
        changes = {n: image[n * self.chunk : (n + 1) * self.chunk] for n in self.chunks}
        path = write_store(directory / "store", changes, self.chunk, self.size)
        with StoreReader(path, Bytes(self.size), Bytes(self.chunk)) as reader:
            yield reader


def block_set(numbers: set[int]) -> BlockSet:
    """The set of these blocks."""
    made = BlockSet()
    made.add_blocks(numbers)
    return made
