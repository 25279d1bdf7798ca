"""Who gets a head after a restart, when its replica may have been promoted meanwhile."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator

import pytest

from control import fence
from control.fence import ASK, OFF, PEER, Fenced, Unanswered
from control.wire.channel import TlsUnusable
from dm_tables.errors import FrazilError, Unavailable, Usage
from tests.etcd_tools import free_port
from tests.soft.sites import Sites
from tests.soft.world import GROUP

VOLUME = "a"


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


def set_fencing(sites: Sites, fencing: str) -> None:
    roster = sites.host.roster
    record = roster.conductor(GROUP).group.record
    roster.change_group(dataclasses.replace(record, fencing=fencing), (), ())


def comes_back(sites: Sites) -> tuple[bool, FrazilError | None]:
    """The old source boots. :return: whether its head is there, and why not."""
    sites.other.start(power=True)
    volume = sites.other.soft.volume(VOLUME)
    return volume.stack.head.exists(), fence.refusal(volume)


@pytest.mark.parametrize("fencing", [None, ASK, PEER])
def test_an_old_source_that_boots_keeps_its_head_back(sites: Sites, fencing: str | None) -> None:
    if fencing is not None:
        set_fencing(sites, fencing)
    sites.fail_over()
    there, refused = comes_back(sites)
    assert not there
    assert isinstance(refused, Fenced)
    assert "was promoted from generation 1" in refused.what


def test_without_fencing_it_is_given_out_until_the_host_is_reached(sites: Sites) -> None:
    set_fencing(sites, OFF)
    sites.fail_over()
    there, refused = comes_back(sites)
    assert there
    assert refused is None
    (mirror,) = sites.other.mirrors
    assert sites.other.soft.step(mirror) is not None
    assert not sites.other.soft.volume(VOLUME).stack.head.exists()


@pytest.mark.parametrize("fencing", [OFF, ASK, PEER])
def test_who_was_not_replaced_gets_its_head(sites: Sites, fencing: str) -> None:
    set_fencing(sites, fencing)
    site = sites.leader
    site.stop()
    site.start(power=True)
    assert site.soft.volume(VOLUME).stack.head.exists()


@pytest.mark.parametrize("fencing", [OFF, ASK, PEER])
def test_silence(sites: Sites, fencing: str) -> None:
    set_fencing(sites, fencing)
    sites.other.stop()
    site = sites.leader
    site.stop()
    site.start(power=True)
    volume = site.soft.volume(VOLUME)
    assert volume.stack.head.exists() == (fencing != PEER)
    assert isinstance(fence.refusal(volume), Unavailable) == (fencing == PEER)
    sites.other.start(power=False)
    volume.activate()
    assert volume.stack.head.exists()


def test_a_head_that_can_wait_does_until_somebody_answers(sites: Sites) -> None:
    sites.other.stop()
    site = sites.leader
    site.mapper.power_cut()
    volume = site.soft.volume(VOLUME)
    with pytest.raises(Unanswered, match="to say that it did not take over"):
        volume.activate(certain=True)
    assert not volume.stack.head.exists()
    assert volume.stack.layer(volume.top).exists(), "nobody else uses the disk below"
    sites.other.start(power=False)
    volume.activate(certain=True)
    assert volume.stack.head.exists()


def test_where_nobody_listens_is_seen_at_once(sites: Sites) -> None:
    site = sites.leader
    (record,) = site.soft.journal.mirrors()
    site.soft.journal.change_mirror(record.name, peer=f"127.0.0.1:{free_port()}")
    site.mapper.power_cut()
    volume = site.soft.volume(VOLUME)
    with pytest.raises(Unanswered, match="nobody can be reached there"):
        volume.activate(certain=True)
    assert not volume.stack.head.exists()
    volume.activate()
    assert volume.stack.head.exists(), "it is given out where it is needed"


def test_a_fence_ends_when_the_other_host_gave_up(sites: Sites) -> None:
    sites.fail_over()
    there, _ = comes_back(sites)
    assert not there
    volume, host = sites.other.soft.volume(VOLUME), sites.other.soft.host
    with pytest.raises(Fenced):
        host.unfence(volume, force=False)
    sites.leader.side.stop()
    with pytest.raises(Fenced):
        host.unfence(volume, force=False)
    assert not volume.stack.head.exists(), "nobody could be asked"
    sites.leader.stop()
    sites.leader.start(power=False)
    sites.leader.roles.demoter.demote(GROUP, "loopback", force=True)
    host.unfence(volume, force=False)
    assert volume.stack.head.exists()
    assert not fence.is_fenced(volume)


@pytest.mark.parametrize("fencing", [ASK, PEER])
def test_who_cannot_ask(sites: Sites, fencing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    set_fencing(sites, fencing)

    def connect(*_: object) -> None:
        raise TlsUnusable("there is no certificate", "set one")

    monkeypatch.setattr("control.wire.channel.connect", connect)
    site = sites.leader
    site.stop()
    site.start(power=True)
    volume = site.soft.volume(VOLUME)
    assert volume.stack.head.exists() == (fencing != PEER)
    if fencing == PEER:
        assert "there is no certificate" in str(fence.refusal(volume))


def test_silence_of_one_address_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    silent, tries = f"127.0.0.1:{free_port()}", []

    def connect(address: tuple[str, int], timeout: float) -> None:
        tries.append(address)
        raise TimeoutError

    monkeypatch.setattr("socket.create_connection", connect)
    assert not fence._answers(silent)
    assert not fence._answers(silent)
    assert len(tries) == 1
    fence._silent[silent] -= fence.SILENT_SECONDS
    assert not fence._answers(silent)
    assert len(tries) == 2


def test_a_kind_of_fencing_that_is_none(sites: Sites) -> None:
    with pytest.raises(Usage, match="no kind of fencing"):
        set_fencing(sites, "perhaps")
