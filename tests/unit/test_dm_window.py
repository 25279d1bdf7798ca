"""The window and its guard on a device-mapper in memory: order, failures, and who decides."""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dm_tables import messages
from dm_tables.guard import Guard, Leftover, leftovers
from dm_tables.team import LIMIT, Team
from dm_tables.window import Step, Token, Window
from tests.fake_mapper import FakeMapper

OLD, NEW = "0 8 linear 253:0 0", "0 8 linear 253:1 0"
HEADS = ("frazil-a", "frazil-b", "frazil-c")
FAR = 10**18


@pytest.fixture
def mapper() -> FakeMapper:
    made = FakeMapper()
    for name in HEADS:
        made.add(name, OLD, NEW)
    return made


@pytest.fixture
def token() -> Iterator[Token]:
    made = Token.create()
    yield made
    os.close(made.fd)


def window(
    mapper: FakeMapper,
    token: Token,
    fsync: Callable[[int], None] | None = None,
    deadline: int = FAR,
) -> Window:
    def logged(descriptor: int) -> None:
        mapper.log.append(f"fsync {descriptor}")

    token.put()
    return Window(mapper, HEADS, (10, 11, 12), token, deadline, fsync=fsync or logged)


def tables(mapper: FakeMapper) -> str:
    """A letter a head: o for old, n for new; in capitals when it is suspended."""
    letters = ""
    for device in mapper.devices.values():
        assert device.live is not None
        letter = {OLD: "o", NEW: "n"}[device.live.lines()[0]]
        letters += letter.upper() if device.suspended else letter
    return letters


def waiting(mapper: FakeMapper) -> bool:
    """Whether any head still has a table that a later resume would swap in."""
    return any(device.inactive for device in mapper.devices.values())


def test_every_layer_is_flushed_between_the_last_suspend_and_the_first_resume(
    mapper: FakeMapper, token: Token
) -> None:
    run = window(mapper, token)
    run.run()
    assert run.failure is None
    assert mapper.log == [
        *(f"suspend {name}" for name in HEADS),
        "fsync 10",
        "fsync 11",
        "fsync 12",
        *(f"resume {name}" for name in HEADS),
    ]
    assert tables(mapper) == "nnn"
    assert not token.take()


def test_times(mapper: FakeMapper, token: Token) -> None:
    ticks = iter(range(0, 10**9, 1_000_000))
    token.put()
    run = Window(
        mapper, HEADS, (1, 2, 3), token, FAR, fsync=lambda _: None, clock=lambda: next(ticks)
    )
    run.run()
    result = run.result(sync_us=5)
    # Down at 0, 1 and 2 ms, in time at 3, flushed from 4 to 5, in time at 6, up at 7, 8 and 9.
    assert result.pause_us == 9_000
    assert result.suspended_us == (7_000, 7_000, 7_000)
    assert (result.fsync_us, result.sync_us) == (1_000, 5)
    assert abs(result.frozen_at - time.time()) < 60


def test_a_team_takes_every_head_at_once_and_the_phases_in_turn(
    mapper: FakeMapper, token: Token
) -> None:
    # Each step returns only when all heads are in it: one after another would never end.
    together = threading.Barrier(len(HEADS))

    def met() -> None:
        together.wait(timeout=20)

    mapper.before = {f"{step} {name}": met for step in ("suspend", "resume") for name in HEADS}

    def fsync(descriptor: int) -> None:
        met()
        mapper.log.append(f"fsync {descriptor}")

    token.put()
    with Team(len(HEADS)) as each:
        run = Window(mapper, HEADS, (10, 11, 12), token, FAR, each=each, fsync=fsync)
        run.run()
    assert run.failure is None
    assert [step.split()[0] for step in mapper.log] == [
        *["suspend"] * 3,
        *["fsync"] * 3,
        *["resume"] * 3,
    ]
    assert tables(mapper) == "nnn"


@pytest.mark.parametrize("count", [0, 1, 2, LIMIT, LIMIT + 1, 3 * LIMIT - 1])
def test_a_team_leaves_none_out_and_goes_away(count: int) -> None:
    before = set(threading.enumerate())
    done: list[int] = []
    with Team(count) as each:
        each(done.append)
        assert sorted(done) == list(range(count))
        each(lambda index: done.append(count + index))
        assert sorted(done) == list(range(2 * count))
    assert not set(threading.enumerate()) - before


