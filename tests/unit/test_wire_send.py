"""A copy from end to end, and against replicas that stall, lie, break off and come back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from control.limiter import Interrupted, RateLimiter
from control.replica.receive import Pace
from control.store.errors import StoreCorrupt
from control.store.reader import StoreReader
from control.wire.batches import Checkpoint, batches
from control.wire.channel import connect
from control.wire.codec import Compressor
from control.wire.deltas import Count, ImageDelta, StoreDelta, Stretch
from control.wire.errors import (
    BadStream,
    BaseMismatch,
    PeerUnreachable,
    ProtocolMismatch,
    SendStopped,
    SourceChanged,
    Stalled,
)
from control.wire.frames import PROTOCOL, Tally
from control.wire.peers import greet
from control.wire.send import SendProgress, send
from control.wire.status import abort_with
from dm_tables.units import MIB, Bytes
from proto.frazil.v1 import replica_pb2
from proto.frazil.v1.replica_pb2_grpc import (
    ReplicaServicer,
    ReplicaStub,
    add_ReplicaServicer_to_server,
)
from tests.replica_tools import ME, Replica, generation, manifest, noise, whole, write_store

CHUNK = 65536
IMAGE = noise(3 * MIB) + bytes(2 * MIB) + b"frazil! " * (MIB // 4) + noise(512)

Receive = Callable[[Iterator[replica_pb2.ReceiveRequest], grpc.ServicerContext], Iterator[object]]


class Odd(ReplicaServicer):
    """A replica that does what a test wants of it."""

    def __init__(self, receive: Receive) -> None:
        self.receive = receive

    def Hello(self, request: object, context: grpc.ServicerContext) -> replica_pb2.HelloReply:
        return replica_pb2.HelloReply(protocol=PROTOCOL + 1)

    def Receive(
        self, request_iterator: Iterator[replica_pb2.ReceiveRequest], context: grpc.ServicerContext
    ) -> Iterator[object]:
        return self.receive(request_iterator, context)


@contextmanager
def odd(tmp_path: Path, receive: Receive) -> Iterator[ReplicaStub]:
    server = grpc.server(futures.ThreadPoolExecutor(4))
    add_ReplicaServicer_to_server(Odd(receive), server)
    address = f"unix:{tmp_path}/odd.sock"
    server.add_insecure_port(address)
    server.start()
    try:
        with connect(address, None, True) as channel:
            yield ReplicaStub(channel)
    finally:
        server.stop(0).wait()


def ready(ordinal: int = 0) -> replica_pb2.ReceiveReply:
    return replica_pb2.ReceiveReply(ready=replica_pb2.Ready(next_ordinal=ordinal, digest=bytes(32)))


def test_a_whole_copy_and_a_delta_arrive(tmp_path: Path) -> None:
    replica = Replica(tmp_path / "replica")
    first = whole(IMAGE, CHUNK)
    changes = {0: noise(CHUNK), 90: bytes(CHUNK), len(IMAGE) // CHUNK: noise(CHUNK)}
    path = write_store(tmp_path / "store", changes, CHUNK, len(IMAGE))
    with replica.stub() as stub, opened(path) as second:
        result = send(stub, manifest(1, first), first)
        assert not result.already
        assert result.length == len(IMAGE)
        assert result.chunks == -(-len(IMAGE) // CHUNK)
        assert result.plain == len(IMAGE) - 2 * MIB
        # The zeroes cost nothing, the text next to nothing.
        assert 3 * MIB < result.sent < 3 * MIB + 100_000
        assert replica.image() == IMAGE

        result = send(stub, manifest(2, second, base=1), second)
        assert (result.chunks, result.runs, result.resumed) == (3, 3, 0)
    wanted = bytearray(IMAGE)
    for number, data in changes.items():
        wanted[number * CHUNK : (number + 1) * CHUNK] = data[: len(IMAGE) - number * CHUNK]
    assert replica.image(2) == bytes(wanted)
    assert replica.image(1) == IMAGE


@contextmanager
def opened(path: Path) -> Iterator[StoreDelta]:
    with StoreReader(path, Bytes(len(IMAGE)), Bytes(CHUNK)) as reader:
        yield StoreDelta(reader)


def test_a_generation_that_is_there_is_not_sent_again(tmp_path: Path) -> None:
    delta = whole(IMAGE, CHUNK)
    with Replica(tmp_path / "replica").stub() as stub:
        send(stub, manifest(1, delta), delta)
        result = send(stub, manifest(1, delta), delta)
    assert result.already
    assert (result.plain, result.runs) == (0, 0)
    assert result.sent < 1000


def test_progress_and_checkpoints_are_told(tmp_path: Path) -> None:
    told: list[SendProgress] = []
    marks: list[Checkpoint] = []
    delta = whole(noise(8 * MIB), CHUNK)
    with Replica(tmp_path / "replica", Pace(bytes=MIB)).stub() as stub:
        result = send(
            stub, manifest(1, delta), delta, on_progress=told.append, on_checkpoint=marks.append
        )
    assert told[-1].total == 8 * MIB
    assert [now.done for now in told] == sorted(now.done for now in told)
    assert len(marks) >= 6
    assert marks[-1].ordinal <= result.runs
    assert marks[-1].position == delta.count(marks[-1].position).length


@pytest.mark.parametrize("known", ["checkpoint", "nothing", "stale"])
def test_a_broken_copy_goes_on_where_it_was(tmp_path: Path, known: str) -> None:
    image = noise(16 * MIB)
    delta = whole(image, CHUNK)
    replica = Replica(tmp_path / "replica", Pace(bytes=MIB))
    marks: list[Checkpoint] = []
    stop = threading.Event()

    def reached(mark: Checkpoint) -> None:
        marks.append(mark)
        if mark.position >= 8 * MIB:
            stop.set()

    limiter = RateLimiter(200 * MIB)
    with replica.stub() as stub:
        with pytest.raises(SendStopped):
            send(
                stub, manifest(1, delta), delta, on_checkpoint=reached, cancel=stop, limiter=limiter
            )
        assert replica.newest() == 0
        checkpoint = {"checkpoint": marks[-1], "nothing": None, "stale": marks[0]}[known]
        result = send(stub, manifest(1, delta), delta, checkpoint=checkpoint)
    assert result.resumed >= 8
    assert result.plain <= 8 * MIB
    assert result.length == 16 * MIB
    assert replica.image() == image


def test_another_partial_copy_is_dropped(tmp_path: Path) -> None:
    replica = Replica(tmp_path / "replica")
    first, second = whole(noise(4 * MIB), CHUNK), whole(IMAGE[: 4 * MIB], CHUNK)
    with replica.stub() as stub:
        call = stub.Receive(iter(_beginning(first, generation(1))))
        assert next(call).WhichOneof("message") == "ready"
        list(_until_broken(call))
        _wait_until(lambda: not replica.claims.is_claimed("data"))
        partial = replica.store.standing("data").incoming
        assert partial is not None
        assert partial.tally.runs == 2
        result = send(stub, manifest(2, second), second)
    assert result.resumed == 0
    assert replica.image() == IMAGE[: 4 * MIB]
    assert replica.pool.list() == (replica.store.volume("data").base_object,)


def _beginning(
    delta: ImageDelta, made: replica_pb2.Generation
) -> Iterator[replica_pb2.ReceiveRequest]:
    """The first two runs of a generation, and no end."""
    announced = manifest(made.number, delta)
    yield replica_pb2.ReceiveRequest(manifest=announced)
    packed = batches(delta.stretches(), Tally(), delta, Compressor())
    for _ in range(2):
        yield replica_pb2.ReceiveRequest(runs=next(packed).runs)


def _until_broken(call: Iterator[object]) -> Iterator[object]:
    try:
        yield from call
    except grpc.RpcError:
        return


def _wait_until(true: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_replicas_refusal_is_the_sources_error(tmp_path: Path) -> None:
    delta = whole(IMAGE, CHUNK)
    with Replica(tmp_path / "replica").stub() as stub, pytest.raises(BaseMismatch) as caught:
        send(stub, manifest(2, delta, base=1), delta)
    assert "whole copy" in caught.value.hint


def test_a_silent_replica_is_given_up(tmp_path: Path) -> None:
    release = threading.Event()

    def silent(requests: object, context: grpc.ServicerContext) -> Iterator[object]:
        context.add_callback(release.set)
        yield ready()
        release.wait(30)

    delta = whole(noise(32 * MIB), CHUNK)
    began = time.monotonic()
    with odd(tmp_path, silent) as stub, pytest.raises(Stalled, match="far did not move for 1 s"):
        send(stub, manifest(1, delta), delta, stall_seconds=1, peer="far")
    assert time.monotonic() - began < 10
    assert release.is_set()


def test_a_replica_that_never_says_ready_is_given_up(tmp_path: Path) -> None:
    def mute(requests: object, context: grpc.ServicerContext) -> Iterator[object]:
        context.add_callback(release.set)
        release.wait(30)
        yield ready()

    release = threading.Event()
    delta = whole(IMAGE, CHUNK)
    with odd(tmp_path, mute) as stub, pytest.raises(Stalled):
        send(stub, manifest(1, delta), delta, stall_seconds=1)


def test_a_slow_source_is_no_stall(tmp_path: Path) -> None:
    class Slow(ImageDelta):
        def stretches(self, position: int = 0) -> Iterator[Stretch]:
            for stretch in super().stretches(position):
                time.sleep(4.0)
                yield stretch

    fast = whole(noise(2 * MIB), CHUNK)
    slow = Slow(fast._read, [], Bytes(CHUNK), fast.size)
    slow._starts, slow._ends = fast._starts, fast._ends
    with Replica(tmp_path / "replica").stub() as stub:
        result = send(stub, manifest(1, slow), slow, stall_seconds=3.0)
    assert result.length == 2 * MIB


def test_a_copy_can_be_stopped_while_it_is_throttled(tmp_path: Path) -> None:
    delta = whole(noise(8 * MIB), CHUNK)
    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()
    began = time.monotonic()
    with Replica(tmp_path / "replica").stub() as stub, pytest.raises(SendStopped):
        send(stub, manifest(1, delta), delta, cancel=stop, limiter=RateLimiter(64 << 10))
    assert time.monotonic() - began < 5


def test_a_limiter_that_stops_ends_the_copy(tmp_path: Path) -> None:
    delta = whole(IMAGE, CHUNK)
    limiter = RateLimiter(1)
    limiter.stop.set()
    with Replica(tmp_path / "replica").stub() as stub, pytest.raises(Interrupted):
        send(stub, manifest(1, delta), delta, limiter=limiter)


def test_nobody_there(tmp_path: Path) -> None:
    delta = whole(IMAGE, CHUNK)
    with (
        connect(f"unix:{tmp_path}/nobody.sock", None, True) as channel,
        pytest.raises(PeerUnreachable, match="far cannot be reached"),
    ):
        send(ReplicaStub(channel), manifest(1, delta), delta, peer="far")


def test_a_connection_that_breaks(tmp_path: Path) -> None:
    def breaking(
        requests: Iterator[replica_pb2.ReceiveRequest], context: grpc.ServicerContext
    ) -> Iterator[object]:
        yield ready()
        next(requests)
        context.abort(grpc.StatusCode.UNAVAILABLE, "the cable")

    delta = whole(noise(4 * MIB), CHUNK)
    with odd(tmp_path, breaking) as stub, pytest.raises(PeerUnreachable, match="the cable"):
        send(stub, manifest(1, delta), delta)


@pytest.mark.parametrize(
    "replies", [[], [ready(), ready()], [replica_pb2.ReceiveReply()], [ready()]]
)
def test_a_replica_that_makes_no_sense(
    tmp_path: Path, replies: list[replica_pb2.ReceiveReply]
) -> None:
    def odd_replies(
        requests: Iterator[replica_pb2.ReceiveRequest], context: grpc.ServicerContext
    ) -> Iterator[object]:
        yield from replies

    delta = whole(IMAGE, CHUNK)
    with odd(tmp_path, odd_replies) as stub, pytest.raises(BadStream):
        send(stub, manifest(1, delta), delta)


def test_a_damaged_layer_is_not_sent(tmp_path: Path) -> None:
    changes = {number: noise(CHUNK) for number in range(40)}
    path = write_store(tmp_path / "store", changes, CHUNK, len(IMAGE))
    replica = Replica(tmp_path / "replica")
    first = whole(IMAGE, CHUNK)
    with replica.stub() as stub, opened(path) as delta:
        send(stub, manifest(1, first), first)
        announced = manifest(2, delta, base=1)
        with path.open("r+b") as file:
            file.seek(CHUNK + 16 * 39)
            file.write((1 << 40).to_bytes(8, "little"))
        with pytest.raises(StoreCorrupt):
            send(stub, announced, delta)
    assert replica.newest() == 1


def test_a_source_that_cannot_count_itself(tmp_path: Path) -> None:
    class Shrinking(ImageDelta):
        def count(self, position: int | None = None) -> Count:
            raise SourceChanged("it is gone")

    delta = Shrinking(lambda a, n: bytes(n), [], Bytes(CHUNK), Bytes(MIB))
    with Replica(tmp_path / "replica").stub() as stub, pytest.raises(SourceChanged):
        send(stub, manifest(1, delta), delta)


def test_hello_tells_who_is_there(tmp_path: Path) -> None:
    with Replica(tmp_path / "replica").stub() as stub:
        reply = greet(stub, ME)
    assert (reply.host_name, reply.identity, reply.protocol) == ("here", "loopback", PROTOCOL)


def test_another_protocol_is_refused_by_the_source(tmp_path: Path) -> None:
    with odd(tmp_path, lambda *_: iter(())) as stub, pytest.raises(ProtocolMismatch):
        greet(stub, ME)


def test_another_protocol_is_refused_by_the_replica(tmp_path: Path) -> None:
    with Replica(tmp_path / "replica").stub() as stub:
        request = replica_pb2.HelloRequest(protocol=PROTOCOL + 1, host_name="new")
        with pytest.raises(grpc.RpcError, match="new"):
            stub.Hello(request)


def test_a_call_that_the_peer_does_not_know(tmp_path: Path) -> None:
    class Old(ReplicaServicer):
        pass

    server = grpc.server(futures.ThreadPoolExecutor(2))
    add_ReplicaServicer_to_server(Old(), server)
    address = f"unix:{tmp_path}/old.sock"
    server.add_insecure_port(address)
    server.start()
    with (
        connect(address, None, True) as channel,
        pytest.raises(ProtocolMismatch, match="far"),
    ):
        greet(ReplicaStub(channel), ME, peer="far")
    server.stop(0).wait()


def test_errors_keep_their_class_over_the_wire(tmp_path: Path) -> None:
    def refusing(requests: object, context: grpc.ServicerContext) -> Iterator[object]:
        abort_with(context, BaseMismatch("it stands elsewhere", "send it whole"))
        yield ready()

    delta = whole(IMAGE, CHUNK)
    with odd(tmp_path, refusing) as stub, pytest.raises(BaseMismatch) as caught:
        send(stub, manifest(1, delta), delta)
    assert (caught.value.what, caught.value.hint) == ("it stands elsewhere", "send it whole")


def test_no_thread_is_left(tmp_path: Path) -> None:
    def names() -> set[str]:
        return {t.name for t in threading.enumerate() if t.name.startswith("send ")}

    delta = whole(IMAGE, CHUNK)
    replica = Replica(tmp_path / "replica")
    with replica.stub() as stub:
        send(stub, manifest(1, delta), delta)
        with pytest.raises(BaseMismatch):
            send(stub, manifest(3, delta, base=2), delta)
    assert names() == set()
