"""Squashing two frozen layers of a source into one: the stack stays low for a slow replica.

A replica that takes long holds the image that is copied to it, and nothing above that can be
merged. The layers above become one, again and again: their number is bounded, and what they take
is what was changed, once. The layer device of the upper one is swapped onto the new store; it shows
the same as before, and nothing writes to it.
"""

from __future__ import annotations

import dataclasses
import json
from itertools import pairwise

from bpf.layout import Counters
from control.blocks import BlockSet
from control.limiter import RateLimiter
from control.records import LayerRecord, LayerState, TraceRecord, TraceState
from control.store.layout import room_for
from control.store.squash import Overlay
from control.volume import Volume, in_stack
from dm_tables.errors import FrazilError
from dm_tables.units import Bytes

ENOUGH = 6
"""Up to so many layers are left as they are."""


def pair_to_squash(
    layers: list[LayerRecord], held: set[int], bases: set[int]
) -> tuple[LayerRecord, LayerRecord] | None:
    """Two neighbours that may become one, the oldest first; None if there is no need.

    :param held: layer devices whose images are copied or compared: what is below, and up to
        them, is read. :param bases: those that replicas have; a layer between two of them would
        be sent twice.
    """
    if len(layers) <= ENOUGH:
        return None
    free = [
        layer
        for layer in layers
        if layer.state is LayerState.FROZEN and layer.sequence > max(held, default=-1)
    ]
    for lower, upper in pairwise(free):
        if lower.sequence not in bases and lower.size == upper.size:
            return lower, upper
    return None


def squash(
    volume: Volume, lower: LayerRecord, upper: LayerRecord, limiter: RateLimiter
) -> LayerRecord:
    """Make one layer of two neighbours. Safe to be killed at any point.

    :raises PoolFull: there is no room; nothing has changed. :raises Interrupted: the same.
    """
    pool = volume.context.pool
    name = f"{volume.name}.{lower.sequence}+{upper.sequence}"
    with volume.merging:
        if name in pool.list():
            pool.remove(name)
        with volume.reader(lower) as below, volume.reader(upper) as above:
            both = Overlay(below, above)
            made = dataclasses.replace(upper, object_name=name, chunk=both.chunk)
            room = room_for(both.count(), both.chunk) * both.chunk
            # Who is interrupted may never squash these two again.
            volume.context.journal.set_note(volume.squashing_note, name)
            try:
                both.write(pool.create(name, Bytes(room)).path, limiter=limiter)
            except FrazilError:
                volume.drop_unfinished()
                raise
        with volume.tables:
            base = volume.below(lower.sequence)
            device = volume.stack.layer(upper.sequence)
            device.swap(volume.stack.snapshot_table(in_stack(made), base))
            volume.stack.layer(lower.sequence).remove()
            _write_down(volume, lower, upper, made)
        volume.drop_squashed()
    return made


def _write_down(volume: Volume, lower: LayerRecord, upper: LayerRecord, made: LayerRecord) -> None:
    journal = volume.context.journal
    trace = _trace_of_both(volume, lower, upper)
    with journal.transaction():
        journal.set_note(volume.squashed_note, json.dumps([lower.object_name, upper.object_name]))
        journal.set_note(volume.squashing_note, "")
        journal.remove_layer(volume.name, lower.sequence)
        journal.save_layer(made)
        journal.save_trace(trace)
        if journal.merging(volume.uuid) >= lower.sequence:
            # The spans have some of it already: they are a mixture until all of it is there.
            journal.note_merging(volume.uuid, upper.sequence)


def _trace_of_both(volume: Volume, lower: LayerRecord, upper: LayerRecord) -> TraceRecord:
    tracing = volume.context.tracing
    one, other = tracing.blocks_of(lower), tracing.blocks_of(upper)
    if one is None or other is None:
        why = "one of the layers that it was squashed from was untraced"
        return TraceRecord(volume.name, upper.sequence, TraceState.UNTRACED, why)
    blocks = BlockSet()
    blocks.update(one)
    blocks.update(other)
    return TraceRecord(
        volume.name,
        upper.sequence,
        TraceState.TRACED,
        blocks=blocks.serialise(),
        counters=json.dumps(Counters().as_dict()),
    )
