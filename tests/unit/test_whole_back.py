"""Mirroring on to a replica on its own device with which nothing in common is known any more."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from unittest import mock

import pytest

from control.common import NoCommonGeneration
from control.records import MirrorRecord, MirrorState
from control.replica import diverged
from control.replica.database import Database
from control.replica.images import open_image
from control.room import RoomKeeper
from control.spans import Span
from control.wire.errors import BaseMismatch, OnOwnDevice
from dm_tables.errors import FrazilError
from dm_tables.units import Bytes
from tests.soft.sites import Site, Sites
from tests.soft.world import GROUP

SIZES = {"a": 64 * 4096, "b": 37 * 4096 + 512}
BLOCK = 4096
BACK = f"{GROUP}.back"


@pytest.fixture
def apart() -> Iterator[Sites]:
    """The second site was promoted, and went on; the first one is gone with what only it had."""
    chance = random.Random(1)
    made = Sites({name: chance.randbytes(size) for name, size in SIZES.items()})
    try:
        for seed in range(3):
            cycle(made, seed)
            assert made.copy() is None
        write(made, 3)
        made.fail_over()
        cycle(made, 4)
        yield made
    finally:
        made.close()


@pytest.fixture
def sites(apart: Sites) -> Sites:
    """The first site has come back as the replica of the second."""
    apart.other.start(power=False)
    apart.other.roles.demoter.demote(GROUP, "loopback", force=True)
    return apart


def write(sites: Sites, seed: int) -> None:
    for name in SIZES:
        sites.write(name, seed % 36 * BLOCK, random.Random(seed).randbytes(BLOCK))


def cycle(sites: Sites, seed: int) -> None:
    write(sites, seed)
    sites.freeze()


def fold_untracked(sites: Sites) -> None:
    """The pool is full to the last, so that the live layer itself goes into the spans."""
    soft = sites.leader.soft
    soft.pool.limit = Bytes(0)
    try:
        with mock.patch.object(RoomKeeper, "_has_room", lambda *_: False):
            for name in SIZES:
                soft.host.room._sacrifice(soft.volume(name))
    finally:
        soft.pool.limit = None


def forget(sites: Sites) -> None:
    """The mirror back is removed, all that it needed is merged, and the history is lost."""
    sites.host.roster.remove_mirror(BACK)
    cycle(sites, 7)
    for _ in range(6):
        sites.merge()
    for name in SIZES:
        sites.leader.soft.journal.remove_generation(name, sites.other.newest(name).generation.uuid)


def mirror_back(sites: Sites, name: str) -> None:
    record = MirrorRecord(
        name, GROUP, sites.other.address, "{volume}", MirrorState.RUNNING, 0, 0, False, True, False
    )
    sites.host.roster.create_mirror(record)


def lost_untracked(sites: Sites) -> str:
    fold_untracked(sites)
    return BACK


def lost_standing(sites: Sites) -> str:
    forget(sites)
    mirror_back(sites, "home")
    return "home"


def whole(sites: Sites, mirror: str) -> None:
    sites.host.roster.start_mirror(mirror, whole=True)


def shown(sites: Sites) -> dict[str, bytes]:
    return {name: sites.other.image(name) for name in SIZES}


def arrived(sites: Sites) -> bool:
    newest = sites.host.roster.conductor(GROUP).group.newest()
    return all(sites.other.newest(n).generation.uuid == newest.uuid for n in SIZES)


@pytest.mark.parametrize("lose", [lost_untracked, lost_standing])
def test_it_stops_and_names_the_command_that_goes_on(
    sites: Sites, lose: Callable[[Sites], str]
) -> None:
    mirror, before = lose(sites), shown(sites)
    cycle(sites, 8)
    error = sites.copy()
    assert isinstance(error, OnOwnDevice)
    assert f"frazil mirror start {mirror} --whole" in error.hint
    assert sites.copy() is not None, "it begins nothing by itself"
    same = shown(sites) == before
    assert same
    whole(sites, mirror)
    assert sites.copy() is None
    assert arrived(sites)
    sites.check()
    journal = sites.leader.soft.journal
    assert not any(s.asked_whole or s.lacking_all for s in journal.standings(mirror=mirror))
    for seed in (9, 10):
        cycle(sites, seed)
        assert sites.copy() is None
        sites.merge()
        sites.check()
    assert arrived(sites)


def test_what_differs_is_sent_and_no_more(sites: Sites) -> None:
    lost_untracked(sites)
    cycle(sites, 8)
    whole(sites, BACK)
    assert sites.copy() is None
    # Written since the common instant: 4 and 8 here.
    lengths = {name: sites.other.newest(name).length for name in SIZES}
    assert lengths == dict.fromkeys(SIZES, 2 * BLOCK)


def test_what_no_other_host_has_stays_a_recovery_point(sites: Sites) -> None:
    store = sites.other.side.store
    branches = {name: diverged.of(store, name) for name in SIZES}
    before = {name: image(sites, name, one) for name, one in branches.items()}
    lost_untracked(sites)
    cycle(sites, 8)
    whole(sites, BACK)
    assert sites.copy() is None
    for _ in range(4):
        sites.merge()
    same = {name: image(sites, name, one) for name, one in branches.items()} == before
    assert same
    sites.check()


def image(sites: Sites, name: str, branch: diverged.Diverged | None) -> bytes:
    assert branch is not None
    store = sites.other.side.store
    with (
        store.reading(name, uuid=branch.generation.uuid) as chain,
        open_image(store, chain) as found,
    ):
        return bytes(found.read(Bytes(0), chain.size))


def test_the_number_of_a_recovery_point_is_no_other_generations(sites: Sites) -> None:
    mirror = lost_standing(sites)
    cycle(sites, 8)
    branch = diverged.of(sites.other.side.store, "a")
    assert branch is not None
    newest = sites.leader.soft.journal.generations("a")[0]
    assert newest.number != branch.generation.number
    with mock.patch.object(diverged, "of", lambda *_: _numbered(branch, newest.number)):
        whole(sites, mirror)
        error = sites.copy()
    assert isinstance(error, BaseMismatch)
    assert "--drop-diverged" in error.hint


def _numbered(branch: diverged.Diverged, number: int) -> diverged.Diverged:
    return replace(branch, generation=replace(branch.generation, number=number))


@pytest.mark.parametrize("power", [False, True])
def test_the_source_dies_anywhere_in_it(sites: Sites, power: bool) -> None:
    lost_untracked(sites)
    died, effects = True, 0
    while died:
        cycle(sites, 8 + effects)
        with sites._mortal(sites.leader, effects, power=power):
            whole(sites, BACK)
            sites.copy()
        died = sites.died
        sites.check()
        whole(sites, BACK)
        assert sites.copy() is None
        assert arrived(sites)
        sites.check()
        effects += 3
    assert effects > 4


@contextmanager
def dying(site: Site, left: int) -> Iterator[list[bool]]:
    """The replica's journal fails after so many changes, before or after one."""
    dead: list[bool] = []
    real, mine = Database.transaction, site.side.store.journal._db

    def live() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            dead.append(True)
            raise OSError("the host is gone")

    @contextmanager
    def transaction(database: Database) -> Iterator[None]:
        if database is not mine or database._db.in_transaction:
            with real(database):
                yield
            return
        live()
        with real(database):
            yield
        live()

    with mock.patch.object(Database, "transaction", transaction):
        yield dead


