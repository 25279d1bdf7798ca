"""The replica's side of a frazild as a whole: listening, showing, removing, ending."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import grpc
import pytest

from control.blocks import Extent
from control.config import Config
from control.config.sections import (
    AllowSection,
    ListenSection,
    ReplicaSection,
    RunSection,
    StateSection,
)
from control.context import Context
from control.events import Events
from control.journal import Journal
from control.records import VolumeRecord, VolumeState
from control.replica.retention import TooManyPoints
from control.replica.side import ReplicaSide
from control.spans import Span
from control.store.errors import NoRoom
from control.wire.channel import connect
from control.wire.errors import (
    MirrorLoop,
    OnOwnDevice,
    PeerUnreachable,
    ReplicaBusy,
    ReplicaHeld,
    ReplicaNotFound,
    ReplicaPromoted,
)
from control.wire.send import send
from dm_tables.dmsetup import Dmsetup, DmsetupMissing
from dm_tables.errors import FrazilError
from dm_tables.running import Completed
from dm_tables.units import MIB, Bytes
from proto.frazil.v1 import replica_pb2
from proto.frazil.v1.replica_pb2_grpc import ReplicaStub
from tests.replica_tools import VOLUME_UUID, generation, manifest, messages, noise, patched, whole

CHUNK = 65536
IMAGE = noise(2 * MIB) + bytes(2 * MIB)
RULES = (AllowSection(identity="loopback"),)


def no_dmsetup(*_: object, **__: object) -> Completed:
    raise FileNotFoundError("dmsetup")


def side_in(directory: Path) -> ReplicaSide:
    """The replica's side of a host without device-mapper, on a port of its own."""
    config = Config(
        state=StateSection(directory=directory),
        run=RunSection(directory=directory / "run"),
        listen=ListenSection(address="127.0.0.1:0", plaintext=True),
        replica=ReplicaSection(allow=RULES, keep_weekly=2),
    )
    directory.mkdir(exist_ok=True)
    context = SimpleNamespace(
        config=config,
        journal=Journal(directory / "journal.db"),
        events=Events(directory / "events.db"),
        dmsetup=Dmsetup(no_dmsetup, udev_running=lambda: False),
    )
    return ReplicaSide(cast(Context, context))


@pytest.fixture
def side(tmp_path: Path) -> Iterator[ReplicaSide]:
    made = side_in(tmp_path / "state")
    made.start()
    made.listen()
    yield made
    made.stop()


def address(side: ReplicaSide) -> str:
    assert side._server is not None
    return side._server.address


def bring(side: ReplicaSide, number: int, image: bytes, base: int = 0) -> None:
    delta = whole(image, CHUNK)
    with connect(address(side), None, True) as channel:
        send(ReplicaStub(channel), manifest(number, delta, base=base), delta)


def events_of(side: ReplicaSide) -> list[tuple[str, str]]:
    return [(event.subject, event.kind) for event in side._context.events.since(0)]


def test_a_generation_is_received_and_merged(side: ReplicaSide) -> None:
    bring(side, 1, IMAGE)
    other = noise(len(IMAGE))
    bring(side, 2, other, base=1)
    waiting = threading.Event()
    for _ in range(500):
        if not side.description("data").layers:
            break
        waiting.wait(0.02)
    [said] = side.descriptions()
    assert said.newest == generation(2)
    assert not said.layers
    assert Path(said.base_path).read_bytes()[: len(other)] == other
    assert events_of(side).count(("data", "received")) == 2


def test_listening_twice_is_listening_once(side: ReplicaSide) -> None:
    before = address(side)
    side.listen()
    assert address(side) == before


def test_without_device_mapper_only_attaching_fails(side: ReplicaSide) -> None:
    bring(side, 1, IMAGE)
    with pytest.raises(DmsetupMissing):
        side.attach("data", 0)
    with pytest.raises(DmsetupMissing):
        side.attach("data", 0, writable=True)
    side.detach("data", 0)
    side.detach("data", 0, writable=True)
    assert side.store.held_numbers("data") == set()


def test_retention_is_set_and_told(side: ReplicaSide) -> None:
    bring(side, 1, IMAGE)
    assert side.description("data").retention == replica_pb2.Retention(weekly=2)
    wanted = replica_pb2.Retention(last=4, hourly=24)
    side.set_retention("data", wanted)
    said = side.description("data")
    assert said.retention == wanted
    assert [list(point.kept_by) for point in said.points] == [["newest", "last", "hourly"]]
    assert ("data", "retention") in events_of(side)
    with pytest.raises(TooManyPoints):
        side.set_retention("data", replica_pb2.Retention(last=1000))
    with pytest.raises(ReplicaNotFound):
        side.set_retention("nothing", wanted)
    assert side.description("data").retention == wanted


