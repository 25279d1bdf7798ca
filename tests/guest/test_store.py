"""Exception stores: the kernel's read by us, ours activated by the kernel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from vagrant.lab import Guest, Lab

pytestmark = pytest.mark.guest

INSIDE = "tests.guest.inside.stores"


@pytest.fixture(scope="module")
def guest() -> Iterator[Guest]:
    with Lab() as lab:
        (made,) = lab.start("store")
        yield made


def call(guest: Guest, function: str, *arguments: object) -> dict[str, Any]:
    found = guest.call(f"{INSIDE}:{function}", *arguments)
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(("chunk", "full"), [(4096, 2), (16384, 0), (65536, 0)])
def test_we_read_what_the_kernel_wrote(guest: Guest, chunk: int, full: int) -> None:
    found = call(guest, "kernel_wrote", chunk)
    assert found.pop("full areas") >= full
    assert all(found.values()), found


def test_a_live_store_shows_ever_longer_prefixes(guest: Guest) -> None:
    assert call(guest, "live") == {"prefixes": True, "grew": True, "same": True}


@pytest.mark.parametrize(
    ("count", "finish"),
    [(0, True), (1, False), (255, True), (256, False), (256, True), (257, True), (512, False)],
)
def test_the_kernel_activates_what_we_wrote_and_goes_on(
    guest: Guest, count: int, finish: bool
) -> None:
    assert call(guest, "we_wrote", 4096, count, finish) == {
        "durable": count,
        "kernel counts": count,
        "kernel shows the model": True,
        "kernel goes on": True,
        "after reactivation": True,
    }


def test_larger_chunks_too(guest: Guest) -> None:
    found = call(guest, "we_wrote", 65536, 20, True)
    assert (found.pop("durable"), found.pop("kernel counts")) == (20, 20)
    assert all(found.values()), found


def test_a_sparse_file_that_ends_with_a_hole_at_an_areas_end(guest: Guest) -> None:
    assert call(guest, "on_a_loop") == {"kernel shows the model": True}


@pytest.mark.parametrize("chunk", [4096, 65536])
def test_a_merge_is_invisible_half_way_and_at_the_end(guest: Guest, chunk: int) -> None:
    found = call(guest, "merged", chunk, 20)
    assert found.pop("stopped") == "Interrupted"
    assert all(found.values()), found


def test_a_scrubbed_store_stays_as_it_was(guest: Guest) -> None:
    assert call(guest, "resurrection", True) == {
        "cleared": 1,
        "before": True,
        "live": True,
        "wrong chunks": [],
    }


def test_without_the_scrub_an_exception_that_never_was_comes_to_life(guest: Guest) -> None:
    """The negative control: fact A7, on a real kernel."""
    assert call(guest, "resurrection", False) == {
        "cleared": None,
        "before": True,
        "live": True,
        "wrong chunks": [77],
    }


def test_layers_of_different_chunk_sizes_stack_and_merge(guest: Guest) -> None:
    found = guest.call("tests.guest.inside.mixed:stacked", 64, 4, 1024, 16, timeout=180)
    assert found["merged"] == [True] * 4
    assert all(found.values()), found


@pytest.mark.parametrize(("lower", "upper"), [(4, 4), (64, 4), (4, 64)])
def test_the_kernel_activates_a_squashed_layer(guest: Guest, lower: int, upper: int) -> None:
    found = guest.call("tests.guest.inside.mixed:squashed", lower, upper)
    assert found == {
        "two layers": True,
        "one layer": True,
        "exceptions": True,
        "kernel goes on": True,
    }


def test_layers_squashed_the_wrong_way_round_are_seen(guest: Guest) -> None:
    """The negative control."""
    found = guest.call("tests.guest.inside.mixed:squashed", 4, 4, wrong=True)
    assert found["two layers"]
    assert not found["one layer"]
