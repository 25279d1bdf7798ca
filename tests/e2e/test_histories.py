"""Whatever befalls real hosts, each holds a whole instant: some of the random histories in guests.

The steps and the models are those of :mod:`tests.property.test_histories` and
:mod:`tests.property.test_failovers`; here frazil's own threads and the kernel do their part.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from dm_tables.units import KIB, MIB, SECTOR
from tests.e2e.lab_worlds import LabSites, LabWorld
from tests.histories import sites, source
from tests.histories.model import Wrong
from tests.histories.steps import Step, shuffled
from tests.topology import Site, running

pytestmark = [pytest.mark.guest, pytest.mark.timeout(1800)]

SIZES = {"a": 2 * MIB, "b": MIB + 3 * SECTOR, "c": MIB}
SOURCE_SEEDS = [int(seed) for seed in os.environ.get("FRAZIL_SEEDS", "3").split()]
SITES_SEED = 2
GROUPED = ("a", "b")
"""The third is there to join."""

OFTEN = ["write"] * 3 + ["copy", "copy_badly", "copy_badly", "freeze"]
SELDOM = ["direct", "direct", "add_or_remove_mirror", "join_or_leave", "restart", "restart_there"]
TURNS = ["write"] * 2 + ["freeze", "fail_over", "switch", "restart"]


def begins(chance: random.Random, names: Sequence[str]) -> dict[str, bytes]:
    """Something in some places, nothing in others."""
    made = {name: bytearray(SIZES[name]) for name in names}
    for data in made.values():
        for _ in range(6):
            at = chance.randrange(len(data) // 4096) * 4096
            data[at : at + 64 * KIB] = chance.randbytes(min(64 * KIB, len(data) - at))
    return {name: bytes(data) for name, data in made.items()}


def go_through(told: Any, steps: Sequence[Step]) -> None:
    """All steps, and a look at everything after each that is more than a write."""
    began = time.monotonic()
    for number, (step, how) in enumerate(steps):
        print(f"{time.monotonic() - began:6.1f} s  {number:2}  {step} {how}", flush=True)
        getattr(told, step)(**how)
        if step != "write":
            told.right()


@contextmanager
def hosts(*names: str) -> Iterator[Site]:
    """They say their last words if a test fails."""
    with running(*names) as site:
        try:
            yield site
        except BaseException:
            for host in site.hosts.values():
                print(f"--- {host.name}\n{host.log_tail(60)}")
            raise


@pytest.mark.parametrize("seed", SOURCE_SEEDS)
def test_a_source_and_its_replicas(seed: int) -> None:
    told = source.SourceHistory()
    told.chance = random.Random(seed)
    with hosts("east", "west", "north") as site:
        world = LabWorld(site, begins(told.chance, source.NAMES), GROUPED)
        told.world = world
        world.add_mirror("m1", "r1")
        world.add_mirror("m2", "r2")
        told.copy("m1")
        go_through(told, shuffled(seed, source.STEPS, OFTEN + SELDOM))
        if "m1" not in world.mirrors:
            world.add_mirror("m1", "r1")
        told.settle()
        print(f"{len(world.instants)} instants, {world.compared} images compared")
        a_source_that_leaves_something_out_is_found(told, world)


def a_source_that_leaves_something_out_is_found(
    told: source.SourceHistory, world: LabWorld
) -> None:
    """The negative control."""
    world.leader.kill()
    world.leader.start_broken("one-chunk-less")
    for place in (10, 50, 90):
        told.write("a", place, 40, "noise")
        told.write("b", place, 40, "noise")
    told.copy("m1")
    with pytest.raises(Wrong, match="at west is not its generation"):
        told.right()


def test_two_sites_that_change_sides() -> None:
    told = sites.SitesHistory()
    told.chance = random.Random(SITES_SEED)
    with hosts("east", "west") as site:
        world = LabSites(site, begins(told.chance, sites.NAMES))
        told.sites = world
        told.copy()
        go_through(told, shuffled(SITES_SEED, sites.STEPS, TURNS))
        told.copy()
        told.right()
        print(f"{len(world.instants)} instants, {world.compared} images compared")
        # The negative control: a model in which what no other host had is not lost.
        told.write("a", 50, 9)
        kept = bytes(world.models["a"].head)
        world.fail_over(dies=None, power=True)
        world.check(both=False)
        world.models["a"].head[:] = kept
        with pytest.raises(Wrong, match="the head is wrong"):
            world.check(both=False)
