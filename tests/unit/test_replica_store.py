"""What the replica keeps: generations, holds, garbage, and what a restart finds of them."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import grpc
import pytest

from control.blocks import Extent
from control.limiter import Interrupted
from control.merge import merge
from control.pool.errors import ObjectBusy
from control.replica import journal as journal_module
from control.replica.describe import describe
from control.replica.images import image_digests, image_extents
from control.replica.merging import FIRST_RETRY_SECONDS, ReplicaMerger
from control.replica.receive import Pace
from control.replica.room import FLOOR, check_room, growth_left, must_stay_free
from control.replica.store import ReplicaStore
from control.store.errors import NoRoom
from control.wire.digests import BadRange
from control.wire.errors import (
    BadStream,
    GenerationNotFound,
    ReplicaDamaged,
    ReplicaFull,
    ReplicaHeld,
    ReplicaNotFound,
)
from control.wire.frames import CHECKSUM_BYTES, checksum
from control.wire.peers import peer_error
from dm_tables.errors import Precondition
from dm_tables.units import MIB, Bytes
from proto.frazil.v1 import replica_pb2
from tests.replica_tools import Replica, generation, messages, noise, patched, say, whole

CHUNK = 4096
SIZE = CHUNK * 40 + 512


class History:
    """A replica that has generations 1 to 4, none of them merged."""

    def __init__(self, directory: Path) -> None:
        self.replica = Replica(directory, Pace(bytes=1))
        self.images = {1: noise(CHUNK * 10) + bytes(SIZE - CHUNK * 10)}
        say(self.replica, messages(1, whole(self.images[1], CHUNK)))
        for number in (2, 3, 4):
            self.add(number)

    def add(self, number: int) -> None:
        """One more generation, by a delta of two chunks."""
        chunks = (number % 20, 20 + number % 20)
        base = self.images[number - 1]
        made = patched(base, CHUNK, {chunk: noise(CHUNK) for chunk in chunks})
        self.images[number] = made
        extents = [Extent(Bytes(chunk * CHUNK), Bytes(CHUNK)) for chunk in chunks]
        say(self.replica, messages(number, whole(made, CHUNK, extents), base=number - 1))

    def shown(self) -> list[int]:
        """The generations that can be seen, each compared with what it must be."""
        found = []
        for number, image in self.images.items():
            try:
                assert self.replica.image(number) == image
            except GenerationNotFound:
                continue
            found.append(number)
        return found


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path / "replica")


def test_every_unmerged_generation_is_shown(history: History) -> None:
    assert history.shown() == [1, 2, 3, 4]
    history.replica = history.replica.reopened()
    assert history.shown() == [1, 2, 3, 4]


def test_merging_goes_from_below(history: History) -> None:
    merger = history.replica.merger
    for left in ([2, 3, 4], [3, 4], [4]):
        assert merger.merge_next()
        assert history.shown() == left
    assert not merger.merge_next()
    assert history.shown() == [4]
    assert len(history.replica.pool.list()) == 1


def test_a_started_merge_hides_only_what_it_changes(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dying(*_: object, **__: object) -> None:
        raise Interrupted("stop")

    monkeypatch.setattr("control.replica.merging.merge", dying)
    history.replica.merger.merge_next()
    assert history.shown() == [2, 3, 4]
    history.replica = history.replica.reopened()
    assert history.shown() == [2, 3, 4]
    monkeypatch.undo()
    assert history.replica.merger.merge_next()
    assert history.shown() == [2, 3, 4]
    assert history.replica.store.volume("data").base_number == 2


@pytest.mark.parametrize("held", [1, 2, 3, 4])
def test_a_held_generation_is_not_merged_past(history: History, held: int) -> None:
    store, merger = history.replica.store, history.replica.merger
    store.hold("data", held)
    while merger.merge_next():
        pass
    assert held in history.shown()
    # A newer one comes all the same.
    history.add(5)
    assert history.shown()[-1] == 5
    history.replica = history.replica.reopened()
    assert held in history.shown()
    history.replica.store.release("data", held)
    while history.replica.merger.merge_next():
        pass
    assert history.shown() == [5]


def test_a_reader_is_held_for_as_long_as_it_reads(history: History) -> None:
    store, merger = history.replica.store, history.replica.merger
    with store.reading("data", 1):
        assert not merger.merge_next()
        assert store.held_numbers("data") == {1}
        with pytest.raises(ReplicaHeld):
            store.remove("data")
    assert store.held_numbers("data") == set()
    assert merger.merge_next()


def test_what_a_reader_needs_outlives_a_whole_copy(history: History) -> None:
    replica = history.replica
    with replica.store.reading("data", 3) as chain:
        other = noise(SIZE)
        say(replica, messages(9, whole(other, CHUNK)))
        assert chain.objects < set(replica.pool.list())
        # Generation 4's layer goes at once.
        assert len(replica.pool.list()) == len(chain.objects) + 1
        assert replica.image() == other
    assert len(replica.pool.list()) == 1
    assert replica.image() == other


def test_holding_twice_is_holding_once(history: History) -> None:
    store = history.replica.store
    assert store.hold("data", 2) == store.hold("data", 2)
    assert store.hold("data").generation.number == 4
    store.release("data", 2)
    assert store.held_numbers("data") == {4}
    store.release("data", 2)


def test_history_is_bounded(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "KEPT_GENERATIONS", 3)
    history.replica.merger.merge_next()
    history.add(5)
    # Longer, where more than that can be shown.
    assert _numbers(history) == [5, 4, 3, 2]
    while history.replica.merger.merge_next():
        pass
    history.add(6)
    assert _numbers(history) == [6, 5, 4]


def _numbers(history: History) -> list[int]:
    return [record.generation.number for record in history.replica.store.journal.history("data")]


@pytest.mark.parametrize("ask", [{"number": 9}, {"uuid": generation(9).uuid}])
def test_a_generation_that_never_was(history: History, ask: dict[str, object]) -> None:
    with pytest.raises(GenerationNotFound, match="has no generation"):
        history.replica.store.chain("data", **ask)  # type: ignore[arg-type]


def test_nothing_committed_is_nothing_to_show(tmp_path: Path) -> None:
    replica = Replica(tmp_path)
    with pytest.raises(BadStream):
        say(replica, messages(1, whole(noise(SIZE), CHUNK))[:-1])
    with pytest.raises(GenerationNotFound, match="no committed generation"):
        replica.image()
    described = describe(replica.store, "data")
    assert not described.HasField("newest")
    assert described.incoming == generation(1)
    assert described.incoming_bytes == SIZE


def test_a_name_that_nothing_has(tmp_path: Path) -> None:
    store = Replica(tmp_path).store
    for ask in (store.volume, store.chain, store.remove, store.check_removable):
        with pytest.raises(ReplicaNotFound, match="none yet"):
            ask("data")


def test_a_replica_is_removed_with_its_bytes(history: History) -> None:
    replica = history.replica
    with pytest.raises(BadStream):
        say(replica, messages(5, whole(history.images[4], CHUNK), base=4)[:-1])
    replica.store.remove("data")
    assert replica.pool.list() == ()
    assert replica.store.journal.volumes() == []
    # The name is free again, for anyone.
    say(replica, messages(1, whole(noise(SIZE), CHUNK)))
    assert replica.newest() == 1


def test_what_cannot_be_deleted_now_is_deleted_later(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica = history.replica

    def busy(self: object, name: str) -> None:
        raise ObjectBusy(name, ["dm-3"])

    monkeypatch.setattr(type(replica.pool), "remove", busy)
    replica.merger.merge_next()
    assert len(replica.pool.list()) == 4
    monkeypatch.undo()
    history.replica = replica.reopened()
    assert len(history.replica.pool.list()) == 3


def test_a_description_tells_everything(history: History) -> None:
    replica = history.replica
    replica.store.hold("data", 3)
    said = describe(replica.store, "data")
    assert (said.name, said.size_bytes, said.source_identity) == ("data", SIZE, "loopback")
    assert said.newest == generation(4)
    assert [made.number for made in said.history] == [4, 3, 2, 1]
    assert [made.number for made in said.held] == [3]
    assert [layer.generation.number for layer in said.layers] == [2, 3, 4]
    assert [layer.chunks for layer in said.layers] == [2, 2, 2]
    assert all(Path(layer.path).exists() for layer in said.layers)
    assert Path(said.base_path).exists()
    assert said.HasField("committed_at")
    assert not said.HasField("incoming")


def test_a_database_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "replica.db").write_bytes(b"not a database, " * 100)
    with pytest.raises(ReplicaDamaged, match="cannot be used"):
        Replica(tmp_path)


def test_a_database_from_the_future(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "replica.db") as database:
        database.execute("PRAGMA user_version=99")
    with pytest.raises(Precondition, match="version 99"):
        Replica(tmp_path)


def test_a_full_disk_under_the_journal_is_typed(history: History) -> None:
    database = history.replica.store.journal._db._db
    pages = database.execute("PRAGMA page_count").fetchone()[0]
    database.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(ReplicaFull):
        for number in range(5, 60):
            history.add(number)
    database.execute("PRAGMA max_page_count=100000")
    newest = history.replica.newest()
    assert history.replica.image() == history.images[newest]


# Merging in the background.


def test_the_merger_merges_by_itself(history: History) -> None:
    merger = history.replica.merger
    merger.start()
    try:
        _wait_for(history, [4])
        history.replica.store.hold("data", 4)
        history.add(5)
        history.replica.store.release("data", 4)
        _wait_for(history, [5])
    finally:
        merger.stop()
        merger.join(10)
    assert not merger.is_alive()
    assert merger.progress("data") is None


def _wait_for(history: History, shown: list[int]) -> None:
    done = threading.Event()
    for _ in range(500):
        if history.shown() == shown:
            return
        done.wait(0.02)
    raise AssertionError(f"{history.shown()} is shown, {shown} expected")


def test_a_merge_that_fails_is_tried_again_and_told(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    replica = history.replica
    merger = ReplicaMerger(
        replica.store, on_problem=lambda volume, error: told.append(f"{volume}: {error}")
    )

    def failing(*_: object, **__: object) -> None:
        raise NoRoom("the disk is full")

    monkeypatch.setattr("control.replica.merging.merge", failing)
    assert merger.merge_next()
    assert not merger.merge_next()
    assert merger.problem("data") == "the disk is full"
    assert 0 < merger._pause() <= FIRST_RETRY_SECONDS
    merger._retry_at.clear()
    assert merger.merge_next()
    assert told == ["data: the disk is full"]
    monkeypatch.undo()
    merger._retry_at.clear()
    while merger.merge_next():
        pass
    assert merger.problem("data") == ""
    assert history.shown() == [4]


def test_one_volume_that_cannot_be_merged_holds_up_no_other(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica = history.replica
    replica.merger._failed("data", NoRoom("full"))
    sent = messages(1, whole(bytes(SIZE), CHUNK), volume="zzz")
    say(replica, sent)
    delta = messages(2, whole(noise(SIZE), CHUNK), base=1, volume="zzz")
    say(replica, delta)
    while replica.merger.merge_next():
        pass
    assert replica.store.journal.layers("zzz") == []
    assert len(replica.store.journal.layers("data")) == 3


def test_a_whole_copy_ends_the_merge_of_what_it_replaces(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica = history.replica

    def replaced_meanwhile(*args: object, **keywords: object) -> None:
        say(replica, messages(9, whole(bytes(SIZE), CHUNK)))
        merge(*args, **keywords)  # type: ignore[arg-type]

    monkeypatch.setattr("control.replica.merging.merge", replaced_meanwhile)
    replica.merger.merge_next()
    assert replica.image() == bytes(SIZE)
    assert len(replica.pool.list()) == 1


# Digests.


def digests_of(replica: Replica, number: int, **ask: object) -> list[bytes]:
    request = replica_pb2.DigestsRequest(
        volume="data", generation_uuid=generation(number).uuid, block_bytes=CHUNK
    )
    for name, value in ask.items():
        setattr(request, name, value)
    found = []
    for part in image_digests(replica.store, request):
        for index in range(part.blocks):
            at = part.offset + index * part.block_bytes
            digest = part.digests[index * CHECKSUM_BYTES :][:CHECKSUM_BYTES]
            found.append(digest or checksum(bytes(min(part.block_bytes, SIZE - at))))
    return found


@pytest.mark.parametrize("merged", [0, 1, 3])
def test_digests_are_the_images(history: History, merged: int) -> None:
    for _ in range(merged):
        history.replica.merger.merge_next()
    for number in history.shown():
        image = history.images[number]
        wanted = [checksum(image[at : at + CHUNK]) for at in range(0, SIZE, CHUNK)]
        assert digests_of(history.replica, number) == wanted
        assert digests_of(history.replica, number, offset=CHUNK, length=CHUNK) == wanted[1:2]
    assert history.replica.store.held_numbers("data") == set()


def test_one_changed_byte_shows(history: History) -> None:
    """The negative control: a replica that rotted is told from one that did not."""
    before = digests_of(history.replica, 4)
    base = history.replica.store.object_path(history.replica.store.volume("data").base_object)
    with base.open("r+b") as file:
        file.seek(CHUNK + 7)
        byte = file.read(1)
        file.seek(CHUNK + 7)
        file.write(bytes([byte[0] ^ 1]))
    after = digests_of(history.replica, 4)
    assert [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b] == [1]


def test_digests_of_what_is_not_there(history: History) -> None:
    history.replica.merger.merge_next()
    with pytest.raises(GenerationNotFound):
        digests_of(history.replica, 1)
    with pytest.raises(BadRange):
        digests_of(history.replica, 4, block_bytes=3)


def test_only_what_may_hold_data_is_read(history: History) -> None:
    with history.replica.store.reading("data") as chain:
        extents = list(image_extents(history.replica.store, chain))
    covered = set()
    for extent in extents:
        covered |= set(
            range(extent.address // CHUNK, -(-(extent.address + extent.length) // CHUNK))
        )
    assert {22, 23, 24} <= covered
    assert covered <= set(range(10)) | {22, 23, 24, 40}


def test_digests_over_the_wire_are_typed_too(history: History) -> None:
    with history.replica.stub() as stub:
        request = replica_pb2.DigestsRequest(volume="data", generation_uuid=generation(9).uuid)
        with pytest.raises(grpc.RpcError) as caught:
            list(stub.Digests(request))
    assert isinstance(peer_error(caught.value, "far"), GenerationNotFound)


# Room.


@pytest.mark.parametrize(
    ("growth", "layers", "incoming", "needed"),
    [
        (0, [], 0, 0),
        (0, [50], 100, 0),
        (1000, [], 100, 100),
        (1000, [300, 200], 100, 300),
        (1000, [300], 700, 700),
        (1000, [5000], 0, 1000),
    ],
)
def test_what_must_stay_free(growth: int, layers: list[int], incoming: int, needed: int) -> None:
    assert must_stay_free(growth, layers, incoming) == FLOOR + needed


def test_room_is_checked() -> None:
    check_room("pool", 10, Bytes(10))
    with pytest.raises(ReplicaFull, match="pool has 9 bytes free"):
        check_room("pool", 9, Bytes(10))


def test_a_sparse_base_can_grow(tmp_path: Path) -> None:
    base = tmp_path / "base"
    with base.open("wb") as file:
        file.write(noise(MIB))
        file.truncate(10 * MIB)
    assert 8 * MIB < growth_left(base, Bytes(10 * MIB)) <= 9 * MIB
    assert growth_left(Path("/dev/null"), Bytes(MIB)) == 0


def test_two_stores_over_one_directory_see_each_others_commits(tmp_path: Path) -> None:
    first = Replica(tmp_path)
    say(first, messages(1, whole(noise(SIZE), CHUNK)))
    second = ReplicaStore(tmp_path, first.pool)
    assert second.standing("data").newest == first.store.standing("data").newest
    second.close()
