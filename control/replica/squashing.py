"""Squashing two committed layers into one, while every image stays as it is.

The new object is garbage, by the journal, until it is whole and durable; one transaction then
puts it in the place of the two, and makes garbage of those.
"""

from __future__ import annotations

from control.limiter import RateLimiter
from control.replica.points import SquashStep, is_kept
from control.replica.records import LayerRecord
from control.replica.store import ReplicaStore
from control.store.layout import room_for
from control.store.reader import StoreReader
from control.store.squash import Overlay
from dm_tables.units import Bytes


def squash_layers(store: ReplicaStore, step: SquashStep, limiter: RateLimiter) -> bool:
    """Do it. :return: False when it came to nothing: a layer went, or is wanted now.

    :raises Interrupted: the limiter's stop; nothing has changed.
    :raises PoolFull, NoRoom, StoreCorrupt, DeviceFailed: nothing has changed.
    """
    object_name = store.journal.new_object(step.volume.name, "layer")
    with store.using(object_name, step.lower.object_name, step.upper.object_name):
        store.journal.add_garbage(step.volume.name, object_name)
        made = _make(store, step, object_name, limiter)
        return _swap(store, step, made)


def _make(
    store: ReplicaStore, step: SquashStep, object_name: str, limiter: RateLimiter
) -> LayerRecord:
    lower, upper, size = step.lower, step.upper, step.size
    with (
        StoreReader(store.object_path(lower.object_name), size, lower.chunk) as below,
        StoreReader(store.object_path(upper.object_name), size, upper.chunk) as above,
    ):
        both = Overlay(below, above)
        room = Bytes(room_for(both.count(), both.chunk) * both.chunk)
        path = store.pool.create(object_name, room, sparse=True).path
        chunks = both.write(path, limiter=limiter)
    return LayerRecord(step.volume.name, upper.number, object_name, both.chunk, chunks)


def _swap(store: ReplicaStore, step: SquashStep, made: LayerRecord) -> bool:
    with store.lock, store.journal.transaction():
        volume = store.journal.volume(step.volume.name)
        if volume is None or not _still_right(store, step):
            return False
        for layer in (step.lower, step.upper):
            store.journal.remove_layer(layer)
            store.journal.add_garbage(layer.volume, layer.object_name)
        store.journal.save_layer(made)
        store.journal.remove_garbage(made.object_name)
    return True


def _still_right(store: ReplicaStore, step: SquashStep) -> bool:
    """Whether both layers are there as they were, no device stands on them, and the generation
    between them is not kept."""
    layers = store.journal.layers(step.volume.name)
    if step.lower not in layers or step.upper not in layers:
        return False
    stand = {name for chain in store.journal.held(step.volume.name) for name in chain.objects}
    if not stand.isdisjoint({step.lower.object_name, step.upper.object_name}):
        return False
    return not is_kept(store, step.volume, step.lower.number)
