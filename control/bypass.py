"""Who writes past a head: devices on the disk below it, as LVM's that came first at boot.

Device-mapper devices share a disk, so the kernel lets a head be made over one that LVM has already
activated. Nothing that is written there is mirrored, and a merge overwrites it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from control import beneath
from control.beneath import TableOf, live_table
from control.holders import described, holders_of, is_going, is_ours
from control.records import VolumeRecord
from control.spans import Span
from dm_tables.errors import FrazilError, Precondition
from dm_tables.names import head_name
from dm_tables.table import Table
from dm_tables.targets import Linear
from dm_tables.units import SECTOR


class Bypassed(Precondition):
    """Something else than a volume's head uses the disk below it."""


def check_not_bypassed(volumes: Iterable[VolumeRecord], table_of: TableOf = live_table) -> None:
    """:raises Bypassed: for the first that is found."""
    for found in bypasses(volumes, table_of):
        raise found


def bypasses(volumes: Iterable[VolumeRecord], table_of: TableOf = live_table) -> Iterator[Bypassed]:
    """Each device on the volumes' disks that is none of frazil's."""
    for volume in volumes:
        for span in volume.spans:
            for holder in _others(span, table_of):
                yield Bypassed(
                    f"{described(holder)} uses {span.path}, the disk below the volume "
                    f"{volume.name}: what it writes is not mirrored, and may be overwritten",
                    f"stop what uses it, and let it use /dev/mapper/{head_name(volume.name)}; "
                    "for LVM see docs/hosts.md",
                )


def _others(span: Span, table_of: TableOf) -> Iterator[Path]:
    number = None
    with suppress(OSError):
        number = beneath.number_of(span.path)
    for holder in holders_of(number) if number else []:
        if is_ours(holder) or not _uses(holder, number or "", span, table_of):
            continue
        if not is_going(holder):
            yield holder


def _uses(holder: Path, number: str, span: Span, table_of: TableOf) -> bool:
    """Whether a holder of a device has bytes of the span; it counts where that cannot be told."""
    table: Table | None = None
    with suppress(OSError, FrazilError):
        table = table_of((holder / "dm" / "name").read_text().strip())
    if table is None:
        return True
    for segment in table.segments:
        if not isinstance(segment.target, Linear):
            return True
        start = segment.target.offset * SECTOR
        length = (segment.end - segment.start) * SECTOR
        inside = start < span.offset + span.length and span.offset < start + length
        if segment.target.device == number and inside:
            return True
    return False
