"""The volumes of a mirrored group: how far each of them is at the replica."""

from __future__ import annotations

from typing import TYPE_CHECKING

from control.cli import words
from control.cli.output import columns
from control.units_text import human_size
from dm_tables.errors import FrazilError
from proto.frazil.v1 import control_pb2 as pb

if TYPE_CHECKING:
    from control.cli.session import Session

HEADER = ("VOLUME", "REPLICA", "GEN", "LACKING", "STATE")


def behind(mirror: pb.Mirror) -> list[pb.MirrorMember]:
    """Members that are not where the mirror is: joining, lacking chunks, at another generation."""
    return [
        one
        for one in mirror.members
        if one.state == "joining"
        or one.lacking_bytes
        or one.committed.number != mirror.committed.number
    ]


def rows(mirror: pb.Mirror) -> list[tuple[str, ...]]:
    """A row a member under :data:`HEADER`."""
    return [
        (
            one.volume,
            one.replica_volume or one.volume,
            words.number(one.committed),
            human_size(one.lacking_bytes) if one.lacking_bytes else words.NONE,
            one.state,
        )
        for one in mirror.members
    ]


def table(mirror: pb.Mirror) -> str:
    """A line a member."""
    return columns(HEADER, rows(mirror), right="GEN LACKING")


def brief(mirror: pb.Mirror) -> str:
    """All in one line, those that are behind by name: ``6 of 8 at 41; log joining; wal at 39``."""
    late = behind(mirror)
    count = len(mirror.members)
    level = words.number(mirror.committed)
    if not late:
        return f"all {count} at {level}"
    return "; ".join([f"{count - len(late)} of {count} at {level}", *map(_standing, late)])


def _standing(one: pb.MirrorMember) -> str:
    if one.state == "joining":
        return f"{one.volume} joining"
    text = f"{one.volume} at {words.number(one.committed)}"
    lacking = f", lacking {human_size(one.lacking_bytes)}" if one.lacking_bytes else ""
    return text + lacking


def groups(session: Session) -> list[pb.Group]:
    """The groups of this host, for what mirrors do not say themselves: their policies.

    It is asked beside what was asked for, and so no reason to fail: none, when nobody answers.
    """
    try:
        reply = session.api.ask("ListGroups", pb.ListGroupsRequest(), pb.ListGroupsReply)
    except FrazilError:
        return []
    return list(reply.groups)
