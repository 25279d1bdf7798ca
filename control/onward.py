"""What of a host's replicas can be mirrored on, also after they were promoted."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise

from control.cascade import CascadeGroup
from control.config import Config
from control.records import MirrorRecord, Origin, StandingRecord
from control.replica.handover import HandedOver
from control.replica.quota import quota_of
from control.replica.records import base_key
from control.replica.shortage import Shortage
from control.replica.store import ReplicaStore


class Onward:
    """The replicas of a host, for mirrors."""

    def __init__(self, store: ReplicaStore, config: Config) -> None:
        self.store = store
        self.shortage = Shortage(store, lambda identity: quota_of(config.replica.allow, identity))

    def group(self, record: MirrorRecord) -> CascadeGroup:
        """What a mirror brings on."""
        several = record.origin is Origin.REPLICA_GROUP
        return CascadeGroup(record.group_name, self.store, self.shortage, several=several)

    def origin_of(self, volume: str, group: str) -> Origin | None:
        """What a mirror of one of the two would be; None: there is neither."""
        if volume and self.store.journal.volume(volume) is not None:
            return Origin.REPLICA
        if group and self.store.journal.newest_of(group):
            return Origin.REPLICA_GROUP
        return None


def bringing_on(mirrors: Iterable[MirrorRecord], given: Sequence[HandedOver]) -> list[MirrorRecord]:
    """Those of the mirrors that brought on just these replicas, which are a source here now."""
    origins = {(Origin.REPLICA_GROUP, one.history[0].group) for one in given}
    if len(given) == 1:
        origins.add((Origin.REPLICA, given[0].volume.name))
    return [mirror for mirror in mirrors if (mirror.origin, mirror.group_name) in origins]


def standing_here(
    standing: StandingRecord, given: HandedOver, there: Collection[int]
) -> StandingRecord:
    """What a further host has of a replica, as the source has it that the replica became.

    :param there: the sequences of the source's layers. Is one gone that the further host lacks,
        only a whole copy helps.
    """
    if not standing.committed_uuid:
        return dataclasses.replace(standing, base="")
    numbers = [given.volume.base_number, *(layer.number for layer in given.layers)]
    sequences = [(number, below + 1) for below, number in pairwise(numbers)]
    lacked = [one for number, one in sequences if number > standing.committed_number]
    had = [one for number, one in sequences if number <= standing.committed_number]
    whole = not _follows(standing, given) or any(one not in there for one in lacked)
    return dataclasses.replace(
        standing,
        committed_layer=max(had, default=given.volume.base_number),
        lacking_all=standing.lacking_all or whole,
        base="",
    )


def _follows(standing: StandingRecord, given: HandedOver) -> bool:
    """As :meth:`control.cascade.FrozenReplica.follows`."""
    if standing.base != base_key(given.volume):
        return False
    known = {one.generation.number: one.generation.uuid for one in given.history}
    number = standing.committed_number
    return known.get(number) == standing.committed_uuid or number < min(known)
