"""A mirror at work: copy, commit, and again (figure 8; claims 1, 12 to 14, 18)."""

from __future__ import annotations

import dataclasses
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from control.blocks import BlockSet
from control.comparing import Comparisons
from control.context import Context
from control.cycle import Readiness
from control.fence import ask
from control.limiter import RateLimiter
from control.mirrored import Instant, MirroredGroup, MirroredVolume
from control.now import Now
from control.records import (
    CycleKind,
    CycleRecord,
    GenerationRecord,
    MirrorRecord,
    MirrorState,
    Origin,
    StandingRecord,
)
from control.sending import InstantCopy, Joiner, Member, joined, lowest
from control.timing import FOREVER, LOOK_SECONDS, MirrorTiming
from control.wire.errors import ReplicaPromoted, WrittenByAnother
from dm_tables.errors import FrazilError, Precondition

log = logging.getLogger("frazil.mirror")

PATIENCE_SECONDS = 60.0
"""For how long a replica that fails is waited for by the others of its group."""
STOP_SECONDS = 0.5
FREEZE_SECONDS = 0.1
"""How soon a mirror that breaks looks again whether a freeze was made."""
ASK_AGAIN_SECONDS = 30.0


class MirrorWorker(threading.Thread):
    """The thread of one mirror: brings the group's newest instant to the replica when it is due.

    :param committed: called when the replica has an instant, so that others may go on.
    """

    def __init__(
        self, name: str, group: MirroredGroup, context: Context, committed: Callable[[], None]
    ) -> None:
        super().__init__(name=f"mirror {name}", daemon=True)
        self.mirror = name
        self.group = group
        self.context = context
        self.now = Now()
        self._failure: tuple[float, FrazilError] | None = None
        self.changed = threading.Condition()
        self._cancel = threading.Event()
        self.timing = MirrorTiming(name, group, context)
        self.comparisons = Comparisons(name, group, context)
        self.limiter = RateLimiter(self.record.rate_bytes or context.config.copy.rate, self._cancel)
        self._copying = threading.Lock()
        self._joining = threading.Lock()
        self._joiners: list[Joiner] = []
        self._committed = committed
        self._asked_note = f"asked {name}"
        self._asked_number = int(context.journal.note(self._asked_note) or 0)
        self._attempts = 0
        self._asked_there = False
        self._news = False
        self._stopping = False

    @property
    def record(self) -> MirrorRecord:
        """The mirror as journaled."""
        record = self.context.journal.mirror(self.mirror)
        if record is None:
            raise Precondition(f"mirror {self.mirror} is gone")
        return record

    @property
    def standings(self) -> list[StandingRecord]:
        """What the replica has of each of the group's volumes."""
        known = {one.volume: one for one in self.context.journal.standings(mirror=self.mirror)}
        names = [volume.name for volume in self.group.volumes]
        return [known.get(name) or StandingRecord(self.mirror, name) for name in names]

    @property
    def committed(self) -> StandingRecord | None:
        """What the replica has; None while it has nothing."""
        return lowest(self.standings)

    @property
    def committed_number(self) -> int:
        """The newest generation that it has of all volumes but joining ones; 0 for none."""
        standing = self.committed
        return standing.committed_number if standing is not None else 0

    def lacking_bytes(self, standing: StandingRecord) -> int:
        """Bytes that a replica lacks beyond the layers; the whole volume if that is unknown."""
        if standing.lacking_all:
            sizes = (one.size for one in self.group.volumes if one.name == standing.volume)
            return next(sizes, 0)
        return BlockSet(standing.lacking).length

    def joining(self, volume: str) -> bool:
        """Whether the first copy of a volume runs while the others' cycles go on."""
        return any(joiner.volume == volume and joiner.is_alive() for joiner in self._joiners)

    # What others ask of it.

    def failed_since(self, moment: float) -> FrazilError | None:
        """What went wrong last, if that was tried at a moment or later.

        :param moment: as ``time.monotonic()`` has it. An attempt that had begun before tells of
            how it was then: it is made again at once, and its failure is nobody's answer.
        """
        failure = self._failure
        return failure[1] if failure is not None and failure[0] >= moment else None

    def wake(self) -> None:
        """Look again at what is to be done, now."""
        with self.changed:
            self._attempts = 0
            self._news = True
            self.now.next_attempt = 0.0
            self.changed.notify_all()

    def look(self) -> None:
        """There is a new instant; a mirror that waits after a failure goes on waiting."""
        with self.changed:
            if not self.now.next_attempt:
                self._news = True
                self.changed.notify_all()

    def ask(self) -> int:
        """Start a cycle now, or right after the running one.

        :return: the number that its generation will have at least.
        """
        with self.changed:
            self._asked_number = self.group.next_number
            self.context.journal.set_note(self._asked_note, str(self._asked_number))
        self.wake()
        return self._asked_number

    def interrupt(self) -> None:
        """Stop running copies where they are; their durable part is not sent again."""
        self._cancel.set()
        self.wake()

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Copies are stopped, and none begins, as long as the context lasts."""
        locks = (self._copying, self._joining)
        for lock in locks:
            self.interrupt()
            while not lock.acquire(timeout=STOP_SECONDS):
                self.interrupt()
        try:
            yield
        finally:
            for lock in locks:
                lock.release()

    @contextmanager
    def if_quiet(self) -> Iterator[bool]:
        """Whether nothing is copied; if so, none begins as long as the context lasts."""
        taken: list[threading.Lock] = []
        try:
            for lock in (self._copying, self._joining):
                if not lock.acquire(blocking=False):
                    break
                taken.append(lock)
            yield len(taken) == 2
        finally:
            for lock in taken:
                lock.release()

    def stop(self) -> None:
        """End the thread."""
        self._stopping = True
        self.interrupt()

    def readiness(self, newest: Instant | None) -> Readiness | None:
        """How the group's next freeze sees this mirror; None while it does not run."""
        record = self.record
        if record.state is not MirrorState.RUNNING:
            return None
        number = newest.number if newest is not None else 0
        pending = number > self.committed_number and number >= self._asked_number
        due = self._look_in(record, idle=not pending and not self.group.written())
        if not self.asked:
            due = max(due, self.timing.room_in(record, self.committed))
        return Readiness(pending, due, self.counts)

    @property
    def asked(self) -> bool:
        """Whether somebody asked for a cycle that the replica does not have yet."""
        return self._asked_number > self.committed_number

    def due(self, record: MirrorRecord, *, idle: bool) -> float | None:
        """Seconds until the next cycle at the earliest; None: only when asked."""
        if self.asked:
            return 0.0
        due = self.timing.due(record, self.committed, idle=idle)
        return None if due is None else max(due, self.timing.room_in(record, self.committed))

    def _look_in(self, record: MirrorRecord, *, idle: bool) -> float:
        return 0.0 if self.asked else self.timing.look_in(record, self.committed, idle=idle)

    @property
    def counts(self) -> bool:
        """Whether the others of the group wait for it: it works, or failed only just now."""
        since = self.now.failing_since
        return not since or time.time() - since < PATIENCE_SECONDS

    # The loop.

    def run(self) -> None:
        """Step until stopped; a failed step is tried again, later and later."""
        while not self._stopping:
            self._cancel.clear()
            # What comes while it looks is looked at next, not slept over.
            self._news = False
            began = time.monotonic()
            try:
                wait = self._step()
                self._attempts = 0
            except FrazilError as error:
                wait = self._failed(error, began)
            except Exception as error:
                log.exception("mirror %s", self.mirror)
                wait = self._failed(FrazilError(f"internal error: {error!r}"), began)
            with self.changed:
                self.changed.notify_all()
                interrupted = self._stopping or self._cancel.is_set()
                if wait > 0 and not interrupted and not self._news:
                    self.changed.wait(wait)

    def enter(
        self, phase: str, cycle: CycleRecord | None = None, copy: InstantCopy | None = None
    ) -> None:
        """The next phase; what went wrong last stays known until a cycle ends well."""
        was = self.now
        self.now = Now(phase, cycle, copy, was.problem, was.error, failing_since=was.failing_since)

    def _failed(self, error: FrazilError, began: float) -> float:
        if self._stopping or self._cancel.is_set():
            self.now.phase = "idle"
            return 0.0
        self._attempts += 1
        if isinstance(error, (ReplicaPromoted, WrittenByAnother)):
            error = self.group.taken_over(error, self.mirror, self.committed_number)
        settings = self.context.config.copy
        wait = settings.retry_first * 2.0 ** min(self._attempts - 1, 20)
        wait = min(settings.retry_longest, wait)
        wait *= random.uniform(0.8, 1.2)  # noqa: S311
        self.report(error, began)
        self.now.phase = "waiting"
        self.now.next_attempt = time.time() + wait
        return wait

    def report(self, error: FrazilError, began: float) -> None:
        """Show what went wrong, and tell it once.

        :param began: when it was begun that failed, as ``time.monotonic()`` has it.
        """
        if str(error) != self.now.problem:
            self.context.events.add("warning", self.mirror, error.name, str(error))
        self.now.problem = str(error)
        self.now.error = error
        self.now.failing_since = self.now.failing_since or time.time()
        self._failure = began, error

    def _step(self) -> float:
        """Do what is due. :return: how many seconds to wait before the next look."""
        record = self.record
        if record.state not in (MirrorState.RUNNING, MirrorState.BREAKING):
            return self._at_rest(record)
        if not self._asked_there:
            self._ask_there(record)
        freezing = self.group.freezing()
        instant = self._next(record)
        if instant is None and record.state is MirrorState.BREAKING:
            # What is being frozen may be for this mirror: then that is its last cycle.
            return FREEZE_SECONDS if freezing else self._broken()
        shut = 0.0 if self.asked else self.timing.shut(record, time.time())
        if shut > 0:
            return self._rest(shut)
        if instant is None:
            if self.now.phase != "freezing":
                self.now.phase = "idle"
            self.now.next_attempt = 0.0
            longest = FOREVER if self._asked_there else ASK_AGAIN_SECONDS
            wait = min(self._look_in(record, idle=False) or FOREVER, longest)
            return self._until_close(record, wait)
        with self._copying, self._within_hours(record):
            # It may have been merged over before the lock was had.
            if any(there.uuid == instant.uuid for there in self.group.instants()):
                self._copy(self.record, instant)
        return 0.0

    def _at_rest(self, record: MirrorRecord) -> float:
        """Nothing is sent; but a head may be given out here that another host took over."""
        told, self.now, began = self.now.problem, Now(), time.monotonic()
        if self._asked_there or not record.peer or record.origin is not Origin.GROUP:
            return FOREVER
        try:
            self._ask_there(record)
        except ReplicaPromoted as error:
            self.now.problem = told
            self.report(self.group.taken_over(error, self.mirror, self.committed_number), began)
            return FOREVER
        return FOREVER if self._asked_there else ASK_AGAIN_SECONDS

    def _rest(self, seconds: float) -> float:
        """Nothing is copied outside its hours: what still is stops where it is."""
        if any(joiner.is_alive() for joiner in self._joiners):
            with self.quiet():
                pass
        self.now.phase = "idle"
        self.now.next_attempt = time.time() + seconds
        return min(seconds, LOOK_SECONDS)

    def _until_close(self, record: MirrorRecord, wait: float) -> float:
        """As long as that, or until the end of hours in which a first copy runs."""
        closes = self.timing.closes_in(record, time.time())
        joins = any(joiner.is_alive() for joiner in self._joiners)
        return min(wait, closes) if joins and closes is not None else wait

    @contextmanager
    def _within_hours(self, record: MirrorRecord) -> Iterator[None]:
        """A copy that nobody asked for stops where it is at their end."""
        closes = None if self.asked else self.timing.closes_in(record, time.time())
        if closes is None:
            yield
            return
        timer = threading.Timer(closes, self.interrupt)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _ask_there(self, record: MirrorRecord) -> None:
        """After a start, ask whether another host took over meanwhile; what fails waits.

        :raises ReplicaPromoted: it was.
        """
        for volume in self.group.volumes:
            try:
                taken_over = ask(volume.name, record, self.context)
            except FrazilError:
                return
            if taken_over:
                raise ReplicaPromoted(f"{volume.name}: {taken_over}")
        self._asked_there = True

    def _broken(self) -> float:
        self.context.journal.change_mirror(self.mirror, state=MirrorState.BROKEN)
        self.context.events.add("info", self.mirror, "broken", "the mirror ended after its cycle")
        self.now = Now()
        return 0.0

    def _next(self, record: MirrorRecord) -> Instant | None:
        """The instant to copy now: one that was begun and is there still, or the newest if due."""
        instants = [
            found for found in self.group.instants() if found.number > self.committed_number
        ]
        if not instants:
            return None
        begun = self.context.journal.cycles(self.mirror, 1)
        for instant in instants:
            if begun and begun[0].generation_uuid == instant.uuid:
                return instant
        breaking = record.state is MirrorState.BREAKING
        due = breaking or self._look_in(record, idle=False) <= 0
        return instants[0] if due else None

    # One instant on its way.

    def _copy(self, record: MirrorRecord, instant: Instant) -> None:
        members = [(volume, instant.parts[volume.name]) for volume in self.group.volumes]
        together, fresh = joined(members, self.standings)
        for member in fresh:
            self._join(record, *member)
        with self._copy_of(record, together) as copy:
            cycle = self._begin(copy, instant)
            result = copy.run(lambda: self._note_sent(cycle, copy))
        cycle = dataclasses.replace(
            cycle,
            # What is there is known only once it was asked.
            kind=copy.kind,
            state="committed",
            chunks=result.chunks,
            changed_bytes=result.changed_bytes,
            sent_bytes=cycle.sent_bytes + result.sent_bytes,
            payload_bytes=cycle.payload_bytes + result.payload_bytes,
            copy_seconds=cycle.copy_seconds + result.seconds,
            resumed=cycle.resumed + result.resumed,
            committed_at=time.time(),
        )
        self._note_committed(cycle)
        if record.verify:
            self._verify(cycle, together)
        self._committed()
        self.now = Now()

    def _copy_of(self, record: MirrorRecord, members: list[Member]) -> InstantCopy:
        return InstantCopy(self.context, record, members, limiter=self.limiter, cancel=self._cancel)

    def _join(
        self, record: MirrorRecord, volume: MirroredVolume, generation: GenerationRecord
    ) -> None:
        """Begin the first copy of a volume that joined, unless it runs."""
        self._joiners = [joiner for joiner in self._joiners if joiner.is_alive()]
        if self.joining(volume.name):
            return

        def wanted() -> bool:
            members = [member.name for member in self.group.volumes]
            images = [image.uuid for image in volume.images()]
            return volume.name in members and generation.uuid in images

        def ended(error: FrazilError | None) -> None:
            if error is None:
                told = f"{volume.name} is part of the group from the next generation on"
                self.context.events.add("info", self.mirror, "joined", told)
            elif wanted() and not self._cancel.is_set():
                self.report(error, began)
            self._committed()

        began = time.monotonic()
        copy = self._copy_of(record, [(volume, generation)])
        joiner = Joiner(copy, volume.name, self._joining, wanted, ended)
        self._joiners.append(joiner)
        joiner.start()

    def _note_sent(self, cycle: CycleRecord, copy: InstantCopy) -> None:
        """What was sent counts, also when the copy breaks off and goes on later."""
        sent = cycle.sent_bytes + copy.progress.sent
        self.context.journal.save_cycle(dataclasses.replace(cycle, sent_bytes=sent))

    def _begin(self, copy: InstantCopy, instant: Instant) -> CycleRecord:
        journal = self.context.journal
        earlier = [
            old for old in journal.cycles(self.mirror, 5) if old.generation_uuid == instant.uuid
        ]
        cycle = (
            earlier[0]
            if earlier
            else CycleRecord(
                self.mirror,
                instant.uuid,
                instant.number,
                instant.frozen_at,
                CycleKind.WHOLE,
                "frozen",
                instant.pause_us,
            )
        )
        cycle = dataclasses.replace(cycle, kind=copy.kind, state="copying")
        journal.save_cycle(cycle)
        self.enter("copying", cycle, copy)
        return cycle

    def _note_committed(self, cycle: CycleRecord) -> None:
        self.context.journal.save_cycle(cycle)
        self.context.authority.committed()
        self._committed()
        lag = cycle.committed_at - cycle.frozen_at
        self.context.events.add(
            "info",
            self.mirror,
            "committed",
            f"generation {cycle.generation_number} committed, {lag:.1f} s after its freeze",
            generation=cycle.generation_number,
            sent_bytes=cycle.sent_bytes,
        )

    def _verify(self, cycle: CycleRecord, members: list[Member]) -> None:
        self.enter("verifying", cycle)
        same = [self.comparisons.after_commit(*member, self._cancel) for member in members]
        outcome = "verified" if all(same) else "differs"
        self.context.journal.save_cycle(dataclasses.replace(cycle, verified=outcome))
