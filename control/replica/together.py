"""Which replica volumes go together: those that one host committed last, as one instant.

A volume that left its group keeps the group's name on what was committed last of it, and two
hosts may have groups of one name. So a name alone does not tell who is a member. Nor does the
instant where one host mirrors a group to here twice, under other names: then it is the commit.
"""

from __future__ import annotations

from collections.abc import Sequence

from control.replica.journal import KEPT_GENERATIONS
from control.replica.records import ROLE_PROMOTED, CommittedRecord, VolumeRecord
from control.replica.store import ReplicaStore
from dm_tables.errors import Precondition

Found = list[tuple[VolumeRecord, CommittedRecord]]
"""Replica volumes with their newest generations."""


def together(store: ReplicaStore, name: str) -> list[str]:
    """The volumes whose newest generation was committed with that of volume ``name``; by name."""
    newest = store.journal.newest(name)
    if newest is None or not newest.group:
        return [name]
    writer, uuid = store.volume(name).identity, newest.generation.uuid
    found = [
        (volume, record)
        for volume, record in _of_group(store, newest.group)
        if volume.identity == writer and record.generation.uuid == uuid
    ]
    return next((names for names in _by_commit(found) if name in names), [name])


def sets_called(store: ReplicaStore, group: str) -> list[list[str]]:
    """What a group's name stands for: the volumes that go together, without those that left.

    Several sets: several groups have the name, or had it.
    """
    sets: dict[tuple[str, str], Found] = {}
    for volume, record in _of_group(store, group):
        sets.setdefault((volume.identity, record.generation.uuid), []).append((volume, record))
    return [
        names
        for (writer, uuid), found in sets.items()
        for names in _by_commit(found)
        if not any(
            _moved_on(store, other, group, names[0])
            for (other_writer, other_uuid), others in sets.items()
            if other_writer == writer and other_uuid != uuid
            for other, *_ in _by_commit(others)
            if not _are_of_one_volume(store, names[0], others)
        )
    ]


def members_of(store: ReplicaStore, group: str) -> list[str]:
    """The members of a group that was committed here; none: nothing was, under this name.

    :raises Precondition: the name stands for several groups, or for one that was left last by a
        member that went on without it, so that which of them is the group cannot be told.
    """
    sets = sets_called(store, group)
    if len(sets) > 1:
        told = " and ".join(
            f"{', '.join(names)} of {store.volume(names[0]).identity}" for names in sets
        )
        raise Precondition(
            f"{group} is the name of several groups here: {told}",
            f"name the one that is meant by one of its volumes: frazil replica promote "
            f"{sets[0][0]}",
        )
    if not sets:
        return []
    names = sets[0]
    gone = went_on(store, names)
    if gone:
        raise Precondition(
            f"{', '.join(gone)} was committed together with {', '.join(names)} as {group}, and "
            "went on without: which of them is the group now is not known here",
            "name what is meant by one of its volumes: frazil replica promote "
            f"{' or '.join([names[0], *gone])}",
        )
    return names


def called(store: ReplicaStore, names: Sequence[str]) -> str:
    """The name of their group, where it stands for just these volumes; else empty."""
    newest = store.journal.newest(names[0])
    group = newest.group if newest is not None else ""
    try:
        return group if len(names) > 1 and list(names) == members_of(store, group) else ""
    except Precondition:
        return ""


def went_on(store: ReplicaStore, names: Sequence[str]) -> list[str]:
    """Who was committed together with these volumes, and has something newer without them."""
    newest = store.journal.newest(names[0])
    assert newest is not None
    writer = store.volume(names[0]).identity
    volumes = {store.volume(name).volume_uuid for name in names}
    return [
        other
        for other in store.journal.members(newest.group, newest.generation.uuid)
        if other not in names
        and _is_replica_of(store.volume(other), writer)
        and store.volume(other).volume_uuid not in volumes
    ]


def _by_commit(found: Found) -> list[list[str]]:
    """The names of what one host committed at one instant, apart where a volume is there twice."""
    if len({volume.volume_uuid for volume, _ in found}) == len(found):
        return [[volume.name for volume, _ in found]]
    commits: dict[int, list[str]] = {}
    for volume, record in found:
        commits.setdefault(record.committed_at, []).append(volume.name)
    return list(commits.values())


def _are_of_one_volume(store: ReplicaStore, name: str, others: Found) -> bool:
    """Whether another replica of the volume is among these: then it has not left them."""
    return store.volume(name).volume_uuid in {volume.volume_uuid for volume, _ in others}


def _of_group(store: ReplicaStore, group: str) -> Found:
    """The replica volumes that were last committed with a group of this name; by name."""
    return [
        (volume, newest)
        for volume in store.journal.volumes()
        if volume.role != ROLE_PROMOTED
        and (newest := store.journal.newest(volume.name)) is not None
        and newest.group == group
    ]


def _is_replica_of(volume: VolumeRecord, writer: str) -> bool:
    return volume.role != ROLE_PROMOTED and volume.identity == writer


def _moved_on(store: ReplicaStore, member: str, group: str, left: str) -> bool:
    """Whether a member's group had the instant at which another volume stayed, and went on.

    What is older than all that is remembered of the member counts as had.
    """
    stayed = store.journal.newest(left)
    assert stayed is not None
    history = store.journal.history(member)
    if any(
        one.generation.uuid == stayed.generation.uuid and one.group == group for one in history[1:]
    ):
        return True
    remembered = history[:KEPT_GENERATIONS]
    full = len(remembered) == KEPT_GENERATIONS
    return full and stayed.committed_at < remembered[-1].committed_at
