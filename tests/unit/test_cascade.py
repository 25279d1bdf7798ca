"""A replica that is mirrored on: three hosts and more, in one process."""

from __future__ import annotations

import dataclasses
import random
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from control.cascade import FrozenReplica
from control.limiter import RateLimiter
from control.records import CycleKind, MirrorState, Origin, VolumeRecord, VolumeState
from control.replica.handover import hand_over
from control.replica.points import SquashStep
from control.replica.receive import Pace
from control.replica.retention import Retention
from control.replica.shortage import Shortage
from control.replica.squashing import squash_layers
from control.spans import Span
from control.wire.errors import MirrorLoop, PeerUnreachable
from dm_tables.errors import Exists, NotFound, Precondition
from dm_tables.units import MIB, Bytes
from tests.chain import CHUNK, PATIENCE, SIZE, Model, Station, image_of, served, until
from tests.chain_hosts import middle, stack
from tests.replica_tools import Replica

__all__ = ["middle", "stack"]

FIRST = random.Random(7).randbytes(SIZE)


def chunk(seed: int) -> bytes:
    return random.Random(seed).randbytes(CHUNK)


@pytest.fixture
def last(tmp_path: Path) -> Replica:
    (tmp_path / "last").mkdir()
    return Replica(tmp_path / "last", Pace(bytes=64 << 10))


@pytest.fixture
def peer(last: Replica, stack: ExitStack) -> str:
    return stack.enter_context(served(last))


@pytest.fixture
def source() -> Model:
    return Model(FIRST)


def history(where: Replica | Station, name: str = "data") -> list[Any]:
    return [one.generation for one in where.store.journal.history(name)]


def test_generations_travel_on_as_they_came(
    middle: Station, last: Replica, peer: str, source: Model
) -> None:
    source.commit(middle, 1, {})
    middle.mirror("on", "data", peer)
    assert middle.sync("on").kind is CycleKind.WHOLE
    for number in (2, 5):
        source.commit(middle, number, {number: chunk(number), 256: chunk(number)})
        cycle = middle.sync("on")
        assert (cycle.kind, cycle.changed_bytes) == (CycleKind.DELTA, CHUNK + 512)
    for number in (1, 2, 5):
        same = image_of(last, number) == source.images[number]["data"]
        assert same, f"generation {number}"
    assert history(last) == history(middle), "number, UUID, parent and freeze time"
    volume = last.store.volume("data")
    assert volume.volume_uuid == middle.store.volume("data").volume_uuid


def test_each_commit_is_brought_on_by_itself(
    middle: Station, last: Replica, peer: str, source: Model
) -> None:
    source.commit(middle, 1, {})
    worker = middle.mirror("on", "data", peer, on_demand=False)
    until(lambda: worker.committed_number == 1)
    source.commit(middle, 2, {3: chunk(3)})
    until(lambda: worker.committed_number == 2)
    assert last.newest() == 2


