"""A group is cut at one instant, hundreds of times: the cross-volume oracle on real devices."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest

from vagrant.lab import Guest, Lab

INSIDE = "tests.guest.inside.stamped"
HEADS = 8
FREEZES = 200
LIMIT = 1800

pytestmark = [pytest.mark.guest, pytest.mark.timeout(LIMIT)]


@pytest.fixture(scope="module")
def guest() -> Iterator[Guest]:
    with Lab() as lab:
        (made,) = lab.start("stamps")
        yield made


def test_hundreds_of_freezes_of_a_group(guest: Guest) -> None:
    found = guest.call(f"{INSIDE}:freezes", HEADS, FREEZES, True, timeout=LIMIT)
    assert found["faults"] == []
    newest = [instant[-1] for instant in found["instants"]]
    assert len(newest) == FREEZES
    assert all(later > earlier for earlier, later in pairwise(newest))
    # Some instants fall between two volumes' writes, or nothing was put to the test.
    between = sum(instant[0] != instant[-1] for instant in found["instants"])
    assert between > 0
    print(
        f"\n{between} of {FREEZES} freezes fell between two volumes' writes, {newest[-1]} stamps, "
        f"{found['seconds']:.0f} s"
    )


def test_negative_control_members_frozen_one_after_another(guest: Guest) -> None:
    found = guest.call(f"{INSIDE}:freezes", HEADS, 3, False, timeout=LIMIT)
    assert found["red"] == 3
    assert any("was not yet on" in fault for fault in found["faults"][0])