def test_a_team_rolls_back_when_one_head_fails(mapper: FakeMapper, token: Token) -> None:
    mapper.fail("suspend frazil-b", errno.EBUSY)
    token.put()
    with Team(len(HEADS)) as each:
        run = Window(mapper, HEADS, (1, 2, 3), token, FAR, each=each, fsync=lambda _: None)
        run.run()
    assert run.failure is not None
    assert (run.failure.step, run.failure.head) == (Step.SUSPEND, 1)
    assert tables(mapper) == "ooo"
    assert not waiting(mapper)


@pytest.mark.parametrize("name", HEADS)
def test_a_head_that_cannot_be_suspended(mapper: FakeMapper, token: Token, name: str) -> None:
    mapper.fail(f"suspend {name}", errno.EBUSY)
    run = window(mapper, token)
    run.run()
    assert run.failure is not None
    assert (run.failure.step, run.failure.errno) == (Step.SUSPEND, errno.EBUSY)
    assert HEADS[run.failure.head] == name
    assert tables(mapper) == "ooo"
    assert not waiting(mapper)
    assert not mapper.steps("fsync")


@pytest.mark.parametrize("failing", [10, 11, 12])
def test_a_layer_that_cannot_be_flushed(mapper: FakeMapper, token: Token, failing: int) -> None:
    def fsync(descriptor: int) -> None:
        if descriptor == failing:
            raise OSError(errno.EIO, "I/O error")

    run = window(mapper, token, fsync)
    run.run()
    assert run.failure is not None
    assert (run.failure.step, run.failure.head) == (Step.FLUSH, failing - 10)
    assert tables(mapper) == "ooo"
    assert not waiting(mapper)


def test_every_table_is_cleared_before_any_head_is_freed(mapper: FakeMapper, token: Token) -> None:
    mapper.fail("suspend frazil-c", errno.EIO)
    window(mapper, token).run()
    ended = mapper.log[3:]
    assert ended == [*(f"clear {name}" for name in HEADS), *(f"resume {name}" for name in HEADS)]


def test_a_refused_swap_frees_that_head_and_the_others_go_forward(
    mapper: FakeMapper, token: Token
) -> None:
    mapper.fail("resume frazil-b", errno.EINVAL)
    refusing = mapper.before["resume frazil-b"]

    def once() -> None:
        del mapper.before["resume frazil-b"]
        refusing()

    mapper.before["resume frazil-b"] = once
    run = window(mapper, token)
    run.run()
    assert run.failure is not None
    assert (run.failure.step, run.failure.head) == (Step.RESUME, 1)
    assert tables(mapper) == "non"
    assert not waiting(mapper)


def test_past_the_deadline_nothing_is_swapped(mapper: FakeMapper, token: Token) -> None:
    run = window(mapper, token, deadline=0)
    run.run()
    assert run.failure is not None
    assert run.failure.step is Step.DEADLINE
    assert tables(mapper) == "ooo"


def test_without_the_token_nothing_is_swapped(mapper: FakeMapper, token: Token) -> None:
    def taken(_: int) -> None:
        token.take()

    run = window(mapper, token, taken)
    run.run()
    assert run.failure is not None
    assert run.failure.step is Step.DEADLINE
    assert tables(mapper) == "ooo"
    assert not waiting(mapper)


def test_the_token_is_there_for_one(token: Token) -> None:
    assert not token.take()
    token.put()
    token.put()
    assert [token.take(), token.take()] == [True, False]


class Guarded:
    """A guard in a thread, and the freezer's end of its channel."""

    def __init__(self, mapper: FakeMapper, token: Token) -> None:
        self.channel, other = messages.pair()
        self.killed: list[int] = []
        self._guard = Guard(other, mapper, token, killer=self._kill, kill_after=0.2)
        self._other = other
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        self._guard.serve()
        self._other.close()

    def _kill(self, pid: int) -> None:
        self.killed.append(pid)
        # A killed process closes its sockets; the guard's own end stays.
        self.channel.shutdown(socket.SHUT_WR)

    def ask(self, message: messages.Message) -> messages.Message:
        messages.send(self.channel, message)
        answer = messages.receive(self.channel, 10)
        assert answer is not None
        return answer

    def arm(self, seconds: float) -> None:
        deadline = time.monotonic_ns() + int(seconds * 1e9)
        message = {"do": "arm", "heads": list(HEADS), "deadline": deadline, "pid": 4711}
        assert self.ask(message) == {"armed": True}

    def die(self) -> None:
        self.channel.close()
        self._thread.join(20)
        assert not self._thread.is_alive()


