"""A source whose heads are kept back: nothing is frozen, and the way on stays open."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest import mock

import pytest

from control.give_up import discard_there
from control.heartbeat import Heartbeat
from control.notify import Notifier
from control.pool.errors import ObjectBusy
from control.pool.files import FileObject
from control.records import LayerState
from control.replica.side import ReplicaSide
from dm_tables.errors import FrazilError, Precondition
from tests.soft.sites import Site, Sites
from tests.soft.world import GROUP

CHUNK = 4096
NAMES = ("a", "b")


@pytest.fixture
def sites() -> Iterator[Sites]:
    """West took over; east is there again, and knows. It has layers like an LVM pool's."""
    made = Sites({name: random.Random(1).randbytes(16 * CHUNK) for name in NAMES})
    real = FileObject.delete

    def delete(self: FileObject) -> None:
        for site in (made.leader, made.other):
            used = {number for table in site.mapper._tables() for number in table.devices()}
            if self.path.exists() and made._loops.find(self.path) in used:
                raise ObjectBusy(self.path, [])
        real(self)

    try:
        with mock.patch.object(FileObject, "delete", delete):
            made.freeze()
            assert made.copy() is None
            made.write("a", 2 * CHUNK, b"2" * CHUNK)
            made.fail_over()
            made.freeze()
            made.other.start(power=True)
            yield made
    finally:
        made.close()


def cannot_be_frozen(site: Site) -> None:
    """As its conductor does again and again."""
    assert not any(site.soft.volume(name).stack.head.exists() for name in NAMES)
    group = site.soft.host.roster.conductor(GROUP).group
    for _ in range(2):
        with pytest.raises(Precondition, match="the head of a is not there"):
            group.freeze()
    layers = [layer for volume in group.volumes for layer in volume.layers]
    assert not [one for one in layers if one.state is LayerState.PREPARED]


def test_it_is_given_its_heads_again(sites: Sites) -> None:
    east = sites.other
    cannot_be_frozen(east)
    discard_there(east.soft.host, "there")
    for name in NAMES:
        volume = east.soft.volume(name)
        assert volume.stack.head.exists()
        assert not volume.problem
    east.soft.host.roster.conductor(GROUP).freeze()
    assert east.soft.step("there") is None


def test_it_becomes_a_replica_and_is_missed_by_nobody(sites: Sites) -> None:
    east, host = sites.other, sites.other.soft.host
    cannot_be_frozen(east)
    assert set(host.unassembled) == set(NAMES)
    east.roles.demoter.demote(GROUP, "loopback", force=True)
    assert not host.unassembled
    heart = Heartbeat(host, Notifier({}), Path("config.toml"))
    heart._try_again(cast(ReplicaSide, SimpleNamespace(listen=lambda: None)))
    assert heart.standing().startswith("0 volumes")


def test_one_whose_head_alone_is_away_keeps_the_group_from_being_frozen(sites: Sites) -> None:
    west = sites.leader.soft
    volume: Any = west.volume("b")
    generations = west.journal.generations("a")
    volume.stack.head.remove()
    with pytest.raises(FrazilError):
        west.host.roster.conductor(GROUP).freeze()
    assert west.journal.generations("a") == generations
    west.host.assemble(volume)
    sites.freeze()
    sites.check(both=False)
