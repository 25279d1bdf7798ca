"""A mirror at work: freeze, copy, commit, and again (figure 8; claims 1, 12 to 14, 18)."""

from __future__ import annotations

import dataclasses
import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from control.blocks import BlockSet
from control.context import Context
from control.copying import Copier, CopyProgress
from control.limiter import RateLimiter
from control.records import (
    CycleKind,
    CycleRecord,
    GenerationRecord,
    LayerState,
    MirrorRecord,
    MirrorState,
)
from control.verify import Verification, verify_generation
from control.volume import Volume
from dm_tables.errors import FrazilError, Kind, Precondition, Unavailable
from dm_tables.status import Usage
from dm_tables.units import bytes_to_sectors

log = logging.getLogger("frazil.mirror")

IDLE_POLL_SECONDS = 0.5
IDLE_FREEZE_SECONDS = 60.0
LAYERS_AT_MOST = 8
FOREVER = 3600.0


@dataclass(slots=True)
class Now:
    """What a mirror does at this moment."""

    phase: str = "idle"
    cycle: CycleRecord | None = None
    progress: CopyProgress | None = None
    problem: str = ""
    error: FrazilError | None = None
    next_attempt: float = 0.0

    @property
    def kind(self) -> Kind:
        """What sort of problem there is."""
        return self.error.kind if self.error else Kind.OK


