"""Tables, statuses and devices against the kernel's device-mapper."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from vagrant.lab import Guest, Lab

pytestmark = pytest.mark.guest

INSIDE = "tests.guest.inside.tables"


@pytest.fixture(scope="module")
def guest() -> Iterator[Guest]:
    with Lab() as lab:
        (made,) = lab.start("tables")
        yield made


def test_the_kernels_targets_are_known(guest: Guest) -> None:
    driver, *found = guest.call(f"{INSIDE}:versions")
    assert driver.startswith("4.")
    assert {"linear", "snapshot", "snapshot-merge", "error"} <= set(found)


def test_every_target_comes_back_as_it_was_loaded(guest: Guest) -> None:
    found = guest.call(f"{INSIDE}:round_trips")
    assert found["unequal"] == []
    assert len(found["printed"]) == 11
    # The kernel's own spelling is what the parsers' unit tests assume.
    assert found["printed"][3].split()[2] == "snapshot"
    assert found["printed"][3].split()[-2:] == ["PO", "128"]


def test_devices_are_brought_to_a_table_from_wherever_they_are(guest: Guest) -> None:
    assert guest.call(f"{INSIDE}:ensured") == [
        "nothing",
        "swapped",
        "nothing",
        "inactive False",
        "resumed",
        "swapped",
        "readonly True suspended False",
    ]


def test_a_swap_that_the_kernel_refuses_changes_nothing(guest: Guest) -> None:
    assert guest.call(f"{INSIDE}:refused") == {
        "error": "DmsetupFailed",
        "same": True,
        "suspended": False,
        "inactive": False,
    }


def test_errors_are_of_the_type_that_fits(guest: Guest) -> None:
    assert guest.call(f"{INSIDE}:errors") == {
        "create twice": "DeviceExists",
        "uuid twice": "DeviceExists",
        "load": "DeviceMissing",
        "status": "DeviceMissing",
        "suspend": "DeviceMissing",
        "resume": "DeviceMissing",
        "remove": "DeviceMissing",
        "clear": "DeviceMissing",
        "table of none": "None",
        "info of none": "None",
        "unknown target": "DmsetupFailed",
        "remove open": "DeviceBusy",
        "create with a bad table": "DmsetupFailed",
        "left by it": "None",
        "missing program": "DmsetupMissing",
        "unprivileged": "NotRoot",
    }


def test_a_store_from_fresh_to_full(guest: Guest) -> None:
    found = guest.call(f"{INSIDE}:statuses")
    fresh = "Usage(allocated=256, total=16384, metadata=256)"
    assert found["PO"][0] == found["P"][0] == fresh
    assert found["PO"][2] == found["P"][2] == "Usage(allocated=768, total=16384, metadata=256)"
    assert found["PO"][-2:] == ["Input/output error", "Overflow()"]
    assert found["P"][-2:] == ["Input/output error", "Invalid()"]


def test_the_ioctl_tells_what_dmsetup_tells(guest: Guest) -> None:
    assert guest.call(f"{INSIDE}:ioctl_agrees") == []
