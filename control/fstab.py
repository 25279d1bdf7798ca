"""What is mounted at boot, as fstab(5) says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dm_tables.names import head_name

FSTAB: Final = Path("/etc/fstab")
NETWORK: Final = "_netdev"


@dataclass(frozen=True, slots=True)
class Mount:
    """A line of it. ``options`` as they stand there."""

    what: str
    where: str
    kind: str
    options: tuple[str, ...] = ()


def mounts_in(fstab: str) -> list[Mount]:
    """What a fstab names."""
    rows = (line.split("#", 1)[0].split() for line in fstab.splitlines())
    return [
        Mount(row[0], row[1], row[2], tuple(row[3].split(",")) if len(row) > 3 else ())
        for row in rows
        if len(row) >= 3
    ]


def fstab_of(path: Path = FSTAB) -> list[Mount]:
    """What this host's fstab names; nothing, if it cannot be read."""
    try:
        return mounts_in(path.read_text())
    except (OSError, UnicodeDecodeError):
        return []


def waits_for_network(volume: str, lines: Sequence[Mount]) -> bool:
    """Whether all mounts of a volume's head, and there is one, come after the network."""
    head = f"/dev/mapper/{head_name(volume)}"
    own = [line.options for line in lines if line.what == head]
    return bool(own) and all(NETWORK in options for options in own)
