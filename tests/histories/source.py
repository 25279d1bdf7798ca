"""Histories of a source, its group and its replicas: any host that is a world will do."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from dm_tables.units import KIB, SECTOR, Bytes
from tests.histories.model import VolumeModel, demand
from tests.histories.steps import (
    CHUNKS,
    PLACES,
    SECTORS,
    YES_OR_NO,
    Domains,
    content,
    deaths,
    span,
)

NAMES: Final = ("a", "b", "c")
MIRRORS: Final = ("m1", "m2")
"""They go to the replicas of the same numbers."""

REPLICAS: Final = ("r1", "r2")
DEATHS: Final = deaths(25)

Fault = tuple[str, str, int]
"""How a copy breaks off: ``cut`` in that volume's stream after so many messages; ``answer``, lost
at its end; ``before`` or ``after`` a commit, so many commits on."""

FAULTS: Final[Sequence[Fault]] = (
    *(("cut", volume, number) for volume in NAMES for number in range(7)),
    *(("answer", volume, 0) for volume in NAMES for _ in range(3)),
    *((kind, "", number) for kind in ("before", "after") for number in range(2) for _ in range(3)),
)

STEPS: Final[Mapping[str, Domains]] = {
    "write": {
        "volume": NAMES,
        "place": PLACES,
        "sectors": SECTORS,
        "content": ("noise", "text", "zero", "same"),
    },
    "freeze": {"chunk": CHUNKS, "dies": DEATHS, "power": YES_OR_NO},
    "copy": {"mirror": MIRRORS},
    "copy_badly": {"mirror": MIRRORS, "fault": FAULTS, "dies": DEATHS, "power": YES_OR_NO},
    "merge": {"volume": NAMES, "dies": DEATHS, "power": YES_OR_NO},
    "merge_there": {"replica": REPLICAS},
    "direct": {"mirror": MIRRORS, "do": ("pause", "break", "break now", "resume")},
    "add_or_remove_mirror": {"mirror": MIRRORS},
    "join_or_leave": {"volume": NAMES},
    "restart": {"power": YES_OR_NO},
    "restart_there": {"replica": REPLICAS},
}


class SourceWorld(Protocol):
    """A host with volumes, some of them in a group, replicas of it, and what they must hold.

    A step that cannot be in the state that all is in does nothing. ``dies``: the source's daemon
    dies in it, the later the higher, and is started again; ``power``: its host too.
    """

    @property
    def models(self) -> Mapping[str, VolumeModel]:
        """Every volume's model, which the world keeps up."""

    @property
    def mirrors(self) -> Sequence[str]:
        """The names of the mirrors."""

    def members(self) -> Sequence[str]:
        """The group's volumes."""

    def write(self, volume: str, at: int, data: bytes) -> None:
        """As an application does."""

    def freeze(
        self,
        *,
        chunk: Bytes | None = None,
        racing: Callable[[list[str]], None],
        dies: int | None,
        power: bool,
    ) -> None:
        """Freeze the group. ``racing`` is called with the volumes whose writers run meanwhile."""

    def copy(self, mirror: str) -> object:
        """Bring an instant to a replica. :return: why it failed, or None."""

    def copy_badly(self, mirror: str, fault: Fault, *, dies: int | None, power: bool) -> None:
        """The same, but it breaks off."""

    def merge(self, volume: str, *, dies: int | None, power: bool) -> object:
        """Merge a layer of the source."""

    def merge_there(self, replica: str) -> object:
        """Merge a layer of a replica."""

    def direct(self, mirror: str, do: str) -> None:
        """An operator's word."""

    def add_mirror(self, name: str, replica: str) -> None:
        """Mirror the group to a replica."""

    def remove_mirror(self, name: str) -> None:
        """The replica keeps what it has."""

    def change_members(self, *, add: Sequence[str] = (), remove: Sequence[str] = ()) -> None:
        """Volumes join and leave."""

    def restart(self, *, power: bool = False) -> None:
        """Start the source anew."""

    def restart_there(self, replica: str) -> None:
        """Start a replica anew."""

    def check(self) -> None:
        """:raises Wrong: something does not hold what the models say."""

    def settle(self) -> None:
        """Let everything arrive. :raises Wrong: it does not."""


class SourceHistory:
    """A group of up to three volumes, no to two mirrors, and whatever may befall them."""

    world: SourceWorld
    chance: random.Random

    def write(self, volume: str, place: int, sectors: int, content: str) -> None:
        """Somewhere, from a sector to some blocks."""
        head = self.world.models[volume].head
        where = span(len(head), place, sectors)
        self.world.write(volume, where.start, self._content(content, bytes(head[where])))

    def _content(self, kind: str, before: bytes) -> bytes:
        return content(self.chance, kind, before)

    def freeze(self, chunk: int, dies: int | None, power: bool) -> None:
        """With writers that do not wait for it, and now and then a death."""
        size = Bytes(chunk * KIB)
        self.world.freeze(chunk=size, racing=self._race, dies=dies, power=power)

    def _race(self, running: list[str]) -> None:
        for volume in running:
            sectors = len(self.world.models[volume].head) // SECTOR
            at = self.chance.randrange(sectors) * SECTOR
            self.world.write(volume, at, self.chance.randbytes(SECTOR))

    def copy(self, mirror: str) -> None:
        """A mirror takes a step, and nothing is in its way."""
        if mirror in self.world.mirrors:
            error = self.world.copy(mirror)
            demand(error is None, f"{mirror} fails: {error}")

    def copy_badly(self, mirror: str, fault: Fault, dies: int | None, power: bool) -> None:
        """The connection breaks in the middle, or the source dies."""
        if mirror in self.world.mirrors:
            self.world.copy_badly(mirror, fault, dies=dies, power=power)

    def merge(self, volume: str, dies: int | None, power: bool) -> None:
        """The source's merger takes a step."""
        self.world.merge(volume, dies=dies, power=power)

    def merge_there(self, replica: str) -> None:
        """A replica's merger takes a step."""
        self.world.merge_there(replica)

    def direct(self, mirror: str, do: str) -> None:
        """An operator's word."""
        if mirror in self.world.mirrors:
            self.world.direct(mirror, do)

    def add_or_remove_mirror(self, mirror: str) -> None:
        """m1 goes to r1, m2 to r2."""
        if mirror in self.world.mirrors:
            self.world.remove_mirror(mirror)
        else:
            self.world.add_mirror(mirror, f"r{mirror[1:]}")

    def join_or_leave(self, volume: str) -> None:
        """The last one cannot leave."""
        members = self.world.members()
        if volume not in members:
            self.world.change_members(add=[volume])
        elif len(members) > 1:
            self.world.change_members(remove=[volume])

    def restart(self, power: bool) -> None:
        """The daemon, or the whole host."""
        self.world.restart(power=power)

    def restart_there(self, replica: str) -> None:
        """A replica's daemon is started anew."""
        self.world.restart_there(replica)

    def settle(self) -> None:
        """Once nothing fails any more, everything arrives."""
        self.world.settle()

    def right(self) -> None:
        """Every head, every image and every replica is what the model says."""
        self.world.check()
