"""Fan-out with a replica that is away, by each policy; members that join and leave a group.

All end in digests: every replica against the source's frozen image of the same instant.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from dm_tables.errors import Kind
from tests.pair import MIB
from tests.topology import SIZE, SLOW, Member, Mirroring, Site, running
from vagrant.cluster import FrazilHost
from vagrant.cluster.cycles import seconds_of

pytestmark = [pytest.mark.guest, pytest.mark.timeout(1800)]

POLICIES = {"locked": "lockstep", "voted": "quorum=1", "free": "independent"}
KEPT = 2
LITTLE = f"keep_layers = {KEPT}\n"
"""What is appended belongs to [copy]."""

ROOM, AGE = 18 * MIB, 40.0
BY_SIZE = f'keep_layers = 0\nkeep_size = "{ROOM}B"\n'
BY_AGE = f'keep_layers = 0\nkeep_age = "{AGE:.0f}s"\n'


@pytest.fixture(scope="module")
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """Three hosts, which keep layers for who is late by number, by age and by size."""
    limits = {"source": LITTLE, "near": BY_AGE, "far": BY_SIZE}
    with running(*limits, extra=limits) as started:
        yield started
        started.last_words(request)


@dataclass(frozen=True, slots=True)
class Fork:
    """A volume with two replicas."""

    member: Member
    near: Mirroring
    far: Mirroring

    @property
    def frozen(self) -> int:
        """The number of the newest instant."""
        newest = self.member.host.json("group", "show", self.member.name)["newest"]
        return int(newest["number"])

    def is_low(self) -> bool:
        """Whether the source has few layers: those kept, the live one, one that is merged."""
        layers = self.member.host.json("volume", "show", self.member.name)["layers"]
        return len(layers) <= KEPT + 2

    def together(self) -> bool:
        """Whether both have the newest instant."""
        return self.near.committed() == self.far.committed() == self.frozen

    def held_back(self) -> bool:
        """Whether a cycle that was asked for does not begin, though ``near`` has all there is."""
        self.member.write(1)
        said = self.near.ask("4s")
        assert said.code in (Kind.OK, Kind.UNAVAILABLE), said.err
        return said.code == Kind.UNAVAILABLE and self.near.committed() == self.frozen


def fork(site: Site, name: str, disk: int) -> Fork:
    """Mirror a volume to both at once, by its policy."""
    member = site.member("source", name, disk)
    site["source"].frazil("group", "set", name, "--policy", POLICIES[name])
    both = (Mirroring.of_volume(member, site[host], "--continuous") for host in ("near", "far"))
    return Fork(member, *both)


def lacking(forks: list[Fork]) -> list[int]:
    """Bytes that the far replicas lack beyond the layers."""
    return [int(one.far.status()["lacking_bytes"]) for one in forks]


def test_a_replica_that_is_away_holds_back_by_policy_and_catches_up(site: Site) -> None:
    source = site["source"]
    forks = [fork(site, name, disk) for disk, name in enumerate(POLICIES)]
    locked, *others = forks
    for one in forks:
        source.until("both have it", one.together, timeout=SLOW)
    site["far"].stop()

    source.until("lockstep waits", locked.held_back, timeout=50)
    assert locked.far.committed() < locked.frozen
    for one in others:
        known = one.far.committed()
        for _ in range(KEPT + 2):
            one.member.write(2)
            one.near.sync()
        assert one.far.committed() == known
    # Nor does lockstep wait for ever: who fails for long counts no more.
    for _ in range(KEPT + 2):
        locked.member.write(2)
        locked.near.sync()
    source.until("what is lacking is remembered", lambda: all(lacking(forks)), timeout=SLOW)
    for one in forks:
        source.until("few layers are kept", one.is_low)
    assert not locked.far.status()["counts"]

    source.kill()
    source.start()
    assert all(lacking(forks)), "it is remembered across a restart"
    for one in forks:
        one.member.write(2)
        one.near.sync()
    site["far"].start()
    for one in forks:
        source.until("both have it", one.together, timeout=SLOW)
        frozen = one.member.frozen()
        assert one.member.at(site["near"]) == frozen
        assert one.member.at(site["far"]) == frozen
        kinds = [cycle.kind for cycle in one.far.now().recent]
        assert kinds.count("whole") == 1, "the first copy, and no other"
        caught_up = [cycle for cycle in one.far.now().recent if cycle.kind == "catch-up"]
        assert caught_up
        assert caught_up[0].sent < SIZE * 3 // 4
    assert lacking(forks) == [0, 0, 0]


def test_a_quorum_of_two_of_three(site: Site) -> None:
    """The third replica is on the source's own host."""
    source = site["source"]
    member = site.member("source", "pair", 3, slot=4)
    source.frazil("group", "set", member.name, "--policy", "quorum=2")
    near, far, own = (
        Mirroring.of_volume(member, site[host], "--continuous")
        for host in ("near", "far", "source")
    )

    def at_newest() -> list[bool]:
        newest = source.json("group", "show", member.name)["newest"]
        return [one.committed() == int(newest["number"]) for one in (near, far, own)]

    source.until("all three have it", lambda: all(at_newest()), timeout=SLOW)
    site["far"].stop()
    lost = far.committed()
    for _ in range(2):
        member.write(2)
        near.sync()
        own.sync()
    assert far.committed() == lost, "two are enough"

    site["near"].stop()

    def one_is_not_enough() -> bool:
        member.write(1)
        said = own.ask("4s")
        assert said.code in (Kind.OK, Kind.UNAVAILABLE), said.err
        return said.code == Kind.UNAVAILABLE and at_newest() == [False, False, True]

    source.until("the next cycle waits", one_is_not_enough, timeout=50)
    site["near"].start()
    near.sync()
    own.sync()
    site["far"].start()
    source.until("all three have it", lambda: all(at_newest()), timeout=SLOW)
    frozen = member.frozen()
    assert [member.at(one.replica) for one in (near, far, own)] == [frozen] * 3


