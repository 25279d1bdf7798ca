"""A split brain that is ended from the other host: what was written there is given up, and kept."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Any, cast

import pytest

from control.demote import Demoter
from control.fence import is_fenced
from control.give_up import NoAnswer, NothingToGiveUp, NotTogether, discard_there, give_up
from control.records import CycleKind, MirrorState
from control.replica import diverged
from control.replica.images import open_image
from control.role_calls import RoleCalls
from control.turning import DEMOTING, begun
from control.volume import Volume
from control.wire.errors import PeerUnreachable, ReplicaRefused, WrittenByAnother
from dm_tables.errors import NotFound, Precondition, Unavailable
from dm_tables.units import Bytes
from proto.frazil.v1 import control_pb2 as pb
from tests.replica_tools import Rule
from tests.soft.sites import Site, Sites
from tests.soft.world import GROUP
from tests.unit.test_writer import allow, calls_as

CHUNK = 4096
NAMES = ("a", "b")
MIRROR = "there"


def noise(seed: int) -> bytes:
    return random.Random(seed).randbytes(CHUNK)


@pytest.fixture
def sites() -> Iterator[Sites]:
    """East was replaced by west, which was written; east is there again, and knows."""
    made = Sites({name: random.Random(1).randbytes(16 * CHUNK) for name in NAMES})
    try:
        allow(made.other, Rule(discard=True))
        made.freeze()
        assert made.copy() is None
        made.write("a", 2 * CHUNK, noise(2))
        made.fail_over()
        for name in NAMES:
            made.write(name, 3 * CHUNK, noise(3))
        made.freeze()
        made.other.start(power=True)
        yield made
    finally:
        made.close()


def east(sites: Sites) -> Site:
    return sites.other


def west(sites: Sites) -> Site:
    return sites.leader


def shown(site: Site) -> list[bytes]:
    """What applications see."""
    return [site.mapper.image(site.soft.head(name)) for name in NAMES]


def use_all_the_same(site: Site) -> None:
    """Both sides are written."""
    for name in NAMES:
        site.soft.host.unfence(site.soft.volume(name), force=True)
    site.mapper.write(site.soft.head("b"), 5 * CHUNK, noise(5))


def goes_on(sites: Sites) -> None:
    """East leads: what it holds and writes reaches west, and nothing is copied whole."""
    source = east(sites)
    source.mapper.write(source.soft.head("a"), 7 * CHUNK, noise(7))
    source.soft.host.roster.conductor(GROUP).freeze()
    for _ in range(2):
        assert source.soft.step(MIRROR) is None
    assert [west(sites).image(name) for name in NAMES] == shown(source)
    cycles = source.soft.journal.cycles(MIRROR)
    assert [one.kind for one in cycles].count(CycleKind.WHOLE) == 1, "only the first copy"


def test_a_side_that_was_fenced_has_its_head_again(sites: Sites) -> None:
    source = east(sites)
    volumes = [source.soft.volume(name) for name in NAMES]
    assert all(is_fenced(volume) for volume in volumes)
    written = shown(west(sites))
    told = discard_there(source.soft.host, MIRROR)
    assert "a, b: a replica again at unix:" in told
    assert told.endswith("there goes on")
    assert all(volume.stack.head.exists() and not is_fenced(volume) for volume in volumes)
    assert not west(sites).leads
    store = west(sites).side.store
    for name, image in zip(NAMES, written, strict=True):
        kept = diverged.of(store, name)
        assert kept is not None
        number = kept.generation.number
        with store.reading(name, number) as chain, open_image(store, chain) as found:
            assert found.read(Bytes(0), chain.size) == image, "what was given up can be had"
    goes_on(sites)


def test_both_sides_were_written(sites: Sites) -> None:
    use_all_the_same(east(sites))
    assert east(sites).soft.step(MIRROR) is not None
    discard_there(east(sites).soft.host, MIRROR)
    goes_on(sites)


def test_only_who_is_allowed_to(sites: Sites) -> None:
    use_all_the_same(east(sites))
    allow(west(sites), Rule())
    with pytest.raises(ReplicaRefused, match=r"may not have given up.*discard = true"):
        discard_there(east(sites).soft.host, MIRROR)
    assert west(sites).leads
    allow(west(sites), Rule("loopback"), Rule("other", discard=True))
    with calls_as("other"), pytest.raises(WrittenByAnother):
        discard_there(east(sites).soft.host, MIRROR)
    assert west(sites).leads
    allow(west(sites), Rule(discard=True, volumes=("a",)), Rule())
    with pytest.raises(ReplicaRefused, match="written to b"):
        discard_there(east(sites).soft.host, MIRROR)
    assert west(sites).leads


def test_a_head_in_use_is_not_given_up(sites: Sites, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(volume: Volume) -> None:
        raise Precondition(f"{volume.name} is mounted", "unmount it")

    monkeypatch.setattr(Volume, "check_idle", busy)
    with pytest.raises(Precondition, match="a is mounted"):
        discard_there(east(sites).soft.host, MIRROR)
    monkeypatch.undo()
    assert west(sites).leads
    assert all(is_fenced(east(sites).soft.volume(name)) for name in NAMES)


def test_what_stops_half_way_goes_on(sites: Sites, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Demoter._turn

    def turn(self: Any, volume: Volume, *args: Any) -> None:
        if volume.name == "b":
            raise Unavailable("not now")
        real(self, volume, *args)

    monkeypatch.setattr(Demoter, "_turn", turn)
    with pytest.raises(Unavailable, match="not now"):
        discard_there(east(sites).soft.host, MIRROR)
    monkeypatch.undo()
    discard_there(east(sites).soft.host, MIRROR)
    goes_on(sites)


def test_others_are_not_given_up_with_it(sites: Sites) -> None:
    source = east(sites)
    use_all_the_same(source)
    group = source.soft.host.roster.conductor(GROUP).group.record
    source.soft.host.roster.change_group(group, (), ["b"])
    with pytest.raises(NotTogether, match="b would be given up as well"):
        discard_there(source.soft.host, MIRROR)
    assert west(sites).leads


def leaves(site: Site, name: str) -> None:
    roster = site.soft.host.roster
    roster.change_group(roster.conductor(GROUP).group.record, (), [name])


def test_what_is_not_one_group_there_is_not_given_up_in_part(sites: Sites) -> None:
    leaves(west(sites), "b")
    with pytest.raises(NotTogether, match="a, b are not one group here, but b, shop") as refused:
        discard_there(east(sites).soft.host, MIRROR)
    assert "frazil volume demote shop --identity loopback --force" in refused.value.hint
    journal = west(sites).soft.journal
    assert all(journal.volume(name) for name in NAMES)
    assert not begun(journal, DEMOTING)
    assert all(is_fenced(east(sites).soft.volume(name)) for name in NAMES)


def test_only_what_was_given_up_has_its_head_again(
    sites: Sites, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the other host does not name is asked for by itself."""
    monkeypatch.setattr(
        "control.switch.give_up", lambda *args, **known: give_up(*args, **known)[:1]
    )
    soft = east(sites).soft
    told = discard_there(soft.host, MIRROR)
    assert "; b stays kept from applications: unix:" in told
    assert [is_fenced(soft.volume(name)) for name in NAMES] == [False, True]
    soft.host.unfence(soft.volume("b"), force=False)
    goes_on(sites)


