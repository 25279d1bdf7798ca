"""The merger: one thread that folds layers into their spans, in the background."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from control.context import Context
from control.cycle import Limits, outgrown
from control.limiter import Interrupted, RateLimiter, RateLimiterUnless
from control.mirror import MirrorWorker
from control.records import LayerState
from control.resting import is_short
from control.squashing import pair_to_squash, squash
from control.volume import Volume
from dm_tables.errors import FrazilError

log = logging.getLogger("frazil.merger")

LOOK_AGAIN_SECONDS = 5.0


class Merger(threading.Thread):
    """Merges whatever may be merged, volume by volume, throttled by the configuration.

    :param volumes: gives the volumes there are now.
    :param workers_of: gives the workers of a volume's mirrors.
    :param before: called before a volume's lowest layer is merged, which is its end.
    """

    def __init__(
        self,
        context: Context,
        volumes: Callable[[], Sequence[Volume]],
        workers_of: Callable[[str], Sequence[MirrorWorker]],
        before: Callable[[Volume], None],
    ) -> None:
        super().__init__(name="merger", daemon=True)
        self._stopped = threading.Event()
        self.limiter = RateLimiter(context.config.merge.rate, self._stopped)
        self._context = context
        self._volumes = volumes
        self._workers_of = workers_of
        self._before = before
        self._wanted = threading.Event()

    def wake(self) -> None:
        """Something was committed: look again."""
        self._wanted.set()

    def stop(self) -> None:
        """End after the chunk at hand; what is not merged is merged again after a restart."""
        self._stopped.set()
        self._wanted.set()

    def run(self) -> None:
        """Merge, then sleep until woken."""
        while not self._stopped.is_set():
            self._wanted.clear()
            merged = [self._merge_one(volume) for volume in self._volumes()]
            if not any(merged):
                self._wanted.wait(LOOK_AGAIN_SECONDS)

    def _merge_one(self, volume: Volume) -> bool:
        """:return: whether a layer was merged, so that there may be another."""
        try:
            with volume.tables:
                volume.drop_merged()
            layer = volume.next_merge()
            if layer is None:
                return self._merge_outgrown(volume) or self._squash(volume)
            self._before(volume)
            merged = volume.merge_lowest(layer, self._limiter(volume))
        except Interrupted:
            return False
        except FrazilError as error:
            if str(error) != volume.problem:
                volume.problem = str(error)
                self._context.events.add("error", volume.name, error.name, str(error))
            return False
        except Exception:
            log.exception("merging volume %s", volume.name)
            return False
        volume.problem = ""
        return merged

    def _merge_outgrown(self, volume: Volume) -> bool:
        """Merge a layer that is only kept for replicas that do not come along, past the limits.

        Where a freeze lacks room there is no limit: other mirrors would stand still for them.
        What they lack of it is remembered; one that copies at this moment is left its layers.
        """
        limits, short = self._limits(), is_short(self._context, self._volumes())
        late = [
            worker
            for worker in self._workers_of(volume.name)
            if outgrew(worker, volume, limits) or (short and keeps_lowest(worker, volume))
        ]
        layer = volume.next_merge(spare={worker.mirror for worker in late}) if late else None
        if layer is None:
            return False
        with ExitStack() as stack:
            if not all(stack.enter_context(worker.if_quiet()) for worker in late):
                return False
            self._before(volume)
            if not volume.merge_lowest(layer, self._limiter(volume)):
                return False
        told = f"layer {layer.sequence} is merged; what {late[0].mirror} lacks is remembered"
        self._context.events.add("info", volume.name, "outgrown", told)
        return True

    def _squash(self, volume: Volume) -> bool:
        """Make one layer of two, where a replica that takes long makes the stack high."""
        standings = volume.context.journal.standings_of(volume.name)
        bases = {standing.committed_layer for standing in standings}
        pair = pair_to_squash(volume.layers, volume.held_layers(), bases)
        if pair is None:
            return False
        self._before(volume)
        squash(volume, *pair, self._limiter(volume))
        return True

    def _limiter(self, volume: Volume) -> RateLimiter:
        """The configured rate, but while writers wait: who makes room waits for this merge."""
        return RateLimiterUnless(self.limiter, lambda: volume.stalled)

    def _limits(self) -> Limits:
        copy = self._context.config.copy
        return Limits(copy.keep_layers, copy.keep_size or 0, copy.keep_age)


def outgrew(worker: MirrorWorker, volume: Volume, limits: Limits) -> bool:
    """Whether more is kept of a volume for a mirror than the limits say."""
    journal = volume.context.journal
    frozen_at = {made.layer: made.frozen_at or 0.0 for made in journal.generations(volume.name)}
    # One that a freeze is only preparing may not have its room yet.
    there = [layer for layer in volume.layers if layer.state is not LayerState.PREPARED]
    layers = [(layer, volume.size_of_layer(layer)) for layer in there]
    standing = journal.standing(worker.mirror, volume.name)
    return outgrown(limits, standing, layers, frozen_at, time.time())


def keeps_lowest(worker: MirrorWorker, volume: Volume) -> bool:
    """Whether a volume's lowest layer is kept for a mirror."""
    lowest = min((layer.sequence for layer in volume.layers), default=0)
    standing = worker.context.journal.standing(worker.mirror, volume.name)
    return standing.committed_layer < lowest