def test_the_replica_dies_anywhere_in_it(sites: Sites) -> None:
    lost_untracked(sites)
    effects, ends = 0, False
    while not ends:
        cycle(sites, 8 + effects)
        whole(sites, BACK)
        with dying(sites.other, effects) as dead:
            failed = sites.copy()
        ends = not dead
        assert bool(failed) == bool(dead) or not ends
        sites.other.kill()
        sites.other.start(power=effects % 2 == 0)
        sites.check()
        whole(sites, BACK)
        assert sites.copy() is None
        assert arrived(sites)
        sites.check()
        effects += 2
    assert effects > 4


def test_the_way_out_where_a_demote_finds_nothing_in_common(apart: Sites) -> None:
    """The old source's volumes are removed, and their devices are seeds for the mirror back."""
    sites = apart
    sites.other.start(power=False)
    host, side = sites.other.soft.host, sites.other.side
    host.roster.remove_mirror("there")
    with pytest.raises(NoCommonGeneration) as caught:
        sites.other.roles.demoter.demote(GROUP, "loopback", force=True)
    assert "frazil replica seed" in caught.value.hint
    for name in SIZES:
        spans: tuple[Span, ...] = host.volume(name).record.spans
        host.remove_volume(name, lambda *_: None)
        side.seed(name, spans, "loopback")
    host.roster.remove_group(GROUP)
    error = sites.copy()
    assert isinstance(error, FrazilError)
    assert "frazil mirror start MIRROR --whole" in error.hint
    whole(sites, BACK)
    assert sites.copy() is None
    assert arrived(sites)
    sites.check()
