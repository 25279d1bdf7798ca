"""Room for what is being written: auxiliary volumes grow before they fill (figure 6, C7 to C9).

The application comes first. Where there is no room left to grow, the mirror is sacrificed:
frozen layers are merged before the replicas have them, their chunks are remembered for a later
catch-up, the head moves on to a new layer so that the one it stood on can be merged too, and as
a last resort it waits while its own layer is folded. It never sees an error: writers that are
faster than all this are made to wait (:mod:`control.brake`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

import msgspec

from control.brake import Brake
from control.chunk_size import DEFAULT_CHUNK
from control.context import Context
from control.folding import fold, move_on
from control.limiter import Interrupted, RateLimiter
from control.mirror import MirrorWorker
from control.pool.errors import PoolFull
from control.pool.sizing import Action, Fill, RoomPlan, next_size, plan_room
from control.records import LayerRecord, LayerState
from control.resting import is_short, resting
from control.units_text import human_size
from control.volume import Volume
from dm_tables.errors import FrazilError, Unavailable
from dm_tables.status import Invalid, MergeFailed, Overflow, SnapshotStatus, Usage
from dm_tables.units import Bytes, bytes_to_sectors, sectors_to_bytes

log = logging.getLogger("frazil.room")

LOOK_SECONDS = 0.5
SELDOM = 10
"""A layer that cannot overflow is looked at every so many rounds, for failures."""

RELEASE_AT = 0.75
"""How full a live layer may be at most for its writers to go on."""


class RoomKeeper(threading.Thread):
    """Looks at every live auxiliary volume twice a second, because the kernel tells nobody.

    :param volumes: gives the volumes there are now.
    :param workers_of: gives the workers of a volume's mirrors.
    """

    def __init__(
        self,
        context: Context,
        volumes: Callable[[], Sequence[Volume]],
        workers_of: Callable[[str], Sequence[MirrorWorker]],
    ) -> None:
        super().__init__(name="room", daemon=True)
        self._context = context
        self._volumes = volumes
        self._workers_of = workers_of
        self._rounds = 0
        self._looked = 0.0
        self._wanted = threading.Event()
        self._stopped = threading.Event()
        self._brake = Brake(context.events, volumes, context.watching, self._wanted.set)

    def start(self) -> None:
        """Start looking, and the brake with it."""
        self._brake.start()
        super().start()

    def at_work(self) -> bool:
        """Whether both threads run."""
        return self.is_alive() and self._brake.is_alive()

    def stop(self) -> None:
        """End the threads; writers that wait go on waiting until there is a keeper again."""
        self._brake.stop()
        self._stopped.set()
        self._wanted.set()

    def run(self) -> None:
        """Look, and look again."""
        while not self._stopped.is_set():
            self._wanted.wait(LOOK_SECONDS)
            self._wanted.clear()
            self._rounds += 1
            for volume in self._volumes():
                if not (volume.watched or volume.stalled) and self._rounds % SELDOM:
                    continue
                try:
                    self._look(volume)
                except FrazilError as error:
                    self._report(volume, error)
                except Exception:
                    log.exception("keeping room for volume %s", volume.name)
            self._give_way_seldom()
        self._brake.join()

    def _report(self, volume: Volume, error: FrazilError) -> None:
        if volume.problem != str(error):
            volume.problem = str(error)
            self._context.events.add("error", volume.name, error.name, str(error))

    def _look(self, volume: Volume) -> None:
        live = _live(volume)
        if live is None:
            self._end_fold(volume)
            return
        status = volume.layer_status(live)
        if isinstance(status, Overflow):
            self._sacrifice(volume, overflown=True)
        elif isinstance(status, Invalid | MergeFailed):
            self._failed(volume, live, status)
            # No room helps it: writers see what became of the disk.
            self._brake.release(volume)
        elif isinstance(status, Usage):
            if volume.stalled:
                self._make_room(volume, live, status)
            else:
                self._keep_room(volume, live, status)

    def _end_fold(self, volume: Volume) -> None:
        """The live layer was folded, and what came then failed: the head goes on, untracked."""
        if volume.stalled:
            with volume.tables:
                volume.settle_left()
                volume.drop_merged()
                volume.watch_live()
            self._brake.release(volume)

    def _keep_room(self, volume: Volume, live: LayerRecord, status: Usage) -> None:
        plan = self._plan(volume, live, status)
        if plan.action is Action.GROW:
            self._grow(volume, live, plan.to)
        elif plan.action is Action.SACRIFICE:
            self._sacrifice(volume)

    def _make_room(self, volume: Volume, live: LayerRecord, status: Usage) -> None:
        """Writers wait: unless there is room, grow, if need be into the pool's last, or sacrifice.

        Growing by plan comes first: writers that were only faster than it wait for no copy to stop.
        """
        if self._has_grown(volume, live, status):
            self._brake.release(volume)
        else:
            self._sacrifice(volume)

    def _has_grown(self, volume: Volume, live: LayerRecord, status: Usage) -> bool:
        """Whether writers that wait may go on, by what growing gives."""
        if status.fraction < RELEASE_AT:
            return True
        plan = self._plan(volume, live, status)
        if plan.action is Action.GROW and _lets_go(status, plan.to):
            return self._grown(volume, live, plan.to)
        return self._grown_to_the_last(volume, live, status)

    def _plan(self, volume: Volume, live: LayerRecord, status: Usage) -> RoomPlan:
        used = sectors_to_bytes(status.allocated)
        rates = self._context.rates
        growth = rates.look(volume.name, live.sequence, used, time.monotonic())
        fill = Fill(used, sectors_to_bytes(status.total), growth.now, growth.expected)
        pool, policy = self._context.pool, self._context.config.pool
        plan = partial(
            plan_room, fill, volume.size, live.chunk, pool.free(), granularity=pool.granularity
        )
        found = plan(policy)
        if found.action is Action.GROW:
            # There are as many next ones as the group has members, and all come at one instant.
            reserve = max(policy.reserve, self._next_ones(policy.reserve))
            found = plan(msgspec.structs.replace(policy, reserve=reserve))
        return found

    def _next_ones(self, reserve: Bytes) -> Bytes:
        """What the next layers of the largest mirrored group start with.

        :param reserve: what is kept for one at most.
        """
        journal = self._context.journal
        groups = {mirror.group_name for mirror in journal.mirrors()}
        least = {one.name: min(reserve, one.least_room(DEFAULT_CHUNK)) for one in self._volumes()}
        totals = [sum(least.get(name, 0) for name in journal.members(group)) for group in groups]
        if max(totals, default=0) <= reserve:
            return reserve
        # Live ones take as much: for a group that can never be frozen nobody goes without.
        most = self._context.pool.size() // 2
        return Bytes(max((total for total in totals if total <= most), default=0))

    def _grow(self, volume: Volume, live: LayerRecord, to: Bytes) -> None:
        # No lock: a freeze may be under way, and growing what it freezes does no harm.
        size = self._context.pool.open(live.object_name).grow(to)
        volume.watch_live()
        self._context.events.add(
            "info", volume.name, "grown", f"auxiliary volume {live.sequence}: {human_size(size)}"
        )

    def _grown_to_the_last(self, volume: Volume, live: LayerRecord, status: Usage) -> bool:
        """Grow into the room of what comes after, which a layer below gives back when merged.

        Alone, a layer would take the room of the one that the head can move onto: then it could
        neither be frozen nor merged, but be folded only.

        :return: False if there is no room at all.
        """
        if not any(layer.state is LayerState.FROZEN for layer in volume.layers):
            return False
        pool = self._context.pool
        to = next_size(
            Fill(sectors_to_bytes(status.allocated), sectors_to_bytes(status.total), 0.0),
            volume.record.size,
            live.chunk,
            pool.free(),
            self._context.config.pool,
            granularity=pool.granularity,
        )
        return to is not None and _lets_go(status, to) and self._grown(volume, live, to)

    def _grown(self, volume: Volume, live: LayerRecord, to: Bytes) -> bool:
        """Grow. :return: False if the room is not there after all."""
        try:
            self._grow(volume, live, to)
        except PoolFull:
            return False
        return True

    def _failed(self, volume: Volume, live: LayerRecord, status: SnapshotStatus) -> None:
        problem = (
            f"auxiliary volume {live.sequence} of {volume.name} is {type(status).__name__.lower()}:"
            " its disk failed, and the head gives I/O errors"
        )
        self._report(volume, FrazilError(problem, "see dmesg for the disk below the pool"))

    # Without room.

    def _sacrifice(self, volume: Volume, *, overflown: bool = False) -> None:
        """Merge what the replicas lack, lowest first, until the live layer has room again."""
        told = "the pool is full: layers are merged before the replica has them, which comes later"
        self._context.events.add("warning", volume.name, "sacrificed", told)
        limiter = RateLimiter(0, self._stopped)
        with self._copies_stopped(volume):
            self._merge_frozen(volume, limiter)
            if overflown or not self._has_room(volume):
                if not self._brake.stall(volume):
                    # It is being frozen, or there is no head: the next look sees what became.
                    return
                if overflown or not self._moved_on(volume):
                    fold(volume, limiter, partial(self._relieve_others, volume))
                self._brake.release(volume)
                self._merge_frozen(volume, limiter)
        self._brake.release(volume)
        volume.problem = ""

    def _merge_frozen(self, volume: Volume, limiter: RateLimiter) -> None:
        for layer in volume.layers:
            if layer.state is LayerState.FROZEN:
                # The application comes first: a comparison that holds an image is told to end.
                relieve = partial(self._relieve, volume)
                if not volume.merge_lowest(layer, limiter, relieve, overrule=True):
                    raise Unavailable(
                        f"volume {volume.name} is being copied again", "it is tried again"
                    )

    def _relieve(self, volume: Volume) -> None:
        """While others are merged: if writers wait meanwhile, give them the last of the pool."""
        live = _live(volume)
        if volume.stalled and live is not None:
            status = volume.layer_status(live)
            if isinstance(status, Usage) and self._grown_to_the_last(volume, live, status):
                self._brake.release(volume)
        self._relieve_others(volume)

    def _relieve_others(self, volume: Volume) -> None:
        """While a volume is merged, which may take long, let the layers of others grow."""
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        for other in self._volumes():
            if other is volume or not (other.watched or other.stalled):
                continue
            try:
                self._let_grow(other)
            except FrazilError as error:
                self._report(other, error)
            except Exception:
                log.exception("keeping room for volume %s", other.name)

    def _let_grow(self, volume: Volume) -> None:
        """As a look, but what more than growing helps has to wait."""
        live = _live(volume)
        status = volume.layer_status(live) if live is not None else None
        if live is None or not isinstance(status, Usage):
            return
        if volume.stalled and self._has_grown(volume, live, status):
            self._brake.release(volume)
        elif (plan := self._plan(volume, live, status)).action is Action.GROW:
            self._grow(volume, live, plan.to)

    def _moved_on(self, volume: Volume) -> bool:
        """Move the head onto a new layer. :return: False if there is no room for one."""
        try:
            move_on(volume)
        except PoolFull:
            return False
        return True

    # Without room for a freeze.

    def _give_way_seldom(self) -> None:
        if self._rounds % SELDOM:
            return
        try:
            self._give_way()
        except Exception:
            log.exception("giving a freeze its room")

    def _give_way(self) -> None:
        """Fold a live layer that rests where nothing else gives a freeze its room.

        Live layers may have all of the pool: grown when others had less, or where less was
        allowed; then none of them can be frozen, so that none is ever merged.
        """
        volumes = self._volumes()
        if is_short(self._context, volumes):
            any(self._gave_way(volume) for volume in resting(self._context, volumes))

    def _gave_way(self, volume: Volume) -> bool:
        """Fold a live layer. :return: False if it is copied from, or being frozen."""
        with ExitStack() as stack:
            workers = self._workers_of(volume.name)
            quiet = all(stack.enter_context(worker.if_quiet()) for worker in workers)
            if not quiet or not self._brake.stall(volume):
                return False
            told = "a freeze lacks room: its live layer is merged, with its writers waiting"
            self._context.events.add("info", volume.name, "gave-way", told)
            try:
                fold(volume, RateLimiter(0, self._stopped), partial(self._relieve_others, volume))
            except Interrupted:
                pass
            except FrazilError as error:
                self._report(volume, error)
            # Nobody waits for this fold: if it failed, the head goes on as it was.
            if _live(volume) is None:
                self._end_fold(volume)
            self._brake.release(volume)
            return True

    @contextmanager
    def _copies_stopped(self, volume: Volume) -> Iterator[None]:
        with ExitStack() as stack:
            for worker in self._workers_of(volume.name):
                stack.enter_context(worker.quiet())
            yield

    def _has_room(self, volume: Volume) -> bool:
        """Whether the live layer can go on now, growing if need be."""
        live = _live(volume)
        status = volume.layer_status(live) if live is not None else None
        if live is None or not isinstance(status, Usage):
            return False
        plan = self._plan(volume, live, status)
        if plan.action is Action.GROW:
            return self._grown(volume, live, plan.to)
        return plan.action is not Action.SACRIFICE


def _lets_go(status: Usage, size: Bytes) -> bool:
    """Whether a layer of that size would be empty enough for its writers to go on."""
    return status.allocated < RELEASE_AT * bytes_to_sectors(size)


def _live(volume: Volume) -> LayerRecord | None:
    return next((r for r in volume.layers if r.state is LayerState.LIVE), None)
