"""How much of the pool must stay free, so that what is committed can always be merged.

Merging a layer may let a sparse base grow by as much as the layer holds, and gives the layer's
room back only afterwards. A replica that filled its disk with layers could then never merge one
of them. So receiving stops while there is still room to merge the largest.
"""

from __future__ import annotations

import stat
from pathlib import Path

from control.wire.errors import ReplicaFull
from dm_tables.units import MIB, Bytes

FLOOR = Bytes(8 * MIB)
"""Kept for the journal, whatever else."""


def must_stay_free(base_growth: int, layers: list[int], incoming: int) -> Bytes:
    """What receiving may not take, in bytes.

    :param base_growth: by how much the base can still grow.
    :param layers: how much each committed layer holds.
    :param incoming: how much was received so far of the one that is coming in.
    """
    return Bytes(FLOOR + min(base_growth, max(incoming, *layers, 0)))


def growth_left(base: Path, size: Bytes) -> int:
    """How many bytes of a base of ``size`` bytes have no room of their own yet."""
    status = base.stat()
    if not stat.S_ISREG(status.st_mode):
        return 0
    return max(0, size - status.st_blocks * 512)


def check_room(location: str, free: int, needed: Bytes) -> None:
    """:raises ReplicaFull: less is free than must stay free."""
    if free < needed:
        raise ReplicaFull(
            f"the replica's {location} has {free} bytes free and keeps {needed} for merging",
            "give it more room; nothing is lost, and the copy goes on where it was",
        )
