"""What became of a freeze that broke off, where no head is left that could tell: by its stores."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from control.records import GenerationRecord, LayerRecord
from control.store.direct import DirectFile
from control.store.errors import BlankStore
from control.store.reader import read_header

if TYPE_CHECKING:
    from control.volume import Volume


def has_happened(volume: Volume, prepared: LayerRecord) -> bool:
    """Whether a freeze counts: if all layers of its instant are the kernel's, and may hold writes.

    One that the kernel never saw was not on the stack yet, so no head of the group had moved.
    Where others are settled already, this one's head had moved if its layer was written.
    """
    planned = volume.generation_of(prepared)
    parts = volume.context.journal.instant(planned.uuid)
    together = len(parts) == planned.members
    if together and all(_is_on_stack(volume, part) for part in parts):
        return True
    return _is_on_stack(volume, planned) and volume.frozen_chunks(prepared) > 0


def _is_on_stack(volume: Volume, part: GenerationRecord) -> bool:
    """Whether the layer that a freeze pushes, or pushed, was ever activated."""
    if part.frozen_at is not None:
        return True
    name = f"{part.volume}.{part.number}"
    pool = volume.context.pool
    return name in pool.list() and _was_activated(pool.open(name).path)


def _was_activated(store: Path) -> bool:
    """Whether the kernel ever made ``store`` a store: only then can it hold writes."""
    try:
        with DirectFile(store) as file:
            read_header(file)
    except BlankStore:
        return False
    return True
