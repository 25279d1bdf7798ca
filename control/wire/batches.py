"""Runs packed into messages, and where in a generation to begin."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from control.wire.codec import Compressor
from control.wire.deltas import Delta, Stretch
from control.wire.frames import MAX_BATCH_BYTES, MAX_BATCH_RUNS, Tally, checksum
from proto.frazil.v1 import replica_pb2


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A place in a generation that needs no re-reading to go on from.

    ``ordinal`` is the next run's, ``position`` the delta's own, ``digest`` the chain up to there.
    """

    ordinal: int
    position: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """One message's runs. ``plain`` counts payload bytes before compression; ``tally`` and
    ``checkpoint`` stand behind the batch, or as near before its end as can be."""

    runs: replica_pb2.Runs
    plain: int
    tally: Tally
    checkpoint: Checkpoint | None


@dataclass(slots=True)
class _Packing:
    tally: Tally
    runs: list[replica_pb2.Run] = field(default_factory=list)
    payload: int = 0
    plain: int = 0
    checkpoint: Checkpoint | None = None

    def batch(self) -> Batch:
        runs = replica_pb2.Runs(run=self.runs, digest=self.tally.digest)
        return Batch(runs, self.plain, self.tally, self.checkpoint)


def batches(
    stretches: Iterator[Stretch], tally: Tally, delta: Delta, compressor: Compressor
) -> Iterator[Batch]:
    """``stretches`` as numbered, checksummed and packed runs, in messages of about 1 MiB.

    :param tally: what the runs before the first stretch come to.
    """
    packing = _Packing(tally)
    for stretch in stretches:
        run = _run(stretch, packing.tally.runs, compressor)
        packed = packing.payload + len(run.payload)
        if packing.runs and (packed > MAX_BATCH_BYTES or len(packing.runs) >= MAX_BATCH_RUNS):
            yield packing.batch()
            packing = _Packing(packing.tally)
        _add(packing, stretch, run, delta)
    if packing.runs:
        yield packing.batch()


def _add(packing: _Packing, stretch: Stretch, run: replica_pb2.Run, delta: Delta) -> None:
    packing.runs.append(run)
    packing.payload += len(run.payload)
    packing.plain += 0 if stretch.data is None else stretch.length
    packing.tally = packing.tally.plus(run.address, run.length, run.checksum, delta.chunk)
    if stretch.resume is not None:
        packing.checkpoint = Checkpoint(packing.tally.runs, stretch.resume, packing.tally.digest)


def _run(stretch: Stretch, ordinal: int, compressor: Compressor) -> replica_pb2.Run:
    if stretch.data is None:
        return replica_pb2.Run(
            ordinal=ordinal,
            address=stretch.address,
            length=stretch.length,
            encoding=replica_pb2.ENCODING_ZERO,
        )
    encoding, payload = compressor.encode(stretch.data)
    return replica_pb2.Run(
        ordinal=ordinal,
        address=stretch.address,
        length=stretch.length,
        encoding=encoding,
        payload=payload,
        checksum=checksum(stretch.data),
    )


@dataclass(frozen=True, slots=True)
class Start:
    """Where sending begins: what the replica has, and everything behind that."""

    tally: Tally
    stretches: Iterator[Stretch]


def find_start(delta: Delta, ready: replica_pb2.Ready, checkpoint: Checkpoint | None) -> Start:
    """The place where the replica stands, proven by the digest chain.

    From the checkpoint, or from the beginning where there is none, ``delta`` is read again up to
    the replica's place, without sending. Where the digests differ, everything is sent anew.
    """
    if ready.next_ordinal:
        behind = checkpoint if checkpoint and checkpoint.ordinal <= ready.next_ordinal else None
        start = _resumed(delta, ready, behind)
        if start is not None:
            return start
    return Start(Tally(), delta.stretches())


def _resumed(delta: Delta, ready: replica_pb2.Ready, checkpoint: Checkpoint | None) -> Start | None:
    tally, position = Tally(), 0
    if checkpoint is not None:
        position = checkpoint.position
        count = delta.count(position)
        tally = Tally(checkpoint.ordinal, count.chunks, count.length, checkpoint.digest)
    stretches = delta.stretches(position)
    while tally.runs < ready.next_ordinal:
        stretch = next(stretches, None)
        if stretch is None:
            return None
        known = b"" if stretch.data is None else checksum(stretch.data)
        tally = tally.plus(stretch.address, stretch.length, known, delta.chunk)
    return Start(tally, stretches) if tally.digest == ready.digest else None
