"""Messages as a daemon would send them, for the tests of the command line."""

from __future__ import annotations

from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from proto.frazil.v1 import control_pb2 as pb
from proto.frazil.v1 import replica_pb2 as rpb

MIB = 1 << 20
NOON = 1_772_366_400
"""2026-03-01 12:00:00 UTC."""


def stamp(seconds: int = NOON, nanos: int = 0) -> Timestamp:
    """A time."""
    return Timestamp(seconds=seconds, nanos=nanos)


def generation(number: int, seconds: int = NOON) -> rpb.Generation:
    """A generation, frozen at noon."""
    return rpb.Generation(number=number, uuid=f"uuid-{number}", frozen_at=stamp(seconds))


def cycle(number: int, **given: Any) -> pb.Cycle:
    """A committed cycle of 4 MiB, unless told otherwise."""
    fields: dict[str, Any] = {
        "kind": "delta",
        "state": "committed",
        "freeze_pause_us": 1300,
        "changed_bytes": 4 * MIB,
        "sent_bytes": MIB,
        "copy_ms": 2100,
        "lag_ms": 3000,
        "verified": "unverified",
    }
    return pb.Cycle(generation=generation(number), **(fields | given))


def mirror(name: str = "data-b", **given: Any) -> pb.Mirror:
    """A mirror that is well, with generation 41 committed, unless told otherwise."""
    fields: dict[str, Any] = {
        "volume": "data",
        "peer": "backup1:7420",
        "replica_volume": "data",
        "state": "running",
        "phase": "idle",
        "health": "OK",
        "committed": generation(41),
        "lag_ms": 34_000,
    }
    return pb.Mirror(name=name, **(fields | given))


def copying(done: int = 40 * MIB, total: int = 100 * MIB, **given: Any) -> pb.Mirror:
    """A mirror in the middle of a copy, with twelve cycles behind it."""
    current = cycle(
        42,
        state="copying",
        done_bytes=done,
        total_bytes=total,
        bytes_per_second=20 * MIB,
        sent_bytes=0,
    )
    recent = [cycle(41 - i, sent_bytes=(i + 1) * MIB, lag_ms=1000 * (i + 1)) for i in range(12)]
    fields: dict[str, Any] = {"phase": "copying", "current": current, "recent": recent}
    return mirror(**(fields | given))


def volume(name: str = "data") -> pb.Volume:
    """A volume of two spans with a frozen and a live layer."""
    return pb.Volume(
        name=name,
        uuid="0f0e",
        spans=[
            pb.Span(path="/dev/vdb", length_bytes=64 * MIB),
            pb.Span(path="/dev/vdc", offset_bytes=MIB, length_bytes=64 * MIB),
        ],
        size_bytes=128 * MIB,
        chunk_bytes=65536,
        head_path=f"/dev/mapper/frazil-{name}",
        state="active",
        layers=[
            pb.AuxiliaryVolume(
                sequence=2, state="frozen", chunk_bytes=65536, size_bytes=64 * MIB,
                used_bytes=4 * MIB, chunks=63, path="/var/lib/frazil/pool/data.2",
                generation=generation(3),
            ),
            pb.AuxiliaryVolume(
                sequence=3, state="live", chunk_bytes=65536, size_bytes=64 * MIB,
                used_bytes=MIB, chunks=12, path="/var/lib/frazil/pool/data.3",
            ),
        ],
        newest=generation(3),
        mirrors=["data-b"],
    )  # fmt: skip


def replica(name: str = "data", **given: Any) -> rpb.ReplicaVolume:
    """A replica with generations 2 and 3."""
    fields: dict[str, Any] = {
        "volume_uuid": "0f0e",
        "size_bytes": 128 * MIB,
        "newest": generation(3),
        "layers": [
            rpb.Layer(
                generation=generation(3), chunk_bytes=65536, chunks=63, state="committed",
                path="/var/lib/frazil/replica/data/3", allocated_bytes=4 * MIB,
            )
        ],
        "base_path": "/var/lib/frazil/replica/data/base",
        "source_identity": "host-a",
        "committed_at": stamp(NOON + 3),
        "history": [generation(3), generation(2)],
    }  # fmt: skip
    return rpb.ReplicaVolume(name=name, **(fields | given))


def host() -> pb.Host:
    """A host with a pool of files."""
    return pb.Host(
        uuid="aa", name="host-a", software="frazil 0.1.0", listen_address="10.0.0.1:7420",
        identity="host-a", device_mapper=True,
        pool=pb.Pool(
            kind="files", location="/var/lib/frazil/pool", size_bytes=1024 * MIB,
            free_bytes=900 * MIB, used_bytes=124 * MIB,
        ),
    )  # fmt: skip


def member(name: str, number: int = 41, **given: Any) -> pb.MirrorMember:
    """A volume of a mirrored group, at generation 41."""
    committed = generation(number) if number else None
    return pb.MirrorMember(volume=name, replica_volume=name, committed=committed, **given)


def group_mirror(name: str = "near", **given: Any) -> pb.Mirror:
    """A mirror of three volumes: one is well, one joins, one has lost its layers."""
    fields: dict[str, Any] = {
        "volume": "",
        "replica_volume": "",
        "group": "db",
        "counts": True,
        "members": [
            member("data"),
            member("log", 0, state="joining"),
            member("wal", 39, lacking_bytes=4 * MIB),
        ],
    }
    return mirror(name, **(fields | given))


def group(name: str = "db", **given: Any) -> pb.Group:
    """A group of three volumes with two mirrors."""
    fields: dict[str, Any] = {
        "volumes": ["data", "log", "wal"],
        "consistency": "filesystem",
        "policy": "quorum",
        "quorum": 1,
        "mirrors": ["near", "far"],
        "newest": generation(41),
        "freeze_pause_us": 1300,
    }
    return pb.Group(name=name, **(fields | given))


def kept(**given: Any) -> rpb.ReplicaVolume:
    """A replica with three recovery points, of which a device shows the middle one."""
    points = [
        rpb.RecoveryPoint(generation=generation(3), bytes=MIB, kept_by=["newest", "hourly"]),
        rpb.RecoveryPoint(
            generation=generation(2, NOON - 3600), bytes=2 * MIB, kept_by=["hourly", "held"],
            devices=["/dev/mapper/frazil-data-g2"],
        ),
        rpb.RecoveryPoint(generation=generation(1, NOON - 7200), bytes=MIB, kept_by=["passing"]),
    ]  # fmt: skip
    fields: dict[str, Any] = {
        "points": points,
        "retention": rpb.Retention(hourly=24),
        "allocated_bytes": 132 * MIB,
        "group": "db",
    }
    return replica(**(fields | given))
