"""A known takeover keeps the head back until who took over says that it gave up, or by force."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest

from control import fence
from control.fence import Fenced, is_fenced, reasons
from control.give_up import discard_there
from control.promote import WayBack
from control.volume import Volume
from tests.replica_tools import Rule
from tests.soft.sites import Site, Sites
from tests.soft.world import GROUP
from tests.unit.test_taken_over import rewritten
from tests.unit.test_writer import allow, mirrored

CHUNK = 4096
VOLUME = "a"
NAMES = (VOLUME, "b")
WEST = "there"


@pytest.fixture
def sites() -> Iterator[Sites]:
    """Two volumes of one site that the other one has a generation of."""
    made = Sites({name: random.Random(1).randbytes(16 * CHUNK) for name in NAMES})
    try:
        allow(made.other, Rule(discard=True))
        made.freeze()
        assert made.copy() is None
        yield made
    finally:
        fence._silent.clear()
        made.close()


@pytest.fixture(params=["north", "zealand"])
def third(sites: Sites, request: pytest.FixtureRequest) -> Iterator[Site]:
    """Another replica: of a mirror that is asked before, or after, the first one."""
    made = sites.site("third")
    try:
        sites.host.roster.create_mirror(mirrored(request.param, made))
        assert sites.copy() is None
        yield made
    finally:
        made.stop()


def replaced(sites: Sites) -> Volume:
    """West was promoted, and east is there again. :return: its volume."""
    sites.fail_over()
    sites.write(VOLUME, CHUNK, bytes(CHUNK))
    sites.other.start(power=True)
    volume = sites.other.soft.volume(VOLUME)
    assert is_fenced(volume)
    return volume


def west_gives_up(sites: Sites) -> None:
    sites.leader.roles.demoter.demote(GROUP, "loopback", force=True)


def stays_away(sites: Sites, volume: Volume) -> Fenced:
    """Asking again gives no head. :return: why not."""
    with pytest.raises(Fenced) as refused:
        sites.other.soft.host.unfence(volume, force=False)
    assert is_fenced(volume)
    assert not volume.stack.head.exists()
    return refused.value


def refuse(sites: Sites) -> None:
    allow(sites.leader, Rule("somebody else"))


def forget(sites: Sites) -> None:
    west_gives_up(sites)
    for name in NAMES:
        sites.leader.side.drop_diverged(name)
        sites.leader.side.remove(name)


def rename(sites: Sites) -> None:
    west_gives_up(sites)
    rewritten(sites.leader, volume_uuid="another volume's")


@pytest.mark.parametrize(
    ("done", "told"),
    [
        (refuse, "loopback may not use the replica volume a"),
        (forget, "no replica 'a'"),
        (rename, "is no replica of this volume"),
    ],
)
def test_what_is_no_answer_ends_no_fence(
    sites: Sites, done: Callable[[Sites], None], told: str
) -> None:
    volume = replaced(sites)
    done(sites)
    error = stays_away(sites, volume)
    assert "was promoted from generation 1" in error.what
    assert told in error.what
    sites.other.soft.host.unfence(volume, force=True)
    assert volume.stack.head.exists()


def test_who_did_not_take_over_does_not_answer_for_who_did(sites: Sites, third: Site) -> None:
    volume = replaced(sites)
    sites.other.soft.host.roster.remove_mirror(WEST)
    assert "no mirror of it leads to" in stays_away(sites, volume).what
    west_gives_up(sites)
    stays_away(sites, volume)


def test_all_who_are_asked_say_that_it_is_over(sites: Sites, third: Site) -> None:
    volume = replaced(sites)
    west_gives_up(sites)
    third.side.stop()
    assert "cannot be reached" in stays_away(sites, volume).what
    third.stop()
    third.start(power=False)
    sites.other.soft.host.unfence(volume, force=False)
    assert volume.stack.head.exists()


def by_an_authority(volume: Volume) -> None:
    fence.fence(volume, "other owns it since then")


def by_an_older_release(volume: Volume) -> None:
    volume.context.journal.set_fenced(volume.name, "other was promoted from generation 1 of it")


@pytest.mark.parametrize("fenced", [by_an_authority, by_an_older_release])
def test_what_no_replica_told_no_replica_ends(
    sites: Sites, fenced: Callable[[Volume], None]
) -> None:
    volume = replaced(sites)
    fenced(volume)
    west_gives_up(sites)
    assert "other " in stays_away(sites, volume).what
    sites.other.soft.host.unfence(volume, force=True)
    assert volume.stack.head.exists()
    assert reasons(volume) == {}


def test_what_another_host_took_over_stays_away(sites: Sites, third: Site) -> None:
    """Both replicas were promoted; one gives up, and the other one cannot be asked now."""
    way = WayBack(sites.leader.address, plaintext=True)
    third.roles.promoter.promote(GROUP, back=way, progress=lambda *_: None)
    volume = replaced(sites)
    assert len(reasons(volume)) == 2
    third.side.stop()
    told = discard_there(sites.other.soft.host, WEST)
    assert f"; a stays kept from applications: {third.address} was promoted" in told
    assert not sites.leader.leads
    for name in NAMES:
        kept = sites.other.soft.volume(name)
        assert is_fenced(kept)
        assert not kept.stack.head.exists()
        assert list(reasons(kept).values()) == [f"{name} at {third.address}"]
    stays_away(sites, volume)
    third.stop()
    third.start(power=False)
    third.roles.demoter.demote(GROUP, "loopback", force=True)
    sites.other.soft.host.unfence(volume, force=False)
    assert volume.stack.head.exists()


def test_reasons_go_with_the_volume(sites: Sites) -> None:
    volume = replaced(sites)
    noted = f"fenced {volume.uuid}"
    journal = sites.other.soft.journal
    assert journal.note(noted)
    sites.other.roles.demoter.demote(GROUP, "loopback", force=True)
    assert not journal.note(noted)
