"""Programs around a freeze: that the second one runs whatever happens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from control import hooks as hooks_module
from control.hooks import (
    BadHook,
    Hook,
    HookFailed,
    HookMissing,
    Hooks,
    HookTimedOut,
    check_hooks,
    finish_pending,
    parse_hooks,
    quiesced,
)
from control.hooks_pending import NotNoted, PendingUnreadable
from control.units_text import Seconds
from dm_tables.errors import FrazilError, Kind


class Rig:
    """A directory with programs that write down that they ran, and where hooks are noted."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.log = directory / "log"
        self.noted = directory / "noted"
        self.told: list[FrazilError] = []

    def program(self, name: str, then: str = "") -> tuple[str, ...]:
        """A shell script that logs its variables and then does something."""
        path = self.directory / name
        result = "$FRAZIL_PHASE ${FRAZIL_RESULT:--} $FRAZIL_GROUP [$FRAZIL_VOLUMES] $*"
        path.write_text(f'#!/bin/sh\necho "{result}" >>{self.log}\n{then}\n')
        path.chmod(0o755)
        return (str(path),)

    def hooks(self, before: str = "", after: str = "", limit: float = 20.0) -> Hooks:
        return Hooks(
            Hook((*self.program("before.sh", before), "now"), Seconds(limit)),
            Hook(self.program("after.sh", after), Seconds(limit)),
        )

    def freeze(self, hooks: Hooks, body: Callable[[], object] = lambda: None) -> None:
        with quiesced(hooks, "db", ["data", "wal"], self.noted, self.told.append):
            with self.log.open("a") as log:
                log.write("freeze\n")
            body()

    @property
    def lines(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []

    @property
    def owed(self) -> list[str]:
        return [path.name for path in self.noted.iterdir()] if self.noted.exists() else []


BEFORE = "before - db [data wal] now"
FROZEN = "after frozen db [data wal] "
FAILED = "after failed db [data wal] "


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def test_the_freeze_is_between_them(rig: Rig) -> None:
    seen: list[list[str]] = []
    rig.freeze(rig.hooks(), lambda: seen.append(rig.owed))
    assert rig.lines == [BEFORE, "freeze", FROZEN]
    assert seen == [["db.json"]], "what is owed is written down meanwhile"
    assert rig.owed == []
    assert rig.told == []


def test_without_hooks_nothing_is_written_down(rig: Rig) -> None:
    rig.freeze(Hooks())
    assert rig.lines == ["freeze"]
    assert not rig.noted.exists()


def test_one_alone(rig: Rig) -> None:
    hooks = rig.hooks()
    rig.freeze(Hooks(before=hooks.before))
    rig.freeze(Hooks(after=hooks.after))
    assert rig.lines == [BEFORE, "freeze", "freeze", FROZEN]
    assert rig.owed == []


def test_a_before_that_fails_freezes_nothing(rig: Rig) -> None:
    with pytest.raises(HookFailed) as caught:
        rig.freeze(rig.hooks("echo first >&2; echo 'no such database' >&2; exit 3"))
    said = str(caught.value)
    assert said.startswith(
        "the hook before the freeze of db ended with exit code 3: no such database; "
        "nothing was frozen"
    )
    assert caught.value.code == 3
    assert rig.lines == [BEFORE, FAILED]
    assert rig.owed == []


def test_a_before_that_is_killed(rig: Rig) -> None:
    with pytest.raises(HookFailed, match="ended with signal 9; nothing was frozen"):
        rig.freeze(rig.hooks("kill -9 $$"))
    assert rig.lines[-1] == FAILED


def test_a_before_that_takes_too_long_is_ended_with_its_children(rig: Rig) -> None:
    child = rig.directory / "child"
    trapped = f"trap '' TERM; sh -c 'trap \"\" TERM; echo $$ >{child}; sleep 60' & wait; sleep 60"
    with pytest.raises(HookTimedOut) as caught:
        rig.freeze(rig.hooks(f"echo waiting for the lock >&2; {trapped}", limit=1.0))
    said = str(caught.value)
    assert "was not done within 1s, and was ended: waiting for the lock" in said
    assert caught.value.kind is Kind.UNAVAILABLE
    assert rig.lines == [BEFORE, FAILED]
    pid = int(child.read_text())
    assert gone(pid)


def gone(pid: int) -> bool:
    """Whether a process ends: it was killed, and its parent has to collect it."""
    for _ in range(200):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state in "ZX":
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("raised", [RuntimeError, KeyboardInterrupt, SystemExit, HookFailed])
def test_whatever_is_raised_inside(rig: Rig, raised: type[BaseException]) -> None:
    def fail() -> None:
        raise raised("x", "", 1) if raised is HookFailed else raised("x")

    with pytest.raises(raised):
        rig.freeze(rig.hooks(), fail)
    assert rig.lines == [BEFORE, "freeze", FAILED]
    assert rig.owed == []


def test_an_interrupt_while_before_runs(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    real = subprocess.Popen.wait
    child = rig.directory / "child"
    interrupts = iter([KeyboardInterrupt()])

    def wait(self: subprocess.Popen[bytes], timeout: float | None = None) -> int:
        while not child.exists() and self.poll() is None:
            time.sleep(0.01)
        for interrupt in interrupts:
            raise interrupt
        return real(self, timeout)

    monkeypatch.setattr(subprocess.Popen, "wait", wait)
    with pytest.raises(KeyboardInterrupt):
        rig.freeze(rig.hooks(f"echo $$ >{child}.new; mv {child}.new {child}; exec sleep 60"))
    assert gone(int(child.read_text())), "before must not come after after"
    assert rig.lines == [BEFORE, FAILED]


def test_what_before_leaves_in_the_background_goes_on(rig: Rig) -> None:
    held = rig.directory / "held"
    before = f"(echo $$ >&2; exec sleep 60) & echo $! >{held}"
    alive: list[bool] = []
    rig.freeze(
        rig.hooks(before, f"kill $(cat {held})"),
        lambda: alive.append(not Path(f"/proc/{held.read_text().strip()}").exists()),
    )
    assert alive == [False]
    assert gone(int(held.read_text()))


def test_an_after_that_fails_undoes_no_freeze(rig: Rig) -> None:
    rig.freeze(rig.hooks(after="echo still locked >&2; exit 1"))
    assert [type(error) for error in rig.told] == [HookFailed]
    assert "exit code 1: still locked; what it should have let go may still be held" in str(
        rig.told[0]
    )
    assert rig.owed == []


def test_an_after_that_takes_too_long(rig: Rig) -> None:
    hooks = rig.hooks()
    slow = Hook(rig.program("slow.sh", "sleep 60"), Seconds(0.5))
    rig.freeze(Hooks(hooks.before, slow))
    assert [type(error) for error in rig.told] == [HookTimedOut]


def test_an_after_that_is_ended_with_the_daemon_runs_again(rig: Rig) -> None:
    """By systemd, which sends SIGTERM to all that a service has started."""
    once = rig.directory / "once"
    rig.freeze(rig.hooks(after=f"test -e {once} || {{ touch {once}; kill -TERM $$; }}"))
    assert rig.lines == [BEFORE, "freeze", FROZEN, FROZEN]
    assert rig.told == []
    rig.freeze(rig.hooks(after="kill -TERM $$"))
    assert rig.lines[4:] == [BEFORE, "freeze", FROZEN, FROZEN], "once more, and no further"
    assert [type(error) for error in rig.told] == [HookFailed]


def test_a_program_that_is_not_there(rig: Rig) -> None:
    hooks = Hooks(Hook(("/none/such",)), rig.hooks().after)
    with pytest.raises(HookMissing, match="/none/such, cannot be run: No such file"):
        rig.freeze(hooks)
    assert rig.lines == [FAILED]
    with pytest.raises(HookMissing, match="before the freeze, /none/such, is not there"):
        check_hooks(hooks)
    plain = rig.directory / "plain"
    plain.write_text("echo\n")
    with pytest.raises(HookMissing, match=r"after the freeze, .*plain, is not executable"):
        check_hooks(Hooks(after=Hook((str(plain),))))
    check_hooks(rig.hooks())


def test_nothing_begins_that_cannot_be_written_down(rig: Rig) -> None:
    rig.noted.write_text("in the way")
    with pytest.raises(NotNoted, match="no hook was run and nothing frozen"):
        rig.freeze(rig.hooks())
    assert rig.lines == []


def test_hooks_see_nothing_of_the_daemon(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    out = rig.directory / "environment"
    rig.freeze(rig.hooks(f"env >{out}"))
    names = {line.partition("=")[0] for line in out.read_text().splitlines()}
    assert "FRAZIL_GROUP" in names
    assert "NOTIFY_SOCKET" not in names


# A daemon that is killed.

DAEMON = """
import sys, time
from pathlib import Path
from control.hooks import Hook, Hooks, quiesced
before, after, noted = sys.argv[1:]
hooks = Hooks(Hook((before,)), Hook((after,)))
with quiesced(hooks, "db", ["data", "wal"], Path(noted), print):
    Path(noted, "inside").touch()
    time.sleep(60)
"""


def killed(rig: Rig, hooks: Hooks, ready: Callable[[], bool]) -> None:
    """A process that dies between the hooks, by SIGKILL, as soon as ``ready``."""
    assert hooks.before
    assert hooks.after
    words = [sys.executable, "-c", DAEMON, hooks.before.argv[0], hooks.after.argv[0]]
    with subprocess.Popen([*words, str(rig.noted)], cwd=Path(__file__).parents[2]) as daemon:
        while not ready():
            assert daemon.poll() is None
            time.sleep(0.02)
        daemon.send_signal(signal.SIGKILL)


def test_after_runs_although_the_daemon_was_killed(rig: Rig) -> None:
    inside = rig.noted / "inside"
    killed(rig, rig.hooks(), inside.exists)
    inside.unlink()
    assert rig.lines == ["before - db [data wal] "], "after has not run yet"
    assert rig.owed == ["db.json"]
    assert finish_pending(rig.noted, rig.told.append) == ["db"]
    assert rig.lines[1:] == [FAILED]
    assert rig.told == []
    assert rig.owed == []
    assert finish_pending(rig.noted, rig.told.append) == [], "and only once"
    assert len(rig.lines) == 2


def test_a_before_that_outlives_the_daemon_is_ended_first(rig: Rig) -> None:
    late = rig.directory / "late"
    before = f"sleep 60; touch {late}"

    def under_way() -> bool:
        place = rig.noted / "db.json"
        return bool(rig.lines) and json.loads(place.read_text())["before"] is not None

    killed(rig, rig.hooks(before), under_way)
    pid = json.loads((rig.noted / "db.json").read_text())["before"]["pid"]
    assert Path(f"/proc/{pid}").exists()
    finish_pending(rig.noted, rig.told.append)
    assert gone(pid)
    assert not late.exists()
    assert rig.lines[1:] == [FAILED]


def test_a_number_that_another_process_has_now_is_left_alone(rig: Rig) -> None:
    rig.noted.mkdir()
    owed = {
        "group": "db",
        "volumes": ["data", "wal"],
        "after": rig.program("after.sh"),
        "limit": 20.0,
        "before": {"pid": os.getpid(), "ticks": 1},
    }
    (rig.noted / "db.json").write_text(json.dumps(owed))
    assert finish_pending(rig.noted, rig.told.append) == ["db"]
    assert rig.lines == [FAILED]


def test_what_cannot_be_read_is_told_of(rig: Rig) -> None:
    rig.noted.mkdir()
    (rig.noted / "db.json").write_text("{}")
    assert finish_pending(rig.noted, rig.told.append) == []
    assert [type(error) for error in rig.told] == [PendingUnreadable]
    assert finish_pending(rig.directory / "none", rig.told.append) == []


# What was asked for.


def test_words_mean_hooks() -> None:
    made = parse_hooks(["/usr/bin/psql", "-c", "CHECKPOINT"], 5000, [], 0, Seconds(7.0))
    assert made == Hooks(Hook(("/usr/bin/psql", "-c", "CHECKPOINT"), Seconds(5.0)))
    assert parse_hooks([], 0, ["/a"], 0, Seconds(7.0)).after == Hook(("/a",), Seconds(7.0))
    assert not parse_hooks([], 9, [], 9)
    assert hooks_module.LIMIT == 30.0


@pytest.mark.parametrize(
    ("words", "limit", "says"),
    [
        (["psql"], 0, 'before the freeze, "psql", is not an absolute path'),
        ([""], 0, "is not an absolute path"),
        (["/a", "b\0"], 0, "a zero byte"),
        (["/a"], 3_600_001, "a time limit of 1h1ms"),
    ],
)
def test_words_that_are_no_hook(words: list[str], limit: int, says: str) -> None:
    with pytest.raises(BadHook) as caught:
        parse_hooks(words, limit, [], 0)
    assert says in str(caught.value)
    assert caught.value.kind is Kind.USAGE
