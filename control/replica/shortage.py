"""Whether a replica's room is short: what its sources send comes before all else kept here."""

from __future__ import annotations

from control.replica.points import Quota, is_over, is_short
from control.replica.records import VolumeRecord
from control.replica.store import ReplicaStore


class Shortage:
    """Looks whether a volume's next generation may find too little room.

    :param quota: what a writer's volumes may take in all, in bytes; None: what there is.
    """

    def __init__(self, store: ReplicaStore, quota: Quota) -> None:
        self._store = store
        self._quota = quota

    def presses(self, volume: VolumeRecord) -> bool:
        """Whether the pool is short, or the quota of the volume's writer."""
        with self._store.lock:
            return is_short(self._store) or is_over(self._store, volume.identity, self._quota)
