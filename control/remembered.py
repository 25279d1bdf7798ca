"""How a group and its mirror were set, remembered where they are a replica now.

A host that leads the group again goes on with that: an application that is to be quiet for a
freeze is not frozen without a word because roles were changed and changed back.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from typing import Final

import msgspec

from control.authority.ownership import digest_of
from control.journal import Journal
from control.records import GroupRecord, MirrorRecord

OF_GROUP: Final = (
    "consistency",
    "policy",
    "quorum",
    "before",
    "before_ms",
    "after",
    "after_ms",
    "fencing",
)
OF_MIRROR: Final = (
    "interval_ms",
    "schedule",
    "rpo_ms",
    "on_demand",
    "rate_bytes",
    "window",
    "verify",
)


def remember(
    journal: Journal, volumes: Iterable[str], group: GroupRecord, mirror: MirrorRecord
) -> None:
    """Note how a group is set, and the mirror that leads to who takes it over.

    :param volumes: the UUIDs of its members, by which it is known again.
    """
    kept = {
        "group": {name: getattr(group, name) for name in OF_GROUP},
        "mirror": {name: getattr(mirror, name) for name in OF_MIRROR},
    }
    journal.set_note(_key(volumes), json.dumps(msgspec.to_builtins(kept)))


def group_as_it_was(journal: Journal, volumes: Iterable[str], record: GroupRecord) -> GroupRecord:
    """The record with the settings that are remembered; as it is, if there are none."""
    kept = json.loads(journal.note(_key(volumes)) or "{}").get("group", {})
    return msgspec.convert({**dataclasses.asdict(record), **kept}, GroupRecord)


def mirror_as_it_was(
    journal: Journal, volumes: Iterable[str], record: MirrorRecord
) -> MirrorRecord:
    """The record with the settings that are remembered; as it is, if there are none."""
    kept = json.loads(journal.note(_key(volumes)) or "{}").get("mirror", {})
    return msgspec.convert({**dataclasses.asdict(record), **kept}, MirrorRecord)


def _key(volumes: Iterable[str]) -> str:
    return f"settings {digest_of(volumes)}"
