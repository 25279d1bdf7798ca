"""Table 2 with objects that are frozen each by itself; cross mirroring, a ring, and the break.

Each ends in digests: every replica against the source's frozen image of the same instant.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from tests.topology import SLOW, Mirroring, Site, cycles, running
from vagrant.cluster.cycles import MirrorNow

pytestmark = pytest.mark.guest

ALL = ("north", "east", "south")


@pytest.fixture(scope="module")
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """Three hosts, each of which mirrors to each."""
    with running(*ALL) as started:
        yield started
        if request.session.testsfailed:
            for host in started.hosts.values():
                print(f"--- {host.name}\n{host.log_tail(80)}")


def end(mirrorings: list[Mirroring]) -> None:
    """Remove mirrors and volumes: the next test has their disks."""
    for one in mirrorings:
        one.source.frazil("mirror", "remove", one.name)
    for member in {member.name: member for one in mirrorings for member in one.members}.values():
        member.host.frazil("volume", "remove", member.name, timeout=SLOW)


def test_one_object_to_one_replica(site: Site) -> None:
    mirrorings = [Mirroring.of_volume(site.member("north", "one", 0), site["east"])]
    cycles(mirrorings)
    end(mirrorings)


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


def test_cycles_follow_one_another_until_the_break(site: Site) -> None:
    member = site.member("north", "again", 0)
    source = site["north"]
    words = ("mirror", "create", "again", "again", site["east"].peer)
    source.frazil(*words, "--interval", "1s", "--start")
    mirroring = Mirroring("again", source, site["east"], [member])
    while mirroring.committed() < 4:
        member.write()
    source.frazil("mirror", "break", "again")
    source.until("it is broken", lambda: status(mirroring)["state"] == "broken", timeout=SLOW)
    recent = MirrorNow.of(status(mirroring)).recent
    for earlier, later in itertools.pairwise(recent):
        # By an interval that is no shorter than the copy.
        assert later.frozen_at >= earlier.frozen_at + max(1.0, earlier.copying)
    last = mirroring.committed()
    assert member.at(site["east"], last) == member.frozen()
    member.write()
    assert mirroring.is_level()
    end([mirroring])


def status(mirroring: Mirroring) -> dict[str, object]:
    """The mirror, as ``mirror status`` has it."""
    found: dict[str, object] = mirroring.source.json("mirror", "status", mirroring.name)["mirrors"][
        0
    ]
    return found