def test_a_point_that_gives_way_is_an_event(side: ReplicaSide) -> None:
    side.merger._on_given_up("data", 7)
    [event] = [one for one in side._context.events.since(0) if one.kind == "point-given-up"]
    assert (event.level, event.subject, event.fields) == ("warning", "data", {"generation": "7"})


def test_removing(side: ReplicaSide) -> None:
    with pytest.raises(ReplicaNotFound):
        side.remove("data")
    bring(side, 1, IMAGE)
    with side.store.reading("data"), pytest.raises(ReplicaHeld):
        side.remove("data")
    side.remove("data")
    assert side.descriptions() == []
    assert ("data", "replica-removed") in events_of(side)
    bring(side, 1, IMAGE)


def hanging(said: list[replica_pb2.ReceiveRequest], ended: threading.Event) -> Iterator[Any]:
    """Some of what is to be said, and then nothing, for as long as it lasts."""
    yield from said
    ended.wait(60)


def test_removing_ends_a_copy_that_comes_in(side: ReplicaSide) -> None:
    ended = threading.Event()
    said = messages(1, whole(IMAGE, CHUNK))[:-1]
    with connect(address(side), None, True) as channel:
        call = ReplicaStub(channel).Receive(hanging(said, ended))
        assert next(call).WhichOneof("message") == "ready"
        side.remove("data")
        with pytest.raises(grpc.RpcError):
            list(call)
        ended.set()
    assert side.descriptions() == []
    assert side.store.pool.list() == ()


def test_a_source_that_vanishes_lets_go(side: ReplicaSide) -> None:
    ended = threading.Event()
    said = messages(1, whole(IMAGE, CHUNK))[:-1]
    with connect(address(side), None, True) as channel:
        call = ReplicaStub(channel).Receive(hanging(said, ended))
        assert next(call).WhichOneof("message") == "ready"
        call.cancel()
        ended.set()
    waiting = threading.Event()
    for _ in range(500):
        if not side._claims.is_claimed("data"):
            break
        waiting.wait(0.02)
    assert not side._claims.is_claimed("data")
    bring(side, 1, IMAGE)


def test_ending_ends_a_copy_that_comes_in_and_keeps_what_came(tmp_path: Path) -> None:
    side = side_in(tmp_path / "state")
    side.start()
    side.listen()
    ended = threading.Event()
    delta = whole(IMAGE, CHUNK)
    said = messages(1, delta)[:-1]
    with connect(address(side), None, True) as channel:
        call = ReplicaStub(channel).Receive(hanging(said, ended))
        assert next(call).WhichOneof("message") == "ready"
        side.stop()
        ended.set()
    again = side_in(tmp_path / "state")
    again.start()
    again.listen()
    with connect(address(again), None, True) as channel:
        result = send(ReplicaStub(channel), manifest(1, delta), delta)
    assert result.length == len(IMAGE)
    again.stop()
    with connect(f"unix:{tmp_path}/gone", None, True) as channel, pytest.raises(PeerUnreachable):
        send(ReplicaStub(channel), manifest(1, delta), delta)


def test_a_merge_that_fails_is_an_event(side: ReplicaSide, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object, **__: object) -> None:
        raise NoRoom("the disk is full")

    monkeypatch.setattr("control.replica.merging.merge", failing)
    bring(side, 1, IMAGE)
    changed = patched(IMAGE, CHUNK, {3: noise(CHUNK)})
    delta = whole(changed, CHUNK, [Extent(Bytes(3 * CHUNK), Bytes(CHUNK))])
    with connect(address(side), None, True) as channel:
        send(ReplicaStub(channel), manifest(2, delta, base=1), delta)
    waiting = threading.Event()
    for _ in range(500):
        if ("data", "NoRoom") in events_of(side):
            break
        waiting.wait(0.02)
    assert ("data", "NoRoom") in events_of(side)
    # A typed error for nothing else: the generation is there.
    assert side.description("data").newest == generation(2)


