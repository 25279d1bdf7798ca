"""The trace on two processors, which write to one layer at the same time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.guest.inside.trace_processors import WRITES
from vagrant.lab import Guest, Lab

pytestmark = [pytest.mark.guest, pytest.mark.timeout(1800)]

COUNTING = "tests.guest.inside.trace_processors:counted"
ALL = 2 * WRITES


@pytest.fixture(scope="module")
def guest() -> Iterator[Guest]:
    with Lab() as lab:
        (made,) = lab.start("processors", cpus=2)
        yield made


def test_every_write_of_both_is_counted_and_marked(guest: Guest) -> None:
    found = guest.call(COUNTING, timeout=400)
    assert found["processors"] == 2
    assert found["why_lost"] == ""
    assert (found["writes"], found["bytes"], found["blocks"]) == (ALL, 4096 * ALL, ALL)
    assert (found["sizes"], found["alignments"]) == (ALL, ALL)


def test_a_program_that_reads_and_then_writes_loses_counts(guest: Guest) -> None:
    """The negative control: the two do write at the same time."""
    found = guest.call(COUNTING, apart=True, timeout=400)
    assert found["why_lost"] == ""
    assert min(found["writes"], found["bytes"] // 4096, found["sizes"]) < ALL


def test_writers_on_both_through_freezes(guest: Guest) -> None:
    started = guest.call("tests.guest.inside.tracing:start", timeout=1000)
    assert (started["state"], started["why"]) == ("ready", "")
    found = guest.call("tests.guest.inside.trace_freezes:freezes_by_tracer", 20, timeout=500)
    assert found["held"] > 0
    assert (found["missing"], found["foreign"], found["differing"]) == (0, 0, 0), found
