"""Room for what is being written: auxiliary volumes grow before they fill (figure 6, C7 to C9).

The application comes first. Where there is no room left to grow, the mirror is sacrificed:
frozen layers are merged before the replicas have them, their chunks are remembered for a later
catch-up, and as a last resort the head waits while its own layer is folded. It never sees an
error.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from control.context import Context
from control.limiter import RateLimiter
from control.mirror import MirrorWorker
from control.pool.errors import PoolFull
from control.pool.sizing import Action, Fill, RoomPlan, plan_room
from control.records import LayerRecord, LayerState
from control.units_text import human_size
from control.volume import Volume
from dm_tables.errors import FrazilError
from dm_tables.status import Invalid, MergeFailed, Overflow, SnapshotStatus, Usage
from dm_tables.units import sectors_to_bytes

log = logging.getLogger("frazil.room")

LOOK_SECONDS = 0.5
BRAKE_AT = 0.9
"""A live layer this full, without room to grow, makes its writers wait."""


@dataclass(slots=True)
class _Seen:
    """A live layer at the last look."""

    sequence: int
    used: int
    at: float


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
        self._seen: dict[str, _Seen] = {}
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()

    def run(self) -> None:
        """Look, and look again."""
        while not self._stopped.wait(LOOK_SECONDS):
            for volume in self._volumes():
                try:
                    self._look(volume)
                except FrazilError as error:
                    self._report(volume, error)
                except Exception:
                    log.exception("keeping room for volume %s", volume.name)

    def _report(self, volume: Volume, error: FrazilError) -> None:
        if volume.problem != str(error):
            volume.problem = str(error)
            self._context.events.add("error", volume.name, error.name, str(error))

    def _look(self, volume: Volume) -> None:
        live = next((r for r in volume.layers if r.state is LayerState.LIVE), None)
        if live is None:
            return
        status = volume.layer_status(live)
        if isinstance(status, Usage):
            plan = self._plan(volume, live, status)
            if plan.action is Action.GROW:
                self._grow(volume, live, plan)
            elif plan.action is Action.SACRIFICE:
                self._sacrifice(volume)
        elif isinstance(status, Overflow):
            self._sacrifice(volume, fold=True)
        elif isinstance(status, Invalid | MergeFailed):
            self._failed(volume, live, status)

    def _plan(self, volume: Volume, live: LayerRecord, status: Usage) -> RoomPlan:
        used = sectors_to_bytes(status.allocated)
        now = time.monotonic()
        seen = self._seen.get(volume.name)
        growth = 0.0
        if seen is not None and seen.sequence == live.sequence and now > seen.at:
            growth = max(0.0, (used - seen.used) / (now - seen.at))
        self._seen[volume.name] = _Seen(live.sequence, used, now)
        fill = Fill(used, sectors_to_bytes(status.total), growth)
        pool = self._context.pool
        return plan_room(
            fill,
            volume.record.size,
            live.chunk,
            pool.free(),
            self._context.config.pool,
            granularity=pool.granularity,
        )

    def _grow(self, volume: Volume, live: LayerRecord, plan: RoomPlan) -> None:
        # No lock: a freeze may be under way, and growing what it freezes does no harm.
        size = self._context.pool.open(live.object_name).grow(plan.to)
        self._context.events.add(
            "info", volume.name, "grown", f"auxiliary volume {live.sequence}: {human_size(size)}"
        )

    def _failed(self, volume: Volume, live: LayerRecord, status: SnapshotStatus) -> None:
        problem = (
            f"auxiliary volume {live.sequence} of {volume.name} is {type(status).__name__.lower()}:"
            " its disk failed, and the head gives I/O errors"
        )
        self._report(volume, FrazilError(problem, "see dmesg for the disk below the pool"))

    # Without room.

    def _sacrifice(self, volume: Volume, *, fold: bool = False) -> None:
        """Merge what the replicas lack, lowest first, until the live layer has room again."""
        self._context.events.add(
            "warning",
            volume.name,
            "sacrificed",
            "the pool is full: layers are merged before the replica has them; it catches up later",
        )
        with self._copies_stopped(volume), volume.stalling() as stall:
            limiter = RateLimiter(0, self._stopped)
            for layer in volume.layers:
                if layer.state is not LayerState.FROZEN:
                    continue
                volume.remember(layer)
                volume.merge_lowest(layer, limiter, brake=lambda: self._brake(volume, stall))
            if fold or not self._has_room(volume):
                stall()
                volume.fold(limiter)
        volume.problem = ""

    @contextmanager
    def _copies_stopped(self, volume: Volume) -> Iterator[None]:
        with ExitStack() as stack:
            for worker in self._workers_of(volume.name):
                worker.interrupt()
                while not worker.copying.acquire(timeout=LOOK_SECONDS):
                    worker.interrupt()
                stack.callback(worker.copying.release)
            yield

    def _has_room(self, volume: Volume) -> bool:
        """Whether the live layer can go on now, growing if need be."""
        live = next(r for r in volume.layers if r.state is LayerState.LIVE)
        status = volume.layer_status(live)
        if not isinstance(status, Usage):
            return False
        plan = self._plan(volume, live, status)
        if plan.action is Action.GROW:
            try:
                self._grow(volume, live, plan)
            except PoolFull:
                return False
        return plan.action is not Action.SACRIFICE

    def _brake(self, volume: Volume, stall: Callable[[], None]) -> None:
        live = next((r for r in volume.layers if r.state is LayerState.LIVE), None)
        status = volume.layer_status(live) if live is not None else None
        if isinstance(status, Usage) and status.fraction < BRAKE_AT:
            return
        stall()
