"""A replica volume as the API shows it."""

from __future__ import annotations

from control.replica.merging import MergeProgress
from control.replica.points import describe_points, retention_of
from control.replica.quota import allocated_bytes
from control.replica.records import ROLE_SEED, LayerRecord, VolumeRecord
from control.replica.retention import Retention
from control.replica.seeds import seed_generation
from control.replica.store import ReplicaStore
from dm_tables.errors import FrazilError
from proto.frazil.v1 import replica_pb2

HISTORY = 50


def describe(
    store: ReplicaStore, name: str, merge: MergeProgress | None = None
) -> replica_pb2.ReplicaVolume:
    """Where a replica volume stands, as one moment shows it.

    :param merge: how far a running merge is.
    :raises ReplicaNotFound: there is none of that name.
    """
    with store.lock, store.journal.transaction():
        volume = store.volume(name)
        message = replica_pb2.ReplicaVolume(
            name=volume.name,
            volume_uuid=volume.volume_uuid,
            size_bytes=volume.size,
            source_identity=volume.identity,
            base_path=_base_path(store, volume),
            role=volume.role,
            allocated_bytes=allocated_bytes(store, name),
        )
        if volume.role_since:
            message.role_since.FromNanoseconds(volume.role_since)
        if volume.role == ROLE_SEED:
            message.newest.CopyFrom(seed_generation(volume).message())
        _add_generations(store, message)
        for layer in store.journal.layers(name):
            message.layers.append(_layer(store, volume, layer))
        message.points.extend(describe_points(store, name))
        message.retention.CopyFrom(retention_message(retention_of(store, name)))
    if merge is not None:
        message.merging_chunks_done = merge.done
        message.merging_chunks_total = merge.total
    return message


def retention_message(wanted: Retention) -> replica_pb2.Retention:
    """Retention for the wire."""
    return replica_pb2.Retention(
        last=wanted.last, hourly=wanted.hourly, daily=wanted.daily, weekly=wanted.weekly
    )


def outline(store: ReplicaStore, name: str) -> replica_pb2.ReplicaVolume:
    """What its source may know of a replica that another identity writes by now.

    :raises ReplicaNotFound: there is none of that name.
    """
    with store.lock, store.journal.transaction():
        volume, newest = store.volume(name), store.journal.newest(name)
        message = replica_pb2.ReplicaVolume(
            name=volume.name,
            volume_uuid=volume.volume_uuid,
            source_identity=volume.identity,
            role=volume.role,
            written_by_another=True,
        )
        message.role_since.FromNanoseconds(volume.role_since)
        if newest is not None:
            message.newest.CopyFrom(newest.generation.message())
    return message


def _add_generations(store: ReplicaStore, message: replica_pb2.ReplicaVolume) -> None:
    history = store.journal.history(message.name)
    if history:
        message.newest.CopyFrom(history[0].generation.message())
        message.committed_at.FromNanoseconds(history[0].committed_at)
        message.group = history[0].group
    message.history.extend(record.generation.message() for record in history[:HISTORY])
    incoming = store.journal.incoming(message.name)
    if incoming is not None:
        message.incoming.CopyFrom(incoming.generation.message())
        message.incoming_bytes = incoming.tally.length
    held = store.held_numbers(message.name)
    message.held.extend(
        record.generation.message() for record in history if record.generation.number in held
    )


def _layer(store: ReplicaStore, volume: VolumeRecord, layer: LayerRecord) -> replica_pb2.Layer:
    message = replica_pb2.Layer(
        chunk_bytes=layer.chunk,
        chunks=layer.chunks,
        state="merging" if layer.merging else "committed",
        path=_path(store, layer.object_name),
    )
    for record in store.journal.history(volume.name):
        if record.generation.number == layer.number:
            message.generation.CopyFrom(record.generation.message())
    try:
        message.allocated_bytes = store.pool.open(layer.object_name).size()
    except FrazilError:
        message.state = "missing"
    return message


def _base_path(store: ReplicaStore, volume: VolumeRecord) -> str:
    """The base; the first part of one that has several."""
    if volume.base_spans:
        return str(volume.base_spans[0].path)
    return _path(store, volume.base_object)


def _path(store: ReplicaStore, object_name: str) -> str:
    try:
        return str(store.object_path(object_name)) if object_name else ""
    except FrazilError:
        return ""
