"""Recovery points: the generations of a replica whose image is there, and what is done to keep
no more of them than retention asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from control.replica import diverged
from control.replica.bases import growth_to_come
from control.replica.planning import Plan, PlannedLayer
from control.replica.quota import allocated_bytes
from control.replica.records import CommittedRecord, LayerRecord, VolumeRecord
from control.replica.retention import POLICY, Instant, Retention, Rule, kept_by
from control.replica.room import must_stay_free
from control.replica.store import ReplicaStore, points_of
from control.wire.errors import KeepsPoints
from dm_tables import names
from dm_tables.units import Bytes
from proto.frazil.v1 import replica_pb2

Quota = Callable[[str], int | None]

PASSING = "passing"
RECENT = 8
"""A next generation may be as large as the largest of so many."""


@dataclass(frozen=True, slots=True)
class MergeStep:
    """Fold a volume's lowest layer into its base.

    ``given_up`` is the generation that retention would have kept, were there room; 0: none.
    """

    volume: VolumeRecord
    layer: LayerRecord
    given_up: int = 0


@dataclass(frozen=True, slots=True)
class SquashStep:
    """Make one layer of two neighbours; ``size`` is the volume's at both their instants."""

    volume: VolumeRecord
    size: Bytes
    lower: LayerRecord
    upper: LayerRecord


@dataclass(frozen=True, slots=True)
class View:
    """A replica volume at one moment; ``committed`` newest first."""

    volume: VolumeRecord
    layers: list[LayerRecord]
    committed: list[CommittedRecord]
    kept: dict[int, tuple[Rule, ...]]
    held_objects: set[str]

    def plan(self) -> Plan:
        """What is to be decided about."""
        there = points_of(self.volume, self.layers)
        base = there[0] if len(there) > len(self.layers) else None
        return Plan(base, tuple(map(self._planned, self.layers)), self.kept)

    def _planned(self, layer: LayerRecord) -> PlannedLayer:
        fixed = layer.merging or layer.object_name in self.held_objects
        stored = Bytes(layer.chunks * layer.chunk)
        return PlannedLayer(layer.number, stored, self.size(layer.number), fixed)

    def size(self, number: int) -> Bytes:
        """The volume's at a generation's instant."""
        sizes = {one.generation.number: one.size for one in self.committed}
        return sizes.get(number) or self.volume.size

    def layer(self, number: int) -> LayerRecord:
        """The layer that leads to a generation."""
        return next(layer for layer in self.layers if layer.number == number)


def retention_of(store: ReplicaStore, name: str) -> Retention:
    """What a volume keeps."""
    return store.journal.points.retention(name) or store.retention


def view_of(store: ReplicaStore, volume: VolumeRecord) -> View:
    """Where a volume stands. Whoever calls holds the store's lock."""
    layers = store.journal.layers(volume.name)
    committed = store.journal.history(volume.name)
    there = set(points_of(volume, layers))
    instants = [
        Instant(one.generation.number, one.generation.frozen_at)
        for one in committed
        if one.generation.number in there
    ]
    held = store.journal.held(volume.name)
    wanted = store.journal.points.pins(volume.name)
    for chain in held:
        wanted.setdefault(chain.generation.number, set()).add(Rule.HELD)
    for number in store.read_numbers(volume.name):
        wanted.setdefault(number, set()).add(Rule.READING)
    kept = kept_by(instants, retention_of(store, volume.name), wanted)
    objects = {name for chain in held for name in chain.objects}
    return View(volume, layers, committed, kept, objects)


def next_step(
    store: ReplicaStore, without: set[str], quota: Quota = lambda identity: None
) -> MergeStep | SquashStep | None:
    """What to do now, so that there are no more layers than kept generations ask for.

    First what gives room back: merges; then, where room is short, the oldest recovery point of
    all is given up, or of those whose writer's quota is; last squashes, which need room
    themselves. A merge has begun with it.

    :param without: volumes to leave alone.
    :param quota: what a writer's volumes may take in all, in bytes; None: what there is.
    """
    with store.lock:
        views = [
            view_of(store, volume)
            for volume in store.journal.volumes()
            if volume.name not in without
        ]
        for view in views:
            if view.plan().merges() and store.begin_merge(view.volume, view.layers[0]):
                return MergeStep(view.volume, view.layers[0])
        return _giving_way(store, views, quota) or _squash(store, views)


def _giving_way(store: ReplicaStore, views: list[View], quota: Quota) -> MergeStep | None:
    """The merge that gives up the oldest recovery point, where room is short."""
    candidates = []
    for view in views:
        number = view.plan().gives_way()
        frozen = {one.generation.number: one.generation.frozen_at for one in view.committed}
        if number is not None:
            candidates.append((frozen[number], view.volume.name, number, view))
    if not candidates:
        return None
    short = is_short(store)
    for _, _, number, view in sorted(candidates, key=lambda one: one[:3]):
        needed = short or is_over(store, view.volume.identity, quota)
        if needed and store.begin_merge(view.volume, view.layers[0]):
            return MergeStep(view.volume, view.layers[0], number)
    return None


