"""Pools of files and of logical volumes, on a real kernel; live growth under a writer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from control.pool.sizing import safe_size
from dm_tables.units import KIB, MIB, Bytes
from vagrant.lab import Guest, Lab

pytestmark = pytest.mark.guest

INSIDE = "tests.guest.inside.pools"


@pytest.fixture(scope="module")
def guest() -> Iterator[Guest]:
    with Lab() as lab:
        (made,) = lab.start("pool")
        made.call(f"{INSIDE}:make_group")
        yield made


@pytest.mark.parametrize("kind", ["ext4", "tmpfs", "lvm"])
def test_an_objects_life(guest: Guest, kind: str) -> None:
    assert guest.call(f"{INSIDE}:life", kind) == {
        "again": True,
        "taken": True,
        "coherent": True,
        "grown": [20 * MIB, 20 * MIB],
        "kept": True,
        "busy": ["ObjectBusy", "ObjectBusy", ["db.1"]],
        "detached": True,
        "after detach": True,
        "gone": True,
    }


@pytest.mark.parametrize("kind", ["ext4", "tmpfs"])
def test_a_filesystem_that_runs_full_gives_back_what_was_taken(guest: Guest, kind: str) -> None:
    assert guest.call(f"{INSIDE}:full", kind) == {
        "refused": ["PoolFull", "PoolFull"],
        "left": ["db.1"],
        "size": 20 * MIB,
        "given back": True,
    }


@pytest.mark.parametrize("kind", ["ext4", "lvm"])
def test_an_auxiliary_volume_grows_under_its_writer_far_past_its_first_size(
    guest: Guest, kind: str
) -> None:
    start, written = 8 * MIB, 24 * MIB
    found = guest.call(f"{INSIDE}:grown", kind, start, written, 2.0 * MIB, grow=True)
    assert found["status"] == "Usage"
    assert (found["error"], found["wrong"]) == ("", 0)
    assert found["used"] >= written
    assert found["sizes"][0] == start
    assert len(found["sizes"]) > 1
    assert found["sizes"] == sorted(set(found["sizes"]))
    assert found["sizes"][-1] > written
    for size in found["sizes"]:
        assert size == safe_size(Bytes(size), Bytes(64 * KIB))


def test_one_that_does_not_grow_overflows(guest: Guest) -> None:
    """The negative control: the same writer fails where nothing makes room."""
    found = guest.call(f"{INSIDE}:grown", "ext4", 4 * MIB, 8 * MIB, 1e9, grow=False)
    assert found["status"] == "Overflow"
    assert found["error"] == "Input/output error"
    assert found["wrong"] > 0


def test_a_treacherous_size_kills_the_snapshot_and_a_safe_one_does_not(guest: Guest) -> None:
    """Fact A3: when an area fills up at the very end of the store, not even overflow is left."""
    treacherous = (1 + 257) * 4 * KIB
    assert guest.call(f"{INSIDE}:last_area", treacherous) == "Invalid"
    safe = safe_size(Bytes(treacherous), Bytes(4 * KIB), granularity=Bytes(4 * KIB))
    assert safe == treacherous + 4 * KIB
    assert guest.call(f"{INSIDE}:last_area", safe) == "Usage"


def test_lvm_does_not_wait_for_a_device_that_a_freeze_holds(guest: Guest) -> None:
    found = guest.call(f"{INSIDE}:beside_a_suspended_device", timeout=120)
    assert found == {"size": 0, "without": "ToolTimedOut"}
