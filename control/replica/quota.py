"""What replica volumes take on this host's disks, and how much of that a client may have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from control.replica.access import AllowRule
from control.replica.records import IncomingRecord
from control.replica.store import ReplicaStore
from control.wire.errors import QuotaExceeded
from dm_tables.units import Bytes


def quota_of(rules: Sequence[AllowRule], identity: str) -> Bytes | None:
    """What all replica volumes that ``identity`` writes may take in all; None: what there is.

    The smallest, where several rules name one.
    """
    named = [rule.quota for rule in rules if rule.identity == identity and rule.quota is not None]
    return min(named, default=None)


def allocated_bytes(store: ReplicaStore, name: str, taken: Mapping[str, int] | None = None) -> int:
    """What a replica volume takes of the pool: its base, layers, what comes in and what goes.

    Content that was there before takes nothing of it.

    :param taken: what :meth:`Pool.taken` gave; by default it is asked.
    """
    found = store.pool.taken() if taken is None else taken
    return sum(found.get(object_name, 0) for object_name in store.objects(name))


def check_quota(store: ReplicaStore, record: IncomingRecord, quota: Bytes | None) -> None:
    """See that a generation that comes in leaves its writer within the quota.

    It counts as it comes: how much room a delta will take is not known before, zeroes take none.

    :raises QuotaExceeded: it does not; what was durable stays.
    """
    if quota is None:
        return
    volume = store.volume(record.volume)
    identity = volume.identity
    taken = store.pool.taken()
    used = sum(
        allocated_bytes(store, other.name, taken)
        for other in store.journal.volumes()
        if other.identity == identity
    )
    if used <= quota:
        return
    coming = taken.get(record.object_name, 0)
    whole = record.size if record.whole else record.expected * record.chunk
    raise QuotaExceeded(
        f"{identity} has a quota of {quota} bytes here and uses {used}, {coming} of them for "
        f"generation {record.generation.number} of {record.volume}, which needs up to {whole}",
        "raise its quota in [[replica.allow]] at the replica, or remove a replica there; nothing "
        "is lost, and the copy goes on where it was",
    )
