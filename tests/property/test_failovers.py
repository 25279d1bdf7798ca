"""Two sites change sides, planned and not, and nothing of a committed generation is lost.

As :mod:`tests.property.test_histories`, with both roles at both ends.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from hypothesis.strategies import booleans, integers, sampled_from

from dm_tables.units import SECTOR
from tests.histories.model import Wrong
from tests.histories.rules import as_rule
from tests.histories.sites import NAMES, STEPS, SitesHistory
from tests.histories.source import FAULTS, Fault
from tests.property.test_histories_controls import members_are_committed_one_by_one
from tests.soft.sites import Sites

SIZES = {"a": 256 * 4096, "b": 21 * 4096 + 3 * SECTOR}
TURN_EFFECTS = 90
"""More than a promote or a demote has."""

BREAKS = tuple(dict.fromkeys(fault for fault in FAULTS if fault[1] in ("", *NAMES)))


class Failovers(SitesHistory, RuleBasedStateMachine):
    """The shared steps, without a kernel."""

    sites: Sites

    def __init__(self) -> None:
        super().__init__()
        self.chance = random.Random(0)
        self._begun = False

    @initialize()
    def begin(self) -> None:
        """With one generation at both sites."""
        self.sites = Sites({name: self.chance.randbytes(size) for name, size in SIZES.items()})
        self._begun = True
        self.sites.freeze()
        self.copy()

    def teardown(self) -> None:
        """Leave nothing."""
        if self._begun:
            self.sites.close()

    write = as_rule(SitesHistory.write, STEPS["write"])
    freeze = as_rule(SitesHistory.freeze, STEPS["freeze"])
    copy = as_rule(SitesHistory.copy, STEPS["copy"])

    @rule(fault=sampled_from(BREAKS))
    def copy_badly(self, fault: Fault) -> None:
        """The connection breaks: what came in part must not be promoted, nor part of a group."""
        self.sites.copy_badly(fault)

    merge = as_rule(SitesHistory.merge, STEPS["merge"])
    fail_over = as_rule(SitesHistory.fail_over, STEPS["fail_over"])

    @rule(work=integers(0, 2), lost=booleans(), power=booleans(), used=booleans())
    def take_back(self, work: int, lost: bool, power: bool, used: bool) -> None:
        """A failover that was none: the old site goes on, and the new one gives up its writes."""
        if lost:
            self.write("a", 50, 9)
        if lost and work:
            self.sites.freeze()
        self.sites.fail_over()
        for number in range(work):
            self.write("b", 7 + number * 30, 12)
            self.sites.freeze()
        self.sites.take_back(power=power, written=self.chance.randbytes(4096) if used else b"")
        self.right()
        self.copy()

    switch = as_rule(SitesHistory.switch, STEPS["switch"])
    restart = as_rule(SitesHistory.restart, STEPS["restart"])

    @invariant()
    def right(self) -> None:
        """Both sites hold what the model says."""
        if self._begun:
            self.sites.check()


Failovers.TestCase.settings = settings(
    max_examples=10,
    stateful_step_count=20,
    derandomize=True,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestFailovers = Failovers.TestCase


@pytest.fixture
def begun() -> Iterator[Failovers]:
    """Two generations at both sites, and a third only here."""
    made = Failovers()
    made.begin()
    for place in (10, 60):
        made.write("a", place, 12)
        made.write("b", place, 12)
        made.sites.freeze()
        made.copy()
    yield made
    made.teardown()


@pytest.mark.parametrize("power", [False, True])
def test_a_site_that_dies_anywhere_in_a_change_of_sides_goes_on(
    begun: Failovers, power: bool
) -> None:
    """In the promote, and later in the demote."""
    died = True
    for effects in range(0, TURN_EFFECTS, 3):
        begun.write("a", effects % 100, 12)
        begun.sites.freeze()
        begun.fail_over(
            work=1, lost=effects % 2 == 0, power=power, dies=effects, dies_later=effects
        )
        died = begun.sites.died
        begun.right()
        begun.copy()
        begun.right()
        begun.merge()
        begun.right()
    assert not died


@pytest.mark.parametrize("fault", BREAKS)
def test_a_copy_that_broke_off_is_not_promoted_in_part(begun: Failovers, fault: Fault) -> None:
    """One member has come, or a part of one: the sides change with a whole instant, and go on."""
    change_sides_after(begun, fault)


def test_members_that_are_committed_apart_are_found(begun: Failovers) -> None:
    """The negative control."""
    with members_are_committed_one_by_one(), pytest.raises(Wrong, match="different instants"):
        change_sides_after(begun, ("before", "", 1))


def change_sides_after(begun: Failovers, fault: Fault) -> None:
    """A copy breaks off, then its source is lost. :raises Wrong: a mixture of instants is seen."""
    for place in range(0, 100, 9):
        begun.write("a", place, 12)
        begun.write("b", place, 12)
    begun.sites.freeze()
    begun.copy_badly(fault)
    begun.right()
    begun.fail_over(work=1, lost=True, power=False, dies=None, dies_later=None)
    begun.right()
    begun.copy()
    begun.right()
