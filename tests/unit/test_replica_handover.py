"""A replica's stack becomes a source's, and comes back: only rows move, once or several times."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from control.blocks import Extent
from control.image import StackImage
from control.replica.admission import check_not_promoted
from control.replica.claims import Claims
from control.replica.describe import describe
from control.replica.handover import HandedOver, hand_over, take_in
from control.replica.images import image_digests
from control.replica.points import MergeStep, next_step
from control.replica.records import ROLE_PROMOTED, VolumeRecord
from control.spans import Span
from control.wire.errors import (
    BadStream,
    GenerationNotFound,
    NotAStack,
    ReplicaBusy,
    ReplicaHeld,
    ReplicaNotFound,
    ReplicaPromoted,
    ReplicaRefused,
    VolumeNameTaken,
)
from control.wire.send import commit, send
from dm_tables.errors import Kind
from dm_tables.units import MIB, Bytes
from proto.frazil.v1 import replica_pb2
from tests.replica_tools import (
    VOLUME_UUID,
    Replica,
    generation,
    manifest,
    messages,
    noise,
    patched,
    say,
    whole,
)
from tests.unit.test_replica_store import CHUNK, SIZE, History


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path / "replica")


def image_of(replica: Replica, given: HandedOver, number: int) -> bytes:
    """A generation, read by what was handed over alone."""
    layers: list[Any] = [
        (replica.pool.open(layer.object_name).path, layer.chunk)
        for layer in given.layers
        if layer.number <= number
    ]
    with StackImage(given.base, layers, given.volume.size) as image:
        return bytes(image.read(Bytes(0), given.volume.size))


def dying(*_: object, **__: object) -> None:
    raise RuntimeError("in the middle")


def half_merged(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    """Layer 2 has begun to go into the base."""
    with monkeypatch.context() as patch:
        patch.setattr("control.replica.merging.merge", dying)
        with pytest.raises(RuntimeError):
            history.replica.merger.merge_next()


def test_what_is_handed_over_is_the_whole_stack(history: History) -> None:
    replica = history.replica
    before = replica.pool.list()
    given = hand_over(replica.store, "data")
    assert given.images == (1, 2, 3, 4)
    assert (given.volume.volume_uuid, given.volume.size) == (VOLUME_UUID, SIZE)
    assert [record.generation.number for record in given.history] == [4, 3, 2, 1]
    for number in given.images:
        assert image_of(replica, given, number) == history.images[number]
    # Nothing is deleted, now or later.
    assert replica.pool.list() == before
    assert replica.reopened().pool.list() == before


def test_what_is_left_is_a_record(history: History) -> None:
    replica = history.replica
    hand_over(replica.store, "data")
    said = describe(replica.store, "data")
    assert (said.role, said.newest.number, said.base_path) == ("promoted", 4, "")
    assert said.HasField("role_since")
    assert not said.layers
    assert not said.HasField("incoming")
    assert said.allocated_bytes == 0
    assert [made.number for made in said.history] == [4, 3, 2, 1]
    assert not replica.merger.merge_next()
    for call in (replica.store.hold, replica.store.chain):
        with pytest.raises(ReplicaPromoted):
            call("data")


def test_handing_over_again_gives_the_same(history: History) -> None:
    given = hand_over(history.replica.store, "data")
    replica = history.replica.reopened()
    assert hand_over(replica.store, "data") == given


def test_a_merge_that_was_under_way_goes_with_it(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    half_merged(history, monkeypatch)
    given = hand_over(history.replica.store, "data")
    assert [layer.merging for layer in given.layers] == [True, False, False]
    # The base alone is no generation any more.
    assert given.images == (2, 3, 4)
    assert hand_over(history.replica.reopened().store, "data").images == (2, 3, 4)


def test_what_was_coming_in_is_dropped(history: History) -> None:
    replica = history.replica
    sent = messages(5, whole(noise(SIZE), CHUNK), base=4)
    with pytest.raises(BadStream):
        say(replica, sent[:-1])
    before = len(replica.pool.list())
    hand_over(replica.store, "data")
    assert replica.store.journal.incoming("data") is None
    assert len(replica.pool.list()) == before - 1


def test_nothing_committed_is_nothing_to_promote(tmp_path: Path) -> None:
    replica = Replica(tmp_path)
    with pytest.raises(ReplicaNotFound):
        hand_over(replica.store, "data")
    with pytest.raises(BadStream):
        say(replica, messages(1, whole(noise(SIZE), CHUNK))[:-1])
    with pytest.raises(GenerationNotFound, match="nothing to promote"):
        hand_over(replica.store, "data")
    assert replica.store.journal.incoming("data") is not None


def test_what_is_held_is_not_handed_over(history: History) -> None:
    store = history.replica.store
    store.hold("data", 2)
    with pytest.raises(ReplicaHeld, match="generation 2"):
        hand_over(store, "data")
    store.release("data", 2)
    with store.reading("data"), pytest.raises(ReplicaHeld):
        hand_over(store, "data")
    assert describe(store, "data").role == "replica"
    hand_over(store, "data")


def test_what_is_merged_is_not_handed_over(history: History) -> None:
    store = history.replica.store
    step = next_step(store, set())
    assert isinstance(step, MergeStep)
    with (
        store.using(step.volume.base_object, step.layer.object_name),
        pytest.raises(ReplicaBusy, match="being merged"),
    ):
        hand_over(store, "data")


def test_removing_a_promoted_one_deletes_nothing(history: History) -> None:
    replica = history.replica
    before = replica.pool.list()
    hand_over(replica.store, "data")
    replica.store.remove("data")
    assert replica.reopened().pool.list() == before


# What its old source is told.


@pytest.fixture
def promoted(history: History) -> Replica:
    hand_over(history.replica.store, "data")
    return history.replica


def test_its_old_source_is_told_by_name(promoted: Replica) -> None:
    delta = whole(noise(SIZE), CHUNK)
    with promoted.stub() as stub:
        for number, base in ((5, 4), (5, 0), (4, 3)):
            with pytest.raises(
                ReplicaPromoted, match=r"promoted on 20.* from generation 4"
            ) as told:
                send(stub, manifest(number, delta, base=base), delta)
            assert told.value.kind is Kind.PRECONDITION
        with pytest.raises(ReplicaPromoted):
            commit(stub, "", {"data": generation(4).uuid})
        with pytest.raises(ReplicaPromoted):
            request = replica_pb2.DigestsRequest(volume="data", generation_uuid=generation(4).uuid)
            list(image_digests(promoted.store, request))
        said = stub.Describe(replica_pb2.DescribeRequest(volume="data"))
        assert (said.role, said.newest.number) == ("promoted", 4)


def test_a_stranger_is_told_nothing_of_it(promoted: Replica) -> None:
    with pytest.raises(ReplicaRefused):
        say(promoted, messages(5, whole(noise(SIZE), CHUNK)), "thief")


def test_a_replica_is_none_that_was_promoted(history: History) -> None:
    """The negative control of the checks above."""
    store = history.replica.store
    check_not_promoted(store.volume("data"), None)
    with pytest.raises(ReplicaPromoted):
        check_not_promoted(replace(store.volume("data"), role=ROLE_PROMOTED), None)


# And back.


def back(replica: Replica, given: HandedOver, **fields: Any) -> VolumeRecord:
    volume = replace(given.volume, **fields)
    return take_in(replica.store, volume, given.layers, given.history)


def test_a_stack_comes_back(history: History) -> None:
    given = hand_over(history.replica.store, "data")
    back(history.replica, given, identity="new")
    for _ in range(2):
        assert history.shown() == [1, 2, 3, 4]
        said = describe(history.replica.store, "data")
        assert (said.role, said.source_identity) == ("replica", "new")
        assert said.HasField("role_since")
        history.replica = history.replica.reopened()
    made = patched(history.images[4], CHUNK, {3: noise(CHUNK)})
    extents = [Extent(Bytes(3 * CHUNK), Bytes(CHUNK))]
    say(history.replica, messages(5, whole(made, CHUNK, extents), base=4), "new")
    history.images[5] = made
    while history.replica.merger.merge_next():
        pass
    assert history.shown() == [5]
    with pytest.raises(ReplicaRefused):
        say(history.replica, messages(6, whole(made, CHUNK, extents), base=5))


def test_a_half_merged_stack_comes_back(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    half_merged(history, monkeypatch)
    back(history.replica, hand_over(history.replica.store, "data"))
    assert history.shown() == [2, 3, 4]
    while history.replica.merger.merge_next():
        assert 4 in history.shown()
    assert history.shown() == [4]


def test_coming_back_twice_is_coming_back_once(history: History) -> None:
    given = hand_over(history.replica.store, "data")
    made = back(history.replica, given)
    assert back(history.replica, given) == made
    history.add(5)
    while history.replica.merger.merge_next():
        pass
    # Nor does it undo what came since.
    back(history.replica, given)
    assert history.shown() == [5]


def test_a_source_that_never_was_a_replica_here(tmp_path: Path) -> None:
    """Its own device is the base; it may go on as one."""
    old, new = noise(2 * MIB), noise(CHUNK)
    (tmp_path / "device").write_bytes(old)
    span = Span(tmp_path / "device", Bytes(0), Bytes(2 * MIB))
    source = Replica(tmp_path / "source")
    say(source, messages(7, whole(old, CHUNK)))
    given = hand_over(source.store, "data")
    replica = Replica(tmp_path / "replica")
    volume = replace(given.volume, base_object="", base_spans=(span,), name="mine")
    take_in(replica.store, volume, (), given.history)
    assert replica.image(name="mine") == old
    changed = patched(old, CHUNK, {9: new})
    extents = [Extent(Bytes(9 * CHUNK), Bytes(CHUNK))]
    say(replica, messages(8, whole(changed, CHUNK, extents), base=7, volume="mine"))
    while replica.merger.merge_next():
        pass
    same = (tmp_path / "device").read_bytes() == changed
    assert same


def test_a_name_that_stands_for_something_else(history: History) -> None:
    replica = history.replica
    given = hand_over(replica.store, "data")
    other = generation(9).uuid
    with pytest.raises(VolumeNameTaken, match=other):
        back(replica, given, volume_uuid=other)
    back(replica, given)
    with pytest.raises(VolumeNameTaken, match="another base"):
        back(replica, given, base_object="data.base99")
    assert history.shown() == [1, 2, 3, 4]


def test_parts_that_make_no_stack(history: History) -> None:
    replica = history.replica
    given = hand_over(replica.store, "data")
    volume, layers, past = given.volume, given.layers, given.history
    span = Span(Path("/x"), Bytes(0), Bytes(512))
    short = replace(volume, base_object="", base_spans=(span,))
    merging = (layers[0], replace(layers[1], merging=True), layers[2])
    for parts, why in (
        ((volume, layers, ()), "no generation"),
        ((volume, layers[:2], past), "leads to generation 3, not 4"),
        ((volume, (layers[1], layers[0], layers[2]), past), "not in order"),
        ((volume, merging, past), "not the lowest"),
        ((short, layers, past), "base of data has 512 bytes"),
    ):
        with pytest.raises(NotAStack, match=why):
            take_in(replica.store, *parts)
    assert describe(replica.store, "data").role == "promoted"


# Whoever writes or merges it.


def test_nobody_writes_what_is_handed_over() -> None:
    claims = Claims(wait_seconds=0.1)
    with claims.claim("data", lambda: None) as claim:
        with pytest.raises(ReplicaBusy, match="coming in"), claims.unwritten("data"):
            pass
        # A copy that is under way is not disturbed by the question.
        claim.check()
    with claims.unwritten("data"):
        with pytest.raises(ReplicaBusy), claims.claim("data", lambda: None):
            pass
        with claims.claim("other", lambda: None):
            pass
    with claims.claim("data", lambda: None):
        pass


@pytest.fixture
def slow(history: History) -> Iterator[History]:
    """A merge that takes very long."""
    merger = history.replica.merger
    merger.limiter.set_rate(1)
    merger.start()
    waiting = threading.Event()
    for _ in range(500):
        if merger._merging:
            break
        waiting.wait(0.02)
    yield history
    merger.stop()
    merger.join(10)


def test_a_merge_is_interrupted_and_goes_on(slow: History) -> None:
    replica = slow.replica
    assert replica.merger._merging == "data"
    with pytest.raises(ReplicaBusy):
        hand_over(replica.store, "data")
    with replica.merger.leaving_alone("data"):
        assert not replica.merger._merging
        given = hand_over(replica.store, "data")
        assert given.images == (2, 3, 4)
        assert not replica.merger.merge_next()
    for number in given.images:
        assert image_of(replica, given, number) == slow.images[number]
    replica.merger.limiter.set_rate(0)
    back(replica, given)
    waiting = threading.Event()
    for _ in range(500):
        if not replica.store.journal.layers("data"):
            break
        waiting.wait(0.02)
    assert slow.shown() == [4]
