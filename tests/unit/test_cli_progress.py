"""Progress of long calls: paced lines, and honest ends."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest

from control.cli.progress import (
    Bar,
    Lines,
    NotInTime,
    Unfinished,
    describe,
    follow,
    remaining,
    view_for,
)
from dm_tables.errors import Corrupt, Unavailable
from proto.frazil.v1 import control_pb2 as pb

MIB = 1 << 20


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def step(done: int, phase: str = "copying") -> pb.Progress:
    return pb.Progress(phase=phase, done=done * MIB, total=100 * MIB, bytes_per_second=10 * MIB)


def test_lines_come_every_two_seconds_and_at_a_new_phase() -> None:
    out, clock = io.StringIO(), Clock()
    shown = Lines("syncing", out, clock)
    for seconds, progress in [
        (0.0, step(10)),
        (1.9, step(20)),
        (2.0, step(30)),
        (2.1, step(100, "merging")),
        (2.2, step(100, "merging")),
    ]:
        clock.now = 100.0 + seconds
        shown.update(progress)
    assert out.getvalue().splitlines() == [
        "syncing: copying 10 %, 10.0 MiB of 100 MiB, 10.0 MiB/s, 9.0 s left",
        "syncing: copying 30 %, 30.0 MiB of 100 MiB, 10.0 MiB/s, 7.0 s left",
        "syncing: merging 100 %, 100 MiB of 100 MiB, 10.0 MiB/s",
    ]


def test_time_left_is_told_only_when_it_can_be_known() -> None:
    assert remaining(40, 100, 20) == 3.0
    assert remaining(40, 100, 0) is None
    assert remaining(100, 100, 20) is None
    assert remaining(0, 0, 20) is None


def test_a_step_without_numbers_is_a_word() -> None:
    assert describe(pb.Progress(phase="waiting", message="no route")) == "waiting no route"
    assert describe(pb.Progress()) == "working"
    assert describe(pb.Progress(phase="reading", done=3 * MIB)) == "reading 3.0 MiB"


class View:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.closed = 0

    def update(self, progress: pb.Progress) -> None:
        self.seen.append(progress.done // MIB)

    def close(self) -> None:
        self.closed += 1


def test_the_last_message_is_the_result_and_not_progress() -> None:
    shown = View()
    last = pb.Progress(finished=True, message="done")
    assert follow([step(1), step(2), last], "syncing", shown) == last
    assert shown.seen == [1, 2]
    assert shown.closed == 1


def test_a_stream_without_a_last_message_is_not_success() -> None:
    shown = View()
    with pytest.raises(Unfinished, match="syncing"):
        follow([step(100)], "syncing", shown)
    assert shown.closed == 1


def test_an_error_closes_the_view() -> None:
    shown = View()

    def broken() -> object:
        yield step(1)
        raise Corrupt("bad run")

    with pytest.raises(Corrupt):
        follow(broken(), "syncing", shown)  # type: ignore[arg-type]
    assert shown.closed == 1


class Terminal(io.StringIO):
    """A terminal, as far as anyone can tell."""

    def isatty(self) -> bool:
        return True


def test_a_bar_on_a_terminal_and_lines_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(view_for("x", io.StringIO()), Lines)
    out = Terminal()
    shown = view_for("syncing", out)
    assert isinstance(shown, Bar)
    shown.update(step(40))
    shown.close()
    assert "syncing" in out.getvalue()
    # Gone without a trace: the cursor is back where the bar was, the line erased.
    assert out.getvalue().rstrip().endswith("\x1b[2K")


def test_a_wait_that_is_given_up_says_what_stood_in_the_way() -> None:
    def stream(error: Unavailable) -> Iterator[pb.Progress]:
        yield pb.Progress(phase="waiting", message="the peer cannot be reached")
        raise error

    with pytest.raises(NotInTime, match="the peer cannot be reached"):
        follow(stream(Unavailable("time ran out")), "syncing", Lines("syncing", io.StringIO()))
    with pytest.raises(Unfinished):
        follow(stream(Unfinished("syncing")), "syncing", Lines("syncing", io.StringIO()))
