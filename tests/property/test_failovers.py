"""Two sites change sides, planned and not, and nothing of a committed generation is lost.

As :mod:`tests.property.test_histories`, with both roles at both ends.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dm_tables.units import KIB, SECTOR, Bytes
from tests.soft.sites import Sites
from tests.soft.world import demand

SIZES = {"a": 256 * 4096, "b": 21 * 4096 + 3 * SECTOR}
TURN_EFFECTS = 90
"""More than a promote or a demote has."""

deaths = st.one_of(st.none(), st.integers(0, 60))


class Failovers(RuleBasedStateMachine):
    """A group that begins in one place, and may end in the other."""

    sites: Sites

    def __init__(self) -> None:
        super().__init__()
        self._chance = random.Random(0)
        self._begun = False

    @initialize()
    def begin(self) -> None:
        """With one generation at both sites."""
        self.sites = Sites({name: self._chance.randbytes(size) for name, size in SIZES.items()})
        self._begun = True
        self.sites.freeze()
        self.copy()

    def teardown(self) -> None:
        """Leave nothing."""
        if self._begun:
            self.sites.close()

    @rule(volume=st.sampled_from(list(SIZES)), place=st.integers(0, 99), sectors=st.integers(1, 40))
    def write(self, volume: str, place: int, sectors: int) -> None:
        """Where the group is led now."""
        size = SIZES[volume]
        at = size // SECTOR * place // 100 * SECTOR
        length = min(sectors * SECTOR, size - at)
        self.sites.write(volume, at, self._chance.randbytes(length))

    @rule(chunk=st.sampled_from([4, 8, 16]))
    def freeze(self, chunk: int) -> None:
        """As is."""
        self.sites.leader.mapper.chunk = Bytes(chunk * KIB)
        self.sites.freeze()

    @rule()
    def copy(self) -> None:
        """To the other site."""
        error = self.sites.copy()
        demand(error is None, f"the copy fails: {error}")

    @rule()
    def merge(self) -> None:
        """At both ends."""
        self.sites.merge()

    @rule(
        work=st.integers(0, 2),
        lost=st.booleans(),
        power=st.booleans(),
        dies=deaths,
        dies_later=deaths,
    )
    def fail_over(
        self, work: int, lost: bool, power: bool, dies: int | None, dies_later: int | None
    ) -> None:
        """And the old site comes back, after some work at the new one."""
        if lost:
            self.write("a", 50, 9)
        self.sites.fail_over(dies=dies, power=power)
        self.sites.check(both=False)
        for number in range(work):
            self.write("a", number * 30, 12)
            self.write("b", number * 30, 3)
            self.sites.freeze()
        self.sites.come_back(power=power, dies=dies_later)

    @rule(ready=st.booleans())
    def switch(self, ready: bool) -> None:
        """Planned: it happens where all is at both sites, and there only."""
        if ready:
            self.sites.freeze()
            self.copy()
        demand(self.sites.switch() or not ready, "roles are not switched")

    @precondition(lambda self: self._begun)
    @rule()
    def restart(self) -> None:
        """Both daemons."""
        for site in (self.sites.leader, self.sites.other):
            site.stop()
            site.start(power=False)

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
