"""Is this pool the one that it was? An unmounted pool looks like an empty directory.

What volumes need must never be looked for in the wrong place: a layer that is not found could
be taken for one that never was, and its writes for lost.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from pathlib import Path

from control.journal import Journal
from control.pool.allocation import sync_directory
from control.pool.pool import Pool
from control.records import LayerRecord, LayerState
from dm_tables.errors import Unavailable

MARK = ".frazil-pool"
"""A file in a pool's directory, whose text the journal knows too."""


class PoolAbsent(Unavailable):
    """The pool's disk is not mounted or not attached. ``missing``: names of its objects."""

    def __init__(self, location: str, why: str, missing: Sequence[str] = ()) -> None:
        super().__init__(
            f"the pool {location} is not there: {why}",
            "mount or attach its disk; frazild then goes on by itself",
        )
        self.missing = tuple(missing)


def missing_objects(pool: Pool, layers: Sequence[LayerRecord]) -> list[str]:
    """Objects that layers need and the pool lacks.

    A layer that is only prepared may rightly have none, and one that is merged none any more.
    """
    there = set(pool.list())
    needed = (LayerState.LIVE, LayerState.FROZEN)
    return [
        layer.object_name
        for layer in layers
        if layer.state in needed and layer.object_name not in there
    ]


def check_present(journal: Journal, pool: Pool) -> None:
    """:raises PoolAbsent: what is found where the pool should be is not this host's pool."""
    noted = journal.note(_key(pool))
    if not noted or pool.kind != "files":
        return
    directory = Path(pool.location)
    if not directory.is_dir():
        raise PoolAbsent(pool.location, "there is no such directory")
    if _mark_in(directory) != noted:
        raise PoolAbsent(pool.location, f"the directory holds no {MARK} of this host")


def mark(journal: Journal, pool: Pool) -> None:
    """Make a pool of files known again; for one that was checked and is in its place."""
    if pool.kind != "files" or journal.note(_key(pool)):
        return
    directory = Path(pool.location)
    text = _mark_in(directory) or str(uuid.uuid4())
    with (directory / MARK).open("w", encoding="ascii") as file:
        file.write(f"{text}\n")
        file.flush()
        os.fsync(file.fileno())
    sync_directory(directory)
    journal.set_note(_key(pool), text)


def _key(pool: Pool) -> str:
    return f"pool {pool.location}"


def _mark_in(directory: Path) -> str:
    try:
        return (directory / MARK).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
