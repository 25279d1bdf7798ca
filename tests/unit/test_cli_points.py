"""Recovery points, test heads and the settings that change only in part."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from control import mounts
from control.cli import mounting
from proto.frazil.v1 import control_pb2 as pb
from proto.frazil.v1 import replica_pb2 as rpb
from tests.unit.cli_messages import generation, group, kept
from tests.unit.fake_control import FakeControl, running

TEST_HEAD = "/dev/mapper/frazil-data-test3"


def under_test() -> rpb.ReplicaVolume:
    """Generation 2 shown read-only; a test head on generation 3."""
    one = kept(held=[generation(2), generation(3)])
    one.points[0].devices.append(TEST_HEAD)
    return one


@pytest.fixture
def control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeControl]:
    """A daemon with a replica, and a kernel with the devices that it names."""
    sysfs = tmp_path / "block"
    for minor, name, readonly in ((8, "frazil-data-g2", 1), (9, "frazil-data-test3", 0)):
        entry = sysfs / f"dm-{minor}"
        (entry / "dm").mkdir(parents=True)
        (entry / "dm" / "name").write_text(name + "\n")
        (entry / "dev").write_text(f"253:{minor}\n")
        (entry / "ro").write_text(f"{readonly}\n")
    table = tmp_path / "mountinfo"
    table.write_text(
        "30 21 253:8 / /mnt/look ro - ext4 /dev/dm-8 ro\n"
        "31 21 253:9 / /mnt/try rw - ext4 /dev/dm-9 rw\n"
    )
    monkeypatch.setattr(mounts, "MOUNTINFO", table)
    monkeypatch.setattr(mounting.mountpoints, "__defaults__", (sysfs,))
    monkeypatch.setattr(mounting.is_writable, "__defaults__", (sysfs,))
    with running(tmp_path / "control.sock") as fake:
        fake.answers |= {
            "GetReplica": under_test(),
            "AttachReplica": pb.AttachedReplica(device=TEST_HEAD, generation=generation(3)),
            "DetachReplica": pb.DetachReplicaReply(),
            "SetRetention": kept(retention=rpb.Retention(last=3, hourly=24)),
            "GetGroup": group(hooks=pb.Hooks(before=["/bin/hold"], before_ms=5000)),
            "UpdateGroup": group(),
        }
        yield fake


class Tools:
    """mount, umount and blkid, all of which succeed or none."""

    def __init__(self, filesystem: str, *, works: bool = True) -> None:
        self.filesystem = filesystem
        self.works = works
        self.ran: list[list[str]] = []

    def __call__(self, argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
        self.ran.append(list(argv))
        said = self.filesystem + "\n" if argv[0] == "blkid" else ""
        code = 0 if self.works or argv[0] == "blkid" else 32
        return subprocess.CompletedProcess(argv, code, said, "it is refused\n")


@pytest.mark.parametrize(("filesystem", "options"), [("ext4", "rw"), ("xfs", "rw,nouuid")])
def test_a_test_head_is_mounted_to_be_written(
    control: FakeControl,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    filesystem: str,
    options: str,
) -> None:
    tools = Tools(filesystem)
    monkeypatch.setattr(mounting.mount, "__defaults__", (tools,))
    assert control.frazil("replica", "test", "data", str(tmp_path), "--generation", "3") == 0
    asked = control.every(pb.AttachReplicaRequest)
    assert asked == [pb.AttachReplicaRequest(name="data", generation=3, writable=True)]
    assert tools.ran[-1] == ["mount", "-o", options, "--", TEST_HEAD, str(tmp_path)]
    captured = capsys.readouterr()
    assert captured.out == f"{tmp_path}\n"
    assert "a test head on generation 3" in captured.err
    assert "was not read" not in captured.err


def test_a_test_head_without_a_directory_is_only_attached(
    control: FakeControl, capsys: pytest.CaptureFixture[str]
) -> None:
    assert control.frazil("replica", "test", "data") == 0
    assert capsys.readouterr().out == TEST_HEAD + "\n"
    assert control.frazil("replica", "test", "data", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["device"], document["mountpoint"]) == (TEST_HEAD, None)


@pytest.mark.parametrize(("there", "ended"), [(kept(), True), (under_test(), False)])
def test_a_head_that_cannot_be_mounted_is_ended_unless_it_was_there(
    control: FakeControl,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    there: rpb.ReplicaVolume,
    ended: bool,
) -> None:
    control.answers["GetReplica"] = there
    monkeypatch.setattr(mounting.mount, "__defaults__", (Tools("ext4", works=False),))
    assert control.frazil("replica", "test", "data", str(tmp_path)) == 1
    wanted = [pb.DetachReplicaRequest(name="data", generation=3, writable=True)] if ended else []
    assert control.every(pb.DetachReplicaRequest) == wanted


def test_a_test_ends_with_its_mounts_and_leaves_what_is_read_only(
    control: FakeControl, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = Tools("")
    monkeypatch.setattr(mounting.unmount, "__defaults__", (tools,))
    assert control.frazil("replica", "test-end", "data") == 0
    assert tools.ran == [["umount", "--", "/mnt/try"]]
    asked = control.every(pb.DetachReplicaRequest)
    assert asked == [pb.DetachReplicaRequest(name="data", generation=3, writable=True)]
    assert capsys.readouterr().out == "data: generation 3 is as it was; the test is over\n"


def test_unmount_leaves_test_heads(
    control: FakeControl, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = Tools("")
    monkeypatch.setattr(mounting.unmount, "__defaults__", (tools,))
    assert control.frazil("replica", "unmount", "data", "--all", "--json") == 0
    assert tools.ran == [["umount", "--", "/mnt/look"]]
    asked = control.every(pb.DetachReplicaRequest)
    assert asked == [pb.DetachReplicaRequest(name="data", generation=2)]
    assert json.loads(capsys.readouterr().out)["generations"] == [2]


def test_the_end_of_what_was_not_begun(
    control: FakeControl, capsys: pytest.CaptureFixture[str]
) -> None:
    control.answers["GetReplica"] = kept()
    assert control.frazil("replica", "test-end", "data") == 5
    assert "has no test head" in capsys.readouterr().err
    only_test = kept(points=[rpb.RecoveryPoint(generation=generation(3), devices=[TEST_HEAD])])
    control.answers["GetReplica"] = only_test
    assert control.frazil("replica", "unmount", "data") == 5
    assert "frazil replica test-end" in capsys.readouterr().err
    assert control.frazil("replica", "test-end", "data", "--generation", "9") == 3
    assert control.every(pb.DetachReplicaRequest) == []


def test_keep_changes_what_is_given_and_says_what_goes(
    control: FakeControl, capsys: pytest.CaptureFixture[str]
) -> None:
    assert control.frazil("replica", "keep", "data", "--last", "3") == 0
    asked = control.every(pb.SetRetentionRequest)
    policy = rpb.Retention(last=3, hourly=24)
    assert asked == [pb.SetRetentionRequest(name="data", retention=policy)]
    captured = capsys.readouterr()
    assert captured.out == "data: keeps the newest, 3 last, 24 hourly\n"
    assert "with the next merge go generations 1" in captured.err
    assert control.frazil("replica", "keep", "data", "--hourly", "0") == 0
    assert control.every(pb.SetRetentionRequest)[1].retention == rpb.Retention()


def test_a_replica_in_full_has_its_points_and_its_role(
    control: FakeControl, capsys: pytest.CaptureFixture[str]
) -> None:
    control.answers["GetReplica"] = kept(role="promoted", role_since=generation(3).frozen_at)
    assert control.frazil("replica", "show", "data") == 0
    text = capsys.readouterr().out
    for piece in ("promoted: a source here now, since 2026", "24 hourly", "KEPT BY", "132 MiB"):
        assert piece in text


@pytest.mark.parametrize(
    ("options", "hooks"),
    [
        (["--before-limit", "9s"], pb.Hooks(before=["/bin/hold"], before_ms=9000)),
        (
            ["--after", "/bin/go now"],
            pb.Hooks(
                before=["/bin/hold"], before_ms=5000, after=["/bin/go", "now"], after_ms=30_000
            ),
        ),
        (["--before", "none"], pb.Hooks()),
    ],
)
def test_a_hook_changes_without_the_other(
    control: FakeControl, options: list[str], hooks: pb.Hooks
) -> None:
    assert control.frazil("group", "set", "db", *options) == 0
    assert control.every(pb.UpdateGroupRequest) == [pb.UpdateGroupRequest(name="db", hooks=hooks)]


def test_a_limit_without_its_command_changes_nothing(
    control: FakeControl, capsys: pytest.CaptureFixture[str]
) -> None:
    assert control.frazil("group", "set", "db", "--after-limit", "9s") == 2
    assert "give --after too" in capsys.readouterr().err
    assert control.every(pb.UpdateGroupRequest) == []
