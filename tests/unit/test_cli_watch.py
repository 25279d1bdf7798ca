"""The watch view: what it shows, that it fits, and what is left of it without a terminal."""

from __future__ import annotations

import io
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

from control.cli.api import DaemonUnreachable
from control.cli.glyphs import ASCII, UNICODE, Glyphs, bar, for_encoding, shortened, sparkline
from control.cli.live import Changes, Screen
from control.cli.watch import view
from dm_tables.errors import NotFound
from proto.frazil.v1 import control_pb2 as pb
from tests.unit.cli_messages import MIB, copying, cycle, generation, group_mirror, member, mirror
from tests.unit.fake_control import FakeControl, running


@pytest.fixture
def control(tmp_path: Path) -> Iterator[FakeControl]:
    """A daemon that answers as told."""
    with running(tmp_path / "control.sock") as fake:
        yield fake


LONG = mirror(
    "a-very-long-name-of-a-mirror-that-somebody-chose-for-a-reason",
    volume="another-long-name-for-a-volume",
    peer="backup.department.example.org:7420",
    health="DEGRADED",
    phase="waiting",
    problem="backup does not answer: " + "it was tried over and over again, " * 6,
    lacking_bytes=123 * MIB,
    rate_bytes=5 * MIB,
)
VERIFYING = copying(phase="verifying", verify=True)
WHOLE = copying(current=cycle(42, kind="catch-up", state="copying", total_bytes=1, done_bytes=1))
NEW = mirror("new", committed=None, lag_ms=0, phase="freezing")
STOPPED = pb.Mirror(name="off", volume="data", peer="b:1", state="stopped")
GROUPED = group_mirror(window="Mon-Fri 22:00-06:00, " * 5, schedule="0 1 * * *", counts=False)
WELL = copying(name="well", volume="", group="db", members=[member(f"v{i}") for i in range(8)])
KINDS = [LONG, VERIFYING, WHOLE, NEW, STOPPED, copying(), GROUPED, WELL]
POLICIES = {"db": "quorum=1"}


def lines(mirrors: list[pb.Mirror], width: int = 80, height: int = 24) -> list[str]:
    """The view as plain lines."""
    shown = view(mirrors, width, height, UNICODE, Text("title"), policies=POLICIES)
    return shown.plain.splitlines()


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII])
@pytest.mark.parametrize(("width", "height"), [(80, 24), (80, 12), (130, 50), (60, 20)])
def test_it_fits(width: int, height: int, glyphs: Glyphs) -> None:
    for mirrors in [[one] for one in KINDS] + [KINDS, KINDS * 9]:
        text = view(mirrors, width, height, glyphs, Text("title"), policies=POLICIES).plain
        drawn = text.splitlines()
        assert len(drawn) <= height
        assert max(map(len, drawn)) <= width
        if glyphs is ASCII:
            assert text.replace("µ", "u").isascii()


def test_a_copy_shows_how_far_it_is() -> None:
    shown = "\n".join(lines([copying()]))
    for piece in (
        "data-b  data → backup1:7420",
        "running  OK",
        "generation 41 committed, 42 coming",
        "40 %  40.0 MiB of 100 MiB  20.0 MiB/s  3.0 s left",
        "lag 34.0 s",
        "pause 1.3 ms",
        "last 4.0 MiB changed, 1.0 MiB sent in 2.1 s",
    ):
        assert piece in shown


def test_the_running_phase_stands_out_without_colour() -> None:
    (phases,) = [line for line in lines([copying()]) if "freeze" in line]
    assert re.findall(r"[A-Z]{3,}", phases) == ["COPY"]
    (phases,) = [line for line in lines([mirror()]) if "freeze" in line]
    assert re.findall(r"[A-Z]{3,}", phases) == []


def test_verify_is_a_phase_only_of_a_mirror_that_verifies() -> None:
    assert any("VERIFY" in line for line in lines([VERIFYING]))
    assert not any("verify" in line.lower() for line in lines([copying()]))


def test_a_problem_comes_before_the_numbers_and_is_not_cut_at_one_line() -> None:
    drawn = lines([LONG])
    assert "does not answer" in drawn[3]
    assert "over and over" in drawn[4]
    assert drawn[4].endswith("…")


