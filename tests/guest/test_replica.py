"""Generations of a replica as the kernel shows them, on files and on LVM."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from vagrant.lab import Guest, Lab

pytestmark = pytest.mark.guest


@pytest.fixture(scope="module")
def guest() -> Iterator[Guest]:
    with Lab() as lab:
        (made,) = lab.start("replica")
        yield made


@pytest.mark.parametrize("kind", ["files", "lvm"])
def test_every_generation_is_shown_as_it_was(guest: Guest, kind: str) -> None:
    found = guest.call("tests.guest.inside.replicas:shown", kind)
    assert found == {
        "user space": True,
        "kernel": {str(number): True for number in range(1, 6)},
        "read-only": True,
        "still there under a merger": True,
        "the last one stays": True,
        "devices left": [],
        "loops left": [],
        "merged": True,
        "objects left": [],
    }


def test_a_head_that_wrote_to_the_layers_would_be_seen(guest: Guest) -> None:
    """The negative control: without its scratch object the generation changes."""
    found = guest.call("tests.guest.inside.heads:without_scratch", timeout=400)
    assert found["starts as its generation"]
    assert not found["read-only is as it was"]


@pytest.mark.parametrize("kind", ["files", "lvm"])
def test_a_head_to_test_on_while_mirroring_goes_on(guest: Guest, kind: str) -> None:
    found = guest.call("tests.guest.inside.heads:tested", kind, timeout=500)
    assert found == {
        "starts as its generation": True,
        "a filesystem is written": True,
        "read-only is as it was": True,
        "newer ones come": True,
        "read-only is still as it was": True,
        "the filesystem is still there": True,
        "devices left": [],
        "loops left": [],
        "objects left": 1,
        "the newest": True,
    }
