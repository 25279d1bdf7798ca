"""Synchronize: fold a frozen layer into the base below it (WO 03/017022, figures 2d and 7D).

The layer stays a snapshot of the base while its chunks are copied into the base, so every chunk
that is written is read from the layer still: the copy is invisible. Doing it again after a
crash is harmless, from the start or from the last durable count. Both ends do it alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from control.limiter import RateLimiter
from control.spans import Span, locate, size_of
from control.store.direct import DirectFile, aligned_buffer, is_zero
from control.store.exceptions import Run
from control.store.reader import StoreReader
from dm_tables.errors import Precondition
from dm_tables.units import MIB, Bytes

BATCH = 16 * MIB
"""How much is read in the store's order, then written in the volume's."""

LARGEST_WRITE = 1 * MIB
"""One write at most: the application's own requests wait behind no more than this."""

SYNC_EVERY = Bytes(256 * MIB)


class WrongBase(Precondition):
    """Spans that are not as large as the volume whose changes the store holds."""


@dataclass(frozen=True, slots=True)
class Fragment:
    """Bytes of the batch's buffer: ``length`` of them from ``at`` on."""

    at: int
    length: int


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes of the volume from ``address`` on, and where the buffer has them, in order."""

    address: Bytes
    length: Bytes
    fragments: tuple[Fragment, ...]


@dataclass(frozen=True, slots=True)
class MergeResult:
    """``exceptions``: how many of the store's are in the base now, those before the start
    included; ``written``: the bytes this merge moved, zeroes too; ``writes``: in how many pieces.
    """

    exceptions: int
    written: Bytes
    writes: int


def batches(runs: Iterable[Run], chunks: int) -> Iterator[list[Run]]:
    """Group consecutive runs into lists of at most ``chunks`` chunks (or one larger run)."""
    batch: list[Run] = []
    held = 0
    for run in runs:
        if batch and held + run.count > chunks:
            yield batch
            batch, held = [], 0
        batch.append(run)
        held += run.count
    if batch:
        yield batch


def plan_reads(batch: list[Run]) -> list[Run]:
    """The batch in store order, joined where the store's chunks follow each other.

    Only ``new`` and ``count`` of the result mean anything: the data, laid end to end, are the
    batch's in order.
    """
    reads: list[Run] = []
    for run in batch:
        last = reads[-1] if reads else None
        if last is not None and last.new + last.count == run.new:
            reads[-1] = Run(last.first, last.old, last.new, last.count + run.count)
        else:
            reads.append(run)
    return reads


def plan_writes(batch: list[Run], chunk: Bytes, origin: Bytes) -> list[Write]:
    """The writes of a batch whose data lie end to end in a buffer: by address, joined where
    addresses follow each other, none larger than :data:`LARGEST_WRITE` unless one run is; the
    last chunk is clipped to the volume's end."""
    placed: list[tuple[int, int, int]] = []
    at = 0
    for run in batch:
        address = run.old * chunk
        placed.append((address, min(run.count * chunk, origin - address), at))
        at += run.count * chunk
    placed.sort()
    writes: list[Write] = []
    fragments: list[Fragment] = []
    begin = end = 0
    for address, length, at in placed:
        if fragments and (address != end or end + length - begin > LARGEST_WRITE):
            writes.append(Write(Bytes(begin), Bytes(end - begin), tuple(fragments)))
            fragments = []
        if not fragments:
            begin = end = address
        fragments.append(Fragment(at, length))
        end += length
    if fragments:
        writes.append(Write(Bytes(begin), Bytes(end - begin), tuple(fragments)))
    return writes


def without_zeroes(write: Write, buffer: memoryview, chunk: Bytes) -> list[Write]:
    """Cut a write where chunks of zeroes begin and end; the zero stretches have no fragments."""
    parts: list[Write] = []
    address = int(write.address)
    for fragment in write.fragments:
        for at in range(fragment.at, fragment.at + fragment.length, chunk):
            length = min(chunk, fragment.at + fragment.length - at)
            blank = is_zero(buffer[at : at + length])
            piece = () if blank else (Fragment(at, length),)
            last = parts[-1] if parts else None
            if last is not None and blank == (not last.fragments):
                joined = _joined(last.fragments, piece)
                parts[-1] = Write(last.address, Bytes(last.length + length), joined)
            else:
                parts.append(Write(Bytes(address), Bytes(length), piece))
            address += length
    return parts