def test_one_mirror_has_its_cycles_below() -> None:
    drawn = lines([copying()])
    assert any(line.split()[:2] == ["GEN", "KIND"] for line in drawn)
    assert drawn[-1].split()[0] == "30"
    assert not any("GEN" in line for line in lines([copying(), mirror()]))


def test_many_mirrors_are_a_line_each_and_those_not_well_come_first() -> None:
    many = [mirror(f"m{i}") for i in range(30)] + [mirror("ill", health="ERROR")]
    drawn = lines(many, height=12)
    assert drawn[2].split()[0] == "MIRROR"
    assert drawn[3].split()[0] == "ill"
    assert "and 23 more" in drawn[-1]
    assert "more" not in lines(many, height=60)[-1]


def test_members_have_a_line_each_where_there_is_room() -> None:
    drawn = lines([GROUPED, WELL], height=60)
    (_head, *members) = drawn[drawn.index("  VOLUME  REPLICA  GEN  LACKING  STATE") :][:4]
    assert [line.split() for line in members] == [
        ["data", "data", "41", "-"],
        ["log", "log", "-", "-", "joining"],
        ["wal", "wal", "39", "4.0", "MiB"],
    ]
    assert sum(line.split()[:1] == ["v7"] for line in drawn) == 1


def test_members_that_are_well_are_folded_first_and_then_all() -> None:
    both = lines([GROUPED, WELL], height=60)
    some = lines([GROUPED, WELL], height=len([line for line in both if line]) - 6)
    assert "  volumes all 8 at 41" in some
    assert any("VOLUME  REPLICA" in line for line in some)
    least = lines([GROUPED, WELL], height=len(some) - 1)
    assert "  volumes 1 of 3 at 41; log joining; wal at 39, lacking 4.0 MiB" in least
    assert not any("VOLUME  REPLICA" in line for line in least)


def test_who_has_a_say_in_the_next_cycle() -> None:
    shown = "\n".join(lines([GROUPED], width=100))
    assert "policy quorum=1, holds nothing back" in shown
    assert 'cycles by schedule "0 1 * * *"' in shown
    assert "policy quorum=1   " not in shown
    assert "holds nothing back" not in "\n".join(lines([group_mirror()]))
    assert "policy" not in "\n".join(lines([mirror()]))


def test_many_mirrors_have_their_members_and_problems_below() -> None:
    ill = group_mirror("far", health="ERROR", problem="no route to far")
    drawn = lines([ill, WELL, WELL, WELL], height=12)
    assert drawn[2].split()[-1] == "VOLUMES"
    assert "1 of 3 at 41; log joining" in drawn[3]
    assert drawn[4].endswith("all 8 at 41")
    assert drawn[-1] == "far: no route to far"


def test_sparklines_rise_with_their_values() -> None:
    assert sparkline([0, 1, 7], UNICODE) == "▁▂█"
    assert sparkline([0, 0], UNICODE) == "▁▁"
    assert sparkline([], UNICODE) == ""
    assert len({sparkline([i, 7], UNICODE)[0] for i in range(8)}) == 8
    assert len(set(ASCII.spark)) == len(ASCII.spark)


def test_a_bar_is_full_only_when_done() -> None:
    assert bar(1.0, 4, ASCII) == ("####", "")
    assert bar(0.999, 4, ASCII) == ("###", "-")
    assert bar(7.0, 4, ASCII) == ("####", "")
    assert bar(0.0, 4, ASCII) == ("", "----")


def test_glyphs_follow_the_terminal() -> None:
    assert for_encoding("UTF-8") is UNICODE
    assert for_encoding("ascii") is ASCII
    assert shortened("abcdef", 4, UNICODE) == "abc…"
    assert shortened("abcd", 4, UNICODE) == "abcd"


def screen(width: int = 80, height: int = 24) -> tuple[Screen, io.StringIO]:
    """A screen on a terminal that only remembers."""
    out = io.StringIO()
    console = Console(
        file=out, force_terminal=True, width=width, height=height, highlight=False, _environ={}
    )
    return Screen(console), out


