"""A promote or a demote that failed half-way ends with the same command, and with nothing else."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from control import turning
from control.host import Host
from control.pool.errors import PoolFull
from control.pool.files import FilesPool
from control.volume import Volume
from dm_tables.errors import Exists, FrazilError, Precondition, Unavailable
from dm_tables.units import Bytes
from tests.soft.mirrored import two_sites
from tests.soft.sites import Site, Sites
from tests.soft.world import GROUP

CHUNK = 4096


@pytest.fixture
def sites() -> Iterator[Sites]:
    """A group of two volumes, in one generation at both sites."""
    with two_sites() as made:
        yield made


def promote(site: Site, name: str = GROUP) -> None:
    site.roles.promoter.promote(name, progress=lambda *_: None)


def follow(sites: Sites) -> None:
    """The site that was promoted is the one that leads."""
    sites.leader, sites.other = sites.other, sites.leader
    sites.check(both=False)


def failing(monkeypatch: pytest.MonkeyPatch, owner: type, what: str, volume: str) -> Any:
    """A method fails for a volume, until the patch is undone."""
    real = getattr(owner, what)

    def fails(self: Any, *args: Any, **more: Any) -> Any:
        if volume in (getattr(self, "name", ""), *args[:1]):
            raise Unavailable(f"{what} of {volume} failed")
        return real(self, *args, **more)

    monkeypatch.setattr(owner, what, fails)


def test_without_room_for_the_live_layers_nothing_is_handed_over(
    sites: Sites, monkeypatch: pytest.MonkeyPatch
) -> None:
    # There is room for one of the two.
    pool = sites.other.soft.pool
    sites.leader.stop()
    monkeypatch.setattr(pool, "limit", Bytes(pool.used() + (3 << 19)))
    with pytest.raises(PoolFull):
        promote(sites.other)
    assert sites.other.replicas() == ["a", "b"]
    monkeypatch.undo()
    promote(sites.other)
    follow(sites)


def test_a_pool_that_fills_up_meanwhile_is_given_room_and_promoted_to(
    sites: Sites, monkeypatch: pytest.MonkeyPatch
) -> None:
    sites.leader.stop()
    real = FilesPool.create

    def create(pool: FilesPool, name: str, size: Bytes, **more: Any) -> Any:
        if name.startswith("b"):
            raise PoolFull(pool.location, name, size, 0)
        return real(pool, name, size, **more)

    monkeypatch.setattr(FilesPool, "create", create)
    with pytest.raises(PoolFull) as failed:
        promote(sites.other)
    assert f"frazil replica promote {GROUP} goes on" in failed.value.hint
    monkeypatch.undo()
    with pytest.raises(Precondition, match=f"promote of {GROUP} was begun"):
        sites.other.roles.demoter.demote("a", "loopback", force=True)
    promote(sites.other)
    follow(sites)
    with pytest.raises(Exists):
        promote(sites.leader)


@pytest.mark.parametrize("again", ["the same command", "a restart"])
def test_another_promote_does_not_take_the_place_of_one_that_failed(
    sites: Sites, monkeypatch: pytest.MonkeyPatch, again: str
) -> None:
    roster = sites.host.roster
    roster.change_group(roster.conductor(GROUP).group.record, (), ["b"])
    sites.freeze()
    assert sites.copy() is None
    sites.leader.stop()
    failing(monkeypatch, Host, "adopt_stack", "a")
    with pytest.raises(Unavailable):
        promote(sites.other, "a")
    monkeypatch.undo()
    with pytest.raises(Precondition, match=r"promote of a was begun.*frazil replica promote a"):
        promote(sites.other, "b")
    if again == "a restart":
        sites.other.stop()
        sites.other.start(power=False)
    else:
        promote(sites.other, "a")
    promote(sites.other, "b")
    assert [volume.name for volume in sites.other.soft.host.volumes()] == ["a", "b"]


def test_one_that_can_never_end_is_dropped_with_its_replica(
    sites: Sites, monkeypatch: pytest.MonkeyPatch
) -> None:
    sites.leader.stop()
    failing(monkeypatch, Host, "adopt_stack", "a")
    with pytest.raises(Unavailable):
        promote(sites.other)
    monkeypatch.undo()
    for name in ("a", "b"):
        sites.other.side.remove(name)
    with pytest.raises(FrazilError, match="no replica"):
        promote(sites.other)


@pytest.mark.parametrize("again", ["the same command", "a restart"])
def test_a_head_that_is_opened_in_between_keeps_no_demote_from_ending(
    sites: Sites, monkeypatch: pytest.MonkeyPatch, again: str
) -> None:
    demote = sites.leader.roles.demoter.demote
    real, looked = Volume.check_idle, []

    def check_idle(volume: Volume) -> None:
        looked.append(volume.name)
        if looked.count("b") > 2:
            raise Precondition("frazil-b is in use", "stop what has it open")
        real(volume)

    monkeypatch.setattr(Volume, "check_idle", check_idle)
    with pytest.raises(Precondition, match="in use") as failed:
        demote(GROUP, "loopback", force=False)
    assert f"frazil volume demote {GROUP} --identity loopback" in failed.value.hint
    assert sites.leader.replicas() == ["a"]
    monkeypatch.undo()
    with pytest.raises(Precondition, match=f"demote of {GROUP} was begun"):
        promote(sites.leader, "a")
    with pytest.raises(Precondition, match=f"demote of {GROUP} was begun"):
        demote("another", "loopback", force=False)
    with pytest.raises(Precondition, match="--identity loopback"):
        demote(GROUP, "mistyped", force=False)
    if again == "a restart":
        sites.leader.stop()
        sites.leader.start(power=False)
    else:
        assert demote(GROUP, "loopback", force=False) == ["a", "b"]
    assert sites.leader.replicas() == ["a", "b"]
    assert not sites.leader.leads
    promote(sites.other)
    follow(sites)


def test_one_change_of_roles_at_a_time(sites: Sites, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turning, "WAIT_SECONDS", 0.0)
    has_it, enough = threading.Event(), threading.Event()

    def hold() -> None:
        with sites.other.roles._turning.alone("the promote of something"):
            has_it.set()
            enough.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    has_it.wait(60)
    try:
        with pytest.raises(Unavailable, match="the promote of something is under way"):
            promote(sites.other)
        with pytest.raises(Unavailable, match="under way"):
            sites.other.roles.demoter.demote(GROUP, "loopback", force=False)
    finally:
        enough.set()
        thread.join()
    promote(sites.other)


def settings(site: Site) -> tuple[Any, ...]:
    """What a person set of the group, and of the mirror that leads to the other site."""
    journal = site.soft.journal
    group, (mirror,) = journal.group(GROUP), journal.mirrors()
    assert group is not None
    of_group = (group.policy, group.before, group.before_ms, group.fencing, group.consistency)
    return (*of_group, mirror.interval_ms, mirror.rate_bytes, mirror.window, mirror.on_demand)


@pytest.mark.parametrize("planned", [True, False])
def test_who_leads_again_goes_on_as_it_was_set(
    sites: Sites, tmp_path: Path, *, planned: bool
) -> None:
    quiet = tmp_path / "quiet.sh"
    quiet.write_text("#!/bin/sh\n")
    quiet.chmod(0o755)
    first, roster = sites.leader, sites.host.roster
    record = roster.conductor(GROUP).group.record
    changed = dataclasses.replace(record, before=(str(quiet),), before_ms=7000, fencing="peer")
    roster.change_group(changed, (), ())
    roster.change_mirror("there", rate_bytes=12345, interval_ms=60_000, window="Sat-Sun")
    chosen = settings(first)

    if planned:
        assert sites.switch()
    else:
        sites.fail_over()
        sites.come_back(power=False)
    assert sites.leader is not first
    assert settings(sites.leader) != chosen, "what another host was set to is not known there"
    sites.freeze()
    assert sites.copy() is None
    quiet.unlink()
    assert sites.switch(), "a program that is gone keeps nobody from leading"
    assert sites.leader is first
    assert settings(first) == chosen
