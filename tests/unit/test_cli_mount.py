"""``replica mount`` and ``unmount``: in which way, and what is let go when it fails."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from control import mounts
from control.cli import mounting
from control.cli.mounting import MountFailed, ToolMissing
from dm_tables.errors import FrazilError, Kind, Precondition
from proto.frazil.v1 import control_pb2 as pb
from proto.frazil.v1 import replica_pb2 as rpb
from tests.unit.cli_messages import generation, replica
from tests.unit.fake_control import FakeControl, running


@pytest.fixture
def control(tmp_path: Path) -> Iterator[FakeControl]:
    """A daemon with a replica of two generations, none of them held."""
    with running(tmp_path / "control.sock") as fake:
        fake.answers |= {
            "GetReplica": replica(),
            "AttachReplica": pb.AttachedReplica(device="/dev/dm-9", generation=generation(3)),
            "DetachReplica": pb.DetachReplicaReply(),
        }
        yield fake


class Host:
    """mount, umount and blkid of a host where only some ways of mounting work."""

    def __init__(self, filesystem: str, works: Sequence[str]) -> None:
        self.filesystem = filesystem
        self.works = works
        self.ran: list[list[str]] = []

    def __call__(self, argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
        self.ran.append(list(argv))
        if argv[0] == "blkid":
            found = 0 if self.filesystem else 2
            return subprocess.CompletedProcess(argv, found, self.filesystem + "\n", "")
        if argv[0] == "umount" or argv[2] in self.works:
            return subprocess.CompletedProcess(argv, 0, "", "")
        error = f"mount: {argv[2]} is refused.\n  dmesg(1) may have more information.\n"
        return subprocess.CompletedProcess(argv, 32, "", error)


@pytest.mark.parametrize(
    ("filesystem", "works", "options", "replayed"),
    [
        ("ext4", ["ro"], "ro", True),
        ("ext4", ["ro,noload"], "ro,noload", False),
        ("xfs", ["ro", "ro,nouuid", "ro,nouuid,norecovery"], "ro,nouuid", True),
        ("xfs", ["ro,nouuid,norecovery"], "ro,nouuid,norecovery", False),
        ("vfat", ["ro"], "ro", True),
        ("", ["ro"], "ro", True),
    ],
)
def test_the_gentlest_way_that_works(
    filesystem: str, works: list[str], options: str, replayed: bool
) -> None:
    mounted = mounting.mount("/dev/dm-9", "/mnt", Host(filesystem, works))
    assert (mounted.options, mounted.replayed) == (options, replayed)


def test_every_way_is_read_only() -> None:
    assert all(way.split(",")[0] == "ro" for ways in mounting.OPTIONS.values() for way in ways)


def test_when_no_way_works_the_first_reason_is_told() -> None:
    with pytest.raises(MountFailed) as caught:
        mounting.mount("/dev/dm-9", "/mnt", Host("ext4", []))
    assert "mount: ro is refused" in caught.value.what
    with pytest.raises(MountFailed, match="no filesystem"):
        mounting.mount("/dev/dm-9", "/mnt", Host("", []))


def test_a_missing_tool_is_named() -> None:
    with pytest.raises(ToolMissing, match="no frazil-no-such-tool"):
        mounting.run(["frazil-no-such-tool"])


def test_mount_prints_the_directory(
    control: FakeControl,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    host = Host("ext4", ["ro,noload"])
    monkeypatch.setattr(mounting.mount, "__defaults__", (host,))
    assert control.frazil("replica", "mount", "data", str(tmp_path)) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{tmp_path}\n"
    assert "mounted with ro,noload" in captured.err
    assert ("AttachReplica", pb.AttachReplicaRequest(name="data")) in control.asked
    assert control.frazil("replica", "mount", "data", str(tmp_path), "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["device"] == "/dev/dm-9"
    assert document["generation"]["number"] == 3
    assert (document["mountpoint"], document["options"]) == (str(tmp_path), "ro,noload")


def test_without_a_directory_only_the_device(
    control: FakeControl, capsys: pytest.CaptureFixture[str]
) -> None:
    assert control.frazil("replica", "mount", "data", "--generation", "2") == 0
    assert capsys.readouterr().out == "/dev/dm-9\n"
    assert ("AttachReplica", pb.AttachReplicaRequest(name="data", generation=2)) in control.asked


@pytest.mark.parametrize(("held", "detached"), [([], True), ([generation(3)], False)])
def test_a_failed_mount_lets_go_of_its_own_hold_only(
    control: FakeControl,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    held: list[object],
    detached: bool,
) -> None:
    control.answers["GetReplica"] = replica(held=held)
    monkeypatch.setattr(mounting.mount, "__defaults__", (Host("ext4", []),))
    assert control.frazil("replica", "mount", "data", str(tmp_path)) == 1
    asked = [method for method, _ in control.asked]
    assert ("DetachReplica" in asked) is detached


def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sysfs with the held generations 2 and 3 of ``data``, of which 3 is mounted twice."""
    for minor, name in ((8, "frazil-data-g2"), (9, "frazil-data-g3"), (7, "frazil-database-g3")):
        folder = tmp_path / "block" / f"dm-{minor}"
        (folder / "dm").mkdir(parents=True)
        (folder / "dm" / "name").write_text(name + "\n")
        (folder / "dev").write_text(f"253:{minor}\n")
    table = tmp_path / "mountinfo"
    table.write_text(
        "21 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
        "30 21 253:9 / /mnt/one ro - ext4 /dev/dm-9 ro\n"
        "31 21 253:9 / /mnt/with\\040space ro - ext4 /dev/dm-9 ro\n"
        "32 21 253:7 / /mnt/other ro - ext4 /dev/dm-7 ro\n"
    )
    monkeypatch.setattr(mounts, "MOUNTINFO", table)
    return tmp_path / "block"


