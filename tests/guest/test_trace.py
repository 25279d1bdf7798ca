"""The trace against real devices: what is written is marked, exactly, and where it belongs.

Two witnesses judge it: the writers' own log, and dm-log-writes below the layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from vagrant.lab import Guest, Lab

pytestmark = [pytest.mark.guest, pytest.mark.timeout(1800)]

INSIDE = "tests.guest.inside.tracing"
FREEZING = "tests.guest.inside.trace_freezes"


@pytest.fixture(scope="module")
def guest() -> Iterator[Guest]:
    with Lab() as lab:
        (made,) = lab.start("trace")
        started = made.call(f"{INSIDE}:start", timeout=1000)
        assert (started["state"], started["why"]) == ("ready", "")
        yield made


def workload(guest: Guest, name: str) -> dict[str, Any]:
    found: dict[str, Any] = guest.call(f"{INSIDE}:workload", name, timeout=180)
    assert found["why_lost"] == ""
    assert (found["untraced"], found["unlogged"], found["unexpected"]) == (0, 0, 0)
    return found


def test_23_writes_show_23(guest: Guest) -> None:
    found = workload(guest, "twenty_three")
    counters = found["counters"]
    assert (found["traced"], counters["writes"], counters["bytes"]) == (23, 23, 23 * 4096)
    assert counters["sizes"][3] == 23


@pytest.mark.parametrize(
    ("name", "blocks"),
    [
        ("parts_of_blocks", 3),
        ("across_borders", 12),
        ("large", 2305),
        ("to_the_end", 1),
        ("buffered", 78),
        ("mapped", 3),
        ("zeroed", 512),
    ],
)
def test_every_way_of_writing_is_marked_block_by_block(
    guest: Guest, name: str, blocks: int
) -> None:
    assert workload(guest, name)["traced"] == blocks


@pytest.mark.parametrize("name", ["ext4", "xfs", "lvm", "luks"])
def test_what_filesystems_and_volumes_on_the_head_write_is_marked(guest: Guest, name: str) -> None:
    found = workload(guest, name)
    assert found["traced"] > 400
    assert found["counters"]["flushes"] > 0


def test_kinds_of_writes_are_told_apart(guest: Guest) -> None:
    counters = workload(guest, "synchronous")["counters"]
    assert (counters["writes"], counters["fua"]) == (5, 5)
    assert workload(guest, "ext4")["counters"]["metadata"] > 0


def test_zeroes_are_marked_whatever_the_kernel_makes_of_them(guest: Guest) -> None:
    """dm-snapshot takes no WRITE_ZEROES: over it the kernel writes pages of zeroes."""
    found = guest.call(f"{INSIDE}:zeroing")
    linear, snapshot = found["linear"], found["snapshot"]
    assert (linear["exact"], snapshot["exact"]) == (True, True)
    assert linear["can"]["write_zeroes"]
    assert linear["zeroes"] == linear["writes"] > 0
    assert snapshot["can"] == {"write_zeroes": False, "discard": False}
    assert (snapshot["zeroes"], snapshot["bytes"]) == (0, linear["bytes"])


def test_writes_are_counted_to_the_generation_they_belong_to(guest: Guest) -> None:
    """Writers that never pause, through 200 freezes."""
    found = guest.call(f"{FREEZING}:freezes_by_tracer", 200, timeout=1700)
    print(found)
    assert found["freezes"] == 200
    assert found["held"] > 0, "no write met a suspended head: nothing was tested"
    assert (found["missing"], found["foreign"], found["differing"]) == (0, 0, 0), found


def test_a_witness_at_submission_counts_held_writes_to_the_wrong_generation(guest: Guest) -> None:
    """The negative control: the same program on block_bio_queue."""
    found = guest.call(f"{FREEZING}:freezes_by_queue", 20, timeout=500)
    assert found["held"] > 0
    assert found["missing"] > 0
    assert found["foreign"] > 0
    assert found["differing"] > 0, "the stores know it too"


def test_what_is_lost_is_known(guest: Guest) -> None:
    why = guest.call(f"{INSIDE}:lossy", timeout=300)
    assert why["fits"] == ""
    assert "map of blocks was full (8 times)" in why["full"]
    assert why["dropped, it fits again"] == ""
    assert "too long" in why["too long"]
    assert why["discards"] == "1"


def test_a_tracer_that_is_killed_takes_its_traces_along(guest: Guest) -> None:
    """Last: the guest has another tracer afterwards."""
    before = guest.call(f"{INSIDE}:start", timeout=1000)
    begun = guest.call(f"{INSIDE}:attach", "1:1")
    assert begun["epoch"] == before["epoch"]
    assert guest.call(f"{INSIDE}:read", begun["epoch"], begun["trace"]) == ""
    guest.run(["kill", "-9", str(before["pid"])])
    assert guest.call(f"{INSIDE}:read", begun["epoch"], begun["trace"]) == "TracerUnavailable"
    after = guest.call(f"{INSIDE}:start", timeout=1000)
    assert after["epoch"] != before["epoch"]
    again = guest.call(f"{INSIDE}:attach", "1:1")
    assert guest.call(f"{INSIDE}:read", again["epoch"], again["trace"]) == ""
    assert guest.call(f"{INSIDE}:read", begun["epoch"], again["trace"]) == "TraceGone"
