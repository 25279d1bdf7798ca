"""Which layers of a replica are kept for the mirrors that bring them on (claim 13).

The replica's merger asks before it lets a layer go. Within the limits of ``[copy] keep_...`` a
layer stays until the further host has what it leads to. Past them, or when room is short here,
what that host lacks of it is remembered first, and it catches up from a later instant: a host
that is down disturbs none of those before it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from control.cascade import as_layer
from control.context import Context
from control.cycle import Limits, lacks
from control.cycle import outgrown as has_outgrown
from control.mirror import MirrorWorker
from control.needed import needed_blocks
from control.records import StandingRecord
from control.replica import records
from control.replica.records import base_key
from control.replica.shortage import Shortage
from control.replica.store import ReplicaStore
from control.store.reader import StoreReader
from dm_tables.errors import Precondition


class LayerKeeper:
    """Asked by the replica store; see :class:`control.replica.keeper.Keeper`.

    :param workers: gives the workers of the mirrors that bring replicas on.
    """

    def __init__(
        self,
        context: Context,
        store: ReplicaStore,
        shortage: Shortage,
        workers: Callable[[], Sequence[MirrorWorker]],
    ) -> None:
        self._context = context
        self._store = store
        self._shortage = shortage
        self._workers = workers
        self._remembered: dict[tuple[str, str], tuple[str, StandingRecord]] = {}

    def relieve(self) -> None:
        """Where room is short, end the copies that hold images: nothing is merged past those."""
        for worker in self._workers():
            if not self._pressed(worker):
                continue
            with worker.if_quiet() as quiet:
                if not quiet:
                    worker.interrupt()

    def _pressed(self, worker: MirrorWorker) -> bool:
        found = [self._store.journal.volume(volume.name) for volume in worker.group.volumes]
        return any(volume is not None and self._shortage.presses(volume) for volume in found)

    def may_go(self, volume: records.VolumeRecord, layer: records.LayerRecord) -> bool:
        """Whether a layer may be merged, or be let go; what mirrors lack of it is remembered."""
        waiting = [
            (worker, standing)
            for worker in self._workers()
            for standing in self._standings(worker, volume.name)
            if _waits(standing, volume, layer)
        ]
        if not waiting:
            return True
        outgrown = all(self._outgrew(one, volume) for _, one in waiting)
        if not outgrown and not self._shortage.presses(volume):
            return False
        with ExitStack() as stack:
            if not all(stack.enter_context(worker.if_quiet()) for worker, _ in waiting):
                return False
            # As it is now that nothing is copied.
            self._remember(volume, layer, [worker for worker, _ in waiting])
        return True

    def check_unused(self, name: str) -> None:
        """:raises Precondition: a replica volume is mirrored on."""
        for worker in self._workers():
            if name in (volume.name for volume in worker.group.volumes):
                raise Precondition(
                    f"the replica {name} is mirrored on by {worker.mirror}",
                    f"frazil mirror remove {worker.mirror}",
                )

    @contextmanager
    def quiet(self, name: str) -> Iterator[None]:
        """Nothing of a replica volume is copied on as long as the context lasts."""
        with ExitStack() as stack:
            for worker in self._workers():
                if name in (volume.name for volume in worker.group.volumes):
                    stack.enter_context(worker.quiet())
            yield

    def _standings(self, worker: MirrorWorker, name: str) -> list[StandingRecord]:
        """What a mirror's peer has of a volume, if it has anything.

        Nothing is kept for a volume that left its group: should it come again, it comes whole.
        """
        journal = self._context.journal
        found = journal.standings(mirror=worker.mirror, volume=name)
        if not found or name in (volume.name for volume in worker.group.volumes):
            return found
        if not found[0].lacking_all:
            journal.change_standing(worker.mirror, name, lacking_all=True)
        return []

    def _outgrew(self, standing: StandingRecord, volume: records.VolumeRecord) -> bool:
        copy = self._context.config.copy
        limits = Limits(copy.keep_layers, copy.keep_size or 0, copy.keep_age)
        journal = self._store.journal
        frozen_at = {
            one.generation.number: one.generation.frozen_at / 1e9
            for one in journal.history(volume.name)
        }
        layers = [
            (as_layer(layer), layer.chunks * layer.chunk) for layer in journal.layers(volume.name)
        ]
        return has_outgrown(limits, standing, layers, frozen_at, time.time())

    def _remember(
        self,
        volume: records.VolumeRecord,
        layer: records.LayerRecord,
        workers: Sequence[MirrorWorker],
    ) -> None:
        journal = self._context.journal
        standings = [journal.standing(worker.mirror, volume.name) for worker in workers]
        lacking = [
            one
            for one in standings
            if _waits(one, volume, layer)
            and self._remembered.get((one.mirror, volume.name)) != (layer.object_name, one)
        ]
        if not lacking:
            return
        path = self._store.object_path(layer.object_name)
        with StoreReader(path, volume.size, layer.chunk) as store:
            journal.add_lacking(lacking, needed_blocks(store, None))
        for one in lacking:
            now = journal.standing(one.mirror, volume.name)
            self._remembered[one.mirror, volume.name] = (layer.object_name, now)
            told = f"layer {layer.number} of {volume.name} is merged; what is lacking is remembered"
            self._context.events.add("info", one.mirror, "outgrown", told)


def _waits(
    standing: StandingRecord, volume: records.VolumeRecord, layer: records.LayerRecord
) -> bool:
    """Whether a mirror's next copy is to be made of a layer: not where it has to be whole."""
    whole = standing.lacking_all or standing.base != base_key(volume)
    return not whole and lacks(standing, as_layer(layer))
