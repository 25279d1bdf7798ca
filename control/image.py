"""What a stack shows, computed in user space: the base seen through its layers.

The reading half of the patent's freeze table (WO 03/017022, figure 4, steps A4 to A7): a chunk
that the table lists lies in the auxiliary volume, any other in what is below. For hosts without
device-mapper, and as a second witness beside it.
"""

from __future__ import annotations

import os
import threading
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from control.spans import Span, locate, size_of
from control.store.direct import DirectFile, aligned_buffer
from control.store.errors import CutOff
from control.store.reader import StoreReader
from dm_tables.errors import Usage
from dm_tables.units import Bytes


class OutsideImage(Usage):
    """A read that leaves the volume, or spans that are too small for it."""


@dataclass(frozen=True, slots=True)
class Part:
    """``length`` bytes of the image that lie in ``file`` from ``at`` on."""

    file: DirectFile
    at: int
    length: int


class ChunkMap:
    """Where a frozen layer's chunks lie: its runs, sorted by the volume's chunk.

    24 bytes a run of consecutive chunks; while it is built, some 60 more.
    """

    def __init__(self, store: StoreReader) -> None:
        old, new, count = array("Q"), array("Q"), array("Q")
        for run in store.runs():
            old.append(run.old)
            new.append(run.new)
            count.append(run.count)
        order = sorted(range(len(old)), key=old.__getitem__)
        self.old = array("Q", map(old.__getitem__, order))
        self.new = array("Q", map(new.__getitem__, order))
        self.count = array("Q", map(count.__getitem__, order))

    def stretches(self, first: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Chunks ``first`` to ``end`` as (chunk, count, store chunk); 0: not in this layer."""
        i = max(bisect_right(self.old, first) - 1, 0)
        while first < end and i < len(self.old):
            begin, stop = self.old[i], self.old[i] + self.count[i]
            if begin >= end:
                break
            if begin > first:
                yield first, begin - first, 0
                first = begin
            if stop > first:
                upto = min(stop, end)
                yield first, upto - first, self.new[i] + first - begin
                first = upto
            i += 1
        if first < end:
            yield first, end - first, 0


class _Layer:
    """One store of the stack, its map built when it is first needed."""

    def __init__(self, store: StoreReader) -> None:
        self.store = store
        self._map: ChunkMap | None = None
        self._lock = threading.Lock()

    def map(self) -> ChunkMap:
        with self._lock:
            if self._map is None:
                self._map = ChunkMap(self.store)
            return self._map


class StackImage:
    """The image of a stack whose layers are frozen.

    :param base: the spans of the base.
    :param layers: (store, chunk bytes) from the lowest to the one whose image is wanted.
    :param size: the volume's size.
    :raises OutsideImage: the spans are smaller than ``size``.
    :raises StoreCorrupt, FileMissing, FileDenied: a store cannot be used; at the first read that
        needs its entries, when one of them cannot be.

    Reads may come from several threads. Memory follows change, see :class:`ChunkMap`.
    """

    def __init__(
        self,
        base: tuple[Span, ...],
        layers: list[tuple[str | os.PathLike[str], Bytes]],
        size: Bytes,
    ) -> None:
        if size_of(base) < size:
            raise OutsideImage(f"a base of {size_of(base)} bytes for a volume of {size}")
        self.base = base
        self.size = size
        self._stack = ExitStack()
        self._files: dict[Path, DirectFile] = {}
        self._layers: list[_Layer] = []
        try:
            for path in {span.path: None for span in base}:
                self._files[path] = self._stack.enter_context(DirectFile(path))
            for store, chunk in layers:
                reader = self._stack.enter_context(StoreReader(store, size, chunk))
                self._layers.append(_Layer(reader))
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> StackImage:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every file; harmless when done twice."""
        self._stack.close()

    def read(self, offset: Bytes, length: Bytes) -> memoryview:
        """The image's bytes in a buffer of their own. Errors as :meth:`read_into`."""
        view = aligned_buffer(length)
        self.read_into(view, offset)
        return view

    def read_into(self, view: memoryview, offset: Bytes) -> None:
        """Fill ``view`` with the image's bytes from ``offset`` on.

        Fastest with a buffer from :func:`control.store.direct.aligned_buffer`.

        :raises OutsideImage: the stretch leaves the volume.
        :raises CutOff, StoreCorrupt, DeviceFailed: a file of the stack fails.
        """
        end = offset + len(view)
        if offset < 0 or end > self.size:
            raise OutsideImage(f"bytes {offset} to {end} of an image of {self.size} bytes")
        done = 0
        for part in self.parts(offset, Bytes(len(view))):
            got = part.file.read_into(view[done : done + part.length], part.at)
            if got < part.length:
                raise CutOff(part.file, f"no {part.length} bytes at {part.at}")
            done += part.length

    def parts(self, offset: Bytes, length: Bytes) -> Iterator[Part]:
        """Where the bytes from ``offset`` on lie, in order; neighbours in one file are joined."""
        held: Part | None = None
        for part in self._resolve(len(self._layers) - 1, offset, offset + length):
            if held is None:
                held = part
            elif held.file is part.file and held.at + held.length == part.at:
                held = Part(held.file, held.at, held.length + part.length)
            else:
                yield held
                held = part
        if held is not None:
            yield held

    def _resolve(self, level: int, start: int, end: int) -> Iterator[Part]:
        if level < 0:
            for piece in locate(self.base, Bytes(start), Bytes(end - start)):
                yield Part(self._files[piece.span.path], piece.at, piece.length)
            return
        store = self._layers[level].store
        chunk = store.chunk
        covering = self._layers[level].map().stretches(start // chunk, -(-end // chunk))
        for first, count, new in covering:
            begin = max(first * chunk, start)
            stop = min((first + count) * chunk, end)
            if new:
                yield Part(store.file, new * chunk + begin - first * chunk, stop - begin)
            else:
                yield from self._resolve(level - 1, begin, stop)