def test_the_screen_leaves_the_last_view_behind() -> None:
    shown, out = screen()
    with shown:
        shown.show([copying(done=10 * MIB)])
        shown.show([copying(done=90 * MIB)])
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out.getvalue())
    assert "1 mirror" in text
    assert "\x1b[?1049l" in out.getvalue()
    left = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out.getvalue().rpartition("\x1b[?1049l")[2])
    assert "90 %" in left
    assert "10 %" not in left
    assert left.lstrip().startswith("mirrors at")


def test_the_screen_says_that_what_it_shows_is_old() -> None:
    shown, out = screen()
    with shown:
        shown.show([copying()])
        shown.gap(DaemonUnreachable("/s", "gone"))
    assert "frazild does not answer; seen last at" in out.getvalue()


def test_a_line_a_change_and_none_for_the_passing_of_time() -> None:
    changes = Changes()
    (first,) = changes.lines([copying(done=10 * MIB)])
    assert "data-b: running, copying, OK, committed 41, coming 42, lag 34.0 s" in first
    assert changes.lines([copying(done=90 * MIB, lag_ms=35_000)]) == []
    (waiting,) = changes.lines([copying(health="DEGRADED", phase="waiting", problem="no route")])
    assert waiting.endswith(
        "running, waiting, DEGRADED, committed 41, coming 42, lag 34.0 s: no route"
    )
    (committed,) = changes.lines([mirror(committed=generation(42))])
    assert "committed 42, lag" in committed
    assert changes.lines([])[0].endswith("data-b: removed")


@pytest.mark.parametrize(
    "change",
    [
        {"state": "paused"},
        {"phase": "waiting"},
        {"health": "DEGRADED"},
        {"problem": "no route"},
        {"committed": generation(42)},
        {"current": cycle(43, state="copying")},
        {"current": cycle(42, state="copying", resumed=1)},
        {"counts": True},
        {"members": [member("log", 40)]},
        {"members": [member("log", state="joining")]},
    ],
)
def test_each_change_alone_is_worth_a_line(change: dict[str, Any]) -> None:
    before = copying()
    after = copying(**change)
    changes = Changes()
    assert len(changes.lines([before])) == 1
    assert len(changes.lines([after])) == 1
    assert changes.lines([after]) == []


def test_without_a_terminal_it_prints_lines(
    control: FakeControl, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    lives = [
        [pb.ListMirrorsReply(mirrors=[mirror()]), pb.ListMirrorsReply(mirrors=[mirror()])],
        [pb.ListMirrorsReply(mirrors=[mirror(phase="freezing")]), NotFound("it was removed")],
    ]
    control.answers["WatchMirrors"] = lambda _request: lives.pop(0)
    assert control.frazil("mirror", "status", "data-b", "--watch") == 3
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 2
    assert "frazil: frazild ended the stream; trying again" in captured.err
    assert slept == [1.0]
    assert control.asked[0][1] == pb.WatchMirrorsRequest(names=["data-b"])


def test_json_is_a_document_a_line(
    control: FakeControl, capsys: pytest.CaptureFixture[str]
) -> None:
    control.answers["WatchMirrors"] = [
        pb.ListMirrorsReply(mirrors=[mirror()]),
        pb.ListMirrorsReply(mirrors=[mirror(lag_ms=35_000)]),
        NotFound("it was removed"),
    ]
    assert control.frazil("mirror", "status", "--watch", "--json") == 3
    *documents, last = map(json.loads, capsys.readouterr().out.splitlines())
    assert [document["mirrors"][0]["lag_ms"] for document in documents] == [34_000, 35_000]
    assert last["error"]["message"] == "it was removed"


def test_the_keyboard_is_how_it_ends(control: FakeControl, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_mirrors: object) -> list[str]:
        raise KeyboardInterrupt

    control.answers["WatchMirrors"] = [pb.ListMirrorsReply(mirrors=[mirror()])]
    monkeypatch.setattr(Changes, "lines", lambda _self, mirrors: interrupted(mirrors))
    assert control.frazil("mirror", "status", "--watch") == 0
