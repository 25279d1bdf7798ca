"""Every command asks the daemon for what was meant, and shows the answer as text and as JSON."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message

from control.cli.schema import as_dict
from dm_tables.errors import Kind, NotFound
from proto.frazil.v1 import control_pb2 as pb
from proto.frazil.v1 import replica_pb2 as rpb
from tests.unit.cli_cases import CASES, GENERATION, REPLICAS
from tests.unit.cli_messages import NOON, copying, generation, host, mirror, stamp, volume
from tests.unit.fake_control import BESIDE, SERVICE, FakeControl, running


@pytest.fixture
def control(tmp_path: Path) -> Iterator[FakeControl]:
    """A daemon that answers as told."""
    with running(tmp_path / "control.sock") as fake:
        yield fake


EVENT = pb.Event(
    sequence=7,
    at=stamp(),
    level="warning",
    subject="data-b",
    kind="PeerUnreachable",
    message="gone",
)


def cased() -> list[Any]:
    """The cases, named by their arguments."""
    return [pytest.param(*case, id=case[0]) for case in CASES]


@pytest.mark.parametrize(("arguments", "method", "request_", "answer", "holds"), cased())
def test_text(
    control: FakeControl,
    capsys: pytest.CaptureFixture[str],
    arguments: str,
    method: str,
    request_: Message,
    answer: Any,
    holds: list[str],
) -> None:
    control.answers[method] = answer
    assert control.frazil(*shlex.split(arguments)) == 0
    beside = BESIDE - {method}
    assert [asked for asked in control.asked if asked[0] not in beside] == [(method, request_)]
    text = capsys.readouterr().out
    for piece in holds:
        assert piece in text


@pytest.mark.parametrize(("arguments", "method", "request_", "answer", "holds"), cased())
def test_json_is_the_message(
    control: FakeControl,
    capsys: pytest.CaptureFixture[str],
    arguments: str,
    method: str,
    request_: Message,
    answer: Any,
    holds: list[str],
) -> None:
    control.answers[method] = answer
    assert control.frazil("--json", *shlex.split(arguments)) == 0
    assert control.asked == [(method, request_)]
    last = answer[-1] if isinstance(answer, list) else answer
    assert json.loads(capsys.readouterr().out) == as_dict(last)


def test_no_method_is_out_of_reach() -> None:
    elsewhere = {"FreezeTable", "GetMirror", "WatchMirrors"}
    # Those that ask for more than one thing: test_cli_failover.py, test_cli_points.py.
    elsewhere |= {"Promote", "Demote", "SwitchOver", "DiscardThere", "SetRetention"}
    # test_cli_mount.py.
    elsewhere |= {"AttachReplica", "DetachReplica", "GetReplicaGroup"}
    reached = {case[1] for case in CASES} | elsewhere | {"WatchEvents", "WatchTrace"}
    assert reached == {method.name for method in SERVICE.methods}


def test_a_relative_path_is_made_whole_for_a_daemon_that_lives_elsewhere(
    control: FakeControl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    control.answers["CreateVolume"] = volume()
    assert control.frazil("volume", "create", "data", "disk.img") == 0
    assert control.only(pb.CreateVolumeRequest).spans[0].path == str(tmp_path / "disk.img")


def test_status_of_one_mirror_in_full(
    control: FakeControl, capsys: pytest.CaptureFixture[str]
) -> None:
    control.answers["GetMirror"] = copying()
    assert control.frazil("mirror", "status", "data-b") == 0
    assert control.only(pb.GetMirrorRequest).name == "data-b"
    text = capsys.readouterr().out
    assert "generation 42 (delta), frozen in 1.3 ms" in text
    assert "40 %, 40.0 MiB of 100 MiB, 20.0 MiB/s, 3.0 s left" in text
    # A terminal has to hold it.
    assert max(map(len, text.splitlines())) <= 80


def test_status_json_has_one_shape_with_and_without_names(
    control: FakeControl, capsys: pytest.CaptureFixture[str]
) -> None:
    control.answers["GetMirror"] = mirror()
    control.answers["ListMirrors"] = pb.ListMirrorsReply(mirrors=[mirror()])
    assert control.frazil("mirror", "status", "data-b", "--json") == 0
    one = json.loads(capsys.readouterr().out)
    assert control.frazil("mirror", "status", "--json") == 0
    assert json.loads(capsys.readouterr().out) == one == {"mirrors": [as_dict(mirror())]}


@pytest.mark.parametrize(
    ("healths", "code"),
    [(["OK"], 0), ([], 0), (["OK", "DEGRADED"], 7), (["DEGRADED", "ERROR"], 1), ([""], 7)],
)
def test_exit_code_tells_the_worst_health(
    control: FakeControl, healths: list[str], code: int
) -> None:
    mirrors = [mirror(f"m{i}", health=health) for i, health in enumerate(healths)]
    control.answers["ListMirrors"] = pb.ListMirrorsReply(mirrors=mirrors)
    assert control.frazil("mirror", "status", "--exit-code") == code
    assert control.frazil("mirror", "status") == 0


@pytest.mark.parametrize(
    ("state", "problem", "code"),
    [("active", "", 0), ("stalled", "", 7), ("active", "odd", 7), ("failed", "", 1)],
)
def test_status_gathers_everything(
    control: FakeControl, capsys: pytest.CaptureFixture[str], state: str, problem: str, code: int
) -> None:
    one = volume()
    one.state, one.problem = state, problem
    control.answers |= {
        "GetHost": host(),
        "ListVolumes": pb.ListVolumesReply(volumes=[one]),
        "ListMirrors": pb.ListMirrorsReply(mirrors=[mirror()]),
        "ListReplicas": REPLICAS,
    }
    assert control.frazil("status", "--exit-code") == code
    text = capsys.readouterr().out
    for piece in ("host-a", "900 MiB free", "/dev/mapper/frazil-data", "data-b", "empty"):
        assert piece in text
    assert control.frazil("status", "--json") == 0
    whole = json.loads(capsys.readouterr().out)
    assert list(whole) == ["host", "volumes", "mirrors", "replicas", "groups"]


def test_start_waits_for_the_first_copy(
    control: FakeControl, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing = rpb.Generation()
    control.answers["StartMirror"] = mirror(committed=nothing)
    control.answers["WatchMirrors"] = [
        pb.ListMirrorsReply(mirrors=[copying(committed=nothing)]),
        pb.ListMirrorsReply(mirrors=[mirror(committed=generation(1))]),
    ]
    assert control.frazil("mirror", "start", "data-b", "--wait", "--json") == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["committed"]["number"] == 1
    assert "copying 40 %" in captured.err


def test_start_does_not_wait_for_what_nobody_asks_for(
    control: FakeControl, capsys: pytest.CaptureFixture[str]
) -> None:
    control.answers["StartMirror"] = mirror(on_demand=True, committed=rpb.Generation())
    assert control.frazil("mirror", "start", "data-b", "--wait") == Kind.PRECONDITION
    error = capsys.readouterr().err
    assert "no cycle until it is asked for one" in error
    assert "frazil mirror sync-now data-b --wait" in error


def test_a_wait_in_vain_says_where_it_stands(
    control: FakeControl, capsys: pytest.CaptureFixture[str]
) -> None:
    control.answers["BreakMirror"] = mirror(state="breaking")
    still = mirror(state="breaking", phase="waiting", problem="backup1 does not answer")
    control.answers["WatchMirrors"] = [pb.ListMirrorsReply(mirrors=[still])]
    assert control.frazil("mirror", "break", "data-b", "--wait") == 6
    error = capsys.readouterr().err
    assert "the break is not done yet: it is breaking, waiting" in error
    assert "backup1 does not answer" in error


def test_differences_are_listed_and_are_corrupt(
    control: FakeControl, capsys: pytest.CaptureFixture[str]
) -> None:
    spans = [pb.Span(offset_bytes=65536, length_bytes=4096)]
    control.answers["Verify"] = [
        pb.Progress(
            finished=True,
            generation=GENERATION,
            differences=spans,
            message="generation 42 differs in 1 places",
        )
    ]
    assert control.frazil("verify", "data-b") == 9
    captured = capsys.readouterr()
    assert captured.out.splitlines()[1].split() == ["65536", "4.0", "KiB"]
    assert "generation 42 differs" in captured.err
    assert control.frazil("verify", "data-b", "--json") == 9
    assert json.loads(capsys.readouterr().out)["differences"][0]["length_bytes"] == 4096


def test_events_are_filtered_by_level(
    control: FakeControl, capsys: pytest.CaptureFixture[str]
) -> None:
    quiet = pb.Event(sequence=8, at=stamp(), level="info", subject="data", kind="frozen")
    control.answers["WatchEvents"] = [EVENT, quiet]
    assert control.frazil("events", "--level", "warning") == 0
    assert control.asked[0][1] == pb.WatchEventsRequest(since=0)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith("warning  data-b  PeerUnreachable: gone")
    assert control.frazil("events", "--json", "--since", "5") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["sequence"] for line in lines] == [7, 8]
    assert control.asked[1][1] == pb.WatchEventsRequest(since=5)


def test_events_are_followed_through_a_restart_none_twice_and_none_left_out(
    control: FakeControl, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    monkeypatch.setattr(time, "time", lambda: NOON + 100.0)

    def event(sequence: int, after: int) -> pb.Event:
        return pb.Event(
            sequence=sequence, at=stamp(NOON + 100 + after), message=f"event {sequence}"
        )

    lives: list[list[Any]] = [
        [],
        [event(1, -50), event(2, 1), event(3, 2)],
        [event(4, 3), NotFound("enough")],
    ]
    control.answers["WatchEvents"] = lambda _request: lives.pop(0)
    assert control.frazil("events", "--follow", "--json") == 3
    *lines, last = map(json.loads, capsys.readouterr().out.splitlines())
    assert [document["sequence"] for document in lines] == [2, 3, 4]
    assert last["error"]["name"] == "NotFound"
    assert [request for _, request in control.asked] == [
        pb.WatchEventsRequest(follow=True),
        pb.WatchEventsRequest(follow=True, since=0),
        pb.WatchEventsRequest(follow=True, since=4),
    ]


def test_removing_a_replica_wants_to_be_meant(
    control: FakeControl, capsys: pytest.CaptureFixture[str]
) -> None:
    assert control.frazil("replica", "remove", "data") == 2
    assert control.asked == []
    assert "--yes" in capsys.readouterr().err
