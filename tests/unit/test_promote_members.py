"""Which replicas a name stands for: who left its group is no member, nor another host's volume."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from control.authority.claims import replica_groups
from control.replica.together import sets_called
from control.wire.errors import ReplicaNotFound
from dm_tables.errors import Exists, Precondition
from tests.soft.mirrored import two_sites
from tests.soft.sites import Sites
from tests.soft.world import GROUP

NAMES = ("a", "b", "c")


@pytest.fixture
def sites() -> Iterator[Sites]:
    """A group of three volumes, in one generation at both sites."""
    with two_sites(NAMES) as made:
        yield made


def leave(sites: Sites, *names: str) -> None:
    """They leave, and the group goes on without them."""
    roster = sites.host.roster
    roster.change_group(roster.conductor(GROUP).group.record, (), names)
    for _ in range(2):
        sites.freeze()
        assert sites.copy() is None


def promote(sites: Sites, name: str) -> None:
    sites.other.roles.promoter.promote(name, progress=lambda *_: None)


def sources(sites: Sites) -> dict[str, str]:
    """The group of each volume that the other site leads."""
    journal = sites.other.soft.journal
    return {one.name: journal.group_of(one.name) for one in journal.volumes()}


@pytest.mark.parametrize("first", [GROUP, "c"])
def test_who_left_is_promoted_by_itself_and_the_group_without_it(sites: Sites, first: str) -> None:
    leave(sites, "c")
    sites.leader.stop()
    for name in sorted([GROUP, "c"], key=lambda one: one != first):
        promote(sites, name)
    assert sources(sites) == {"a": GROUP, "b": GROUP, "c": "c"}


def test_a_member_is_still_promoted_with_the_others_only(sites: Sites) -> None:
    leave(sites, "c")
    with pytest.raises(Precondition, match="together with b"):
        promote(sites, "a")


def shown(sites: Sites, name: str) -> list[str]:
    return [one.name for one in sites.other.side.group(name)]


def test_a_group_is_shown_without_who_left(sites: Sites) -> None:
    assert shown(sites, GROUP) == ["a", "b", "c"]
    leave(sites, "c")
    assert sites.other.side.description("c").group == GROUP
    assert shown(sites, GROUP) == ["a", "b"]
    for name in ("c", "nobody"):
        with pytest.raises(ReplicaNotFound, match=f"no replica or group '{name}'"):
            shown(sites, name)


def test_a_group_that_cannot_be_told_is_not_shown(sites: Sites) -> None:
    of_another_host(sites, "c")
    with pytest.raises(Precondition, match="several groups here") as caught:
        shown(sites, GROUP)
    assert caught.value.hint == "name its replicas one by one"


def test_what_an_authority_is_told_of_is_without_who_left(sites: Sites) -> None:
    leave(sites, "c")
    claims = {claim.group: len(claim.volumes) for claim in replica_groups(sites.other.side.store)}
    assert claims == {GROUP: 2, "c": 1}


def test_who_left_long_ago_is_no_member(sites: Sites, monkeypatch: pytest.MonkeyPatch) -> None:
    leave(sites, "c")
    for module in ("control.replica.journal", "control.replica.together"):
        monkeypatch.setattr(f"{module}.KEPT_GENERATIONS", 1)
    sites.freeze()
    assert sites.copy() is None
    store = sites.other.side.store
    while store.journal.history("a")[-1].generation.number <= 1:
        sites.merge()
        sites.freeze()
        assert sites.copy() is None
    assert sets_called(store, GROUP) == [["a", "b"]]


def test_a_group_of_which_one_is_left_is_named_by_its_volume(sites: Sites) -> None:
    leave(sites, "b", "c")
    sites.leader.stop()
    with pytest.raises(Precondition, match=r"went on without.*promote b or a"):
        promote(sites, GROUP)
    promote(sites, "a")
    assert sources(sites) == {"a": "a"}


def of_another_host(sites: Sites, *names: str) -> None:
    """What came of these volumes is another host's, which has a group of the same name."""
    store = sites.other.side.store
    for name in names:
        store.journal.save_volume(dataclasses.replace(store.volume(name), identity="elsewhere"))


def test_two_hosts_with_groups_of_one_name_do_not_block_each_other(sites: Sites) -> None:
    of_another_host(sites, "c")
    sites.leader.stop()
    with pytest.raises(Precondition, match=r"several groups here: a, b of loopback and c of else"):
        promote(sites, GROUP)
    promote(sites, "b")
    assert sources(sites) == {"a": GROUP, "b": GROUP}
    with pytest.raises(Exists, match="already a volume or group"):
        promote(sites, GROUP)
    promote(sites, "c")
    assert sources(sites) == {"a": GROUP, "b": GROUP, "c": "c"}


def test_the_second_group_of_a_name_gets_another_one(sites: Sites) -> None:
    of_another_host(sites, "b", "c")
    sites.leader.stop()
    promote(sites, "a")
    promote(sites, GROUP)
    assert sources(sites) == {"a": "a", "b": GROUP, "c": GROUP}


def test_a_group_of_this_host_has_the_name_already(sites: Sites) -> None:
    other = sites.other.soft
    path = sites.directory / "own.disk"
    path.write_bytes(bytes(16 * 4096))
    other.host.create_volume("own", [(str(path), 0, 0)], 0, dry_run=False)
    record = sites.host.roster.conductor(GROUP).group.record
    other.host.roster.create_group(record, ["own"])
    sites.leader.stop()
    with pytest.raises(Exists, match="one of its volumes"):
        promote(sites, GROUP)
    promote(sites, "a")
    grouped = dict.fromkeys(NAMES, f"{GROUP}.2")
    assert sources(sites) == {"own": GROUP, **grouped}
