"""What this host could own: its sources' groups by its journal, its replicas' by their store."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from control.authority.ownership import Claim, Stamp, digest_of
from control.journal import Journal
from control.replica.records import ROLE_REPLICA
from control.replica.store import ReplicaStore
from control.replica.together import called, together

PROMOTING = "promoting"
"""The note of a promote under way: its volumes are one claim before they are a group."""


def source_claims(journal: Journal) -> list[Claim]:
    """Those of every group of this host's own volumes; what is being promoted is none yet."""
    promoting = _promoting(journal)
    claims = [
        source_claim(journal, group.name)
        for group in journal.groups()
        if not promoting or not set(journal.members(group.name)) & set(promoting["names"])
    ]
    return [claim for claim in claims if claim.volumes]


def promoting_key(journal: Journal) -> str:
    """Which group is being promoted at this moment; empty for none."""
    promoting = _promoting(journal)
    return digest_of(promoting["uuids"]) if promoting else ""


def claim_of(journal: Journal, volume: str) -> Claim:
    """That of a volume's group; while a group is promoted, its members are not in it yet."""
    made = source_claim(journal, journal.group_of(volume))
    promoting = _promoting(journal)
    if promoting and volume in promoting["names"]:
        return replace(made, volumes=tuple(promoting["uuids"]))
    return made


def _promoting(journal: Journal) -> dict[str, Any]:
    note = journal.note(PROMOTING)
    return dict(json.loads(note)) if note else {}


def source_claim(journal: Journal, group: str) -> Claim:
    """That of a group of this host's own volumes."""
    names = journal.members(group)
    uuids = [record.uuid for name in names if (record := journal.volume(name)) is not None]
    known = {
        made.uuid: made.number
        for name in names
        for made in journal.generations(name)
        if made.frozen_at is not None
    }
    committed = [
        _committed(journal, mirror.name, names)
        for mirror in journal.mirrors()
        if mirror.group_name == group
    ]
    stamp = max(committed, key=lambda one: one.number, default=Stamp())
    return Claim(group, tuple(sorted(uuids)), stamp, known)


def _committed(journal: Journal, mirror: str, names: Sequence[str]) -> Stamp:
    """What a mirror's replica has of all volumes but joining ones."""
    standings = [journal.standing(mirror, name) for name in names]
    stamps = [
        Stamp(one.committed_number, one.committed_uuid) for one in standings if one.committed_uuid
    ]
    return min(stamps, key=lambda one: one.number, default=Stamp())


def replica_claim(store: ReplicaStore, names: Sequence[str], group: str) -> Claim:
    """That of replica volumes that are promoted together."""
    volumes = [store.volume(name) for name in names]
    history = [store.journal.history(name) for name in names]
    known = {one.generation.uuid: one.generation.number for part in history for one in part}
    newest = [Stamp(part[0].generation.number, part[0].generation.uuid) for part in history if part]
    stamp = min(newest, key=lambda one: one.number, default=Stamp())
    return Claim(group or names[0], tuple(sorted(one.volume_uuid for one in volumes)), stamp, known)


def replica_groups(store: ReplicaStore) -> list[Claim]:
    """What is mirrored here and committed, each instant's volumes together."""
    claims: dict[str, Claim] = {}
    for volume in store.journal.volumes():
        newest = store.journal.newest(volume.name)
        if volume.role != ROLE_REPLICA or newest is None:
            continue
        names = together(store, volume.name)
        claim = replica_claim(store, names, called(store, names))
        claims.setdefault(claim.key, claim)
    return list(claims.values())
