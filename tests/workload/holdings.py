"""What a host holds, read from the devices: heads, frozen images, and committed generations.

Runs in a guest, against the daemon that is there.
"""

from __future__ import annotations

import subprocess
from typing import Any

from control.cli.api import Api
from control.cli.session import DEFAULT_SOCKET
from dm_tables.errors import FrazilError
from proto.frazil.v1 import control_pb2 as pb
from proto.frazil.v1 import replica_pb2
from tests.workload.device_io import digest_of

Holdings = dict[str, dict[str, Any]]


def look(points: bool) -> dict[str, Holdings]:
    """The volumes and the replicas of this host, each with its digests.

    :param points: all recovery points of the replicas, not only the newest generation.
    """
    api = Api(DEFAULT_SOCKET)
    try:
        volumes = api.ask("ListVolumes", pb.ListVolumesRequest(), pb.ListVolumesReply)
        replicas = api.ask("ListReplicas", pb.ListReplicasRequest(), pb.ListReplicasReply)
        return {
            "volumes": {one.name: _volume(one) for one in volumes.volumes},
            "replicas": {
                one.name: _replica(api, one, points=points)
                for one in replicas.replicas
                if one.role == "replica" and one.newest.uuid
            },
        }
    finally:
        api.close()


def _volume(volume: pb.Volume) -> dict[str, Any]:
    images = {}
    if volume.newest.uuid:
        images[volume.newest.uuid] = digest_of(_origin(volume))
    for layer in volume.layers:
        if layer.generation.uuid and layer.generation.uuid not in images:
            try:
                images[layer.generation.uuid] = digest_of(f"{volume.head_path}-{layer.sequence}")
            except FileNotFoundError:
                # It was merged meanwhile.
                continue
    numbers = {one.generation.uuid: one.generation.number for one in volume.layers}
    numbers[volume.newest.uuid] = volume.newest.number
    there = volume.state == "active"
    return {
        "head": digest_of(volume.head_path) if there else "",
        "generations": sorted((numbers[uuid], uuid) for uuid in numbers if uuid),
        "images": images,
        "layers": len(volume.layers),
        "state": volume.state,
    }


def _origin(volume: pb.Volume) -> str:
    """The device of the newest frozen image: what the live layer stands on."""
    live = f"frazil-{volume.name}-{volume.layers[-1].sequence}"
    said = subprocess.run(["dmsetup", "table", live], capture_output=True, text=True, check=True)
    kind, origin = said.stdout.split()[2:4]
    assert kind == "snapshot"
    return f"/dev/dm-{origin.split(':')[1]}"


def _replica(api: Api, replica: replica_pb2.ReplicaVolume, *, points: bool) -> dict[str, Any]:
    made = [replica.newest]
    if points:
        made += [point.generation for point in replica.points]
    images = {}
    for generation in made:
        if generation.uuid in images:
            continue
        try:
            images[generation.uuid] = _shown(api, replica.name, generation.number)
        except FrazilError:
            # Another one is the newest by now, and this one was merged over.
            if not images:
                raise
    return {
        "newest": replica.newest.uuid,
        "number": replica.newest.number,
        "group": replica.group,
        "writer": replica.source_identity,
        "images": images,
    }


def _shown(api: Api, name: str, number: int) -> str:
    request = pb.AttachReplicaRequest(name=name, generation=number)
    device = api.ask("AttachReplica", request, pb.AttachedReplica).device
    try:
        return digest_of(device)
    finally:
        done = pb.DetachReplicaRequest(name=name, generation=number)
        api.ask("DetachReplica", done, pb.DetachReplicaReply)
