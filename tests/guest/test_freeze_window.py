"""The freeze window on real devices: what it proves, how long it takes, who ends it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from statistics import median
from typing import Any

import pytest

from vagrant.lab import Guest, Lab

pytestmark = pytest.mark.guest

INSIDE = "tests.guest.inside.freezes"


@pytest.fixture(scope="module")
def guest() -> Iterator[Guest]:
    with Lab() as lab:
        (made,) = lab.start("freezes")
        yield made


@pytest.mark.parametrize(("heads", "cycles"), [(1, 3), (4, 1)])
def test_pauses(guest: Guest, heads: int, cycles: int) -> None:
    found = guest.call(f"{INSIDE}:pauses", heads, cycles, True)
    assert found["moved"]
    assert found["locked"]
    for memory in found["memory"]:
        assert 4 << 10 < memory["locked_kib"] < 64 << 10
        assert memory["oom"] == "-1000"
    for result in found["results"]:
        assert len(result["suspended_us"]) == heads
        assert 0 < result["fsync_us"] < result["pause_us"] < 5_000_000
        assert max(result["suspended_us"]) <= result["pause_us"]
    report(f"{heads} heads, written to", found["results"])


def report(what: str, results: list[dict[str, Any]]) -> None:
    """Print the medians; kept by the test run's output when asked for with -s."""
    fields = ("pause_us", "fsync_us", "sync_us", "write_us")
    medians = {field: median(result[field] for result in results) for field in fields}
    print(f"\npause: {what}: {json.dumps(medians)}")


def test_only_ioctls_and_flushes_between_the_first_suspend_and_the_last_resume(
    guest: Guest,
) -> None:
    found = guest.call(f"{INSIDE}:traced")
    suspend = "ioctl c138fd06"
    # The two threads wait for each other with futexes; they are made before.
    within = [event for event in found["within"] if event != "futex"]
    assert within == [suspend] * 2 + ["fsync"] * 2 + ["read"] + [suspend] * 2
    # The trace does see what must not be there: opening, sending, waiting.
    assert {"openat", "sendto", "recvfrom", "close", "clone3"} <= set(found["around"])


def test_a_frozen_filesystem_is_clean(guest: Guest) -> None:
    found = guest.call(f"{INSIDE}:filesystem", True)
    assert not found["needs_recovery"]
    assert found["e2fsck"] == 0
    assert found["files"] == {"before": 1 << 20, "dirty": 1 << 20}


def test_without_the_filesystems_freeze_the_image_is_as_after_a_power_cut(guest: Guest) -> None:
    found = guest.call(f"{INSIDE}:filesystem", False)
    assert found["needs_recovery"]
    assert found["files"]["before"] == 1 << 20
    assert "after" not in found["files"]


def test_what_was_acknowledged_is_flushed_before_the_swap(guest: Guest) -> None:
    found = guest.call(f"{INSIDE}:flushes", True)
    assert found["on"] == 2
    assert found["flushes"] >= 1


def test_negative_control_without_the_flush_none_reaches_the_store(guest: Guest) -> None:
    assert guest.call(f"{INSIDE}:flushes", False) == {"on": 2, "flushes": 0}


def test_a_window_that_outlives_its_deadline_is_undone(guest: Guest) -> None:
    found = guest.call(f"{INSIDE}:outlived", 900, 0.3)
    assert found["step"] in ("deadline", "guard")
    assert found["heads"] == [["old", False]]
    assert found["on"] == 1
    assert found["cleared"]
    assert found["next"] == 2


def test_a_flush_that_hangs_does_not_hold_the_writer(guest: Guest) -> None:
    found = guest.call(f"{INSIDE}:outlived", 3000, 0.3)
    assert found["step"] == "guard", "the freezer was killed"
    assert found["heads"] == [["old", False]]
    assert 200_000 < found["stalled_us"] < 2_800_000, "less than the flush takes"
    assert found["cleared"]
    assert not found["same processes"]
    assert found["next"] == 2


def test_a_freezer_killed_in_the_window_leaves_the_old_table(guest: Guest) -> None:
    found = guest.call(f"{INSIDE}:killed", "freezer")
    assert found["step"] == "guard"
    assert found["heads"] == [["old", False]]
    assert (found["on"], found["suspended"], found["next"]) == (1, False, 2)


def test_negative_control_without_the_guard_the_head_stays_suspended(guest: Guest) -> None:
    found = guest.call(f"{INSIDE}:unguarded")
    assert found["heads"] == [["old", True]]
    assert "is still suspended" in found["what"]
    # Until the next daemon's start.
    assert found["freed"] == [["frazil-slow-volume", True, True]]
    assert found["on"] == 1


def test_a_guard_killed_in_the_window_does_not_stop_it(guest: Guest) -> None:
    found = guest.call(f"{INSIDE}:killed", "guard")
    assert found["step"] == "none"
    assert (found["on"], found["suspended"], found["next"]) == (2, False, 3)


@pytest.mark.parametrize("who", ["guard", "freezing"])
def test_a_process_killed_between_windows_is_replaced(guest: Guest, who: str) -> None:
    assert guest.call(f"{INSIDE}:killed_idle", who) == {"on": 1, "both are new": True}


def test_a_daemon_killed_in_the_window_leaves_a_freeze_that_happened(guest: Guest) -> None:
    found = guest.call(f"{INSIDE}:orphaned")
    assert found["on"] == 2
    assert found["gone"] == [True, True]


def test_a_group_is_cut_at_one_instant(guest: Guest) -> None:
    for first, second, third in guest.call(f"{INSIDE}:group", True, 2):
        assert first >= second >= third >= first - 1 >= 4


def test_negative_control_one_after_another_is_not_one_instant(guest: Guest) -> None:
    ((first, second, third),) = guest.call(f"{INSIDE}:group", False, 1)
    assert first < second < third


def test_leftovers_run_again_on_their_old_tables(guest: Guest) -> None:
    found = guest.call(f"{INSIDE}:left_over")
    assert sorted(found["freed"]) == [["frazil-left", True, True], ["frazil-left-0", False, True]]
    assert (found["again"], found["on"], found["others"]) == (0, 0, True)


def test_a_filesystem_that_somebody_else_froze(guest: Guest) -> None:
    found = guest.call(f"{INSIDE}:already_frozen")
    assert found["step"] == "suspend"
    assert os.strerror(16) in found["what"]
    assert found["heads"] == [["old", False]]
    assert found["next"] == 1