def test_who_joined_since_is_not_asked_for(sites: Sites) -> None:
    soft = east(sites).soft
    disk = sites.directory / "c.disk"
    disk.write_bytes(bytes(16 * CHUNK))
    soft.host.create_volume("c", [(str(disk), 0, 0)], 0, dry_run=False)
    soft.host.roster.change_group(soft.host.roster.conductor(GROUP).group.record, ["c"], ())
    assert discard_there(soft.host, MIRROR).startswith("a, b: a replica again")
    goes_on(sites)


def test_where_nothing_was_committed(sites: Sites) -> None:
    for name in NAMES:
        east(sites).soft.journal.remove_standing(MIRROR, name)
    with pytest.raises(NothingToGiveUp, match="nothing of mirror there was committed"):
        discard_there(east(sites).soft.host, MIRROR)
    assert west(sites).leads


def test_what_nobody_waits_for_any_more_is_not_done(
    sites: Sites, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The demote there waits for a merge, and longer than the call."""
    real, asked = Demoter.demote, []

    def demote(self: Any, *args: Any, **kwargs: Any) -> list[str]:
        asked.append(kwargs.get("wanted", lambda: False))
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Demoter, "demote", demote)
    monkeypatch.setattr("control.give_up.GIVE_UP_SECONDS", 2.0)
    with west(sites).soft.volume("b").merging:
        with pytest.raises(NoAnswer, match="did not say within 2 s") as refused:
            discard_there(east(sites).soft.host, MIRROR)
        assert "it may be done there all the same" in refused.value.hint
        while any(wanted() for wanted in asked):
            time.sleep(0.01)
    assert asked
    with west(sites).roles._turning.alone("a look"):
        assert west(sites).leads
        assert not begun(west(sites).soft.journal, DEMOTING)
    assert all(is_fenced(east(sites).soft.volume(name)) for name in NAMES)
    monkeypatch.undo()
    discard_there(east(sites).soft.host, MIRROR)
    goes_on(sites)


def test_where_nothing_was_promoted(sites: Sites) -> None:
    discard_there(east(sites).soft.host, MIRROR)
    with pytest.raises(NothingToGiveUp, match="a, b: no source here"):
        discard_there(east(sites).soft.host, MIRROR)


def test_a_host_that_does_not_answer(sites: Sites) -> None:
    west(sites).side.stop()
    with pytest.raises(PeerUnreachable) as refused:
        discard_there(east(sites).soft.host, MIRROR)
    assert "ask again: frazil mirror resolve there" in refused.value.hint
    assert all(is_fenced(east(sites).soft.volume(name)) for name in NAMES)


def test_the_call_of_the_control_service(sites: Sites) -> None:
    calls = RoleCalls()
    calls.roles = east(sites).roles
    east(sites).soft.host.roster.set_mirror_state(MIRROR, MirrorState.PAUSED)
    asked = pb.DiscardThereRequest(mirror=MIRROR)
    *_, last = calls.DiscardThere(asked, cast(Any, None))
    assert last.finished
    assert last.message.endswith("the mirror is paused: frazil mirror start there")
    with pytest.raises(NotFound):
        discard_there(east(sites).soft.host, "nothing")


def test_who_was_promoted_once_has_what_it_mirrored_since(sites: Sites) -> None:
    """Its replica's record stands at the generation that it was promoted from, long ago."""
    sites.other.roles.demoter.demote(GROUP, "loopback", force=True)
    for name in NAMES:
        sites.other.side.drop_diverged(name)
    for seed in (8, 9):
        sites.write("b", seed * CHUNK, noise(seed))
        sites.freeze()
        assert sites.copy() is None
    newest = sites.other.newest("b").generation.number
    sites.fail_over()
    sites.write("a", 0, noise(10))
    sites.take_back(power=True)
    assert sites.other.newest("b").generation.number == newest
    sites.check()
    sites.write("a", CHUNK, noise(11))
    sites.freeze()
    assert sites.copy() is None
    sites.check()