@pytest.fixture
def guarded(mapper: FakeMapper, token: Token) -> Iterator[Guarded]:
    made = Guarded(mapper, token)
    yield made
    made.die()


def suspend(mapper: FakeMapper, *names: str) -> None:
    for name in names:
        mapper.devices[name].suspended = True


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_disarmed_guard_does_nothing(mapper: FakeMapper, token: Token, guarded: Guarded) -> None:
    for _ in range(2):
        token.put()
        guarded.arm(seconds=60)
        assert guarded.ask({"do": "disarm"}) == {"fired": False}
    guarded.die()
    assert mapper.log == []
    assert tables(mapper) == "ooo"


def test_at_the_deadline_heads_run_on_their_old_tables(
    mapper: FakeMapper, token: Token, guarded: Guarded
) -> None:
    token.put()
    guarded.arm(seconds=0.05)
    suspend(mapper, *HEADS)
    until(lambda: tables(mapper) == "ooo")
    assert not waiting(mapper)
    assert not token.take()
    # What the freezer does late changes nothing.
    mapper.resume("frazil-a")
    assert guarded.ask({"do": "disarm"}) == {"fired": True}
    assert tables(mapper) == "ooo"


def test_a_freezer_that_hangs_is_killed_and_what_it_still_suspended_is_freed(
    mapper: FakeMapper, token: Token, guarded: Guarded
) -> None:
    token.put()
    guarded.arm(seconds=0.02)
    suspend(mapper, "frazil-a")
    until(lambda: tables(mapper) == "ooo")
    suspend(mapper, "frazil-b")
    until(lambda: guarded.killed == [4711])
    until(lambda: tables(mapper) == "ooo")
    assert not waiting(mapper)


@pytest.mark.parametrize("suspended", [(), HEADS[:1], HEADS])
def test_a_freezer_that_dies_before_the_flush_leaves_old_tables(
    mapper: FakeMapper, token: Token, guarded: Guarded, suspended: tuple[str, ...]
) -> None:
    token.put()
    guarded.arm(seconds=60)
    suspend(mapper, *suspended)
    guarded.die()
    assert tables(mapper) == "ooo"
    assert not waiting(mapper)


@pytest.mark.parametrize("resumed", [0, 1, 2])
def test_a_freezer_that_dies_after_the_flush_leaves_new_tables(
    mapper: FakeMapper, token: Token, guarded: Guarded, resumed: int
) -> None:
    token.put()
    guarded.arm(seconds=60)
    suspend(mapper, *HEADS)
    assert token.take()
    for name in HEADS[:resumed]:
        mapper.resume(name)
    guarded.die()
    assert tables(mapper) == "nnn"


def test_going_forward_a_refused_swap_still_frees_its_head(
    mapper: FakeMapper, token: Token, guarded: Guarded
) -> None:
    mapper.add("frazil-b", OLD, "0 16 linear 253:1 0")
    token.put()
    guarded.arm(seconds=60)
    suspend(mapper, *HEADS)
    assert token.take()
    guarded.die()
    assert tables(mapper) == "non"


def test_leftovers_are_freed_on_their_live_tables(mapper: FakeMapper) -> None:
    suspend(mapper, "frazil-b", "frazil-c")
    mapper.devices["frazil-c"].inactive = None
    mapper.add("vg-lv", OLD, NEW, uuid="LVM-x").suspended = True
    bare = mapper.add("frazil-d", OLD)
    bare.live, bare.suspended = None, True
    assert leftovers(mapper) == (
        Leftover("frazil-b", cleared=True, running=True),
        Leftover("frazil-c", cleared=False, running=True),
    )
    del mapper.devices["frazil-d"]
    assert tables(mapper) == "oooO"
    assert mapper.devices["frazil-a"].inactive, "what runs is left as it is"
    assert leftovers(mapper) == ()


def test_a_leftover_that_cannot_be_freed_is_told(mapper: FakeMapper) -> None:
    suspend(mapper, "frazil-a")
    mapper.fail("resume frazil-a", errno.EIO)
    assert leftovers(mapper) == (Leftover("frazil-a", cleared=True, running=False),)


def test_messages_end_with_the_other_side(tmp_path: Path) -> None:
    one, two = messages.pair()
    messages.send(one, {"a": [1, "ü"]})
    assert messages.receive(two, 1) == {"a": [1, "ü"]}
    with pytest.raises(TimeoutError):
        messages.receive(two, 0.01)
    one.close()
    assert messages.receive(two, 1) is None
    two.close()
