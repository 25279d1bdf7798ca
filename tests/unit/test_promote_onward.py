"""What a third host gets once the second one, whose replicas it mirrors on, is promoted."""

from __future__ import annotations

import dataclasses
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from control.onward import bringing_on, standing_here
from control.records import CycleKind, MirrorRecord, MirrorState, Origin, StandingRecord
from control.replica.handover import HandedOver
from tests.chain import image_of, served
from tests.replica_tools import Replica
from tests.soft.sites import Sites
from tests.soft.world import GROUP
from tests.unit.test_promote import committed, given

SIZES = {"a": 64 * 4096, "b": 17 * 4096 + 512}
CHUNK = 4096


def of_group(stack: HandedOver, group: str) -> HandedOver:
    history = tuple(dataclasses.replace(one, group=group) for one in stack.history)
    return dataclasses.replace(stack, history=history)


def mirror(name: str, origin: Origin, of: str, peer: str = "far:1") -> MirrorRecord:
    return MirrorRecord(
        name, of, peer, "{volume}", MirrorState.RUNNING, 0, 0, False, True, False, origin=origin
    )


def standing(number: int, base: str = "data.base1", **fields: object) -> StandingRecord:
    made = StandingRecord("on", "data", f"uuid-{number}", number, number, float(number), base=base)
    return dataclasses.replace(made, **fields)  # type: ignore[arg-type]


def test_which_mirrors_brought_the_replicas_on() -> None:
    mirrors = [
        mirror("own", Origin.GROUP, "g"),
        mirror("other", Origin.REPLICA, "other"),
        mirror("one", Origin.REPLICA, "data"),
        mirror("all", Origin.REPLICA_GROUP, "g"),
    ]
    alone, grouped = given(1, 2), of_group(given(1, 2), "g")
    assert [one.name for one in bringing_on(mirrors, [alone])] == ["one"]
    assert [one.name for one in bringing_on(mirrors, [grouped, grouped])] == ["all"]


@pytest.mark.parametrize(
    ("number", "layer", "lacked"),
    [(12, 10, []), (9, 7, [10]), (6, 6, [7, 10]), (5, 5, [6, 7, 10]), (8, 6, [7, 10])],
)
def test_the_layers_that_the_further_host_lacks_stay_the_same(
    number: int, layer: int, lacked: list[int]
) -> None:
    stack = given(5, 6, 9, 12)
    # What was squashed or merged is in the history only.
    known = tuple(committed(one) for one in (12, 9, 8, 6, 5))
    stack = dataclasses.replace(stack, history=known)
    here = standing_here(standing(number), stack, {6, 7, 10, 13})
    assert here.committed_layer == layer
    assert (here.lacking_all, here.base) == (False, "")
    assert [one for one in (6, 7, 10) if one > here.committed_layer] == lacked


def test_what_was_remembered_stays_remembered() -> None:
    here = standing_here(standing(3, lacking=b"blocks"), given(5, 6), {6})
    assert (here.committed_layer, here.lacking, here.lacking_all) == (5, b"blocks", False)


@pytest.mark.parametrize(
    ("was", "there"),
    [
        (standing(6, base="another"), {6, 7}),
        (standing(6, committed_uuid="another"), {6, 7}),
        (standing(5), {7}),
    ],
    ids=["another base", "another history", "merged meanwhile"],
)
def test_where_nothing_leads_on_it_takes_a_whole_copy(was: StandingRecord, there: set[int]) -> None:
    assert standing_here(was, given(5, 6, 9), there).lacking_all


def test_nothing_committed_stays_nothing() -> None:
    assert standing_here(StandingRecord("on", "data"), given(5, 6), {6}).committed_layer == -1


@pytest.fixture
def last(tmp_path: Path) -> Replica:
    return Replica(tmp_path)


@pytest.fixture
def sites(last: Replica) -> Iterator[Sites]:
    """A group that is mirrored on by the second site, in one generation at all three hosts."""
    chance = random.Random(1)
    made = Sites({name: chance.randbytes(size) for name, size in SIZES.items()})
    try:
        with served(last) as peer:
            made.freeze()
            assert made.copy() is None
            record = mirror("on", Origin.REPLICA_GROUP, GROUP, peer)
            made.other.soft.host.roster.create_mirror(record)
            assert made.other.soft.step("on") is None
            yield made
    finally:
        made.close()


def cycle(sites: Sites, seed: int) -> None:
    """Write and freeze where the group leads."""
    for name in SIZES:
        sites.write(name, seed * CHUNK, random.Random(seed).randbytes(CHUNK))
    sites.freeze()


def same(sites: Sites, last: Replica) -> int:
    """The newest generation of the third host, which shows what it must."""
    numbers = set()
    for name, model in sites.models.items():
        newest = last.store.journal.newest(name)
        assert newest is not None
        right = image_of(last, name=name) == model.images[newest.generation.uuid]
        assert right, name
        numbers.add(newest.generation.number)
    return numbers.pop()


@pytest.mark.parametrize("behind", [0, 3])
@pytest.mark.parametrize("dies", [None, 12, 25, 40])
def test_the_third_host_goes_on_from_what_it_has(
    sites: Sites, last: Replica, behind: int, dies: int | None
) -> None:
    for seed in range(1, 1 + behind):
        cycle(sites, seed)
        assert sites.copy() is None
        sites.merge()
    assert same(sites, last) == 1
    sites.fail_over(dies=dies)
    journal = sites.leader.soft.journal
    record = journal.mirror("on")
    assert record is not None
    assert (record.origin, record.group_name) == (Origin.GROUP, GROUP)
    for seed in range(10, 13):
        cycle(sites, seed)
        for volume in sites.host.volumes():
            sites.host.merger._merge_one(volume)
        assert sites.leader.soft.step("on") is None
    sites.check(both=False)
    assert same(sites, last) == journal.generations("a")[0].number
    kinds = {one.kind for one in journal.cycles("on") if one.generation_number > 1}
    assert CycleKind.WHOLE not in kinds


def test_a_copy_that_runs_does_not_keep_it_from_being_promoted(sites: Sites) -> None:
    store, worker = sites.other.side.store, sites.other.soft.host.roster.worker("on")
    worker._cancel.clear()
    runs = threading.Event()

    def copy() -> None:
        with worker._copying, store.reading("a"):
            runs.set()
            worker._cancel.wait(60)

    thread = threading.Thread(target=copy)
    thread.start()
    runs.wait(60)
    sites.other.roles.promoter.check(GROUP, force=False)
    thread.join()
