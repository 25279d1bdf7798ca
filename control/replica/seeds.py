"""Seeds: content that is here before the first copy, so that only what differs has to come.

A shipped disk, or an old copy of the volume. It stands in the place of a committed generation,
number 0: it can be compared by its digests and a delta can build on it, and it is never shown,
because it is nobody's instant. The first commit makes a replica of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import uuid4

from control.adopt import Occupied, check_adoptable
from control.replica.records import ROLE_SEED, Generation, VolumeRecord
from control.replica.store import ReplicaStore
from control.spans import Span, size_of
from control.wire.errors import VolumeNameTaken
from dm_tables.names import volume_name


@dataclass(frozen=True, slots=True)
class ReplicaSpans:
    """What a replica volume has of this host's own devices and files."""

    name: str
    spans: tuple[Span, ...]


def occupied(store: ReplicaStore) -> list[Occupied]:
    """The spans that replica volumes stand on: nothing else may have them."""
    return [
        ReplicaSpans(f"{volume.name} (a replica)", volume.base_spans)
        for volume in store.journal.volumes()
        if volume.base_spans
    ]


def seed(
    store: ReplicaStore,
    name: str,
    spans: tuple[Span, ...],
    identity: str,
    others: Sequence[Occupied] = (),
) -> VolumeRecord:
    """Make a replica volume of content that is here; its first delta comes on that.

    The content belongs to the replica from now on: nothing else may write it. Repeating it is
    harmless. Which volume it is of, the first manifest says.

    :param spans: as :func:`control.adopt.resolve` gives them.
    :param identity: the only one that may write it.
    :param others: what this host's own volumes stand on.
    :raises VolumeNameTaken: there is a replica of that name.
    :raises BadName, VolumeTooSmall, SpanOverlaps, Precondition: it cannot be one.
    """
    volume_name(name)
    with store.lock, store.journal.transaction():
        there = store.journal.volume(name)
        if there is not None:
            if (there.role, there.base_spans, there.identity) == (ROLE_SEED, spans, identity):
                return there
            raise VolumeNameTaken(
                f"there is already a replica {name} here", "remove it, or take another name"
            )
        check_adoptable(spans, [*others, *occupied(store)])
        made = VolumeRecord(
            name,
            "",
            identity,
            size_of(spans),
            base_spans=spans,
            role=ROLE_SEED,
            role_since=store.now(),
            seed_uuid=str(uuid4()),
        )
        store.journal.save_volume(made)
    store.settle()
    return made


def seed_generation(volume: VolumeRecord) -> Generation:
    """What a seed is in the place of: generation 0."""
    return Generation(0, volume.seed_uuid, "", volume.role_since)