@dataclass(frozen=True, slots=True)
class Late:
    """A volume with a replica whose host is stopped, and another one that gets every instant."""

    member: Member
    away: Mirroring

    @property
    def lacking(self) -> int:
        """Bytes that the late replica lacks beyond the layers."""
        return int(self.away.status()["lacking_bytes"])

    @property
    def kept(self) -> int:
        """Bytes of the layers that are kept."""
        layers = self.member.host.json("volume", "show", self.member.name)["layers"]
        return sum(int(layer["size_bytes"]) for layer in layers if layer["state"] == "frozen")

    def catches_up(self) -> None:
        """Its host is there again."""
        self.away.replica.start()
        self.away.sync()
        assert self.member.at(self.away.replica) == self.member.frozen()
        kinds = [cycle.kind for cycle in self.away.now().recent]
        assert kinds.count("whole") == 1, "the first copy, and no other"
        assert "catch-up" in kinds
        assert self.lacking == 0


def late(site: Site, name: str, places: tuple[str, str, str]) -> tuple[Late, Mirroring]:
    """Mirror a volume of the first place to the other two, and stop the last one."""
    here, stays, away = places
    member = site.member(here, name, 2)
    site[here].frazil("group", "set", name, "--policy", "independent")
    both = [Mirroring.of_volume(member, site[host]) for host in (stays, away)]
    for one in both:
        one.sync()
    site[away].stop()
    return Late(member, both[1]), both[0]


def happened(host: FrazilHost, kind: str, volume: str) -> float:
    """When something was told of a volume for the last time, in seconds; 0 for never."""
    events = map(json.loads, host.frazil("events", "--json").out.splitlines())
    times = [one["at"] for one in events if (one["kind"], one["subject"]) == (kind, volume)]
    return seconds_of(times[-1]) if times else 0.0


def test_layers_are_kept_for_so_long(site: Site) -> None:
    aged, other = late(site, "aged", ("near", "source", "far"))
    aged.member.write(2)
    other.sync()
    assert aged.lacking == 0
    assert aged.kept > 0
    host = aged.member.host
    host.until("it is too old", lambda: happened(host, "outgrown", "aged"), timeout=SLOW)
    assert happened(host, "outgrown", "aged") - happened(host, "frozen", "aged") >= AGE
    assert aged.lacking > 0
    assert aged.kept == 0
    aged.catches_up()


def test_layers_are_kept_while_they_are_small(site: Site) -> None:
    sized, other = late(site, "sized", ("far", "near", "source"))
    while sized.kept + MIB < ROOM * 3 // 4:
        sized.member.write(2)
        other.sync()
        assert sized.lacking == 0, "there is room for it"
    while sized.lacking == 0:
        assert sized.kept < 2 * ROOM
        sized.member.write(2)
        other.sync()
    sized.member.host.until("the rest is kept", lambda: 0 < sized.kept <= ROOM)
    sized.catches_up()


def member_of(mirroring: Mirroring, name: str) -> dict[str, Any]:
    """A volume of a mirror, as ``mirror status`` has it."""
    members = mirroring.status()["members"]
    return next(dict(one) for one in members if one["volume"] == name)


def newest(host: FrazilHost, name: str) -> int:
    """The number of a replica's newest generation; 0 while there is none."""
    found = [one for one in host.json("replica", "list")["replicas"] if one["name"] == name]
    return int(found[0]["newest"]["number"]) if found and found[0]["newest"] else 0


def test_a_member_joins_while_cycles_go_on_and_another_leaves(site: Site) -> None:
    source, near = site["source"], site["near"]
    one, two, late = (site.member("source", f"part{slot}", 3, slot) for slot in range(3))
    source.frazil("group", "create", "parts", one.name, two.name)
    mirroring = Mirroring.of_group("parts", [one, two, late], near)
    mirroring.sync()

    late.fill()
    source.frazil("mirror", "set", mirroring.name, "--rate", "20KB/s")
    source.frazil("group", "add", "parts", late.name)
    for _ in range(2):
        one.touch()
        two.touch()
        generation = mirroring.sync()
        assert member_of(mirroring, late.name)["state"] == "joining", "others do not wait for it"
        assert newest(near, one.name) == newest(near, two.name) == generation
        assert newest(near, late.name) == 0
    source.frazil("mirror", "set", mirroring.name, "--rate", "none")
    source.until(
        "it has joined",
        lambda: member_of(mirroring, late.name)["state"] == "member",
        timeout=SLOW,
    )
    assert one.at(near) == one.frozen()
    late.write(1)
    generation = mirroring.sync()
    shown = [near.json("replica", "show", part.name) for part in (one, two, late)]
    assert {part["newest"]["number"] for part in shown} == {generation}
    assert len({part["newest"]["uuid"] for part in shown}) == 1
    assert {part["group"] for part in shown} == {"parts"}
    assert [part.at(near) for part in (one, two, late)] == [
        part.frozen() for part in (one, two, late)
    ]

    source.frazil("group", "leave", "parts", one.name)
    kept = one.at(near)
    for part in (one, two, late):
        part.write(1)
    assert mirroring.sync() == generation + 1
    assert newest(near, one.name) == generation, "it keeps what it had"
    assert one.at(near) == kept
    assert [part.at(near) for part in (two, late)] == [part.frozen() for part in (two, late)]
    alone = Mirroring.of_volume(one, near)
    alone.sync()
    assert one.at(near) == one.frozen() != kept
