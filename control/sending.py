"""One instant of a group brought to one replica, visible there all at once (invariant 2)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from control.context import Context
from control.copying import Copier, CopyProgress, CopyResult
from control.limiter import RateLimiter
from control.mirrored import Frozen, MirroredVolume
from control.records import CycleKind, GenerationRecord, MirrorRecord, Origin, StandingRecord
from control.wire.channel import connect
from control.wire.errors import SendStopped
from control.wire.send import commit
from dm_tables.errors import FrazilError
from proto.frazil.v1.replica_pb2_grpc import ReplicaStub

STREAMS = 4
"""Volumes that are copied side by side (claim 6)."""

Member = tuple[MirroredVolume, GenerationRecord]


class InstantCopy:
    """Copies the generations of an instant, and makes them the replica's newest in one step.

    A context, which holds their images. What it did may be done again, and goes on where it was.

    :param members: volumes, and what of them was frozen at the instant.
    """

    def __init__(
        self,
        context: Context,
        mirror: MirrorRecord,
        members: Sequence[Member],
        *,
        limiter: RateLimiter,
        cancel: threading.Event,
    ) -> None:
        self._context = context
        self._mirror = mirror
        self._members = members
        self._limiter = limiter
        self._cancel = cancel
        self._held = ExitStack()
        self._copiers: list[Copier] = []

    def __enter__(self) -> InstantCopy:
        """:raises FrazilError: an image is not there any more; none is held."""
        with ExitStack() as stack:
            for volume, generation in self._members:
                frozen = stack.enter_context(volume.frozen(generation))
                self._copiers.append(self._copier(frozen))
            self._held = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def _copier(self, frozen: Frozen) -> Copier:
        return Copier(
            self._context,
            frozen,
            self._mirror,
            limiter=self._limiter,
            cancel=self._cancel,
            staged=len(self._members) > 1,
        )

    @property
    def kind(self) -> CycleKind:
        """What is sent: of several volumes, what costs most."""
        kinds = {copier.plan.kind for copier in self._copiers}
        return next(kind for kind in (CycleKind.WHOLE, CycleKind.CATCH_UP, *kinds) if kind in kinds)

    @property
    def progress(self) -> CopyProgress:
        """How far all of them are."""
        parts = [copier.progress for copier in self._copiers]
        started = [part.started for part in parts if part.started]
        return CopyProgress(
            sum(part.done for part in parts),
            sum(part.total for part in parts),
            sum(part.sent for part in parts),
            min(started, default=0.0),
        )

    def run(self, note: Callable[[], None] = lambda: None) -> CopyResult:
        """Copy, commit, and write down that the replica has it.

        :raises FrazilError: the first that went wrong; what is durable there stays.
        """
        began = time.monotonic()
        results = self._copy(note)
        if len(self._members) > 1:
            self._commit()
        self._write_down()
        return CopyResult(
            chunks=sum(result.chunks for result in results),
            changed_bytes=sum(result.changed_bytes for result in results),
            sent_bytes=sum(result.sent_bytes for result in results),
            payload_bytes=sum(result.payload_bytes for result in results),
            seconds=time.monotonic() - began,
            resumed=sum(result.resumed for result in results),
        )

    def _copy(self, note: Callable[[], None]) -> list[CopyResult]:
        if len(self._copiers) == 1:
            return [self._copiers[0].run(note)]
        with ThreadPoolExecutor(STREAMS, thread_name_prefix="copy") as pool:
            running = [pool.submit(copier.run, note) for copier in self._copiers]
        # All have ended: what one of them could not do does not cost the others their progress.
        return [future.result() for future in running]

    def _commit(self) -> None:
        mirror = self._mirror
        names = {
            mirror.replica_of(volume.name): generation.uuid for volume, generation in self._members
        }
        with connect(mirror.peer, self._context.config.tls, mirror.plaintext) as channel:
            commit(ReplicaStub(channel), mirror.group_name, names, peer=mirror.peer)

    def _write_down(self) -> None:
        """The replica has the generations: they are the base of the next deltas.

        Not of a volume that has left its group: its layers are merged, and nothing is remembered.
        What one has grown by since, its replica lacks.
        """
        journal = self._context.journal
        with journal.transaction():
            for copier in self._copiers:
                frozen, made = copier.frozen, copier.frozen.generation
                if not self._belongs(frozen):
                    continue
                journal.save_standing(
                    StandingRecord(
                        self._mirror.name,
                        frozen.volume,
                        made.uuid,
                        made.number,
                        made.layer,
                        made.frozen_at or 0.0,
                        base=frozen.base,
                        lacking=frozen.grown(frozen.size).serialise(),
                    )
                )

    def _belongs(self, frozen: Frozen) -> bool:
        own = self._mirror.origin is Origin.GROUP
        return not own or self._context.journal.group_of(frozen.volume) == self._mirror.group_name


class Joiner(threading.Thread):
    """The first copy of a volume that joined a mirrored group: the others' cycles go on.

    It is committed at the replica by itself; with the next instant it is part of the group there.

    :param copying: held while it works.
    :param wanted: whether it is still to be copied, by the time that ``copying`` was had.
    :param ended: called at the end, with what went wrong if something did.
    """

    def __init__(
        self,
        copy: InstantCopy,
        name: str,
        copying: threading.Lock,
        wanted: Callable[[], bool],
        ended: Callable[[FrazilError | None], None],
    ) -> None:
        super().__init__(name=f"join {name}", daemon=True)
        self.volume = name
        self.copy = copy
        self._copying = copying
        self._wanted = wanted
        self._ended = ended

    def run(self) -> None:
        """Copy once."""
        with self._copying:
            try:
                if not self._wanted():
                    raise SendStopped(f"{self.volume} is not to be copied any more")
                with self.copy:
                    self.copy.run()
            except FrazilError as error:
                self._ended(error)
                return
        self._ended(None)


def joined(
    members: Sequence[Member], standings: Sequence[StandingRecord]
) -> tuple[list[Member], list[Member]]:
    """Who is copied together, and whose first copy runs by itself.

    Where the replica has nothing of any member yet, all first copies are one instant.
    """
    known = {standing.volume for standing in standings if standing.committed_uuid}
    there = [member for member in members if member[0].name in known]
    fresh = [member for member in members if member[0].name not in known]
    return (there, fresh) if there else (fresh, [])


def lowest(standings: Sequence[StandingRecord]) -> StandingRecord | None:
    """The oldest generation that the replica has of a volume, if it has one of each but joiners."""
    return min(
        (standing for standing in standings if standing.committed_uuid),
        key=lambda standing: standing.committed_number,
        default=None,
    )