def _squash(store: ReplicaStore, views: list[View]) -> SquashStep | None:
    for view in views:
        pair = view.plan().squashes()
        if pair is None:
            continue
        lower, upper = map(view.layer, pair)
        # Cut into the smaller chunks, it can take no more than this, metadata included.
        needed = (lower.chunks * lower.chunk + upper.chunks * upper.chunk) * 257 // 256
        if store.pool.free() >= needed + _must_stay_free(store, view.volume):
            return SquashStep(view.volume, view.size(upper.number), lower, upper)
    return None


def check_replaceable(store: ReplicaStore, name: str) -> None:
    """:raises KeepsPoints: retention keeps what a whole copy would take away."""
    with store.lock:
        volume = store.journal.volume(name)
        kept = view_of(store, volume).kept if volume is not None else {}
    points = [one for one, why in kept.items() if Rule.NEWEST not in why and POLICY & set(why)]
    if points:
        raise KeepsPoints(
            f"{name} keeps {len(points)} earlier generations here as recovery points, which a "
            "whole copy would take away",
            "what differs by digests can be sent instead; or keep none: frazil replica keep "
            f"{name} --last 0 --hourly 0 --daily 0 --weekly 0",
        )


def is_kept(store: ReplicaStore, volume: VolumeRecord, number: int) -> bool:
    """Whether a generation is kept now. Whoever calls holds the store's lock."""
    return number in view_of(store, volume).kept


def is_short(store: ReplicaStore) -> bool:
    """Whether what comes next may find too little room."""
    free = store.pool.free()
    return any(
        free < _must_stay_free(store, volume) + _next_size(store, volume.name)
        for volume in store.journal.volumes()
    )


def is_over(store: ReplicaStore, identity: str, quota: Quota) -> bool:
    """Whether what comes next for this writer may go beyond its quota."""
    allowed = quota(identity)
    if allowed is None:
        return False
    mine = [one.name for one in store.journal.volumes() if one.identity == identity]
    taken = store.pool.taken()
    used = sum(allocated_bytes(store, name, taken) for name in mine)
    return used + max(_next_size(store, name) for name in mine) > allowed


def _must_stay_free(store: ReplicaStore, volume: VolumeRecord) -> Bytes:
    layers = [layer.chunks * layer.chunk for layer in store.journal.layers(volume.name)]
    growth = growth_to_come(store.pool, volume, volume.size)
    return must_stay_free(growth, layers, _coming(store, volume.name))


def _coming(store: ReplicaStore, name: str) -> int:
    incoming = store.journal.incoming(name)
    return 0 if incoming is None or incoming.whole else incoming.tally.length


def _next_size(store: ReplicaStore, name: str) -> int:
    """What the rest of the next generation may take: the largest of the newest deltas."""
    recent = store.journal.history(name)[:RECENT]
    layers = {layer.number for layer in store.journal.layers(name)}
    return max((one.length for one in recent if one.generation.number in layers), default=0)


# As the API shows them.


def describe_points(store: ReplicaStore, name: str) -> list[replica_pb2.RecoveryPoint]:
    """A volume's recovery points, newest first. Whoever calls holds the store's lock.

    :raises ReplicaNotFound: there is no such volume.
    """
    view = view_of(store, store.volume(name))
    shown = store.journal.points.shown(name)
    scratches = store.journal.points.scratches(name)
    there = set(points_of(view.volume, view.layers))
    taken = store.pool.taken()
    points = _diverged(store, name, shown, scratches, taken)
    for record in view.committed:
        number = record.generation.number
        if number not in there:
            continue
        objects = [layer.object_name for layer in view.layers if layer.number == number]
        point = replica_pb2.RecoveryPoint(
            generation=record.generation.message(),
            bytes=taken.get(objects[0] if objects else view.volume.base_object, 0),
            kept_by=[str(rule) for rule in view.kept.get(number, (PASSING,))],
        )
        point.committed_at.FromNanoseconds(record.committed_at)
        point.devices.extend(_devices(name, number, shown, scratches))
        points.append(point)
    return points


def _devices(name: str, number: int, shown: set[int], scratches: dict[int, str]) -> list[str]:
    found = [names.held_name(name, number)] if number in shown else []
    if number in scratches:
        found.append(names.test_name(name, number))
    return [f"/dev/mapper/{device}" for device in found]


def _diverged(
    store: ReplicaStore,
    name: str,
    shown: set[int],
    scratches: dict[int, str],
    taken: dict[str, int],
) -> list[replica_pb2.RecoveryPoint]:
    found = diverged.of(store, name)
    if found is None:
        return []
    point = replica_pb2.RecoveryPoint(
        generation=found.generation.message(),
        bytes=sum(taken.get(layer.object_name, 0) for layer in found.layers),
        kept_by=[str(Rule.DIVERGED)],
        devices=_devices(name, found.generation.number, shown, scratches),
    )
    point.committed_at.FromNanoseconds(found.generation.frozen_at)
    return [point]
