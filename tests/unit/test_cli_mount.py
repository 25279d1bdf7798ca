"""``replica mount`` and ``unmount``: in which way, and what is let go when it fails."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from control import mounts
from control.cli import mounting
from control.cli.mounting import MountFailed, ToolMissing
from dm_tables.errors import FrazilError
from proto.frazil.v1 import control_pb2 as pb
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
