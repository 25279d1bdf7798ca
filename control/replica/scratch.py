"""What a test head writes to: a scratch object over a held generation, thrown away afterwards.

Its room is that of the whole volume, so that the kernel's snapshot cannot overflow, but taken
only as it is written, where the pool can do that.
"""

from __future__ import annotations

from control.pool.sizing import full_room
from control.replica.records import Chain
from control.replica.store import ReplicaStore
from control.stack import StackDevices
from control.store.scrub import blank
from dm_tables.device import Device
from dm_tables.table import Table
from dm_tables.targets import Snapshot
from dm_tables.units import KIB, Bytes, bytes_to_sectors

CHUNK = Bytes(16 * KIB)


def hold_for_test(store: ReplicaStore, name: str, number: int) -> tuple[Chain, str]:
    """Hold a generation, the newest for number 0, and name the object of its test head.

    Repeating it gives the same. The object is named, and not made yet.

    :raises ReplicaNotFound, GenerationNotFound: there is nothing to hold.
    """
    with store.lock, store.journal.transaction():
        points = store.journal.points
        shown = points.shown(name)
        chain = store.hold(name, number)
        held = chain.generation.number
        scratch = points.scratches(name).get(held, "")
        if not scratch:
            scratch = store.journal.new_object(name, "test")
            points.set_shown(name, held, held in shown)
            points.set_scratch(name, held, scratch)
        return chain, scratch


def make_scratch(store: ReplicaStore, chain: Chain, object_name: str) -> None:
    """A blank object, in the place of what may be left of an older attempt.

    :raises PoolFull: the pool has no room for it.
    """
    pool = store.pool
    if object_name in pool.list():
        pool.remove(object_name)
    room = full_room(chain.size, CHUNK, granularity=pool.granularity)
    blank(pool.create(object_name, room, sparse=True).path, CHUNK)


def scratch_table(stack: StackDevices, below: Device, object_name: str) -> Table:
    """A snapshot of ``below`` that writes to the scratch object; ``below`` stays as it is."""
    cow = stack.pool.open(object_name).attach()
    target = Snapshot(below.devno, cow, bytes_to_sectors(CHUNK))
    return Table.single(stack.length, target)


def forget_scratch(store: ReplicaStore, name: str, number: int) -> None:
    """The test head is gone, if there was one: its object goes too. The generation stays held."""
    with store.lock, store.journal.transaction():
        scratch = store.journal.points.scratches(name).get(number, "")
        if scratch:
            store.journal.points.set_scratch(name, number, "")
            store.journal.add_garbage(name, scratch)
    store.collect()
