"""The rate limit, on a clock that the test moves."""

from __future__ import annotations

import threading
import time

import pytest

from control.limiter import Interrupted, RateLimiter
from dm_tables.errors import Usage


class Waits(threading.Event):
    """A clock that runs only while somebody waits."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0


def timed(limiter: RateLimiter, clock: Waits, count: int, size: int) -> float:
    """Seconds of the clock that ``count`` takes of ``size`` bytes last."""

    def wait(seconds: float | None = None) -> bool:
        clock.now += seconds or 0.0
        return True

    limiter._changed.wait = wait  # type: ignore[method-assign, assignment]
    begin = clock.now
    for _ in range(count):
        limiter.take(size)
    return clock.now - begin


def test_bytes_move_at_the_rate() -> None:
    clock = Waits()
    limiter = RateLimiter(1_000_000, clock=lambda: clock.now)
    # The first take is free and the last one is still owed.
    assert timed(limiter, clock, 101, 50_000) == pytest.approx(5.0, abs=0.11)


def test_idling_earns_no_more_than_the_burst() -> None:
    clock = Waits()
    limiter = RateLimiter(1_000_000, clock=lambda: clock.now)
    limiter.take(50_000)
    clock.now += 3600
    assert timed(limiter, clock, 101, 50_000) == pytest.approx(5.0 - 0.1, abs=0.11)


def test_no_limit_never_waits() -> None:
    clock = Waits()
    assert timed(RateLimiter(clock=lambda: clock.now), clock, 1000, 1 << 30) == 0


def test_a_changed_rate_holds_at_once() -> None:
    clock = Waits()
    limiter = RateLimiter(1000, clock=lambda: clock.now)
    limiter.take(1_000_000)
    limiter.set_rate(1_000_000)
    assert limiter.rate == 1_000_000
    assert timed(limiter, clock, 1, 1) == pytest.approx(1.0, abs=0.11)
    limiter.set_rate(0)
    assert timed(limiter, clock, 100, 1 << 30) == 0
    with pytest.raises(Usage):
        limiter.set_rate(-1)


def test_who_waits_hears_a_new_rate_and_a_stop() -> None:
    limiter = RateLimiter(1)
    limiter.take(1 << 20)
    passed = threading.Event()

    def take() -> None:
        limiter.take(1)
        passed.set()

    threading.Thread(target=take, daemon=True).start()
    assert not passed.wait(0.2)
    limiter.set_rate(0)
    assert passed.wait(5)

    limiter.set_rate(1)
    limiter.take(1 << 20)
    threading.Timer(0.1, limiter.stop.set).start()
    begin = time.monotonic()
    with pytest.raises(Interrupted):
        limiter.take(1)
    assert time.monotonic() - begin < 5


def test_a_stop_is_heard_without_a_limit() -> None:
    limiter = RateLimiter()
    limiter.take(1)
    limiter.stop.set()
    with pytest.raises(Interrupted):
        limiter.take(1)
