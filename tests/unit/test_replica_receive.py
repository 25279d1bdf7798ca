"""Receiving: what comes is checked before it is written, and what was committed stays."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from control.blocks import Extent
from control.replica.receive import Pace, first_request
from control.replica.staging import BaseStaging, LayerStaging
from control.store.direct import DirectFile
from control.store.errors import os_failure
from control.wire.checking import CheckedRun
from control.wire.errors import (
    BadStream,
    BaseMismatch,
    DataLoss,
    ReplicaBusy,
    ReplicaFull,
    SizeMismatch,
    Superseded,
)
from dm_tables.errors import Kind
from dm_tables.units import MIB, Bytes
from proto.frazil.v1 import replica_pb2
from tests.replica_tools import (
    Replica,
    generation,
    messages,
    noise,
    patched,
    resume,
    say,
    whole,
)

CHUNK = 4096
IMAGE = noise(CHUNK * 20) + bytes(CHUNK * 20) + noise(CHUNK * 10 + 512)
OFTEN = Pace(bytes=1)


@pytest.fixture
def replica(tmp_path: Path) -> Replica:
    """A replica whose newest generation is 1, with ``IMAGE``."""
    made = Replica(tmp_path / "replica", OFTEN)
    say(made, messages(1, whole(IMAGE, CHUNK)))
    return made


def chunk_delta(image: bytes, numbers: list[int]) -> list[replica_pb2.ReceiveRequest]:
    """Generation 2 as a set of the chunks of ``image``, on generation 1."""
    extents = [Extent(Bytes(n * CHUNK), Bytes(CHUNK)) for n in numbers]
    return messages(2, whole(image, CHUNK, extents), base=1)


def what(reply: replica_pb2.ReceiveReply) -> str | None:
    found: str | None = reply.WhichOneof("message")
    return found


CHANGES = {3: noise(CHUNK), 4: bytes(CHUNK), 25: noise(CHUNK), 50: noise(CHUNK)}
CHANGED = patched(IMAGE, CHUNK, CHANGES)


def test_replies_come_in_order(replica: Replica) -> None:
    replies = say(replica, chunk_delta(CHANGED, list(CHANGES)))
    assert [what(reply) for reply in replies] == ["ready"] + ["durable"] * 4 + ["committed"]
    assert [reply.durable.next_ordinal for reply in replies[1:-1]] == [1, 2, 3, 4]
    assert replies[-1].committed.generation == generation(2)
    assert replica.image() == CHANGED
    assert replica.image(1) == IMAGE


def test_durable_comes_after_so_many_bytes(tmp_path: Path) -> None:
    replica = Replica(tmp_path, Pace(bytes=CHUNK * 8, seconds=1000))
    sent = messages(1, whole(noise(CHUNK) + bytes(CHUNK), CHUNK))
    assert [what(reply) for reply in say(replica, sent)] == ["ready", "committed"]


def test_durable_comes_after_some_time(tmp_path: Path) -> None:
    replica = Replica(tmp_path, Pace(seconds=0))
    replies = say(replica, messages(1, whole(IMAGE, CHUNK)))
    assert [what(reply) for reply in replies].count("durable") == 3


def test_an_empty_delta_is_a_generation(replica: Replica) -> None:
    say(replica, chunk_delta(IMAGE, []))
    assert replica.newest() == 2
    assert replica.image() == replica.image(1) == IMAGE


def test_an_empty_whole_copy_is_zeroes(tmp_path: Path) -> None:
    replica = Replica(tmp_path)
    say(replica, messages(1, whole(bytes(MIB), CHUNK, [])))
    assert replica.image() == bytes(MIB)


def test_another_whole_copy_replaces_everything(replica: Replica) -> None:
    say(replica, chunk_delta(CHANGED, list(CHANGES)))
    other = noise(len(IMAGE))
    say(replica, messages(3, whole(other, CHUNK)))
    assert replica.image() == other
    assert len(replica.pool.list()) == 1
    with pytest.raises(Exception, match="merged past generation 2"):
        replica.image(2)


def test_a_broken_whole_copy_is_never_seen(replica: Replica) -> None:
    sent = messages(3, whole(noise(len(IMAGE)), CHUNK))
    with pytest.raises(BadStream, match="without a trailer"):
        say(replica, sent[:-1])
    assert replica.newest() == 1
    assert replica.image() == IMAGE
    incoming = replica.store.standing("data").incoming
    assert incoming is not None
    assert incoming.whole


@pytest.mark.parametrize("cut", range(1, 6))
def test_a_cut_delta_goes_on(replica: Replica, cut: int) -> None:
    sent = chunk_delta(CHANGED, list(CHANGES))
    with pytest.raises(BadStream):
        say(replica, sent[:cut])
    assert replica.image() == IMAGE
    replica = replica.reopened()
    replies = resume(replica, sent)
    assert replies[0].ready.next_ordinal == cut - 1
    assert replica.image() == CHANGED


@pytest.mark.parametrize("cut", range(1, 5))
def test_a_cut_whole_copy_goes_on(tmp_path: Path, cut: int) -> None:
    replica = Replica(tmp_path, OFTEN)
    sent = messages(1, whole(IMAGE, CHUNK))
    with pytest.raises(BadStream):
        say(replica, sent[:cut])
    assert replica.newest() == 0
    replica = replica.reopened()
    replies = resume(replica, sent)
    assert replies[0].ready.next_ordinal == cut - 1
    assert replica.image() == IMAGE


def test_a_source_that_disagrees_begins_anew(replica: Replica) -> None:
    sent = chunk_delta(CHANGED, list(CHANGES))
    with pytest.raises(BadStream):
        say(replica, sent[:3])
    replies = say(replica, sent)
    assert replies[0].ready.next_ordinal == 2
    assert [reply.durable.next_ordinal for reply in replies[1:-1]] == [1, 2, 3, 4]
    assert replica.image() == CHANGED
    assert len(replica.pool.list()) == 2


def test_a_whole_copy_begun_anew_has_nothing_of_the_first(tmp_path: Path) -> None:
    replica = Replica(tmp_path, OFTEN)
    with pytest.raises(BadStream):
        say(replica, messages(1, whole(noise(len(IMAGE)), CHUNK))[:-1])
    say(replica, messages(1, whole(IMAGE, CHUNK)))
    assert replica.image() == IMAGE


def test_one_generation_is_not_another_because_its_part_is_here(replica: Replica) -> None:
    with pytest.raises(BadStream):
        say(replica, chunk_delta(CHANGED, list(CHANGES))[:3])
    other = patched(IMAGE, CHUNK, {7: noise(CHUNK)})
    delta = whole(other, CHUNK, [Extent(Bytes(7 * CHUNK), Bytes(CHUNK))])
    replies = say(replica, messages(3, delta, base=1))
    assert replies[0].ready.next_ordinal == 0
    assert replica.image() == other


@pytest.mark.parametrize("position", [1, 2, 3, 4])
def test_a_damaged_run_ends_the_stream(replica: Replica, position: int) -> None:
    sent = chunk_delta(CHANGED, list(CHANGES))
    run = sent[position].runs.run[0]
    run.checksum = bytes(16) if run.checksum else b"x"
    with pytest.raises((DataLoss, BadStream)):
        say(replica, sent)
    assert replica.image() == IMAGE
    assert (
        resume(replica, chunk_delta(CHANGED, list(CHANGES)))[0].ready.next_ordinal == position - 1
    )
    assert replica.image() == CHANGED


def test_a_trailer_that_differs_drops_what_came(replica: Replica) -> None:
    sent = chunk_delta(CHANGED, list(CHANGES))
    sent[-1].trailer.digest = bytes(32)
    with pytest.raises(DataLoss):
        say(replica, sent)
    assert replica.newest() == 1
    assert replica.store.standing("data").incoming is None
    assert len(replica.pool.list()) == 1
    say(replica, chunk_delta(CHANGED, list(CHANGES)))
    assert replica.image() == CHANGED


def test_one_chunk_less_than_announced(replica: Replica) -> None:
    sent = chunk_delta(CHANGED, list(CHANGES))
    short = chunk_delta(CHANGED, list(CHANGES)[:-1])
    with pytest.raises(DataLoss, match="3 chunks came, the manifest named 4"):
        say(replica, [sent[0], *short[1:]])
    assert replica.image() == IMAGE


def test_two_payloads_swapped(replica: Replica) -> None:
    sent = chunk_delta(CHANGED, list(CHANGES))
    first, second = sent[1].runs.run[0], sent[3].runs.run[0]
    first.payload, second.payload = second.payload, first.payload
    with pytest.raises(DataLoss):
        say(replica, sent)
    assert replica.newest() == 1


def test_the_delta_of_another_generation(replica: Replica) -> None:
    say(replica, chunk_delta(CHANGED, list(CHANGES)))
    with pytest.raises(BaseMismatch):
        say(replica, messages(3, whole(IMAGE, CHUNK), base=1))
    assert replica.image() == CHANGED


@pytest.mark.parametrize("odd", ["manifest", "nothing"])
def test_messages_out_of_order(replica: Replica, odd: str) -> None:
    sent = chunk_delta(CHANGED, list(CHANGES))
    sent[2] = sent[0] if odd == "manifest" else replica_pb2.ReceiveRequest()
    with pytest.raises(BadStream):
        say(replica, sent)
    assert replica.newest() == 1


@pytest.mark.parametrize("first", [[], [replica_pb2.ReceiveRequest()]])
def test_a_call_begins_with_a_manifest(
    replica: Replica, first: list[replica_pb2.ReceiveRequest]
) -> None:
    with pytest.raises(BadStream, match="begins with a manifest"):
        say(replica, first)


def test_a_smaller_size_is_refused(replica: Replica) -> None:
    with pytest.raises(SizeMismatch):
        say(replica, messages(2, whole(IMAGE[:-512], CHUNK), base=1))


def test_a_full_disk_loses_nothing(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = chunk_delta(CHANGED, list(CHANGES))
    real = DirectFile.write
    calls = 0

    def filling(self: DirectFile, data: bytes | memoryview, at: int) -> None:
        nonlocal calls
        calls += 1
        if calls > 6:
            raise os_failure(OSError(errno.ENOSPC, ""), self.path, "writing")
        real(self, data, at)

    with monkeypatch.context() as patch:
        patch.setattr(DirectFile, "write", filling)
        with pytest.raises(ReplicaFull) as caught:
            say(replica, sent)
        assert caught.value.kind is Kind.EXHAUSTED
    assert replica.image() == IMAGE
    replica = replica.reopened()
    assert resume(replica, sent)[0].ready.next_ordinal > 0
    assert replica.image() == CHANGED


def test_room_for_merging_is_never_taken(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = chunk_delta(CHANGED, list(CHANGES))
    monkeypatch.setattr(type(replica.pool), "free", lambda self: Bytes(8 * MIB - 1))
    with pytest.raises(ReplicaFull, match="keeps"):
        say(replica, sent)
    assert replica.newest() == 1
    monkeypatch.undo()
    say(replica, sent)
    assert replica.image() == CHANGED


def test_a_lost_layer_is_received_again(replica: Replica) -> None:
    sent = chunk_delta(CHANGED, list(CHANGES))
    with pytest.raises(BadStream):
        say(replica, sent[:4])
    incoming = replica.store.standing("data").incoming
    assert incoming is not None
    (replica.pool.directory / incoming.object_name).unlink()
    replies = resume(replica.reopened(), sent)
    assert replies[0].ready.next_ordinal == 0
    assert replica.reopened().image() == CHANGED


def test_a_newer_call_takes_over(replica: Replica) -> None:
    sent = chunk_delta(CHANGED, list(CHANGES))
    waiting, woken = threading.Event(), threading.Event()
    ended: list[BaseException] = []

    def hanging() -> Iterator[replica_pb2.ReceiveRequest]:
        yield from sent[:3]
        waiting.set()
        woken.wait(10)

    def older() -> None:
        requests = hanging()
        try:
            list(replica.receiver.receive("loopback", first_request(requests), requests, woken.set))
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=older)
    thread.start()
    assert waiting.wait(10)
    replies = resume(replica, sent)
    thread.join(10)
    assert isinstance(ended[0], Superseded)
    # What the older one had received is not sent again.
    assert replies[0].ready.next_ordinal == 2
    assert replica.image() == CHANGED


def test_an_older_call_that_does_not_let_go(replica: Replica) -> None:
    replica.claims._wait_seconds = 0.1
    with replica.claims.claim("data", lambda: None), pytest.raises(ReplicaBusy):
        say(replica, chunk_delta(CHANGED, list(CHANGES)))
    say(replica, chunk_delta(CHANGED, list(CHANGES)))


def test_a_call_that_is_refused_ends_no_other(replica: Replica) -> None:
    with replica.claims.claim("data", lambda: None) as claim:
        with pytest.raises(BaseMismatch):
            say(replica, messages(9, whole(IMAGE, CHUNK), base=8))
        claim.check()


def test_all_calls_can_be_ended(replica: Replica) -> None:
    told = threading.Event()
    with replica.claims.claim("data", told.set):
        assert not replica.claims.end_all(0.1)
    assert told.is_set()
    assert replica.claims.end_all(0.1)


class Device(DirectFile):
    """A file that is treated as the block device it stands for: it may hold anything."""

    def __init__(self, path: str | os.PathLike[str], writable: bool = False) -> None:
        super().__init__(path, writable)
        self.device = True
        self.block = 512

    def zero(self, at: int, length: int) -> None:
        self.device = False
        super().zero(at, length)
        self.device = True


STARTS = (2, 10, 30)
SPARSE = bytearray(len(IMAGE))
for _start in STARTS:
    SPARSE[CHUNK * _start : CHUNK * (_start + 3)] = IMAGE[CHUNK * _start : CHUNK * (_start + 3)]


@pytest.fixture
def on_a_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Replica:
    """A replica whose bases lie on devices that hold something else."""
    replica = Replica(tmp_path, OFTEN)
    create = type(replica.pool).create

    def dirty(self: object, name: str, size: Bytes, *, sparse: bool = False) -> object:
        made = create(replica.pool, name, size)
        made.path.write_bytes(b"\xff" * size)
        return made

    monkeypatch.setattr(type(replica.pool), "create", dirty)
    monkeypatch.setattr("control.replica.staging.DirectFile", Device)
    return replica


def sparse_copy() -> list[replica_pb2.ReceiveRequest]:
    extents = [Extent(Bytes(CHUNK * start), Bytes(CHUNK * 3)) for start in STARTS]
    return messages(1, whole(IMAGE, CHUNK, extents))


@pytest.mark.parametrize("cut", [None, 1, 2, 3])
def test_a_base_on_a_device_that_holds_something_else(
    on_a_device: Replica, cut: int | None
) -> None:
    sent = sparse_copy()
    if cut is not None:
        with pytest.raises(BadStream):
            say(on_a_device, sent[: cut + 1])
    resume(on_a_device, sent)
    assert on_a_device.image() == bytes(SPARSE)


def test_a_long_gap_is_zeroed_in_steps_that_are_told_and_kept(
    on_a_device: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("control.replica.staging.FILL_STEP", CHUNK)
    on_a_device.receiver._pace = Pace(bytes=1, seconds=0)
    sent = sparse_copy()
    steps = len(say(on_a_device, sent))
    on_a_device.store.remove("data")
    ordinals = []
    for taken in range(1, steps):
        # The same copy in as many calls as it has steps: each is cut after one more reply.
        stream = iter(sent)
        rest: list[replica_pb2.ReceiveRequest] = []
        call = on_a_device.receiver.receive(
            "loopback", first_request(stream), iter_of(rest), lambda: None
        )
        ready = next(call).ready
        ordinals.append(ready.next_ordinal)
        rest += sent[1 + ready.next_ordinal :]
        replies = [reply for reply, _ in zip(call, range(1 + taken % 2), strict=False)]
        assert isinstance(call, Generator)
        call.close()
        if replies and what(replies[-1]) == "committed":
            break
    assert ordinals == sorted(ordinals)
    # More calls than runs: the gaps were gone on with, not begun again.
    assert len(ordinals) > 10
    assert on_a_device.image() == bytes(SPARSE)


def iter_of(rest: list[replica_pb2.ReceiveRequest]) -> Iterator[replica_pb2.ReceiveRequest]:
    yield from rest


def test_nothing_is_written_before_it_is_checked(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[CheckedRun] = []
    for staging in (BaseStaging, LayerStaging):
        monkeypatch.setattr(staging, "write", lambda self, run: written.append(run))
    sent = chunk_delta(CHANGED, list(CHANGES))
    sent[1].runs.run[0].payload = noise(CHUNK)
    with pytest.raises(DataLoss):
        say(replica, sent)
    assert written == []