def test_mounts_are_found_by_device_the_newest_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sysfs = kernel(tmp_path, monkeypatch)
    assert mounting.mountpoints(mounting.held_device("data", 3), sysfs) == [
        "/mnt/with space",
        "/mnt/one",
    ]
    assert mounting.mountpoints(mounting.held_device("data", 2), sysfs) == []


def test_unmount_takes_every_mount_then_the_device(
    control: FakeControl,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    host = Host("ext4", [])
    sysfs = kernel(tmp_path, monkeypatch)
    monkeypatch.setattr(mounting.mountpoints, "__defaults__", (sysfs,))
    monkeypatch.setattr(mounting.unmount, "__defaults__", (host,))
    control.answers["GetReplica"] = replica(held=[generation(2), generation(3)])
    assert control.frazil("replica", "unmount", "data", "--all", "--json") == 0
    assert host.ran == [["umount", "--", "/mnt/with space"], ["umount", "--", "/mnt/one"]]
    detached = [request for method, request in control.asked if method == "DetachReplica"]
    assert detached == [pb.DetachReplicaRequest(name="data", generation=n) for n in (2, 3)]
    assert json.loads(capsys.readouterr().out) == {
        "name": "data",
        "generations": [2, 3],
        "unmounted": ["/mnt/with space", "/mnt/one"],
    }


def test_a_mount_in_use_keeps_its_device(
    control: FakeControl, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def busy(argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(argv, 32, "", "umount: /mnt/one: target is busy.\n")

    monkeypatch.setattr(mounting.mountpoints, "__defaults__", (kernel(tmp_path, monkeypatch),))
    monkeypatch.setattr(mounting.unmount, "__defaults__", (busy,))
    control.answers["GetReplica"] = replica(held=[generation(3)])
    assert control.frazil("replica", "unmount", "data") == 1
    assert "DetachReplica" not in [method for method, _ in control.asked]


@pytest.mark.parametrize(
    ("held", "arguments", "code"),
    [
        ([], [], 5),
        ([2, 3], [], 2),
        ([2, 3], ["--generation", "4"], 3),
        ([3], [], 0),
        ([2, 3], ["--generation", "2"], 0),
    ],
)
def test_which_generation_is_never_guessed(
    control: FakeControl, held: list[int], arguments: list[str], code: int
) -> None:
    control.answers["GetReplica"] = replica(held=[generation(number) for number in held])
    assert control.frazil("replica", "unmount", "data", *arguments) == code


def test_an_endless_tool_is_a_typed_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounting, "LIMIT_SECONDS", 0.05)
    with pytest.raises(FrazilError, match="did not end"):
        mounting.run(["sleep", "5"])


class Gone(FrazilError):
    """What a daemon says of a generation that was merged meanwhile."""

    kind = Kind.NOT_FOUND


def points(name: str, *numbers: int, **given: Any) -> rpb.ReplicaVolume:
    found = [rpb.RecoveryPoint(generation=generation(number)) for number in numbers]
    return replica(name, points=found, **({"group": "db", "source_identity": "host-a"} | given))


class Group:
    """A daemon with replicas of which ``data`` and ``log`` are committed together, as ``db``."""

    def __init__(self, control: FakeControl, *replicas: rpb.ReplicaVolume) -> None:
        self.control = control
        self.replicas = {one.name: one for one in replicas}
        self.members = ["data", "log"]
        self.refused: list[Any] = []
        control.answers |= {
            "ListReplicas": lambda _: pb.ListReplicasReply(replicas=self.replicas.values()),
            "GetReplica": lambda asked: self.replicas.get(asked.name, Gone("no such replica")),
            "GetReplicaGroup": self.of_group,
            "AttachReplica": self.attach,
            "DetachReplica": pb.DetachReplicaReply(),
        }

    def of_group(self, asked: pb.GetReplicaGroupRequest) -> Any:
        if asked.name != "db":
            return Gone("no such group")
        return pb.ListReplicasReply(replicas=[self.replicas[name] for name in self.members])

    def attach(self, asked: pb.AttachReplicaRequest) -> Any:
        if self.refused and asked.name == "log":
            return self.refused.pop(0)()
        device = f"/dev/mapper/frazil-{asked.name}-g{asked.generation}"
        there = {one.generation.number: one.generation for one in self.replicas[asked.name].points}
        return pb.AttachedReplica(device=device, generation=there[asked.generation])

    def asked(self, kind: type[Any]) -> list[tuple[str, int]]:
        return [(one.name, one.generation) for one in self.control.every(kind)]


@pytest.fixture
def group(control: FakeControl) -> Group:
    """One of the two has a newer generation already, which the other one will have at once."""
    return Group(control, points("data", 4, 3, 2), points("log", 3, 2))


def test_a_group_is_shown_at_one_instant(group: Group, capsys: pytest.CaptureFixture[str]) -> None:
    assert group.control.frazil("replica", "mount", "db") == 0
    devices = ["/dev/mapper/frazil-data-g3", "/dev/mapper/frazil-log-g3"]
    assert capsys.readouterr().out.split() == devices
    assert group.control.frazil("replica", "mount", "db", "--generation", "2", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["group"] == "db"
    assert [one["generation"]["number"] for one in document["members"]] == [2, 2]
    assert [one["name"] for one in document["members"]] == ["data", "log"]


def test_what_is_merged_meanwhile_is_looked_for_anew(group: Group) -> None:
    def merged() -> Gone:
        group.replicas = {name: points(name, 5, 4) for name in group.replicas}
        return Gone("there is no generation 3")

    group.refused.append(merged)
    assert group.control.frazil("replica", "mount", "db") == 0
    held = [("data", 3), ("log", 3), ("data", 5), ("log", 5)]
    assert group.asked(pb.AttachReplicaRequest) == held
    assert group.asked(pb.DetachReplicaRequest) == [("data", 3)], "nothing is left of a try"


@pytest.mark.parametrize(
    ("error", "options", "code"),
    [(FrazilError("no"), [], 1), (Gone("merged"), ["--generation", "3"], 3)],
)
def test_all_of_a_group_or_none(
    group: Group, error: FrazilError, options: list[str], code: int
) -> None:
    group.refused.append(lambda: error)
    assert group.control.frazil("replica", "test", "db", *options) == code
    assert group.asked(pb.DetachReplicaRequest) == [("data", 3)]


def test_a_group_is_mounted_by_its_volumes_names(
    group: Group,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(mounting.mount, "__defaults__", (Host("ext4", ["ro"]),))
    assert group.control.frazil("replica", "mount", "db", str(tmp_path)) == 0
    places = [str(tmp_path / "data"), str(tmp_path / "log")]
    assert capsys.readouterr().out.split() == places
    assert [str(path) for path in sorted(tmp_path.iterdir()) if path.is_dir()] == places


def test_what_was_mounted_before_another_failed_is_unmounted(
    group: Group, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    host = Host("ext4", ["ro"])
    (tmp_path / "log").write_text("in the way")
    monkeypatch.setattr(mounting.mount, "__defaults__", (host,))
    monkeypatch.setattr(mounting.unmount, "__defaults__", (host,))
    assert group.control.frazil("replica", "mount", "db", str(tmp_path)) == 2
    assert host.ran[-1] == ["umount", "--", str(tmp_path / "data")]
    assert group.asked(pb.DetachReplicaRequest) == [("data", 3), ("log", 3)]


def test_a_group_is_let_go_together(group: Group, capsys: pytest.CaptureFixture[str]) -> None:
    assert group.control.frazil("replica", "unmount", "db") == 5
    for name in group.replicas:
        group.replicas[name] = points(name, 3, 2, held=[generation(2)])
    capsys.readouterr()
    assert group.control.frazil("replica", "unmount", "db") == 0
    assert group.asked(pb.DetachReplicaRequest) == [("data", 2), ("log", 2)]
    assert capsys.readouterr().out == "db: generation 2 is let go\n"


def test_a_number_that_is_of_several_instants_is_not_shown(
    group: Group, capsys: pytest.CaptureFixture[str]
) -> None:
    """A volume that joined has generations of its own, before its first one of the group."""
    group.replicas["log"].points[-1].generation.uuid = "log's own"
    for command in ("mount", "test"):
        assert group.control.frazil("replica", command, "db", "--generation", "2") == 3
        captured = capsys.readouterr()
        assert captured.out == ""
        assert "generation 2 is not one instant of all volumes of db" in captured.err
    assert group.asked(pb.DetachReplicaRequest) == [("data", 2), ("log", 2)] * 2
    assert group.control.frazil("replica", "mount", "db", "--generation", "3") == 0


@pytest.mark.parametrize("command", ["mount", "test", "unmount", "test-end"])
def test_who_left_the_group_is_left_alone(
    control: FakeControl, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """It keeps the group's name on what was committed last of it."""
    made = Group(control, *(points(name, 9, 3) for name in ("data", "log")), points("index", 3))
    ends = command in ("unmount", "test-end")
    if ends:
        test = command == "test-end"
        monkeypatch.setattr(mounting, "is_writable", lambda _device: test)
        for one in made.replicas.values():
            one.points[-1].devices.append(f"/dev/mapper/frazil-{one.name}-g3")
    assert control.frazil("replica", command, "db") == 0
    kind = pb.DetachReplicaRequest if ends else pb.AttachReplicaRequest
    number = 3 if ends else 9
    assert made.asked(kind) == [("data", number), ("log", number)]


def test_which_volumes_a_group_has_is_not_guessed(
    group: Group, capsys: pytest.CaptureFixture[str]
) -> None:
    group.control.answers["GetReplicaGroup"] = Precondition("db is the name of several groups")
    assert group.control.frazil("replica", "mount", "db") == 5
    assert "several groups" in capsys.readouterr().err
    assert group.asked(pb.AttachReplicaRequest) == []


class Stuck(Host):
    """A host where what is below ``stuck`` cannot be unmounted."""

    def __init__(self, stuck: str) -> None:
        super().__init__("ext4", ["ro"])
        self.stuck = stuck

    def __call__(self, argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
        done = super().__call__(argv)
        if argv[0] == "umount" and argv[-1].endswith(self.stuck):
            return subprocess.CompletedProcess(argv, 32, "", "umount: target is busy.\n")
        return done


def test_what_cannot_be_unmounted_again_keeps_nothing_else(
    control: FakeControl,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    made = Group(control, points("data", 3), points("log", 3), points("zip", 3))
    made.members.append("zip")
    (tmp_path / "zip").write_text("in the way")
    host = Stuck("data")
    monkeypatch.setattr(mounting.mount, "__defaults__", (host,))
    monkeypatch.setattr(mounting.unmount, "__defaults__", (host,))
    assert control.frazil("replica", "mount", "db", str(tmp_path)) == 2
    unmounted = [argv[-1] for argv in host.ran if argv[0] == "umount"]
    assert unmounted == [str(tmp_path / "data"), str(tmp_path / "log")]
    assert made.asked(pb.DetachReplicaRequest) == [("log", 3), ("zip", 3)]
    *told, last, _hint = capsys.readouterr().err.splitlines()
    assert any(line.startswith("frazil: data stays mounted: ") for line in told)
    assert last == f"frazil: {tmp_path / 'zip'}: File exists"


def test_what_cannot_be_detached_again_keeps_nothing_else(
    control: FakeControl, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Group(control, points("data", 3), points("index", 3), points("log", 3))
    made.members = ["data", "index", "log"]
    made.refused.append(lambda: FrazilError("the pool is full"))
    control.answers["DetachReplica"] = lambda asked: (
        FrazilError("it is open") if asked.name == "data" else pb.DetachReplicaReply()
    )
    assert control.frazil("replica", "mount", "db") == 1
    assert made.asked(pb.DetachReplicaRequest) == [("data", 3), ("index", 3)]
    assert capsys.readouterr().err.splitlines() == [
        "frazil: generation 3 of data stays attached: it is open",
        "frazil: the pool is full",
    ]


@pytest.mark.parametrize(
    ("log", "name", "says"),
    [
        (points("log", 3), "shop", "no such group"),
        (points("log", 7), "db", "no generation of all volumes of db"),
    ],
    ids=["unknown", "nothing in common"],
)
def test_what_a_groups_name_does_not_stand_for(
    control: FakeControl,
    capsys: pytest.CaptureFixture[str],
    log: rpb.ReplicaVolume,
    name: str,
    says: str,
) -> None:
    made = Group(control, points("data", 4, 3, 2), log)
    assert control.frazil("replica", "mount", name) == 3
    assert says in capsys.readouterr().err
    assert made.asked(pb.AttachReplicaRequest) == []