class MirrorWorker(threading.Thread):
    """The thread of one mirror.

    :param committed: called when the replica has a generation, so that merging may go on.
    """

    def __init__(
        self, name: str, volume: Volume, context: Context, committed: Callable[[], None]
    ) -> None:
        super().__init__(name=f"mirror {name}", daemon=True)
        self.mirror = name
        self.volume = volume
        self.context = context
        self.now = Now()
        self._cancel = threading.Event()
        self.limiter = RateLimiter(self.record.rate_bytes or context.config.copy.rate, self._cancel)
        self.changed = threading.Condition()
        self.copying = threading.Lock()
        self._committed = committed
        self._asked_at = 0.0
        self._asked_number = 0
        self._attempts = 0
        self.failures = 0
        self._stopping = False

    @property
    def record(self) -> MirrorRecord:
        """The mirror as journaled."""
        record = self.context.journal.mirror(self.mirror)
        if record is None:
            raise Precondition(f"mirror {self.mirror} is gone")
        return record

    def lacking_bytes(self) -> int:
        """Bytes that the replica lacks beyond the layers; the whole volume if that is unknown."""
        record = self.record
        if record.lacking_all:
            return self.volume.record.size
        return BlockSet(record.lacking).length

    # What others ask of it.

    def wake(self) -> None:
        """Look again at what is to be done, now."""
        with self.changed:
            self._attempts = 0
            self.now.next_attempt = 0.0
            self.changed.notify_all()

    def ask(self) -> int:
        """Start a cycle now, or right after the running one.

        :return: the number that its generation will have at least.
        """
        with self.changed:
            self._asked_number = self.volume.top + 1
            self._asked_at = time.time()
        self.wake()
        return self._asked_number

    def interrupt(self) -> None:
        """Stop a running copy where it is; its durable part is not sent again."""
        self._cancel.set()
        self.wake()

    def stop(self) -> None:
        """End the thread."""
        self._stopping = True
        self.interrupt()

    # The loop.

    def run(self) -> None:
        """Step until stopped; a failed step is tried again, later and later."""
        while not self._stopping:
            self._cancel.clear()
            try:
                wait = self._step()
                self._attempts = 0
            except FrazilError as error:
                wait = self._failed(error)
            except Exception as error:
                log.exception("mirror %s", self.mirror)
                wait = self._failed(FrazilError(f"internal error: {error!r}"))
            with self.changed:
                self.changed.notify_all()
                if wait > 0 and not self._stopping and not self._cancel.is_set():
                    self.changed.wait(wait)

    def _enter(
        self, phase: str, cycle: CycleRecord | None = None, progress: CopyProgress | None = None
    ) -> None:
        """The next phase; what went wrong last stays known until a cycle ends well."""
        self.now = Now(phase, cycle, progress, self.now.problem, self.now.error)

    def _failed(self, error: FrazilError) -> float:
        if self._stopping or self._cancel.is_set():
            self.now.phase = "idle"
            return 0.0
        self._attempts += 1
        settings = self.context.config.copy
        wait = settings.retry_first * 2.0 ** min(self._attempts - 1, 20)
        wait = min(settings.retry_longest, wait)
        wait *= random.uniform(0.8, 1.2)  # noqa: S311
        if str(error) != self.now.problem:
            self.context.events.add("warning", self.mirror, error.name, str(error))
        self.now.phase = "waiting"
        self.now.problem = str(error)
        self.now.error = error
        self.failures += 1
        self.now.next_attempt = time.time() + wait
        return wait

    def _step(self) -> float:
        """Do what is due. :return: how many seconds to wait before the next look."""
        record = self.record
        if record.state not in (MirrorState.RUNNING, MirrorState.BREAKING):
            self.now = Now()
            return FOREVER
        generation = self._pending(record)
        if generation is None:
            if record.state is MirrorState.BREAKING:
                return self._broken()
            wait = self._due_in(record)
            if wait > 0:
                self.now.phase = "idle"
                return wait
            self._enter("freezing")
            self.volume.sync()
        with self.copying:
            self._copy(self.record, generation or self._freeze())
        return 0.0

    def _broken(self) -> float:
        self.context.journal.change_mirror(self.mirror, state=MirrorState.BROKEN)
        self.context.events.add("info", self.mirror, "broken", "the mirror ended after its cycle")
        self.now = Now()
        return FOREVER

    def _pending(self, record: MirrorRecord) -> GenerationRecord | None:
        """A frozen generation that the replica does not have yet."""
        newest = self.volume.newest
        if newest is None or newest.number <= record.committed_number:
            return None
        return newest

    def _due_in(self, record: MirrorRecord) -> float:
        """Seconds until the next freeze; 0 for now (claim 18)."""
        if self._asked_number > record.committed_number:
            return 0.0
        if record.on_demand:
            return FOREVER
        waited = time.time() - record.committed_frozen_at
        if record.interval_ms:
            return max(0.0, record.interval_ms / 1000 - waited)
        if len(self.volume.layers) >= LAYERS_AT_MOST:
            return IDLE_POLL_SECONDS
        if not record.committed_uuid or waited >= IDLE_FREEZE_SECONDS or self._written():
            return 0.0
        return IDLE_POLL_SECONDS

    def _written(self) -> bool:
        """Whether anything was written since the last freeze."""
        live = next((r for r in self.volume.layers if r.state is LayerState.LIVE), None)
        if live is None:
            return True
        status = self.volume.layer_status(live)
        return not isinstance(status, Usage) or status.exceptions(bytes_to_sectors(live.chunk)) > 0

    def _freeze(self) -> GenerationRecord:
        generation = self.volume.freeze()
        self.context.tracing.collect(self.volume.name)
        self.context.events.add(
            "info",
            self.mirror,
            "frozen",
            f"generation {generation.number} frozen in {generation.pause_us / 1000:.1f} ms",
            generation=generation.number,
            pause_us=generation.pause_us,
        )
        return generation

    # One generation on its way.

    def _copy(self, record: MirrorRecord, generation: GenerationRecord) -> None:
        copier = Copier(
            self.context,
            self.volume,
            record,
            generation,
            limiter=self.limiter,
            cancel=self._cancel,
        )
        earlier = next(
            (
                old
                for old in self.context.journal.cycles(self.mirror, 5)
                if old.generation_uuid == generation.uuid
            ),
            None,
        )
        cycle = self._begin(copier, generation, earlier)
        with self.volume.hold(generation.number):
            result = copier.run(lambda: self._note_sent(cycle, copier))
            cycle = dataclasses.replace(
                cycle,
                state="committed",
                chunks=result.chunks,
                changed_bytes=result.changed_bytes,
                sent_bytes=cycle.sent_bytes + result.sent_bytes,
                payload_bytes=cycle.payload_bytes + result.payload_bytes,
                copy_seconds=cycle.copy_seconds + result.seconds,
                resumed=cycle.resumed + result.resumed,
                committed_at=time.time(),
            )
            self._commit(cycle)
            self._committed()
            if record.verify:
                self._verify(cycle)
        self._committed()
        self.now = Now()

    def _note_sent(self, cycle: CycleRecord, copier: Copier) -> None:
        """What was sent counts, also when the copy breaks off and goes on later."""
        sent = cycle.sent_bytes + copier.progress.sent
        self.context.journal.save_cycle(dataclasses.replace(cycle, sent_bytes=sent))

    def _begin(
        self, copier: Copier, generation: GenerationRecord, earlier: CycleRecord | None
    ) -> CycleRecord:
        cycle = earlier or CycleRecord(
            self.mirror,
            generation.uuid,
            generation.number,
            generation.frozen_at or 0.0,
            CycleKind.WHOLE,
            "frozen",
            generation.pause_us,
        )
        cycle = dataclasses.replace(cycle, kind=copier.plan.kind, state="copying")
        self.context.journal.save_cycle(cycle)
        self._enter("copying", cycle, copier.progress)
        return cycle

    def _commit(self, cycle: CycleRecord) -> None:
        """The replica has the generation: it is the base of the next delta."""
        with self.context.journal.transaction():
            self.context.journal.save_cycle(cycle)
            self.context.journal.change_mirror(
                self.mirror,
                committed_uuid=cycle.generation_uuid,
                committed_number=cycle.generation_number,
                committed_frozen_at=cycle.frozen_at,
                lacking=b"",
                lacking_all=False,
            )
        lag = cycle.committed_at - cycle.frozen_at
        self.context.events.add(
            "info",
            self.mirror,
            "committed",
            f"generation {cycle.generation_number} committed, {lag:.1f} s after its freeze",
            generation=cycle.generation_number,
            sent_bytes=cycle.sent_bytes,
        )

    def _verify(self, cycle: CycleRecord) -> None:
        self._enter("verifying", cycle)
        found = self.verify(cycle.generation_number, cycle.generation_uuid)
        outcome = "differs" if found.differences else "verified"
        self.context.journal.save_cycle(dataclasses.replace(cycle, verified=outcome))

    def verify(
        self,
        number: int,
        generation_uuid: str,
        block_bytes: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> Verification:
        """Compare a generation's image with the replica's, block by block (no pause).

        :raises Unavailable: the comparison was interrupted.
        """
        with self.volume.hold(number):
            found = verify_generation(
                self.volume,
                self.record,
                self.context,
                number,
                generation_uuid,
                block_bytes=block_bytes,
                progress=progress,
                cancel=self._cancel,
            )
        if found.cancelled:
            raise Unavailable("the comparison was interrupted", "run it again")
        if found.differences:
            first = found.differences[0]
            self.context.events.add(
                "error",
                self.mirror,
                "differs",
                f"generation {number} differs at the replica in {len(found.differences)} places, "
                f"the first {first.length} bytes at {first.address}",
            )
        return found
