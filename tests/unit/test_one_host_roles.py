"""Roles where a name or a volume is on the host twice: refused before anything has changed."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from control.records import MirrorRecord, MirrorState
from control.replica.records import VolumeRecord
from control.replica.together import sets_called
from control.turning import DEMOTING, begun
from control.wire.errors import VolumeNameTaken
from dm_tables.errors import Precondition
from dm_tables.units import Bytes
from tests.histories.model import VolumeModel
from tests.soft.mirrored import two_sites
from tests.soft.sites import Site, Sites
from tests.soft.world import GROUP

NAMES = ("a", "b")


@pytest.fixture
def sites() -> Iterator[Sites]:
    """A group in one generation at both sites."""
    with two_sites(NAMES) as made:
        yield made


@pytest.fixture
def alone(sites: Sites) -> Site:
    """The first site is a replica of its own group, too."""
    here = sites.leader
    fields = (MirrorState.RUNNING, 0, 0, False, True, False)
    record = MirrorRecord("self", GROUP, here.address, "{volume}-copy", *fields)
    here.soft.host.roster.create_mirror(record)
    sites.freeze()
    assert sites.copy() is None
    assert here.replicas() == ["a-copy", "b-copy"]
    return here


def promote(site: Site, name: str) -> None:
    site.roles.promoter.promote(name, progress=lambda *_: None)


def test_a_replica_of_this_hosts_own_volume_is_not_promoted(sites: Sites, alone: Site) -> None:
    with pytest.raises(Precondition, match="a-copy is a replica of a, a volume of this very host"):
        promote(alone, "a-copy")
    assert alone.replicas() == ["a-copy", "b-copy"]
    # Nothing is left that a start, or another promote, would stumble over.
    alone.stop()
    alone.start(power=False)
    sites.check()
    sites.freeze()
    assert sites.copy() is None


def test_it_is_once_the_volume_is_gone(sites: Sites, alone: Site) -> None:
    was = {name: alone.image(f"{name}-copy") for name in NAMES}
    host = alone.soft.host
    for mirror in alone.mirrors:
        host.roster.remove_mirror(mirror)
    host.roster.remove_group(GROUP)
    for name in NAMES:
        host.remove_volume(name, lambda *_: None)
    promote(alone, GROUP)
    heads = {name: alone.mapper.image(alone.soft.head(f"{name}-copy")) for name in NAMES}
    same = heads == was
    assert same


def test_what_would_become_a_second_replica_is_not_demoted(sites: Sites, alone: Site) -> None:
    demote = alone.roles.demoter.demote
    with pytest.raises(VolumeNameTaken, match="a replica a-copy here already, of this very volume"):
        demote(GROUP, "loopback", force=True, mirror="self")
    assert not begun(alone.soft.journal, DEMOTING)
    sites.check()


def test_a_name_that_another_volumes_replica_has(sites: Sites) -> None:
    here = sites.leader
    taken = VolumeRecord("b", str(uuid.uuid4()), "elsewhere", Bytes(4096))
    here.side.store.journal.save_volume(taken)
    with pytest.raises(VolumeNameTaken, match="a replica b here already, of another volume"):
        here.roles.demoter.demote(GROUP, "loopback", force=True)
    assert not begun(here.soft.journal, DEMOTING)
    sites.check()
    assert sites.copy() is None


@pytest.fixture
def twice(sites: Sites) -> Sites:
    """The group is mirrored to the other site a second time, under other names."""
    fields = (MirrorState.RUNNING, 0, 0, False, True, False)
    record = MirrorRecord("second", GROUP, sites.other.address, "x-{volume}", *fields)
    sites.host.roster.create_mirror(record)
    sites.freeze()
    assert sites.copy() is None
    return sites


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("chosen", ["", "x-"])
def test_of_two_sets_of_replicas_one_is_promoted(twice: Sites, chosen: str, ahead: bool) -> None:
    there = twice.other
    if ahead:
        twice.write("a", 0, b"newer" * 100)
        twice.freeze()
        assert twice.leader.soft.step("second") is None
    images = {name: there.image(f"{chosen}{name}") for name in NAMES}
    twice.leader.stop()
    with pytest.raises(Precondition, match=r"several groups here: a, b of .* and x-a, x-b of"):
        promote(there, GROUP)
    promote(there, f"{chosen}a")
    heads = {name: there.mapper.image(there.soft.head(f"{chosen}{name}")) for name in NAMES}
    same = heads == images
    assert same
    other = "" if chosen else "x-"
    assert there.replicas() == [f"{other}{name}" for name in NAMES]
    with pytest.raises(Precondition, match=f"a replica of {chosen}a, a volume of this very host"):
        promote(there, f"{other}a")
    assert there.replicas() == [f"{other}{name}" for name in NAMES]


def test_what_joined_goes_together_with_the_set_that_it_joined(twice: Sites) -> None:
    """It came by itself, before the first commit that names it."""
    path = twice.directory / "c.disk"
    path.write_bytes(bytes(16 * 4096))
    twice.host.create_volume("c", [(str(path), 0, 0)], 0, dry_run=False)
    roster = twice.host.roster
    roster.change_group(roster.conductor(GROUP).group.record, ["c"], [])
    twice.models["c"] = VolumeModel(bytearray(16 * 4096))
    for _ in range(3):
        twice.freeze()
        assert twice.copy() is None
    assert sets_called(twice.other.side.store, GROUP) == [["a", "b", "c"], ["x-a", "x-b", "x-c"]]
