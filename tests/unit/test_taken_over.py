"""Which takeovers fence the old source: what a person overrode does not, and what comes later does.

A replica that somebody else writes by now was taken over too, and mirrors that do not run ask.
"""

from __future__ import annotations

import dataclasses
import random
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest

from control import fence
from control.fence import OFF, PEER, Fenced, taken_over
from control.promote import WayBack
from control.records import MirrorRecord, MirrorState, Origin, Promotion
from control.render import mirror_message
from control.wire.errors import SplitBrain
from proto.frazil.v1 import replica_pb2
from tests.soft.sites import Site, Sites
from tests.soft.world import GROUP
from tests.unit.test_fence import comes_back, set_fencing

VOLUME = "a"
AT_REST = [MirrorState.PAUSED, MirrorState.STOPPED, MirrorState.BROKEN]


@pytest.fixture
def sites() -> Iterator[Sites]:
    """Two volumes of one site that the other one has a generation of."""
    made = Sites({name: random.Random(1).randbytes(16 * 4096) for name in (VOLUME, "b")})
    try:
        made.freeze()
        assert made.copy() is None
        yield made
    finally:
        fence._silent.clear()
        made.close()


def has_head(site: Site) -> bool:
    return bool(site.soft.volume(VOLUME).stack.head.exists())


def boots(site: Site) -> bool:
    """Whether its head is there then."""
    site.stop()
    site.start(power=True)
    return has_head(site)


def force(site: Site) -> None:
    site.soft.host.unfence(site.soft.volume(VOLUME), force=True)


def promote(site: Site, back: Site) -> None:
    way = WayBack(back.address, plaintext=True)
    site.roles.promoter.promote(GROUP, back=way, progress=lambda *_: None)


def promoted_anew(sites: Sites) -> None:
    """The one that took over was a replica for a while."""
    sites.leader.roles.demoter.demote(GROUP, "loopback", force=True)
    for volume in sites.models:
        sites.leader.side.drop_diverged(volume)
    promote(sites.leader, sites.other)


def rewritten(site: Site, **fields: str) -> None:
    """Its replicas are another's."""
    journal = site.side.store.journal
    for volume in journal.volumes():
        journal.save_volume(dataclasses.replace(volume, **fields))  # type: ignore[arg-type]


@contextmanager
def mirrored_on(sites: Sites) -> Iterator[None]:
    """A third site has what the one that leads wrote last."""
    third = Site(sites.directory / "third", sites.leader.mapper._loops)
    try:
        sites.host.roster.create_mirror(
            MirrorRecord(
                "on",
                GROUP,
                third.address,
                "{volume}",
                MirrorState.RUNNING,
                0,
                0,
                False,
                True,
                False,
            )
        )
        sites.freeze()
        assert sites.leader.soft.step("on") is None
        yield
    finally:
        third.stop()


# By force.


def test_force_overrides_what_is_known_and_no_later_promotion(sites: Sites) -> None:
    sites.fail_over()
    assert not comes_back(sites)[0]
    force(sites.other)
    assert has_head(sites.other)
    assert boots(sites.other), "this promotion is overridden"
    promoted_anew(sites)
    assert not boots(sites.other), "another one is not"
    force(sites.other)
    assert boots(sites.other)


def test_force_against_silence_is_for_once(sites: Sites) -> None:
    set_fencing(sites, PEER)
    site = sites.leader
    sites.other.stop()
    assert not boots(site)
    force(site)
    assert has_head(site)
    assert not boots(site), "it is asked again"
    sites.other.start(power=False)
    promote(sites.other, site)
    assert isinstance(fence.refusal(site.soft.volume(VOLUME)), Fenced), "and the answer counts"


def test_what_is_told_at_that_moment_is_overridden_too(sites: Sites) -> None:
    set_fencing(sites, OFF)
    sites.fail_over()
    assert comes_back(sites)[0]
    force(sites.other)
    (mirror,) = sites.other.mirrors
    assert sites.other.soft.step(mirror) is not None
    assert has_head(sites.other)


def test_a_running_mirror_hears_of_a_later_promotion_in_spite_of_force(sites: Sites) -> None:
    sites.fail_over()
    sites.other.start(power=True)
    force(sites.other)
    (mirror,) = sites.other.mirrors
    assert sites.other.soft.step(mirror) is not None
    assert has_head(sites.other), "it was overridden"
    promoted_anew(sites)
    assert sites.other.soft.step(mirror) is not None
    assert not has_head(sites.other)


def test_what_a_person_overrode_goes_with_the_volume(sites: Sites) -> None:
    sites.fail_over()
    sites.other.start(power=True)
    for volume in sites.models:
        sites.other.soft.host.unfence(sites.other.soft.volume(volume), force=True)
    journal = sites.other.soft.journal
    noted = [f"overridden {volume.uuid}" for volume in journal.volumes()]
    assert all(map(journal.note, noted))
    sites.other.roles.demoter.demote(GROUP, "loopback", force=True)
    assert not any(map(journal.note, noted))


# By whom the replica is written.


def test_a_replica_that_another_host_writes_was_taken_over(sites: Sites) -> None:
    sites.fail_over()
    with mirrored_on(sites):
        sites.leader.roles.demoter.demote(GROUP, "third", force=False, mirror="on")
    there, refused = comes_back(sites)
    assert not there
    assert isinstance(refused, Fenced)
    assert "a replica of it that third writes now" in refused.what
    force(sites.other)
    assert boots(sites.other)
    rewritten(sites.leader, identity="fourth")
    assert not boots(sites.other)