def _joined(left: tuple[Fragment, ...], right: tuple[Fragment, ...]) -> tuple[Fragment, ...]:
    if left and right and left[-1].at + left[-1].length == right[0].at:
        whole = Fragment(left[-1].at, left[-1].length + right[0].length)
        return (*left[:-1], whole, *right[1:])
    return left + right


class Base:
    """The spans of a volume, opened for direct writing; closed on leaving the context."""

    def __init__(self, spans: tuple[Span, ...]) -> None:
        self.spans = spans
        self._files: dict[Path, DirectFile] = {}
        self._stack = ExitStack()
        try:
            for path in {span.path: None for span in spans}:
                self._files[path] = self._stack.enter_context(DirectFile(path, writable=True))
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> Base:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def write(self, address: Bytes, views: list[memoryview]) -> None:
        """Write the buffers one behind the other from the volume's byte ``address`` on."""
        length = Bytes(sum(map(len, views)))
        for piece in locate(self.spans, address, length):
            here, views = _cut(views, piece.length)
            self._files[piece.span.path].write_vectors(here, piece.at)

    def zero(self, address: Bytes, length: Bytes) -> None:
        """Make the volume's bytes read as zeroes, and give their room back where possible."""
        for piece in locate(self.spans, address, length):
            self._files[piece.span.path].zero(piece.at, piece.length)

    def fsync(self) -> None:
        """Bring every span to stable storage."""
        for file in self._files.values():
            file.fsync()


def _cut(views: list[memoryview], length: int) -> tuple[list[memoryview], list[memoryview]]:
    """The first ``length`` bytes of the buffers, and the rest."""
    here: list[memoryview] = []
    for i, view in enumerate(views):
        if length <= len(view):
            rest = [view[length:]] if length < len(view) else []
            return [*here, view[:length]], rest + views[i + 1 :]
        here.append(view)
        length -= len(view)
    return here, []


def merge(
    store: StoreReader,
    spans: tuple[Span, ...],
    *,
    limiter: RateLimiter,
    progress: Callable[[int, Bytes], None] = lambda exceptions, written: None,
    on_durable: Callable[[int], None] = lambda exceptions: None,
    start: int = 0,
    sync_every: Bytes = SYNC_EVERY,
    punch: bool = False,
) -> MergeResult:
    """Copy every chunk the store holds into the base, durably.

    The layer must be frozen (no writer), and no layer may lie between it and the base.

    :param limiter: the rate, in bytes written, and the way to stop.
    :param progress: told now and then: exceptions in the base so far, bytes moved by this merge.
    :param on_durable: told after each fsync how many exceptions are in the base for good: a
        later merge may ``start`` there.
    :param sync_every: how many bytes to write between two fsyncs.
    :param punch: chunks of zeroes become holes, or are discarded. Not on a device whose room the
        application counts on.
    :raises WrongBase: the spans are not as large as the volume the store belongs to.
    :raises Interrupted: the limiter's stop; everything told to ``on_durable`` stays.
    :raises StoreCorrupt, NoRoom, DeviceFailed: reading or writing failed.
    """
    if size_of(spans) != store.origin_bytes:
        raise WrongBase(
            f"{store.file.path}: the layer belongs to a volume of {store.origin_bytes} bytes, "
            f"its base has {size_of(spans)}"
        )
    buffer = aligned_buffer(BATCH)
    done, written, writes, unsynced = start, 0, 0, 0
    with Base(spans) as base:
        runs = store.runs(start, limit=min(LARGEST_WRITE, BATCH) // store.chunk)
        for batch in batches(runs, BATCH // store.chunk):
            _read(store, batch, buffer)
            for write in plan_writes(batch, store.chunk, store.origin_bytes):
                limiter.take(write.length)
                parts = without_zeroes(write, buffer, store.chunk) if punch else [write]
                _write(base, parts, buffer)
                written += write.length
                unsynced += write.length
                writes += len(parts)
            done = batch[-1].first + batch[-1].count
            if unsynced >= sync_every:
                base.fsync()
                on_durable(done)
                unsynced = 0
            progress(done, Bytes(written))
        base.fsync()
        on_durable(done)
    return MergeResult(done, Bytes(written), writes)


def _read(store: StoreReader, batch: list[Run], buffer: memoryview) -> None:
    at = 0
    for run in plan_reads(batch):
        length = run.count * store.chunk
        store.read_into(buffer[at : at + length], run.new)
        at += length


def _write(base: Base, parts: list[Write], buffer: memoryview) -> None:
    for part in parts:
        if part.fragments:
            views = [buffer[f.at : f.at + f.length] for f in part.fragments]
            base.write(part.address, views)
        else:
            base.zero(part.address, part.length)