def test_what_is_committed_while_a_mirror_looks_is_not_slept_over(
    middle: Station, last: Replica, peer: str, source: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.commit(middle, 1, {})
    worker = middle.mirror("on", "data", peer, on_demand=False)
    until(lambda: worker.committed_number == 1 and worker.now.phase == "idle")
    step, commits = worker._step, iter((2,))

    def looks() -> float:
        seconds = step()
        for number in commits:
            source.commit(middle, number, {number: chunk(number)})
        return max(seconds, 2 * PATIENCE)

    monkeypatch.setattr(worker, "_step", looks)
    worker.wake()
    until(lambda: last.newest() == 2)


def test_one_replica_to_several_and_on_from_there(
    tmp_path: Path, middle: Station, stack: ExitStack, last: Replica, peer: str, source: Model
) -> None:
    other = Station(tmp_path / "other")
    stack.callback(other.close)
    source.commit(middle, 1, {})
    middle.mirror("near", "data", other.peer)
    middle.mirror("far", "data", peer)
    for number in (2, 3):
        source.commit(middle, number, {number: chunk(number)})
        middle.sync("near")
        middle.sync("far")
    other.mirror("on", "data", peer, replica_volume="by-way-of-other")
    other.sync("on")
    images = [middle.image(), other.image(), last.image(), last.image(3, "by-way-of-other")]
    assert all(image == source.images[3]["data"] for image in images) is True
    assert history(last, "by-way-of-other") == history(middle)[:1]


def test_the_third_host_can_become_a_source(
    middle: Station, last: Replica, peer: str, source: Model
) -> None:
    source.commit(middle, 1, {})
    middle.mirror("on", "data", peer)
    middle.sync("on")
    source.commit(middle, 2, {3: chunk(3)})
    middle.sync("on")
    given = hand_over(last.store, "data")
    assert [one.generation for one in given.history] == history(middle)
    assert given.images == (1, 2)


def test_layers_wait_for_the_third_host(
    middle: Station, last: Replica, peer: str, source: Model
) -> None:
    source.commit(middle, 1, {})
    middle.mirror("on", "data", peer)
    middle.sync("on")
    for number in (2, 3):
        source.commit(middle, number, {number: chunk(number)})
    assert middle.merge_all() == 0
    cycle = middle.sync("on")
    assert (cycle.kind, cycle.changed_bytes) == (CycleKind.CATCH_UP, 2 * CHUNK)
    assert middle.merge_all() == 2
    same = last.image() == middle.image() == source.images[3]["data"]
    assert same


def test_layers_that_did_not_wait_are_seen(
    middle: Station, last: Replica, peer: str, source: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control: the images do show that something is missing."""
    source.commit(middle, 1, {})
    middle.mirror("on", "data", peer)
    middle.sync("on")
    monkeypatch.setattr(middle.store.keeper, "may_go", lambda volume, layer: True)
    source.commit(middle, 2, {2: chunk(2)})
    assert middle.merge_all() == 1
    source.commit(middle, 3, {3: chunk(3)})
    middle.sync("on")
    same = last.image() == source.images[3]["data"]
    assert not same


@pytest.fixture
def limited(tmp_path: Path, stack: ExitStack) -> Station:
    made = Station(tmp_path / "limited", keep_layers=1)
    stack.callback(made.close)
    return made


def outgrown(station: Station, peer: str, source: Model) -> None:
    """A third host at generation 1 that gets nothing while the limit of layers is passed."""
    source.commit(station, 1, {})
    station.mirror("on", "data", peer)
    station.sync("on")
    for number in (2, 3, 4):
        source.commit(station, number, {number: chunk(number), 9: chunk(number)})
    assert station.merge_all() == 2


def test_past_the_limit_what_is_lacking_is_remembered(
    limited: Station, last: Replica, peer: str, source: Model
) -> None:
    outgrown(limited, peer, source)
    assert limited.roster.worker("on").lacking_bytes(limited.journal.standing("on", "data"))
    cycle = limited.sync("on")
    assert (cycle.kind, cycle.changed_bytes) == (CycleKind.CATCH_UP, 4 * CHUNK)
    same = last.image() == source.images[4]["data"]
    assert same
    assert not limited.journal.standing("on", "data").lacking


def test_what_was_not_remembered_is_seen(
    limited: Station, last: Replica, peer: str, source: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control."""
    monkeypatch.setattr(limited.journal, "add_lacking", lambda standings, blocks: None)
    outgrown(limited, peer, source)
    limited.sync("on")
    same = last.image() == source.images[4]["data"]
    assert not same


def test_what_is_lacking_outlives_a_restart(
    tmp_path: Path, stack: ExitStack, last: Replica, peer: str, source: Model
) -> None:
    first = Station(tmp_path / "again", keep_layers=1)
    outgrown(first, peer, source)
    first.close()
    again = Station(tmp_path / "again", keep_layers=1)
    stack.callback(again.close)
    source.commit(again, 5, {5: chunk(5)})
    assert again.merge_all() == 1
    again.sync("on")
    same = last.image() == source.images[5]["data"]
    assert same


def test_a_merge_that_had_begun_ends_only_when_it_may(
    middle: Station, last: Replica, peer: str, source: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mirror that is made while a layer is merged, and takes up where the third host stands."""
    source.commit(middle, 1, {})
    middle.mirror("before", "data", peer)
    middle.sync("before")
    middle.roster.remove_mirror("before")
    source.commit(middle, 2, {2: chunk(2)})
    volume, layer = middle.store.volume("data"), middle.store.journal.layers("data")[0]
    middle.store.journal.save_layer(dataclasses.replace(layer, merging=True))
    middle.mirror("on", "data", peer)
    middle.journal.change_standing(
        "on", "data", committed_uuid=history(last)[0].uuid, committed_number=1, committed_layer=1
    )
    middle.journal.change_standing("on", "data", base=volume.base_object)
    assert middle.merge_all() == 0
    assert middle.sync("on").kind is CycleKind.DELTA
    assert middle.merge_all() == 1
    same = last.image() == middle.image() == source.images[2]["data"]
    assert same


def test_a_new_mirror_takes_up_where_the_third_host_stands(
    middle: Station, last: Replica, peer: str, source: Model
) -> None:
    source.commit(middle, 1, {})
    middle.mirror("before", "data", peer)
    middle.sync("before")
    middle.roster.remove_mirror("before")
    source.commit(middle, 2, {2: chunk(2)})
    middle.mirror("on", "data", peer)
    cycle = middle.sync("on")
    assert (cycle.changed_bytes, history(last)[0].number) == (CHUNK, 2)
    same = last.image() == source.images[2]["data"]
    assert same


@pytest.mark.parametrize("blind", [False, True])
def test_a_whole_copy_at_the_second_host_is_one_at_the_third(
    middle: Station,
    last: Replica,
    peer: str,
    source: Model,
    monkeypatch: pytest.MonkeyPatch,
    blind: bool,
) -> None:
    """The layers lead nowhere from what the third host has. Not to see that shows (``blind``)."""
    if blind:
        monkeypatch.setattr(FrozenReplica, "follows", lambda self, standing: True)
    source.commit(middle, 1, {})
    middle.mirror("on", "data", peer)
    middle.sync("on")
    source.commit(middle, 2, {2: chunk(2)}, whole=True)
    source.commit(middle, 3, {3: chunk(3)})
    cycle = middle.sync("on")
    assert cycle.kind is (CycleKind.DELTA if blind else CycleKind.WHOLE)
    same = last.image() == source.images[3]["data"]
    assert same is not blind


def test_another_history_is_not_followed(middle: Station, peer: str, source: Model) -> None:
    source.commit(middle, 1, {})
    middle.mirror("on", "data", peer)
    middle.sync("on")
    middle.journal.change_standing("on", "data", committed_uuid="of another history")
    source.commit(middle, 2, {2: chunk(2)})
    assert middle.sync("on").kind is CycleKind.WHOLE


def slow(station: Station, peer: str, source: Model) -> None:
    """Half of the first copy is durable at the third host."""
    source.commit(station, 1, {})
    worker = station.mirror("on", "data", peer, rate_bytes=MIB)
    station.roster.ask("on")
    until(lambda: worker.now.progress is not None and worker.now.progress.done > SIZE // 3)


def test_a_killed_third_host_goes_on_where_it_was(
    middle: Station, last: Replica, source: Model
) -> None:
    with served(last) as peer:
        slow(middle, peer, source)
    with pytest.raises(PeerUnreachable):
        middle.sync("on")
    middle.roster.change_mirror("on", rate_bytes=0)
    again = last.reopened()
    with served(again):
        cycle = middle.sync("on")
    assert cycle.resumed > 0
    same = again.image() == source.images[1]["data"]
    assert same


def test_the_second_host_goes_on_after_a_restart(
    tmp_path: Path, stack: ExitStack, last: Replica, peer: str, source: Model
) -> None:
    first = Station(tmp_path / "again")
    slow(first, peer, source)
    first.close()
    again = Station(tmp_path / "again")
    stack.callback(again.close)
    again.roster.change_mirror("on", rate_bytes=0)
    cycle = again.sync("on")
    assert (cycle.kind, cycle.resumed > 0) == (CycleKind.WHOLE, True)
    same = last.image() == source.images[1]["data"]
    assert same


def test_what_is_copied_stays_while_the_source_goes_on(
    middle: Station, last: Replica, peer: str, source: Model
) -> None:
    slow(middle, peer, source)
    for number in (2, 3):
        source.commit(middle, number, {number: chunk(number)})
        assert middle.merge_all() == 0
    middle.roster.change_mirror("on", rate_bytes=0)
    until(lambda: last.newest() >= 1)
    middle.sync("on")
    assert middle.merge_all() == 2
    same = last.image() == middle.image() == source.images[3]["data"]
    assert same


def test_where_room_is_short_the_third_host_waits(
    middle: Station, last: Replica, peer: str, source: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow(middle, peer, source)
    source.commit(middle, 2, {2: chunk(2)})
    short = threading.Event()
    short.set()
    monkeypatch.setattr(Shortage, "presses", lambda self, volume: short.is_set())
    worker = middle.roster.worker("on")
    middle.merge_all()
    until(lambda: "room for replicas is short" in worker.now.problem)
    assert middle.merge_all() == 1, "nothing is held"
    short.clear()
    middle.roster.change_mirror("on", rate_bytes=0)
    middle.sync("on")
    same = last.image() == source.images[2]["data"]
    assert same


def test_a_mirrored_replica_is_not_removed(middle: Station, peer: str, source: Model) -> None:
    source.commit(middle, 1, {})
    middle.mirror("on", "data", peer)
    with pytest.raises(Precondition, match="mirrored on by on"):
        middle.side.remove("data")
    middle.roster.remove_mirror("on")
    middle.side.remove("data")
    assert middle.store.journal.volumes() == []


def test_what_can_be_mirrored_on(middle: Station, peer: str, source: Model) -> None:
    source.commit(middle, 1, {})
    assert middle.roster.origin_of("data", "") is Origin.REPLICA
    assert middle.roster.origin_of("", "data") is Origin.GROUP
    assert middle.roster.origin_of("other", "") is Origin.GROUP
    with pytest.raises(NotFound):
        middle.mirror("on", "other", peer)
    with pytest.raises(NotFound, match="no group 'db'"):
        middle.mirror("on", "db", peer, Origin.REPLICA_GROUP)
    middle.mirror("on", "data", peer)
    with pytest.raises(Exists):
        middle.mirror("twice", "data", peer)
    hand_over(middle.store, "data")
    with pytest.raises(Precondition, match="promoted"):
        middle.mirror("late", "data", "other:1")
    assert "promoted" in middle.roster.worker("on").group.problem
    middle.journal.add_volume(
        VolumeRecord(
            "data",
            source.uuid("data"),
            (Span(Path("/dev/x"), Bytes(0), Bytes(MIB)),),
            Bytes(MIB),
            Bytes(CHUNK),
            VolumeState.ACTIVE,
            0,
        )
    )
    assert middle.roster.origin_of("data", "") is Origin.GROUP


def test_a_loop_by_way_of_others_is_refused(
    tmp_path: Path, middle: Station, stack: ExitStack, source: Model
) -> None:
    """From a to b, to c, to a: the volume is a's own."""
    third, home = Station(tmp_path / "third"), Station(tmp_path / "home")
    for station in (third, home):
        stack.callback(station.close)
    spans = (Span(Path("/dev/x"), Bytes(0), Bytes(SIZE)),)
    home.journal.add_volume(
        VolumeRecord(
            "mine", source.uuid("data"), spans, Bytes(SIZE), Bytes(0), VolumeState.ACTIVE, 0
        )
    )
    source.commit(middle, 1, {})
    middle.mirror("on", "data", third.peer)
    middle.sync("on")
    third.mirror("back", "data", home.peer)
    with pytest.raises(MirrorLoop, match="data would be a replica of mine"):
        third.sync("back")
    assert home.store.journal.volumes() == []


def test_a_third_host_that_is_down_disturbs_nobody(
    limited: Station, last: Replica, source: Model
) -> None:
    source.commit(limited, 1, {})
    with served(last) as peer:
        limited.mirror("on", "data", peer, on_demand=False)
        until(lambda: last.newest() == 1)
    for number in range(2, 12):
        source.commit(limited, number, {number: chunk(number)})
        # What is held while the third host is called is merged right after.
        until(lambda: limited.merge_all() >= 0 and limited.layers() <= 2)
    again = last.reopened()
    with served(again):
        limited.roster.worker("on").wake()
        until(lambda: again.newest() == 11)
    same = again.image() == source.images[11]["data"]
    assert same


@pytest.mark.parametrize("committed", [2, 3, 4])
def test_layers_that_were_squashed_bring_the_same(
    middle: Station, last: Replica, peer: str, source: Model, committed: int
) -> None:
    """Also where the third host stands at a generation that is a recovery point no more."""
    source.commit(middle, 1, {})
    middle.mirror("on", "data", peer)
    middle.store.set_retention("data", Retention(last=100))
    for number in range(2, 7):
        source.commit(middle, number, {number: chunk(number), 9: chunk(number)})
        if number == committed:
            middle.sync("on")
    volume = middle.store.volume("data")
    layers = {layer.number: layer for layer in middle.store.journal.layers("data")}
    middle.store.set_retention("data", Retention())
    held = middle.store.reading("data", 1)
    with held:
        step = SquashStep(volume, Bytes(SIZE), layers[3], layers[4])
        assert squash_layers(middle.store, step, RateLimiter())
    cycle = middle.sync("on")
    assert cycle.kind is CycleKind.CATCH_UP
    same = last.image() == source.images[6]["data"]
    assert same


def test_paused_mirrors_bring_nothing(
    middle: Station, last: Replica, peer: str, source: Model
) -> None:
    source.commit(middle, 1, {})
    worker = middle.mirror("on", "data", peer, on_demand=False)
    until(lambda: worker.committed_number == 1)
    middle.roster.set_mirror_state("on", MirrorState.PAUSED)
    source.commit(middle, 2, {2: chunk(2)})
    middle.roster.set_mirror_state("on", MirrorState.RUNNING)
    until(lambda: last.newest() == 2)