def test_a_running_mirror_hears_of_it(sites: Sites) -> None:
    set_fencing(sites, OFF)
    sites.fail_over()
    with mirrored_on(sites):
        sites.leader.roles.demoter.demote(GROUP, "third", force=False, mirror="on")
    assert comes_back(sites)[0]
    (mirror,) = sites.other.mirrors
    sites.other.soft.host.roster.worker(mirror)._asked_there = True
    sites.other.soft.host.roster.conductor(GROUP).freeze()
    sites.other.soft.step(mirror)
    problem = sites.other.soft.host.roster.worker(mirror).now.problem
    assert "split brain: a is written by third, not by loopback" in problem
    assert not has_head(sites.other)


def test_a_promotion_of_what_another_host_wrote_counts(sites: Sites) -> None:
    sites.fail_over()
    rewritten(sites.leader, identity="somebody")
    assert not comes_back(sites)[0]


def test_another_name_for_this_host_is_no_takeover(sites: Sites) -> None:
    """Its generation is the newest there: nobody else wrote any."""
    rewritten(sites.other, identity="as it was called")
    assert boots(sites.leader)
    assert sites.copy() is None
    sites.freeze()
    assert "is written by as it was called" in str(sites.copy())
    assert has_head(sites.leader)


@pytest.mark.parametrize(("writer", "fences"), [("old", False), ("third", True)])
def test_a_second_replica_that_was_further_takes_nothing_over(writer: str, fences: bool) -> None:
    """This side was promoted from 11; the lost source had brought the other replica to 12."""
    there = replica_pb2.ReplicaVolume(
        role="replica",
        source_identity=writer,
        written_by_another=True,
        newest=replica_pb2.Generation(number=12, uuid="never here"),
    )
    mine = Promotion(11, 5, "old")
    assert bool(taken_over(there, "far:1", mine, {"uuid-11"})) == fences


def test_from_whom_it_was_taken_is_known(sites: Sites) -> None:
    sites.fail_over()
    mine = sites.leader.soft.journal.promotion("a")
    assert mine is not None
    assert (mine.number, mine.taken_from) == (1, "loopback")


def test_another_volume_of_the_name_is_no_takeover(sites: Sites) -> None:
    sites.fail_over()
    with mirrored_on(sites):
        sites.leader.roles.demoter.demote(GROUP, "third", force=False, mirror="on")
    rewritten(sites.leader, volume_uuid=str(uuid.uuid4()))
    assert comes_back(sites)[0]


def test_a_missing_rule_is_no_takeover(sites: Sites) -> None:
    sites.fail_over()
    soft = sites.leader.soft
    sites.leader.stop()
    soft.config = msgspec.structs.replace(
        soft.config, replica=msgspec.structs.replace(soft.config.replica, allow=())
    )
    sites.leader.start(power=False)
    assert comes_back(sites)[0]


# Mirrors at rest.


@pytest.mark.parametrize("state", AT_REST)
def test_a_mirror_at_rest_asks_after_a_start(sites: Sites, state: MirrorState) -> None:
    set_fencing(sites, OFF)
    (mirror,) = sites.leader.mirrors
    sites.leader.soft.journal.change_mirror(mirror, state=state)
    sites.fail_over()
    sites.leader.stop()
    assert comes_back(sites)[0]
    soft = sites.other.soft
    soft.host.roster.conductor(GROUP).freeze()
    assert soft.step(mirror) is None, "nobody answers"
    sites.leader.start(power=False)
    assert "was promoted from generation 1" in str(soft.step(mirror))
    assert not has_head(sites.other)
    events = [one.kind for one in soft.host.context.events.since(0)]
    soft.step(mirror)
    assert [one.kind for one in soft.host.context.events.since(0)] == events, "it is told once"
    assert [one.generation_number for one in soft.journal.cycles(mirror, 9)] == [1], "nothing sent"


@pytest.mark.parametrize(
    ("state", "origin", "told"),
    [
        *((state, Origin.GROUP, [VOLUME, "b"]) for state in AT_REST),
        (MirrorState.BROKEN, Origin.REPLICA_GROUP, []),
    ],
)
def test_a_mirror_at_rest_that_was_answered_asks_no_more(
    sites: Sites,
    state: MirrorState,
    origin: Origin,
    told: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that brings a replica on has no head to keep back, and never asks."""
    asked: list[str] = []

    def ask(volume: str, *_: object) -> str:
        asked.append(volume)
        return ""

    monkeypatch.setattr("control.mirror.ask", ask)
    (mirror,) = sites.leader.mirrors
    assert boots(sites.leader)
    sites.leader.soft.journal.change_mirror(mirror, state=state, origin=origin)
    assert [sites.leader.soft.step(mirror) for _ in range(2)] == [None, None]
    assert asked == told


# Mirroring back to a source that was not demoted.


@pytest.mark.parametrize("written", [True, False])
def test_a_source_that_was_not_demoted_is_a_split_brain(sites: Sites, written: bool) -> None:
    if written:
        sites.freeze()
    sites.fail_over()
    comes_back(sites)
    sites.write(VOLUME, 0, b"there")
    sites.freeze()
    error = sites.copy()
    assert isinstance(error, SplitBrain)
    assert "a is a source at the sender and, as a, at " in error.what
    assert "since generation 1 of " in error.what
    assert ("it has generation 2 of " if written else "it has none, ") in error.what
    assert "the sender generation 3 of " in error.what
    (mirror,) = sites.leader.mirrors
    assert mirror_message(sites.leader.soft.host.roster.worker(mirror)).health == "ERROR"
    sites.other.roles.demoter.demote(GROUP, "loopback", force=True)
    assert sites.copy() is None
    for volume in sites.models:
        sites.other.side.drop_diverged(volume)
    sites.check()
