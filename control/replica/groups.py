"""The commit of a group: every member's staged generation becomes its newest, or none does.

The members were frozen at one instant, and become visible at one: in one transaction of the
journal (claims 5 and 29). What was staged is on stable storage already, so a commit costs no
more than that transaction, whatever came.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from control.replica.admission import check_not_promoted
from control.replica.records import Generation, IncomingRecord
from control.replica.store import ReplicaStore
from control.wire.errors import BadCommit, BaseMismatch, NotStaged
from dm_tables.names import volume_name
from proto.frazil.v1 import replica_pb2


@dataclass(frozen=True, slots=True)
class GroupCommit:
    """What a commit came to. ``fresh``: the members that were not committed before."""

    generation: Generation
    fresh: tuple[str, ...]


def read_commit(request: replica_pb2.CommitRequest) -> dict[str, str]:
    """The generation's UUID by volume. :raises BadCommit, BadName: it names no instant."""
    if request.group:
        volume_name(request.group)
    members: dict[str, str] = {}
    for member in request.members:
        if volume_name(member.volume) in members:
            raise BadCommit(f"{member.volume} is named twice in one commit")
        members[member.volume] = member.generation_uuid
    if not members:
        raise BadCommit("a commit names no member")
    if len(set(members.values())) > 1:
        raise BadCommit(
            "the members of a commit are not of one generation",
            "members that were frozen at different instants are committed one by one",
        )
    return members


def commit_group(store: ReplicaStore, group: str, members: Mapping[str, str]) -> GroupCommit:
    """Make the staged generations of ``members`` the newest, in one transaction.

    A member that is committed already is fine: the answer to an earlier commit was lost, or it
    joined with this generation.

    :param members: the generation's UUID by volume, at least one.
    :raises NotStaged, BaseMismatch, ReplicaNotFound, ReplicaPromoted: it names the member;
        nothing was changed.
    """
    fresh, at = [], store.now()
    with store.lock, store.journal.transaction():
        for name, uuid in members.items():
            record = _to_commit(store, name, uuid)
            if record is not None:
                store.put_on_top(record, group, at)
                fresh.append(name)
        if group:
            _note_group(store, members, group, at)
        newest = store.journal.newest(next(iter(members)))
        assert newest is not None
    store.settle()
    return GroupCommit(newest.generation, tuple(fresh))


def _to_commit(store: ReplicaStore, name: str, uuid: str) -> IncomingRecord | None:
    """What is staged of a member; None: it is committed already."""
    history = store.journal.history(name)
    check_not_promoted(store.volume(name), history[0] if history else None)
    for record in history:
        if record.generation.uuid != uuid:
            continue
        if record is history[0]:
            return None
        raise BaseMismatch(
            f"{name} moved on from generation {record.generation.number} to "
            f"{history[0].generation.number}",
            "commit the newest generation of the group",
        )
    incoming = store.journal.incoming(name)
    if incoming is None:
        raise NotStaged(f"nothing of generation {uuid} of {name} has come", "send it first")
    if incoming.generation.uuid != uuid:
        raise NotStaged(
            f"generation {incoming.generation.number} ({incoming.generation.uuid}) of {name} is "
            f"coming in, not {uuid}",
            "send it first",
        )
    if not incoming.staged:
        raise NotStaged(
            f"generation {incoming.generation.number} of {name} has not come whole",
            "send the rest first",
        )
    return incoming


def _note_group(store: ReplicaStore, members: Iterable[str], group: str, at: int) -> None:
    """What is committed together has one time, also if a member had come before."""
    newest = [store.journal.newest(name) for name in members]
    found = [one for one in newest if one is not None]
    if len({(one.group, one.committed_at) for one in found}) > 1 or found[0].group != group:
        for one in found:
            store.journal.set_group(one.volume, one.generation.number, group, at)
