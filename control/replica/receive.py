"""Receiving one generation (figure 8, steps 214 and 228): check, stage, make durable, commit."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from control.replica.admission import Verdict, Wanted, judge, read_manifest
from control.replica.bases import grow_base, growth_to_come
from control.replica.claims import Claim, Claims
from control.replica.groups import commit_group
from control.replica.points import check_replaceable
from control.replica.quota import check_quota
from control.replica.records import IncomingRecord
from control.replica.room import check_room, must_stay_free
from control.replica.staging import Staging, open_staging
from control.replica.store import ReplicaStore
from control.wire.checking import CheckedRun, RunChecker
from control.wire.errors import BadStream, DataLoss, ReplicaFull
from dm_tables.errors import Corrupt, Exhausted, FrazilError, NotFound
from dm_tables.units import MIB, Bytes
from proto.frazil.v1 import replica_pb2

log = logging.getLogger("frazil.replica")

Requests = Iterator[replica_pb2.ReceiveRequest]
Replies = Iterator[replica_pb2.ReceiveReply]


@dataclass(frozen=True, slots=True)
class Pace:
    """How often what was received is made durable: after so many bytes, or so long."""

    bytes: int = 32 * MIB
    seconds: float = 2.0


class Receiver:
    """Receives generations into a store.

    :param claims: shared with whatever else must not run beside a Receive.
    :param committed: called after each commit.
    """

    def __init__(
        self,
        store: ReplicaStore,
        claims: Claims,
        committed: Callable[[str], None] = lambda volume: None,
        pace: Pace | None = None,
    ) -> None:
        self._store = store
        self._claims = claims
        self._committed = committed
        self._pace = pace or Pace()

    def receive(
        self,
        identity: str,
        wanted: Wanted,
        requests: Requests,
        interrupt: Callable[[], object],
        quota: Bytes | None = None,
    ) -> Replies:
        """Take what comes behind the manifest ``wanted``; the replies of one Receive call.

        :param identity: who sends, and may write this volume.
        :param interrupt: ends the wait for the next request, from another thread.
        :param quota: what all volumes of this identity may take; None: what there is.
        :raises BaseMismatch, VolumeNameTaken, ReplicaRefused, SizeMismatch: it does not fit;
            nothing was changed.
        :raises KeepsPoints: a whole copy, where recovery points are kept.
        :raises BadStream, DataLoss: what came is wrong; what was durable stays, unless the
            whole of it does not add up.
        :raises ReplicaFull, QuotaExceeded: no room; what was durable stays.
        :raises Superseded, ReplicaBusy: two calls wanted the volume.

        A staged generation ends in Staged, and :meth:`commit` makes it the newest.
        """
        # Before the claim too: a call that is to be refused must not end one that is not.
        judge(wanted, self._store.standing(wanted.volume), identity)
        with self._claims.claim(wanted.volume, interrupt) as claim:
            verdict = judge(wanted, self._store.standing(wanted.volume), identity)
            if verdict is Verdict.STAGED:
                verdict = self._look_again(wanted)
            if verdict is Verdict.ALREADY:
                yield _committed(wanted, already=True)
                return
            if verdict is Verdict.STAGED:
                record = self._store.standing(wanted.volume).incoming
                assert record is not None
                yield self._end(wanted, record)
                return
            if wanted.whole:
                check_replaceable(self._store, wanted.volume)
            try:
                yield from self._take(wanted, identity, verdict, requests, claim, quota=quota)
            except ReplicaFull:
                raise
            except Exhausted as error:
                raise ReplicaFull(error.what, error.hint) from error

    def _look_again(self, wanted: Wanted) -> Verdict:
        """What was staged counts while it is there."""
        record = self._store.standing(wanted.volume).incoming
        assert record is not None
        try:
            self._store.object_path(record.object_name)
        except NotFound as error:
            log.warning("%s: what was staged is lost, it starts anew: %s", record.volume, error)
            return Verdict.BEGIN
        return Verdict.STAGED

    def _end(self, wanted: Wanted, record: IncomingRecord) -> replica_pb2.ReceiveReply:
        """Stage what came whole for its group, or commit it by itself. :return: the last reply."""
        if wanted.staged:
            self._store.stage(record)
            staged = replica_pb2.Staged(generation=wanted.generation.message())
            return replica_pb2.ReceiveReply(staged=staged)
        self._store.commit(record)
        self._committed(wanted.volume)
        return _committed(wanted, already=False)

    def commit(self, group: str, members: Mapping[str, str]) -> replica_pb2.Committed:
        """See :func:`control.replica.groups.commit_group`."""
        done = commit_group(self._store, group, members)
        for name in done.fresh:
            self._committed(name)
        return replica_pb2.Committed(generation=done.generation.message(), already=not done.fresh)

    def _take(
        self,
        wanted: Wanted,
        identity: str,
        verdict: Verdict,
        requests: Requests,
        claim: Claim,
        *,
        quota: Bytes | None,
    ) -> Replies:
        session = _Session(self._store, wanted, identity, verdict, self._pace, quota=quota)
        try:
            yield session.ready()
            for request in requests:
                claim.check()
                what = request.WhichOneof("message")
                if what == "trailer":
                    session.check_whole(request.trailer)
                    yield from session.fill(wanted.size)
                    session.check_limits()
                    yield from session.grow()
                    yield self._end(wanted, session.finish())
                    return
                if what != "runs":
                    raise BadStream(f"a {what or 'nothing'} came where runs belong")
                yield from session.take(request.runs)
                if session.is_due():
                    yield session.checkpoint()
            claim.check()
            raise BadStream("the stream ended without a trailer")
        finally:
            session.close()


class _Session:
    """One generation on its way in."""

    def __init__(
        self,
        store: ReplicaStore,
        wanted: Wanted,
        identity: str,
        verdict: Verdict,
        pace: Pace,
        *,
        quota: Bytes | None,
    ) -> None:
        self._quota = quota
        self._store = store
        self._wanted = wanted
        self._pace = pace
        self._broken = False
        self._first = True
        if verdict is Verdict.BEGIN:
            record = store.begin(wanted, identity)
        else:
            found = store.standing(wanted.volume).incoming
            assert found is not None
            record = found
        self._check_room(record)
        self._open(record)

    def _open(self, record: IncomingRecord) -> None:
        """Open the staged object; one that is not what the journal says is begun anew."""
        try:
            self._staging: Staging = open_staging(self._store.pool, record, self._wanted.size)
        except (NotFound, Corrupt) as error:
            if not record.tally.runs:
                raise
            log.warning("%s: what was received is lost, it starts anew: %s", record.volume, error)
            record = self._store.restart(record)
            self._staging = open_staging(self._store.pool, record, self._wanted.size)
        self._record = record
        self._checker = RunChecker(
            self._wanted.size, self._wanted.chunk, self._staging.placing(), record.tally
        )
        self._staged = record.tally
        self._saved = time.monotonic()

    def ready(self) -> replica_pb2.ReceiveReply:
        """Where the source is to go on."""
        tally = self._record.tally
        return replica_pb2.ReceiveReply(
            ready=replica_pb2.Ready(next_ordinal=tally.runs, digest=tally.digest)
        )

    def take(self, runs: replica_pb2.Runs) -> Replies:
        """Check and stage runs; a first run 0 means that the source begins anew."""
        if self._first and runs.run and runs.run[0].ordinal == 0 and self._record.tally.runs:
            self._begin_anew()
        self._first = False
        for run in self._checker.check_all(runs):
            yield from self.fill(run.address)
            self._write(run)

    def _begin_anew(self) -> None:
        self._staging.close()
        self._broken = True
        self._open(self._store.restart(self._record))
        self._broken = False

    def fill(self, end: int) -> Replies:
        """Zero what lies before ``end`` and no run covers; it may be long, so tell of it."""
        self._broken = True
        for _ in self._staging.fill(end):
            self._broken = False
            if self._is_late():
                yield self.checkpoint()
            self._broken = True
        self._broken = False

    def grow(self) -> Replies:
        """Let the base have room for a volume that grew; it may be long, so tell of it."""
        if self._wanted.whole or self._wanted.size == self._store.volume(self._wanted.volume).size:
            return
        for _ in grow_base(self._store, self._wanted.volume, self._wanted.size):
            if self._is_late():
                yield self.checkpoint()

    def _write(self, run: CheckedRun) -> None:
        self._broken = True
        self._staging.write(run)
        self._staged = run.behind
        self._broken = False

    def _is_late(self) -> bool:
        return time.monotonic() - self._saved >= self._pace.seconds

    def is_due(self) -> bool:
        """Whether it is time for a checkpoint."""
        waiting = self._staged.length - self._record.tally.length
        return waiting >= self._pace.bytes or (self._is_late() and waiting > 0)

    def checkpoint(self) -> replica_pb2.ReceiveReply:
        """Make everything so far durable, and write it down."""
        self._save()
        self._check_room(self._record)
        tally = self._record.tally
        return replica_pb2.ReceiveReply(
            durable=replica_pb2.Durable(next_ordinal=tally.runs, digest=tally.digest)
        )

    def _save(self) -> None:
        self._broken = True
        position = self._staging.checkpoint()
        self._record = self._store.checkpoint(self._record, self._staged, position)
        self._saved = time.monotonic()
        self._broken = False

    def check_whole(self, trailer: replica_pb2.Trailer) -> None:
        """See that everything came.

        :raises DataLoss: it did not; what came is dropped, because it cannot be trusted.
        """
        tally = self._checker.tally
        try:
            self._checker.check_trailer(trailer)
            if self._wanted.base_uuid and tally.chunks != self._wanted.chunks:
                raise DataLoss(
                    f"{tally.chunks} chunks came, the manifest named {self._wanted.chunks}"
                )
        except DataLoss:
            self._broken = True
            self._staging.close()
            self._store.drop_incoming(self._wanted.volume)
            raise

    def check_limits(self) -> None:
        """What came since the last checkpoint counts too, and now all of it is there.

        :raises QuotaExceeded, ReplicaFull: it is too much; what is durable stays.
        """
        if self._quota is not None:
            self._save()
            self._check_room(self._record)

    def finish(self) -> IncomingRecord:
        """All of it came, and is on stable storage before the journal may say so."""
        self._broken = True
        self._staging.finish()
        self._staging.close()
        return replace(self._record, tally=self._staged)

    def close(self) -> None:
        """Let go; what arrived whole is kept for the next call, where nothing is broken."""
        if not self._broken:
            # Whatever fails here, the last checkpoint stands.
            with suppress(FrazilError):
                self._save()
        self._staging.close()

    def _check_room(self, record: IncomingRecord) -> None:
        """See that there is room left to merge what is committed.

        :raises ReplicaFull, QuotaExceeded: there is not, or the writer has used up its part.
        """
        check_quota(self._store, record, self._quota)
        volume = self._store.volume(record.volume)
        layers = [layer.chunks * layer.chunk for layer in self._store.journal.layers(volume.name)]
        pool = self._store.pool
        growth = growth_to_come(pool, volume, record.size)
        coming = 0 if record.whole else record.tally.length
        check_room(pool.location, pool.free(), must_stay_free(growth, layers, coming))


def _committed(wanted: Wanted, *, already: bool) -> replica_pb2.ReceiveReply:
    return replica_pb2.ReceiveReply(
        committed=replica_pb2.Committed(generation=wanted.generation.message(), already=already)
    )


def first_request(requests: Requests) -> Wanted:
    """The manifest that begins a Receive call. :raises BadStream, BadManifest: there is none."""
    request = next(requests, None)
    if request is None or request.WhichOneof("message") != "manifest":
        raise BadStream("a Receive call begins with a manifest")
    return read_manifest(request.manifest)
