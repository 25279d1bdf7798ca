"""Commands that are one question: what is asked, what is answered, what the text must hold."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message

from proto.frazil.v1 import control_pb2 as pb
from tests.unit.cli_messages import (
    MIB,
    generation,
    group,
    group_mirror,
    host,
    kept,
    mirror,
    replica,
    volume,
)
from tests.unit.test_cli_heatmap import heat_map

GENERATION = generation(42)


def chosen_volume() -> pb.Volume:
    """A volume whose chunk size is chosen, and that is written."""
    made = volume("chosen")
    made.chunk_auto, made.chunk_reason = True, "4 KiB: 99 writes"
    made.layers[1].chunk_reason = made.chunk_reason
    made.room.dirty_bytes_per_second, made.room.average_bytes_per_second = 2 * MIB, MIB
    made.room.layer_full_seconds, made.room.pool_full_seconds = 30.0, 120.0
    made.pattern.CopyFrom(
        pb.WritePattern(cycles=3, writes=99, bytes=99 * 4096, sizes=[0, 0, 0, 99])
    )
    return made


# One way of starting cycles takes the place of the others.
RHYTHM: dict[str, Any] = {"interval_ms": 0, "schedule": "", "rpo_ms": 0, "on_demand": False}
DONE = pb.Progress(finished=True, generation=GENERATION)
COMPARED = pb.Progress(
    finished=True, generation=GENERATION, message="generation 42 is the same at both ends"
)
VOLUMES = pb.ListVolumesReply(volumes=[volume(), volume("more")])
MIRRORS = pb.ListMirrorsReply(mirrors=[mirror(), mirror("far", health="ERROR", problem="no route")])
REPLICAS = pb.ListReplicasReply(replicas=[replica(), replica("empty", newest=None)])
# arguments; method; what must be asked; the answer; what the text must hold.
CASES: list[tuple[str, str, Message, Any, list[str]]] = [
    (
        "volume create data /dev/vdb,offset=1MiB,length=2GiB /srv/img --chunk 16KiB",
        "CreateVolume",
        pb.CreateVolumeRequest(
            name="data",
            spans=[
                pb.Span(path="/dev/vdb", offset_bytes=MIB, length_bytes=2048 * MIB),
                pb.Span(path="/srv/img"),
            ],
            chunk_bytes=16384,
        ),
        volume(),
        ["data: 128 MiB at /dev/mapper/frazil-data"],
    ),
    (
        "volume create data /dev/vdb --dry-run",
        "CreateVolume",
        pb.CreateVolumeRequest(name="data", spans=[pb.Span(path="/dev/vdb")], dry_run=True),
        volume(),
        ["128 MiB"],
    ),
    (
        "volume create data /dev/vdb --chunk auto",
        "CreateVolume",
        pb.CreateVolumeRequest(name="data", spans=[pb.Span(path="/dev/vdb")], chunk_auto=True),
        volume(),
        ["128 MiB"],
    ),
    (
        "volume show chosen",
        "GetVolume",
        pb.GetVolumeRequest(name="chosen"),
        chosen_volume(),
        [
            "chunk:       auto, 4 KiB: 99 writes",
            "2.0 MiB/s now, 1.0 MiB/s on average",
            "the live layer in 30.0 s, then grown; the pool in 2m",
            "99 writes of 396 KiB in the running cycle and 3 before it",
            "4.0 KiB      99  ****",
            "layer 3 has chunks of 4 KiB: 99 writes",
        ],
    ),
    (
        "heatmap data --cycles 3",
        "GetHeatMap",
        pb.GetHeatMapRequest(volume="data", cycles=3),
        heat_map(),
        ["1.0 GiB", "untraced"],
    ),
    ("volume list", "ListVolumes", pb.ListVolumesRequest(), VOLUMES, ["data", "more", "128 MiB"]),
    (
        "volume show data",
        "GetVolume",
        pb.GetVolumeRequest(name="data"),
        volume(),
        [
            "/dev/mapper/frazil-data",
            "/dev/vdc,offset=1048576,length=67108864",
            "/var/lib/frazil/pool/data.3",
            "live",
            "134217728",
            "data-b",
        ],
    ),
    (
        "volume remove data",
        "RemoveVolume",
        pb.RemoveVolumeRequest(name="data"),
        [pb.Progress(phase="merging", done=1, total=2), DONE],
        ["data: removed"],
    ),
    (
        "mirror create data-b data 10.0.0.2:7420 --replica-volume copy --interval 1m30s"
        " --rate 10MB/s --verify --start",
        "CreateMirror",
        pb.CreateMirrorRequest(
            name="data-b",
            volume="data",
            peer="10.0.0.2:7420",
            replica_volume="copy",
            interval_ms=90_000,
            rate_bytes=10_000_000,
            verify=True,
            start=True,
        ),
        mirror(),
        ["data-b: running"],
    ),
    (
        "mirror create data-b data [::1]:7420 --on-demand --plaintext",
        "CreateMirror",
        pb.CreateMirrorRequest(
            name="data-b", volume="data", peer="[::1]:7420", on_demand=True, plaintext=True
        ),
        mirror(state="stopped"),
        ["data-b: stopped"],
    ),
    ("mirror list", "ListMirrors", pb.ListMirrorsRequest(), MIRRORS, ["34.0 s", "far: no route"]),
    ("mirror status", "ListMirrors", pb.ListMirrorsRequest(), MIRRORS, ["data-b", "41", "ERROR"]),
    (
        "mirror start data-b",
        "StartMirror",
        pb.StartMirrorRequest(name="data-b"),
        mirror(phase="freezing"),
        ["data-b: running, freezing"],
    ),
    (
        "mirror sync-now data-b --wait",
        "SyncNow",
        pb.SyncNowRequest(name="data-b", wait=True),
        [pb.Progress(phase="copying", done=1, total=2), DONE],
        ["data-b: generation 42 is committed"],
    ),
    (
        "mirror sync-now data-b",
        "SyncNow",
        pb.SyncNowRequest(name="data-b"),
        [pb.Progress(finished=True)],
        ["data-b: asked for"],
    ),
    (
        "mirror pause data-b",
        "PauseMirror",
        pb.PauseMirrorRequest(name="data-b"),
        mirror(state="paused"),
        ["data-b: paused"],
    ),
    (
        "mirror break data-b --now",
        "BreakMirror",
        pb.BreakMirrorRequest(name="data-b", now=True),
        mirror(state="broken"),
        ["data-b: broken"],
    ),
    (
        "mirror set data-b --rate none --interval 250ms --continuous --no-verify --peer b:1",
        "UpdateMirror",
        pb.UpdateMirrorRequest(
            name="data-b", rate_bytes=0, verify=False, peer="b:1", **(RHYTHM | {"interval_ms": 250})
        ),
        mirror(interval_ms=250),
        ["data-b: running, cycles every 250 ms, no limit"],
    ),
    (
        "mirror set data-b --interval 0",
        "UpdateMirror",
        pb.UpdateMirrorRequest(name="data-b", **RHYTHM),
        mirror(),
        ["at once after the last"],
    ),
    (
        "mirror remove data-b",
        "RemoveMirror",
        pb.RemoveMirrorRequest(name="data-b"),
        pb.RemoveMirrorReply(),
        ["data-b: removed"],
    ),
    (
        "verify data-b --block 64KiB",
        "Verify",
        pb.VerifyRequest(mirror="data-b", block_bytes=65536),
        [pb.Progress(phase="comparing"), COMPARED],
        ["data-b: generation 42 is the same at both ends"],
    ),
    ("replica list", "ListReplicas", pb.ListReplicasRequest(), REPLICAS, ["data", "empty", "ago"]),
    (
        "replica show data",
        "GetReplica",
        pb.GetReplicaRequest(name="data"),
        replica(held=[generation(2)], incoming=generation(4), incoming_bytes=MIB),
        ["host-a", "4, 1.0 MiB", "/var/lib/frazil/replica/data/3", "history:", "uuid-2"],
    ),
    (
        "replica remove data --yes",
        "RemoveReplica",
        pb.RemoveReplicaRequest(name="data"),
        pb.RemoveReplicaReply(),
        ["data: removed"],
    ),
    ("host", "GetHost", pb.GetHostRequest(), host(), ["host-a", "10.0.0.1:7420", "900 MiB"]),
    (
        "mirror create db-b --group db --peer b:1 --schedule '0 1 * * *' --window Sat-Sun"
        " --replica-name night-{volume}",
        "CreateMirror",
        pb.CreateMirrorRequest(
            name="db-b",
            group="db",
            peer="b:1",
            schedule="0 1 * * *",
            window="Sat-Sun",
            replica_volume="night-{volume}",
        ),
        group_mirror("db-b", state="stopped"),
        ["db-b: stopped"],
    ),
    (
        "mirror create data-b --volume data --peer b:1 --rpo 5m",
        "CreateMirror",
        pb.CreateMirrorRequest(name="data-b", volume="data", peer="b:1", rpo_ms=300_000),
        mirror(),
        ["data-b: running"],
    ),
    (
        "mirror set data-b --schedule '*/5 * * * *' --window always",
        "UpdateMirror",
        pb.UpdateMirrorRequest(
            name="data-b", window="always", **(RHYTHM | {"schedule": "*/5 * * * *"})
        ),
        mirror(schedule="*/5 * * * *"),
        ['cycles by schedule "*/5 * * * *"'],
    ),
    (
        "mirror set data-b --rpo 90s --window 'Mon-Fri 22:00-06:00'",
        "UpdateMirror",
        pb.UpdateMirrorRequest(
            name="data-b", window="Mon-Fri 22:00-06:00", **(RHYTHM | {"rpo_ms": 90_000})
        ),
        mirror(rpo_ms=90_000, window="Mon-Fri 22:00-06:00"),
        ["as an RPO of 1m 30s asks", "copies Mon-Fri 22:00-06:00"],
    ),
    (
        "mirror set data-b --on-demand",
        "UpdateMirror",
        pb.UpdateMirrorRequest(name="data-b", **(RHYTHM | {"on_demand": True})),
        mirror(on_demand=True),
        ["when asked (sync-now)"],
    ),
    (
        "mirror show db-b",
        "GetMirror",
        pb.GetMirrorRequest(name="db-b"),
        group_mirror("db-b"),
        ["db (3 volumes)", "VOLUME", "joining", "4.0 MiB"],
    ),
    (
        "verify data-b --repair --resume --rate 50MB/s",
        "Verify",
        pb.VerifyRequest(mirror="data-b", repair=True, resume=True, rate_bytes=50_000_000),
        [COMPARED],
        ["the same at both ends"],
    ),
    (
        "volume grow data --span /dev/vdd,offset=1MiB --span /dev/vde --dry-run",
        "GrowVolume",
        pb.GrowVolumeRequest(
            name="data",
            spans=[pb.Span(path="/dev/vdd", offset_bytes=MIB), pb.Span(path="/dev/vde")],
            dry_run=True,
        ),
        volume(),
        ["data: 128 MiB at /dev/mapper/frazil-data"],
    ),
    (
        "volume grow data",
        "GrowVolume",
        pb.GrowVolumeRequest(name="data"),
        volume(),
        ["data: 128 MiB"],
    ),
    (
        "volume activate data --force",
        "ActivateVolume",
        pb.ActivateVolumeRequest(name="data", force=True),
        volume(),
        ["data: active, at /dev/mapper/frazil-data"],
    ),
    (
        "group create db data log",
        "CreateGroup",
        pb.CreateGroupRequest(name="db", volumes=["data", "log"]),
        group(),
        ["db: data, log, wal"],
    ),
    (
        "group create db data --consistency crash --policy quorum=2 --fencing peer"
        " --before '/bin/hold \"a b\"' --after /bin/go --after-limit 2s",
        "CreateGroup",
        pb.CreateGroupRequest(
            name="db",
            volumes=["data"],
            consistency="crash",
            policy="quorum",
            quorum=2,
            fencing="peer",
            hooks=pb.Hooks(
                before=["/bin/hold", "a b"], before_ms=30_000, after=["/bin/go"], after_ms=2000
            ),
        ),
        group(),
        ["db:"],
    ),
    (
        "group list",
        "ListGroups",
        pb.ListGroupsRequest(),
        pb.ListGroupsReply(groups=[group(problem="log is missing"), group("alone", implicit=True)]),
        ["quorum=1", "filesystem", "near, far", "1.3 ms", "db: log is missing"],
    ),
    (
        "group show db",
        "GetGroup",
        pb.GetGroupRequest(name="db"),
        group(fencing="ask", hooks=pb.Hooks(before=["/bin/hold", "a b"], before_ms=5000)),
        ["data, log, wal", "quorum=1", "/bin/hold 'a b' (at most 5.0 s)", "fencing:", "ask"],
    ),
    (
        "group set db --policy independent --fencing off",
        "UpdateGroup",
        pb.UpdateGroupRequest(name="db", policy="independent", quorum=0, fencing="off"),
        group(policy="independent"),
        ["independent"],
    ),
    (
        "group add db archive more",
        "UpdateGroup",
        pb.UpdateGroupRequest(name="db", add=["archive", "more"]),
        group(),
        ["db: data, log, wal"],
    ),
    (
        "group leave db archive",
        "UpdateGroup",
        pb.UpdateGroupRequest(name="db", remove=["archive"]),
        group(),
        ["db: data, log, wal"],
    ),
    (
        "group remove db",
        "RemoveGroup",
        pb.RemoveGroupRequest(name="db"),
        pb.RemoveGroupReply(),
        ["db: removed"],
    ),
    (
        "replica points data",
        "GetReplica",
        pb.GetReplicaRequest(name="data"),
        kept(),
        ["newest, hourly", "/dev/mapper/frazil-data-g2", "2.0 MiB", "24 hourly", "passing"],
    ),
    (
        "replica seed data /dev/vdx,length=1GiB --identity host1",
        "SeedReplica",
        pb.SeedReplicaRequest(
            name="data",
            spans=[pb.Span(path="/dev/vdx", length_bytes=1024 * MIB)],
            identity="host1",
        ),
        replica(role="seed", newest=None, layers=[], history=[]),
        ["data: 128 MiB to begin on; host1 may write it"],
    ),
    (
        "replica set db --identity host2",
        "SetWriter",
        pb.SetWriterRequest(name="db", identity="host2"),
        pb.ListReplicasReply(replicas=[replica(), replica("log")]),
        ["data, log: host2 may write them from now on"],
    ),
]
