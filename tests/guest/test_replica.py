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
