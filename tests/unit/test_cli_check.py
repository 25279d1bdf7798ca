"""``frazil check``: the verdicts, and the codes that monitoring expects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from control.cli.check import Level, Limits, judge_mirror, judge_replica, summary
from dm_tables.errors import NotFound
from proto.frazil.v1 import control_pb2 as pb
from tests.unit.cli_messages import NOON, mirror, replica
from tests.unit.fake_control import FakeControl, running


@pytest.fixture
def control(tmp_path: Path) -> Iterator[FakeControl]:
    """A daemon that answers as told."""
    with running(tmp_path / "control.sock") as fake:
        yield fake


NONE = Limits()


@pytest.mark.parametrize(
    ("given", "limits", "level"),
    [
        ({"lag_ms": 119_000}, NONE, Level.OK),
        ({"lag_ms": 121_000}, NONE, Level.WARNING),
        ({"lag_ms": 181_000}, NONE, Level.CRITICAL),
        ({"lag_ms": 181_000, "interval_ms": 100_000}, NONE, Level.OK),
        ({"lag_ms": 201_000, "interval_ms": 100_000}, NONE, Level.WARNING),
        ({"lag_ms": 301_000, "interval_ms": 100_000}, NONE, Level.CRITICAL),
        ({"lag_ms": 901_000, "on_demand": True}, NONE, Level.OK),
        ({"lag_ms": 901_000, "on_demand": True}, Limits(900, 1000), Level.WARNING),
        ({"lag_ms": 181_000}, Limits(None, 300), Level.OK),
        ({"lag_ms": 1000, "health": "DEGRADED"}, NONE, Level.WARNING),
        ({"lag_ms": 1000, "health": "ERROR"}, NONE, Level.CRITICAL),
        ({"lag_ms": 1000, "health": ""}, NONE, Level.WARNING),
        ({"lag_ms": 1000, "state": "paused"}, NONE, Level.WARNING),
        ({"lag_ms": 999_000, "state": "paused"}, NONE, Level.CRITICAL),
        ({"committed": None}, NONE, Level.WARNING),
        ({"lag_ms": 299_000, "rpo_ms": 300_000}, NONE, Level.OK),
        ({"lag_ms": 301_000, "rpo_ms": 300_000}, NONE, Level.WARNING),
        ({"lag_ms": 601_000, "rpo_ms": 300_000}, NONE, Level.CRITICAL),
        ({"lag_ms": 901_000, "schedule": "0 1 * * *"}, NONE, Level.OK),
        ({"lag_ms": 901_000, "window": "Sat-Sun"}, NONE, Level.OK),
        ({"lag_ms": 901_000, "schedule": "0 1 * * *"}, Limits(900), Level.WARNING),
    ],
)
def test_mirrors(given: dict[str, Any], limits: Limits, level: Level) -> None:
    assert judge_mirror(mirror(**given), limits).level is level


def test_replicas_are_judged_by_their_instant_against_given_limits_only() -> None:
    one = replica()
    assert judge_replica(one, NONE, NOON + 10_000).level is Level.OK
    assert judge_replica(one, Limits(60, 90), NOON + 61).level is Level.WARNING
    assert judge_replica(one, Limits(60, 90), NOON + 91).level is Level.CRITICAL
    assert judge_replica(one, Limits(60, 90), NOON - 5).age == 0
    assert judge_replica(replica(newest=None), NONE, NOON).level is Level.WARNING
    promoted = replica(role="promoted")
    assert judge_replica(promoted, Limits(60, 90), NOON + 91).level is Level.OK


def test_the_worst_comes_first_and_performance_data_last() -> None:
    found = [
        judge_mirror(mirror("a", lag_ms=5500), NONE),
        judge_mirror(mirror("b", lag_ms=125_000), NONE),
        judge_mirror(mirror("c", committed=None), NONE),
    ]
    assert summary(found) == (
        "FRAZIL WARNING - b: 2m 5s old, over 2m; c: no copy yet; a: 5.5 s old"
        " | a=5.5s;120;180;0 b=125s;120;180;0"
    )


@pytest.mark.parametrize(
    ("mirrors", "code", "word"),
    [
        ([mirror()], 0, "OK"),
        ([mirror(), mirror("far", health="ERROR", problem="no route")], 2, "CRITICAL"),
        ([mirror(health="DEGRADED")], 1, "WARNING"),
        ([], 3, "UNKNOWN"),
    ],
)
def test_codes(
    control: FakeControl,
    capsys: pytest.CaptureFixture[str],
    mirrors: list[pb.Mirror],
    code: int,
    word: str,
) -> None:
    control.answers["ListMirrors"] = pb.ListMirrorsReply(mirrors=mirrors)
    assert control.frazil("check") == code
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"FRAZIL {word} - ")
    assert control.frazil("check", "--json") == code
    document = json.loads(capsys.readouterr().out)
    assert document["level"] == word
    assert len(document["findings"]) == len(mirrors)


def test_named_ones_and_replicas(control: FakeControl, capsys: pytest.CaptureFixture[str]) -> None:
    control.answers["GetMirror"] = mirror()
    assert control.frazil("check", "data-b", "--warning", "30s", "--critical", "1h") == 1
    control.answers["ListReplicas"] = pb.ListReplicasReply(replicas=[replica()])
    assert control.frazil("check", "--replicas", "--critical", "1h") == 2
    control.answers["GetReplica"] = replica()
    assert control.frazil("check", "--replicas", "data") == 0
    asked = [method for method, _ in control.asked]
    assert asked == ["GetMirror", "ListReplicas", "GetReplica"]


def test_what_cannot_be_known_is_unknown(
    control: FakeControl, capsys: pytest.CaptureFixture[str]
) -> None:
    control.answers["GetMirror"] = NotFound("there is no mirror 'x'")
    assert control.frazil("check", "x") == 3
    assert capsys.readouterr().out == "FRAZIL UNKNOWN - there is no mirror 'x'\n"
    assert control.frazil("check", "--warning", "soon") == 3
    assert capsys.readouterr().out.startswith("FRAZIL UNKNOWN - ")