def test_a_huge_sparse_volume_costs_what_it_holds(side: ReplicaSide) -> None:
    """4 TiB with three chunks of data: received, merged, verified in what three chunks cost."""
    size = 4 << 40
    places = {0: noise(CHUNK), (1 << 40) // CHUNK: noise(CHUNK), size // CHUNK - 1: noise(CHUNK)}

    class Sparse:
        def read(self, at: int, length: int) -> bytes:
            made = bytearray(length)
            for number, data in places.items():
                low, high = max(at, number * CHUNK), min(at + length, (number + 1) * CHUNK)
                if low < high:
                    made[low - at : high - at] = data[low - number * CHUNK : high - number * CHUNK]
            return bytes(made)

    from control.wire.deltas import ImageDelta

    extents = [Extent(Bytes(number * CHUNK), Bytes(CHUNK)) for number in places]
    delta = ImageDelta(Sparse().read, extents, Bytes(CHUNK), Bytes(size))
    change = ImageDelta(
        lambda at, length: b"\x55" * length, extents[1:2], Bytes(CHUNK), Bytes(size)
    )
    with connect(address(side), None, True) as channel:
        stub = ReplicaStub(channel)
        try:
            result = send(stub, manifest(1, delta), delta)
        except FrazilError as error:
            if "File too large" in str(error):
                pytest.skip("the filesystem has no files of 4 TiB")
            raise
        assert result.length == 3 * CHUNK
        send(stub, manifest(2, change, base=1), change)
        parts = list(
            stub.Digests(
                replica_pb2.DigestsRequest(volume="data", generation_uuid=generation(2).uuid)
            )
        )
    assert sum(part.blocks for part in parts) == size // MIB
    assert sum(bool(part.digests) for part in parts) == 3
    base = Path(side.description("data").base_path)
    assert base.stat().st_blocks * 512 < 16 * MIB


def test_a_seed_is_made_of_content_that_is_here(side: ReplicaSide, tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(IMAGE)
    span = Span(tmp_path / "old", Bytes(0), Bytes(len(IMAGE)))
    made = side.seed("data", (span,), "loopback")
    said = side.description("data")
    assert (said.role, said.newest.uuid) == ("seed", made.seed_uuid)
    assert ("data", "seeded") in events_of(side)
    with pytest.raises(OnOwnDevice):
        bring(side, 1, IMAGE)
    changed = patched(IMAGE, CHUNK, {3: noise(CHUNK)})
    delta = whole(changed, CHUNK, [Extent(Bytes(3 * CHUNK), Bytes(CHUNK))])
    with connect(address(side), None, True) as channel:
        send(ReplicaStub(channel), manifest(1, delta, base=9, base_uuid=made.seed_uuid), delta)
    waiting = threading.Event()
    for _ in range(500):
        if not side.description("data").layers:
            break
        waiting.wait(0.02)
    same = (tmp_path / "old").read_bytes() == changed
    assert same


def test_a_stack_changes_sides(side: ReplicaSide) -> None:
    bring(side, 1, IMAGE)
    given = side.hand_over("data")
    assert ("data", "handed-over") in events_of(side)
    with pytest.raises(ReplicaPromoted):
        bring(side, 2, noise(len(IMAGE)), base=1)
    side.take_in(given.volume, given.layers, given.history)
    assert ("data", "taken-in") in events_of(side)
    bring(side, 2, IMAGE, base=1)
    assert side.description("data").newest == generation(2)


def test_a_copy_that_comes_in_is_ended_only_when_told(side: ReplicaSide) -> None:
    bring(side, 1, IMAGE)
    ended = threading.Event()
    said = messages(2, whole(noise(len(IMAGE)), CHUNK), base=1)[:-1]
    with connect(address(side), None, True) as channel:
        call = ReplicaStub(channel).Receive(hanging(said, ended))
        assert next(call).WhichOneof("message") == "ready"
        with pytest.raises(ReplicaBusy, match="coming in"):
            side.hand_over("data")
        given = side.hand_over("data", end_copy=True)
        assert given.history[0].generation.number == 1
        with pytest.raises(grpc.RpcError):
            list(call)
        ended.set()
    assert side.description("data").role == "promoted"


def test_what_another_host_sends_of_this_one_is_refused(side: ReplicaSide) -> None:
    span = Span(Path("/nowhere"), Bytes(0), Bytes(MIB))
    mine = VolumeRecord("mine", VOLUME_UUID, (span,), Bytes(MIB), Bytes(0), VolumeState.ACTIVE, 0)
    side._context.journal.add_volume(mine)
    with pytest.raises(MirrorLoop, match="a replica of mine"):
        bring(side, 1, IMAGE)
