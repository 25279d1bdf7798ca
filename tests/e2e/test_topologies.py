"""Table 2, rows I to VI; fan-in within a quota, cross mirroring, a ring, and the break.

Each ends in digests: every replica against the source's frozen image of the same instant.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

import pytest

from dm_tables.errors import Kind
from tests.topology import SIZE, SLOW, Member, Mirroring, Site, cycles, running

pytestmark = [pytest.mark.guest, pytest.mark.timeout(1800)]

ALL = ("north", "east", "south")
QUOTA = 6 << 20
ALLOWED = f"""
[[replica.allow]]
identity = "north"
[[replica.allow]]
identity = "east"
quota = {QUOTA}
"""


@pytest.fixture(scope="module")
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """Three hosts, each of which mirrors to each; ``south`` has little room for ``east``."""
    with running(*ALL, extra={"south": ALLOWED}) as started:
        yield started
        started.last_words(request)


def group(name: str, members: list[Member], *options: str) -> None:
    """Let members be frozen at one instant."""
    names = [member.name for member in members]
    members[0].host.frazil("group", "create", name, *names, *options)


def end(mirrorings: list[Mirroring], *groups: str) -> None:
    """Remove everything: the next test has the disks."""
    for one in mirrorings:
        one.end()
    for name in groups:
        mirrorings[0].source.frazil("group", "remove", name)
    for member in {member.name: member for one in mirrorings for member in one.members}.values():
        member.host.frazil("volume", "remove", member.name, timeout=SLOW)


def same_instant(mirrorings: list[Mirroring]) -> None:
    """One freeze serves all: every replica comes to the same generation."""
    mirrorings[0].source.until(
        "all have one instant",
        lambda: len({one.committed() for one in mirrorings}) == 1,
        timeout=SLOW,
    )


def test_one_object_to_one_replica(site: Site) -> None:
    mirrorings = [Mirroring.of_volume(site.member("north", "one", 0), site["east"])]
    cycles(mirrorings)
    end(mirrorings)


def test_one_object_to_several_replicas(site: Site) -> None:
    member = site.member("north", "two", 0)
    hosts = (site["east"], site["south"])
    mirrorings = [Mirroring.of_volume(member, host, "--continuous") for host in hosts]
    cycles(mirrorings)
    same_instant(mirrorings)
    end(mirrorings)


def test_a_group_of_one_device_to_one_replica(site: Site) -> None:
    members = [site.member("north", f"three-{slot}x", 0, slot) for slot in range(3)]
    group("three", members)
    mirrorings = [Mirroring.of_group("three", members, site["east"])]
    cycles(mirrorings)
    end(mirrorings, "three")


def test_a_group_of_several_devices_to_one_replica(site: Site) -> None:
    members = [site.member("north", f"four-{disk}x", disk) for disk in range(3)]
    group("four", members)
    mirrorings = [Mirroring.of_group("four", members, site["east"])]
    cycles(mirrorings)
    end(mirrorings, "four")


@pytest.mark.parametrize("devices", [1, 2])
def test_a_group_to_several_replicas(site: Site, devices: int) -> None:
    members = [site.member("north", f"many-{n}x", n % devices, n) for n in range(2)]
    group("many", members)
    hosts = (site["east"], site["south"])
    mirrorings = [Mirroring.of_group("many", members, host, "--continuous") for host in hosts]
    cycles(mirrorings)
    same_instant(mirrorings)
    end(mirrorings, "many")


def test_objects_of_one_device_to_one_replica(site: Site) -> None:
    members = [site.member("north", f"slot-{slot}x", 0, slot) for slot in range(2)]
    mirrorings = [Mirroring.of_volume(member, site["east"]) for member in members]
    cycles(mirrorings)
    end(mirrorings)


def test_objects_of_several_devices_to_one_replica(site: Site) -> None:
    members = [site.member("north", f"disk-{disk}x", disk) for disk in range(2)]
    mirrorings = [Mirroring.of_volume(member, site["east"]) for member in members]
    cycles(mirrorings)
    end(mirrorings)


def test_each_object_of_one_device_to_a_replica_of_its_own(site: Site) -> None:
    mirrorings = [
        Mirroring.of_volume(site.member("north", f"own-{slot}x", 0, slot), site[replica])
        for slot, replica in enumerate(("east", "south"))
    ]
    cycles(mirrorings)
    end(mirrorings)


def test_objects_of_several_hosts_to_one_replica(site: Site) -> None:
    mirrorings = [
        Mirroring.of_volume(site.member(name, f"from-{name}", 0), site["south"])
        for name in ("north", "east")
    ]
    cycles(mirrorings)
    end(mirrorings)


def test_cross_mirroring_of_two_hosts(site: Site) -> None:
    mirrorings = [
        Mirroring.of_volume(site.member(here, f"cross-{here}", 0), site[there])
        for here, there in (("north", "east"), ("east", "north"))
    ]
    cycles(mirrorings)
    end(mirrorings)


def test_a_ring_of_three(site: Site) -> None:
    mirrorings = [
        Mirroring.of_volume(site.member(here, f"ring-{here}", 0), site[there])
        for here, there in zip(ALL, (*ALL[1:], ALL[0]), strict=True)
    ]
    cycles(mirrorings)
    end(mirrorings)


def test_fan_in_within_a_quota(site: Site) -> None:
    mirrorings: list[Mirroring] = []
    for disk, name in enumerate(("within", "beyond")):
        member = site.member("east", name, disk)
        site["east"].guest.call("tests.workload.spans:fill", [(member.head, 0, SIZE)], disk)
        mirrorings.append(Mirroring.of_volume(member, site["south"]))
    within, beyond = mirrorings
    assert SIZE < QUOTA < 2 * SIZE
    within.sync()
    said = beyond.ask()
    assert said.code == Kind.EXHAUSTED
    assert "east has a quota of" in said.err
    assert beyond.committed() == 0
    assert within.members[0].at(site["south"]) == within.members[0].frozen()
    # Others are not held back by it.
    other = Mirroring.of_volume(site.member("north", "other", 0), site["south"])
    cycles([other], 1)
    end([other])
    end(mirrorings)


def test_cycles_follow_one_another_until_the_break(site: Site) -> None:
    member = site.member("north", "again", 0)
    source = site["north"]
    words = ("mirror", "create", "again", "again", site["east"].peer)
    source.frazil(*words, "--interval", "1s", "--start")
    mirroring = Mirroring("again", source, site["east"], [member])
    while mirroring.committed() < 4:
        member.write()
    source.frazil("mirror", "break", "again")
    source.until("it is broken", lambda: mirroring.status()["state"] == "broken", timeout=SLOW)
    for earlier, later in itertools.pairwise(mirroring.now().recent):
        # By an interval that is no shorter than the copy.
        assert later.frozen_at >= earlier.frozen_at + max(1.0, earlier.copying)
    last = mirroring.committed()
    assert member.at(site["east"], last) == member.frozen()
    member.write()
    time.sleep(3.0)
    assert mirroring.committed() == last
    end([mirroring])
