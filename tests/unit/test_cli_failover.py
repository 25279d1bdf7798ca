"""Changing roles: what is said before, what is asked, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from control.cli.roles import ahead, lost
from control.cli.schema import as_dict
from dm_tables.errors import Precondition
from proto.frazil.v1 import control_pb2 as pb
from tests.unit.cli_messages import (
    generation,
    group,
    group_mirror,
    kept,
    member,
    mirror,
    replica,
    volume,
)
from tests.unit.fake_control import FakeControl, running


class SplitBrain(Precondition):
    """What a daemon refuses with when both sides were written."""


SPLIT = {
    "health": "ERROR",
    "problem": "both sides were written since generation 41: here 3, at backup1 2 generations",
}
DONE = [pb.Progress(phase="merging", done=1, total=2), pb.Progress(finished=True)]


@pytest.fixture
def control(tmp_path: Path) -> Iterator[FakeControl]:
    """A source of one volume and a replica of another, and every change of roles succeeds."""
    with running(tmp_path / "control.sock") as fake:
        fake.answers |= {
            "ListReplicas": pb.ListReplicasReply(
                replicas=[kept(name="data"), kept(name="log"), replica("other", newest=None)]
            ),
            "ListVolumes": pb.ListVolumesReply(volumes=[volume(), volume("more")]),
            "ListMirrors": pb.ListMirrorsReply(mirrors=[mirror(committed=generation(2))]),
            "ListGroups": pb.ListGroupsReply(groups=[group(volumes=["data", "more"])]),
            "GetMirror": mirror(**SPLIT),
            "Promote": DONE,
            "Demote": DONE,
            "SwitchOver": DONE,
            "DiscardThere": DONE,
        }
        yield fake


def test_promote_says_from_when_and_then_asks(
    control: FakeControl, capsys: pytest.CaptureFixture[str]
) -> None:
    assert control.frazil("replica", "promote", "data", "--force") == 0
    assert control.every(pb.PromoteRequest) == [pb.PromoteRequest(name="data", force=True)]
    captured = capsys.readouterr()
    assert "data: from generation 3, frozen 2026-03-01" in captured.err
    assert " ago; what was written at the source after it is not here" in captured.err
    assert captured.err.index("from generation 3") < captured.err.index("promoting data")
    assert captured.out == "data: promoted; applications may use /dev/mapper/frazil-data\n"


def test_promote_of_a_group_names_each_of_its_replicas(
    control: FakeControl, capsys: pytest.CaptureFixture[str]
) -> None:
    assert control.frazil("replica", "promote", "db") == 0
    assert control.every(pb.PromoteRequest) == [pb.PromoteRequest(name="db")]
    captured = capsys.readouterr()
    assert captured.err.count("from generation 3") == 2
    assert "other" not in captured.err
    assert captured.out.endswith("/dev/mapper/frazil-data, /dev/mapper/frazil-log\n")


@pytest.mark.parametrize(
    ("given", "says"),
    [({"newest": None}, "no generation is committed here"), ({"role": "promoted"}, "a source")],
)
def test_promote_of_what_cannot_be_or_is_already(
    control: FakeControl, capsys: pytest.CaptureFixture[str], given: dict[str, Any], says: str
) -> None:
    control.answers["ListReplicas"] = pb.ListReplicasReply(replicas=[replica(**given)])
    assert control.frazil("replica", "promote", "data") == 0
    assert says in capsys.readouterr().err


def test_demote_says_what_no_replica_has(
    control: FakeControl, capsys: pytest.CaptureFixture[str]
) -> None:
    assert control.frazil("volume", "demote", "data", "--identity", "backup1") == 0
    assert control.every(pb.DemoteRequest) == [pb.DemoteRequest(name="data", identity="backup1")]
    captured = capsys.readouterr()
    # Layers of 63 and 12 chunks of 64 KiB are above generation 2.
    assert "data: up to 4.7 MiB were written after generation 2, frozen" in captured.err
    assert "not discarded without --force" in captured.err
    assert captured.err.index("up to 4.7 MiB") < captured.err.index("demoting data")
    assert captured.out == "data: demoted; backup1 may write it\n"


def test_demote_of_a_group_with_force_says_what_is_kept(
    control: FakeControl, capsys: pytest.CaptureFixture[str]
) -> None:
    assert control.frazil("volume", "demote", "db", "--identity", "b", "--force") == 0
    asked = control.every(pb.DemoteRequest)
    assert asked == [pb.DemoteRequest(name="db", identity="b", force=True)]
    error = capsys.readouterr().err
    assert "data: up to 4.7 MiB" in error
    assert "they are kept as a recovery point" in error
    assert "more: no replica has any generation of it" in error


def test_what_is_ahead_is_what_lies_above_the_best_replica() -> None:
    near = group_mirror("near", members=[member("data", 3)])
    far = group_mirror("far", members=[member("data", 2)])
    one = volume()
    assert (ahead(one, [near, far]).newest.number, ahead(one, [near, far]).layers) == (3, 1)
    assert ahead(one, [near, far]).changed == 12 * 65536
    assert ahead(one, [far]).changed == (63 + 12) * 65536
    assert ahead(one, [mirror(volume="another")]).newest.number == 0
    one.layers[1].chunks = 0
    level = ahead(one, [near, far])
    assert (level.layers, level.changed) == (0, 0)
    assert "a replica has all of it, with generation 3" in lost(one, level, force=False)


def test_switch_says_what_it_will_do(
    control: FakeControl, capsys: pytest.CaptureFixture[str]
) -> None:
    control.answers["GetMirror"] = group_mirror("near")
    assert control.frazil("mirror", "switch", "near", "--reverse", "host1:7420") == 0
    asked = control.every(pb.SwitchOverRequest)
    assert asked == [pb.SwitchOverRequest(mirror="near", reverse_peer="host1:7420")]
    captured = capsys.readouterr()
    assert "backup1:7420 has generation 41; one last cycle is committed there" in captured.err
    assert "/dev/mapper/frazil-wal go away here" in captured.err
    assert "it mirrors back to host1:7420" in captured.err
    assert "switching near: merging" in captured.err
    assert "db (3 volumes) is written at backup1:7420" in captured.out
    assert control.frazil("mirror", "switch", "near", "--identity", "backup1") == 0
    assert control.every(pb.SwitchOverRequest)[1].identity == "backup1"
    assert "nothing mirrors back" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        "replica promote data",
        "volume demote data --identity b",
        "mirror switch data-b",
        "mirror resolve data-b --discard local --force",
    ],
)
def test_json_is_the_last_message_alone(
    control: FakeControl, capsys: pytest.CaptureFixture[str], arguments: str
) -> None:
    assert control.frazil(*arguments.split(), "--json") == 0
    assert json.loads(capsys.readouterr().out) == as_dict(DONE[-1])


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("Promote", "replica promote data"),
        ("Demote", "volume demote data --identity b"),
        ("SwitchOver", "mirror switch data-b"),
        ("ActivateVolume", "volume activate data"),
    ],
)
def test_a_split_brain_is_one_sentence_and_a_type(
    control: FakeControl, capsys: pytest.CaptureFixture[str], method: str, arguments: str
) -> None:
    control.answers[method] = SplitBrain("both sides were written", "choose one")
    assert control.frazil(*arguments.split(), "--json") == 5
    captured = capsys.readouterr()
    assert json.loads(captured.out)["error"]["name"] == "SplitBrain"
    assert captured.err.endswith("frazil: both sides were written\n  choose one\n")


@pytest.mark.parametrize("options", ["", "--force", "--discard local"])
def test_resolve_wants_a_side_and_force(
    control: FakeControl, capsys: pytest.CaptureFixture[str], options: str
) -> None:
    assert control.frazil("mirror", "resolve", "data-b", *options.split()) == 2
    assert control.every(pb.DemoteRequest) == []
    error = capsys.readouterr().err
    assert error.startswith("frazil: data-b: both sides were written since generation 41")
    for piece in ("--discard local --force: data on this host loses", "--discard remote: backup1"):
        assert piece in error


def test_resolve_for_the_other_side_demotes_this_one(
    control: FakeControl, capsys: pytest.CaptureFixture[str]
) -> None:
    assert control.frazil("mirror", "resolve", "data-b", "--discard", "local", "--force") == 0
    asked = control.every(pb.DemoteRequest)
    assert asked == [pb.DemoteRequest(name="data", identity="backup1", force=True)]
    assert capsys.readouterr().out == "data: demoted; backup1 may write it\n"


def test_resolve_against_the_other_side_asks_it(
    control: FakeControl, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("mirror", "resolve", "data-b", "--discard", "remote")
    assert control.frazil(*words) == 2, "not without --force"
    assert control.every(pb.DiscardThereRequest) == []
    capsys.readouterr()
    assert control.frazil(*words, "--force") == 0
    assert control.every(pb.DemoteRequest) == []
    assert control.every(pb.DiscardThereRequest) == [pb.DiscardThereRequest(mirror="data-b")]
    assert capsys.readouterr().out == "data-b: backup1:7420 gave up what it wrote\n"


@pytest.mark.parametrize("side", ["local", "remote"])
def test_a_mirror_that_is_well_is_not_resolved(
    control: FakeControl, capsys: pytest.CaptureFixture[str], side: str
) -> None:
    control.answers["GetMirror"] = mirror()
    assert control.frazil("mirror", "resolve", "data-b", "--discard", side, "--force") == 5
    control.only(pb.GetMirrorRequest)
    assert "there is no split brain of the mirror data-b" in capsys.readouterr().err


def test_nothing_is_given_up_because_the_other_host_is_away(
    control: FakeControl, capsys: pytest.CaptureFixture[str]
) -> None:
    away = mirror()
    away.health, away.problem = "DEGRADED", "backup1:7420 cannot be reached"
    control.answers["GetMirror"] = away
    assert control.frazil("mirror", "resolve", "data-b", "--discard", "local", "--force") == 5
    assert control.every(pb.DemoteRequest) == []
    assert "where the other host is away, wait for it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "options", "identity"),
    [
        ({"peer": "10.0.0.2:7420"}, [], None),
        ({"peer": "[fd00::2]:7420"}, [], None),
        ({"peer": "10.0.0.2:7420"}, ["--identity", "backup1"], "backup1"),
        ({"peer": "backup1.example:7420"}, [], "backup1.example"),
        ({"peer": "127.0.0.1:7420", "plaintext": True}, [], "loopback"),
        ({"group": "db", "volume": ""}, [], "backup1"),
    ],
)
def test_who_writes_it_then_is_the_peer_by_its_name(
    control: FakeControl, given: dict[str, Any], options: list[str], identity: str | None
) -> None:
    control.answers["GetMirror"] = mirror(**(SPLIT | given))
    arguments = ["mirror", "resolve", "data-b", "--discard", "local", "--force", *options]
    assert control.frazil(*arguments) == (0 if identity else 2)
    asked = control.every(pb.DemoteRequest)
    assert [request.identity for request in asked] == ([identity] if identity else [])
    assert [request.name for request in asked] == [given.get("group", "data")] * len(asked)
