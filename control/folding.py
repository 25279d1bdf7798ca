"""Folding: the live layer itself goes into the spans, with the head suspended.

The last resort of a volume without room. It needs no more room than the layer had.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable

from control.context import Context
from control.limiter import RateLimiter
from control.records import GenerationRecord, LayerState, StandingRecord
from control.store.direct import DirectFile
from control.volume import Volume
from dm_tables.errors import FrazilError, Unavailable


def fold(
    volume: Volume, limiter: RateLimiter, between: Callable[[], None] = lambda: None
) -> GenerationRecord | None:
    """Merge the live layer, and put the head on a new one, which resumes it.

    The caller has suspended the head, and resumes it if this fails. Where not even a new layer
    can be had, the head goes on untracked when it is resumed, and its mirrors need a whole copy:
    that is journaled before anything is swapped, so a crash in between says the same.

    :param between: called after every few MiB.
    :return: the generation that the folding froze; None if the head is untracked now.
    :raises Precondition: a layer below is not merged, or the volume changes sides;
    :raises Unavailable: what is below is being copied; nothing was changed.
    """
    journal = volume.context.journal
    with volume.merging, volume.tables:
        live = next(r for r in volume.layers if r.state is LayerState.LIVE)
        volume.check_mergeable(live)
        with DirectFile(volume.stack.layer(live.sequence).path) as device:
            device.fsync()
        if not volume.begin_merge(live, overrule=True):
            raise Unavailable(f"volume {volume.name} is being copied", "it is tried again")
        volume.remember(live)
        volume.copy_into_spans(live, limiter, between)
        tracked = [one for one in journal.standings_of(volume.name) if not one.lacking_all]
        with journal.transaction():
            for standing in tracked:
                journal.change_standing(standing.mirror, volume.name, lacking_all=True)
            volume.journal_merged(live)
        volume.watched = ""
        volume.drop_merged()
        return _start_over(volume, tracked)


def move_on(volume: Volume) -> GenerationRecord:
    """Put the suspended head on a new layer, and resume it there; what it stood on is frozen.

    :raises PoolFull: there is no room for a new layer; the head is as it was.
    :raises FrazilError: it failed; the head is as it was.
    """
    context, head = volume.context, volume.stack.head
    with volume.tables:
        volume.settle_left()
        with DirectFile(volume.stack.layer(volume.top).path) as device:
            device.fsync()
        prepared = volume.prepare(volume.next_number, str(uuid.uuid4()))
        try:
            volume.stand_by(prepared)
            context.dmsetup.resume(head.name)
        except FrazilError:
            if not volume.settle_freeze(prepared):
                raise
        else:
            volume.freeze_happened(prepared, time.time(), pause_us=0)
        volume.watch_live()
        return volume.generation_of(prepared)


def finish_merges(context: Context) -> set[str]:
    """Take layers out of the kernel that are merged: a crash may have kept them there.

    Before any head is let go that a crash left suspended: what is written to such a layer is lost.

    :return: the heads of volumes where it failed: they are not to be let go.
    """
    unfinished = set()
    for record in context.journal.volumes():
        volume = Volume(record, context)
        for layer in context.journal.layers(record.name):
            merged = layer.state is LayerState.MERGED
            try:
                if merged and volume.stack.layer(layer.sequence).exists():
                    volume.stack.settle(layer.sequence)
            except FrazilError as error:
                unfinished.add(str(volume.stack.head.name))
                context.events.add("error", volume.name, error.name, str(error))
    return unfinished


def _start_over(volume: Volume, tracked: list[StandingRecord]) -> GenerationRecord | None:
    journal = volume.context.journal
    try:
        generation = move_on(volume)
    except FrazilError as error:
        told = f"writes are not tracked any more: {error}"
        volume.context.events.add("error", volume.name, "untracked", told)
        return None
    with journal.transaction():
        for standing in tracked:
            journal.change_standing(standing.mirror, volume.name, lacking_all=False)
    return generation
