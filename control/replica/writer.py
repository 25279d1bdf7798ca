"""Who writes a replica, changed by its host's administrator: its source is another one now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from control.replica.access import AllowRule, is_allowed
from control.replica.admission import check_not_promoted
from control.replica.records import VolumeRecord
from control.replica.store import ReplicaStore
from dm_tables.errors import Precondition, Usage


class NotAWriter(Precondition):
    """A name that no [[replica.allow]] lets write a volume here."""


def written_together(store: ReplicaStore, name: str) -> list[str]:
    """The replica volumes whose writer is changed under a name: one by itself, or a group's.

    :raises ReplicaNotFound: neither a replica volume nor a group that was committed here.
    :raises Precondition: a volume of a group; or several hosts commit a group of this name.
    """
    if together := _committed_as(store, name):
        if len(sources := sorted({volume.identity for volume in together})) > 1:
            raise Precondition(
                f"group {name} is committed here by {' and by '.join(sources)}",
                "name its replicas one by one",
            )
        return [volume.name for volume in together]
    volume = store.volume(name)
    newest = store.journal.newest(name)
    group = newest.group if newest is not None else ""
    together = _committed_as(store, group) if group else []
    others = [one.name for one in together if one != volume]
    if volume in together and others and len({one.identity for one in together}) == 1:
        raise Precondition(
            f"{name} was committed together with {', '.join(others)}", f"name the group: {group}"
        )
    return [volume.name]


def _committed_as(store: ReplicaStore, group: str) -> list[VolumeRecord]:
    """The volumes that are committed as a group of this name; those that left it are not."""
    journal = store.journal
    newest = {volume.name: journal.newest(volume.name) for volume in journal.volumes()}
    found = []
    for volume in journal.volumes():
        record = newest[volume.name]
        if record is None or record.group != group:
            continue
        uuid = record.generation.uuid
        others = [newest.get(name) for name in journal.members(group, uuid)]
        # Who went on without it was not left: it is the one that left.
        if all(one is not None and one.generation.uuid == uuid for one in others):
            found.append(volume)
    return found


def check_writer(rules: Sequence[AllowRule], identity: str, volumes: Sequence[str]) -> None:
    """See that a name could write the volumes.

    :raises Usage: it is none. :raises NotAWriter: no rule lets it.
    """
    if not identity:
        raise Usage("who will write the replica is not said", "--identity NAME")
    for volume in volumes:
        if not is_allowed(rules, identity, volume):
            raise NotAWriter(
                f"no [[replica.allow]] of this host lets {identity} write {volume}",
                "name it as the other host's certificate does, or allow it in the configuration",
            )


def set_writer(store: ReplicaStore, volumes: Sequence[str], identity: str) -> list[VolumeRecord]:
    """Let another host write the volumes from now on, all of them or none.

    What came in half from the old one is dropped. The caller sees to it that nobody writes them.

    :return: those whose writer was another, as they were.
    :raises ReplicaNotFound: there is none. :raises ReplicaPromoted: one is a source here now.
    """
    with store.lock, store.journal.transaction():
        found = [store.volume(name) for name in volumes]
        for volume in found:
            check_not_promoted(volume, store.journal.newest(volume.name))
        changed = [volume for volume in found if volume.identity != identity]
        for volume in changed:
            store.discard_incoming(volume.name)
            store.journal.save_volume(replace(volume, identity=identity))
    store.settle()
    return changed
