"""What of a host's replicas can be mirrored on."""

from __future__ import annotations

from control.cascade import CascadeGroup
from control.config import Config
from control.records import MirrorRecord, Origin
from control.replica.quota import quota_of
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
