"""Whatever befalls a source and its replicas, every one of them holds a whole instant.

Everything that frazil decides and moves is real; only device-mapper is a model of it in memory
(:mod:`tests.soft.mapper`), and no thread of frazil's runs by itself.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from unittest import mock

import pytest
from hypothesis import HealthCheck, settings

from control.journal import Journal
from control.records import Policy
from control.timing import LAYERS_AT_MOST
from tests.histories.model import Wrong
from tests.soft.histories import Histories
from tests.soft.world import GROUP

FREEZE_EFFECTS = 34
COPY_EFFECTS = 24
SACRIFICE_EFFECTS = 40
"""More than there are: the last ones live."""

Histories.TestCase.settings = settings(
    max_examples=int(os.environ.get("FRAZIL_HISTORIES", "25")),
    stateful_step_count=30,
    derandomize="FRAZIL_HISTORIES" not in os.environ,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestHistories = Histories.TestCase


@pytest.fixture
def told() -> Iterator[Histories]:
    """Two volumes in a group, one mirror, one generation there."""
    made = Histories()
    made.begin(members=2, keep=0, policy=Policy.LOCKSTEP, two=False)
    made.world.freeze()
    made.copy("m1")
    yield made
    made.teardown()


def go_on(told: Histories) -> None:
    """A cycle and a merge, in which nothing happens."""
    told.right()
    told.world.write("b", 4096 * 3, b"on" * 2048)
    told.world.freeze()
    told.copy("m1")
    for volume in ("a", "b"):
        while told.world.merge(volume):
            pass
    told.right()


@pytest.mark.parametrize("power", [False, True])
def test_a_daemon_that_dies_anywhere_in_a_freeze_goes_on(told: Histories, power: bool) -> None:
    """Journaled, allocated, or already on the stack: the kernel and the stores tell which."""
    for effects in range(FREEZE_EFFECTS):
        told.world.write("a", 4096 * (effects % 60), bytes([effects + 1]) * 4096)
        told.freeze(chunk=4, dies=effects, power=power)
        lives = not told.world.died
        go_on(told)
    assert lives


@pytest.mark.parametrize("power", [False, True])
def test_a_daemon_that_dies_anywhere_in_a_copy_or_merge_goes_on(
    told: Histories, power: bool
) -> None:
    """At the commit too, and before it is written down here."""
    nothing = ("cut", "c", 9)
    for effects in range(COPY_EFFECTS):
        told.world.write("a", 4096 * effects, bytes([effects + 1]) * 4096)
        told.world.freeze()
        told.copy_badly("m1", nothing, dies=effects, power=power)
        lives = not told.world.died
        told.right()
        told.copy("m1")
        told.merge("a", dies=effects, power=power)
        lives = lives and not told.world.died
        go_on(told)
    assert lives


def test_a_replica_that_is_down_holds_nobody_back(told: Histories) -> None:
    """Neither the freezes for the others, nor its own way back, however many layers it takes."""
    told.world.source.journal.save_group(
        dataclasses.replace(
            told.world.roster.conductor(GROUP).group.record, policy=Policy.INDEPENDENT
        )
    )
    told.world.add_mirror("m2", "r2")
    told.direct("m1", "pause")
    for cycle in range(LAYERS_AT_MOST + 4):
        told.world.write("a", 4096 * cycle, b"up" * 2048)
        told.copy("m2")
        told.merge("a", dies=None, power=False)
        told.merge("b", dies=None, power=False)
        assert told.world.conduct()
        told.right()
    told.direct("m1", "resume")
    told.copy("m1")
    told.settle()


def test_an_instant_that_is_half_merged_over_is_given_up(told: Histories) -> None:
    """A copy that was begun of it is not gone on with: it would bring a mixture."""
    half_merged(told)


def test_an_instant_that_is_half_merged_over_is_found(told: Histories) -> None:
    """The negative control."""
    with mock.patch.object(Journal, "merging", lambda journal, uuid: -1), pytest.raises(Wrong):
        half_merged(told)


def half_merged(told: Histories) -> None:
    """A copy has begun when its layers are sacrificed, in which the daemon dies, again and again.

    :raises Wrong: the replica's image, or one here, is not the generation's.
    """
    for place in range(0, 90, 10):
        told.write("a", place, 40, "noise")
    told.freeze(chunk=4, dies=None, power=False)
    for place in range(5, 90, 10):
        told.write("a", place, 40, "noise")
    told.copy_badly("m1", ("cut", "a", 1), dies=None, power=False)
    told.freeze(chunk=4, dies=None, power=False)
    for effects in range(0, SACRIFICE_EFFECTS, 3):
        told.sacrifice("a", "frozen", dies=effects, power=False)
        told.right()
        told.copy_badly("m1", ("cut", "a", 1), dies=None, power=False)
        told.right()
    told.settle()
