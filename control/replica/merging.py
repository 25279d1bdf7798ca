"""Synchronizing RVx/s into RVx/1 (figure 7D, step 234): committed layers fold into the base.

Those that lead to generations that are kept stay; what lies between two of them becomes one.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from control.limiter import Interrupted, RateLimiter
from control.merge import merge
from control.replica.bases import base_of
from control.replica.points import MergeStep, Quota, SquashStep, next_step
from control.replica.records import LayerRecord, VolumeRecord
from control.replica.squashing import squash_layers
from control.replica.store import ReplicaStore
from control.store.reader import StoreReader
from dm_tables.errors import FrazilError

log = logging.getLogger("frazil.replica")

LOOK_AGAIN_SECONDS = 5.0
"""Room may become short without anything being committed: a generation is coming in."""

FIRST_RETRY_SECONDS = 2.0
LAST_RETRY_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class MergeProgress:
    """The layer being merged: the generation it leads to, and chunks done of all."""

    volume: str
    number: int
    done: int
    total: int


class _Heeding(RateLimiter):
    """The merger's own limit, and an ear for whoever wants this volume left alone."""

    def __init__(self, limiter: RateLimiter, check: Callable[[], None]) -> None:
        super().__init__()
        self._limiter = limiter
        self._check = check

    def take(self, count: int, check: Callable[[], None] = lambda: None) -> None:
        """Wait until ``count`` bytes may move, or the volume is to be left alone."""
        self._limiter.take(count, self._check)


class LayerGone(FrazilError):
    """The layer was let go while it was merged, or is about to: a whole copy, a removal."""


class ReplicaMerger(threading.Thread):
    """Merges and squashes whatever may be, one layer at a time.

    A layer's chunks go into the base while every image that is shown still reads them from the
    layer; only then is the layer let go, in one transaction. Killed at any point, it goes on
    from what was durable.

    :param rate: bytes a second; 0: no limit.
    :param on_problem: told of a volume and why merging it failed, once for each reason.
    :param on_given_up: told of a volume and a generation that is not kept for want of room.
    :param quota: what all volumes of a writer may take; None: what there is.
    """

    def __init__(
        self,
        store: ReplicaStore,
        rate: int = 0,
        on_problem: Callable[[str, Exception], None] = lambda volume, error: None,
        on_given_up: Callable[[str, int], None] = lambda volume, number: None,
        quota: Quota = lambda identity: None,
    ) -> None:
        super().__init__(name="replica merger", daemon=True)
        self._on_problem = on_problem
        self._on_given_up = on_given_up
        self._quota = quota
        self.limiter = RateLimiter(rate)
        self._store = store
        self._now: MergeProgress | None = None
        self._merging = ""
        self._left_alone: Counter[str] = Counter()
        self._problems: dict[str, str] = {}
        self._retry_at: dict[str, float] = {}
        self._failures: dict[str, int] = {}

    def stop(self) -> None:
        """End soon; what is not merged is merged after a restart."""
        self.limiter.stop.set()
        with self._store.changed:
            self._store.changed.notify_all()

    def progress(self, volume: str) -> MergeProgress | None:
        """How far the merge of this volume is; None when none runs."""
        now = self._now
        return now if now is not None and now.volume == volume else None

    def problem(self, volume: str) -> str:
        """Why merging this volume failed last; empty when it did not."""
        return self._problems.get(volume, "")

    @contextmanager
    def leaving_alone(self, volume: str) -> Iterator[None]:
        """Merge nothing of this volume until the context is left; a running merge ends first.

        It goes on later from what was durable.
        """
        with self._store.changed:
            self._left_alone[volume] += 1
            while self._merging == volume:
                self._store.changed.wait(LOOK_AGAIN_SECONDS)
        try:
            yield
        finally:
            with self._store.changed:
                self._left_alone[volume] -= 1
                self._left_alone += Counter()
                self._store.changes += 1
                self._store.changed.notify_all()

    def run(self) -> None:
        """Merge, then sleep until something changes."""
        while not self.limiter.stop.is_set():
            seen = self._store.changes
            if self.merge_next():
                continue
            with self._store.changed:
                if self._store.changes == seen and not self.limiter.stop.is_set():
                    self._store.changed.wait(self._pause())

    def _pause(self) -> float:
        due = min(self._retry_at.values(), default=float("inf"))
        return min(LOOK_AGAIN_SECONDS, max(0.1, due - time.monotonic()))

    def merge_next(self) -> bool:
        """Merge or squash, if there is what may be. :return: whether there may be more."""
        self._store.keeper.relieve()
        now = time.monotonic()
        failed = {name for name, at in self._retry_at.items() if at > now}
        with self._store.lock:
            step = next_step(self._store, failed | set(self._left_alone), self._quota)
            if step is None:
                return False
            volume = step.volume
            self._merging = volume.name
        try:
            done = self._do(step)
        except (Interrupted, LayerGone):
            return not self.limiter.stop.is_set()
        except (FrazilError, OSError) as error:
            self._failed(volume.name, error)
            return True
        finally:
            self._now = None
            with self._store.changed:
                self._merging = ""
                self._store.changed.notify_all()
        self._problems.pop(volume.name, None)
        self._failures.pop(volume.name, None)
        self._retry_at.pop(volume.name, None)
        return done

    def _failed(self, volume: str, error: Exception) -> None:
        failures = self._failures[volume] = self._failures.get(volume, 0) + 1
        wait = min(LAST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** min(failures - 1, 10))
        self._retry_at[volume] = time.monotonic() + wait
        if self._problems.get(volume) != str(error):
            log.error("merging %s failed: %s", volume, error)
            self._on_problem(volume, error)
        self._problems[volume] = str(error)

    def _do(self, step: MergeStep | SquashStep) -> bool:
        if isinstance(step, SquashStep):
            heeding = _Heeding(self.limiter, lambda: self._heed(step.lower))
            squash_layers(self._store, step, heeding)
            return True
        if step.given_up:
            self._on_given_up(step.volume.name, step.given_up)
        return self._merge(step.volume, step.layer)

    def _merge(self, volume: VolumeRecord, layer: LayerRecord) -> bool:
        """Copy the layer's chunks into the base. :return: whether the layer could be let go."""
        if layer.merged < layer.chunks:
            with self._store.using(volume.base_object, layer.object_name):
                self._copy(volume, layer)
        return self._store.finish_merge(volume, layer)

    def _copy(self, volume: VolumeRecord, layer: LayerRecord) -> None:
        base = base_of(self._store.pool, volume)
        path = self._store.object_path(layer.object_name)
        with StoreReader(path, volume.size, layer.chunk) as reader:
            merge(
                reader,
                base,
                limiter=_Heeding(self.limiter, lambda: self._heed(layer)),
                progress=lambda done, _: self._progressed(layer, done),
                on_durable=lambda done: self._durable(layer, done),
                start=layer.merged,
                punch=not volume.base_spans,
            )

    def _heed(self, layer: LayerRecord) -> None:
        if layer.volume in self._left_alone:
            raise LayerGone(f"{layer.volume} is to be left alone")

    def _progressed(self, layer: LayerRecord, done: int) -> None:
        self._now = MergeProgress(layer.volume, layer.number, done, layer.chunks)

    def _durable(self, layer: LayerRecord, done: int) -> None:
        if not self._store.journal.note_merged(layer, done):
            raise LayerGone(f"layer {layer.object_name} was let go")
