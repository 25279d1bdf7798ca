"""The table of cycles: a row each, once both ends were compared."""

from __future__ import annotations

from typing import Final

from control.units_text import human_size
from vagrant.cluster.cycles import Cycle

from .screen import Column

COLUMNS: Final = (
    Column("generation", 10),
    Column("kind", 8),
    Column("pause", 9),
    Column("chunks", 7),
    Column("changed", 10),
    Column("sent", 10),
    Column("seconds", 8),
    Column("lag", 7),
    Column("verified", 9),
)


def cells(cycle: Cycle) -> list[str]:
    """The row of a cycle."""
    return [
        str(cycle.generation),
        cycle.kind,
        f"{cycle.pause * 1e3:.1f} ms",
        str(cycle.chunks),
        human_size(cycle.changed),
        human_size(cycle.sent),
        f"{cycle.copying:.1f}",
        f"{cycle.lag:.1f} s",
        cycle.verified,
    ]
