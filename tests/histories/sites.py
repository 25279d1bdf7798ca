"""Histories of two sites that change sides, planned and not: any two hosts will do."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Final, Protocol

from dm_tables.units import KIB, Bytes
from tests.histories.model import VolumeModel, demand
from tests.histories.steps import CHUNKS, PLACES, SECTORS, YES_OR_NO, Domains, deaths, span

NAMES: Final = ("a", "b")
DEATHS: Final = deaths(60)

STEPS: Final[Mapping[str, Domains]] = {
    "write": {"volume": NAMES, "place": PLACES, "sectors": SECTORS},
    "freeze": {"chunk": CHUNKS},
    "copy": {},
    "merge": {},
    "fail_over": {
        "work": range(3),
        "lost": YES_OR_NO,
        "power": YES_OR_NO,
        "dies": DEATHS,
        "dies_later": DEATHS,
    },
    "switch": {"ready": YES_OR_NO},
    "restart": {},
}


class SitesWorld(Protocol):
    """Two hosts, one of which leads a group, and what they must hold.

    ``dies``: a daemon dies in it, the later the higher, and is started again; ``power``: its host
    too.
    """

    @property
    def models(self) -> Mapping[str, VolumeModel]:
        """Every volume's model, which the world keeps up."""

    def write(self, volume: str, at: int, data: bytes) -> None:
        """At the site that leads."""

    def freeze(self, *, chunk: Bytes | None = None) -> None:
        """At the site that leads."""

    def copy(self) -> object:
        """Bring an instant to the other site. :return: why it failed, or None."""

    def merge(self) -> None:
        """At both sites."""

    def fail_over(self, *, dies: int | None, power: bool) -> None:
        """The site that leads is gone, and the other one goes on from what it has."""

    def come_back(self, *, dies: int | None, power: bool) -> None:
        """The site that was gone is there again, and becomes the replica."""

    def switch(self) -> bool:
        """As planned, where nothing is on one side alone. :return: whether it was so."""

    def restart(self) -> None:
        """Both daemons."""

    def check(self, *, both: bool = True) -> None:
        """:raises Wrong: a head, an image or a replica does not hold what the models say."""


class SitesHistory:
    """A group that begins in one place, and may end in the other."""

    sites: SitesWorld
    chance: random.Random

    def write(self, volume: str, place: int, sectors: int) -> None:
        """Where the group is led now."""
        where = span(len(self.sites.models[volume].head), place, sectors)
        self.sites.write(volume, where.start, self.chance.randbytes(where.stop - where.start))

    def freeze(self, chunk: int) -> None:
        """As is."""
        self.sites.freeze(chunk=Bytes(chunk * KIB))

    def copy(self) -> None:
        """To the other site."""
        error = self.sites.copy()
        demand(error is None, f"the copy fails: {error}")

    def merge(self) -> None:
        """At both ends."""
        self.sites.merge()

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

    def switch(self, ready: bool) -> None:
        """Planned: it happens where all is at both sites, and there only."""
        if ready:
            self.sites.freeze()
            self.copy()
        demand(self.sites.switch() or not ready, "roles are not switched")

    def restart(self) -> None:
        """Both daemons."""
        self.sites.restart()

    def right(self) -> None:
        """Both sites hold what the model says."""
        self.sites.check()
