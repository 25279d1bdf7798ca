"""What differs from a replica, by digests: exactly that, and little is sent to know it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from control.blocks import BLOCK, BlockSet
from control.limiter import Interrupted, RateLimiter
from control.needed import ComparingStopped, fitting_chunk
from control.records import CycleKind
from control.replica.receive import Pace
from control.replica.seeds import seed
from control.seeding import COARSE, STRETCH, There, differing_blocks
from control.spans import Span
from control.wire.channel import connect
from control.wire.deltas import ImageDelta
from control.wire.errors import DataLoss, GenerationNotFound, PeerUnreachable, SourceChanged
from control.wire.send import send
from dm_tables.units import MIB, Bytes
from proto.frazil.v1 import replica_pb2
from proto.frazil.v1.replica_pb2_grpc import (
    ReplicaServicer,
    ReplicaStub,
    add_ReplicaServicer_to_server,
)
from tests import chain
from tests.replica_tools import Replica, generation, manifest, messages, noise, patched, say, whole

SIZE = Bytes(9 * MIB + 1536)
OLD = noise(6 * MIB) + bytes(SIZE - 6 * MIB)
LAST = SIZE // BLOCK
CHANGES = {
    0: noise(BLOCK),
    1: noise(BLOCK),
    700: bytes(BLOCK),
    1800: noise(BLOCK),
    LAST: noise(BLOCK),
}
NEW = patched(OLD, BLOCK, CHANGES)
NEVER = threading.Event()


def reader(image: bytes) -> Callable[[Bytes, Bytes], bytes]:
    return lambda at, length: image[at : at + length]


class Seeded:
    """A replica with a seed, and how often it was asked."""

    def __init__(self, directory: Path) -> None:
        self.replica = Replica(directory / "replica", Pace(bytes=1))
        (directory / "old").write_bytes(OLD)
        span = Span(directory / "old", Bytes(0), SIZE)
        self.volume = seed(self.replica.store, "data", (span,), "loopback")

    @contextmanager
    def there(self, uuid: str = "") -> Iterator[There]:
        with self.replica.stub() as stub:
            yield There(stub, "data", uuid or self.volume.seed_uuid)


@pytest.fixture
def seeded(tmp_path: Path) -> Seeded:
    return Seeded(tmp_path)


def blocks(*numbers: int) -> BlockSet:
    made = BlockSet()
    made.add_blocks(numbers)
    return made


def test_exactly_what_differs_is_found(seeded: Seeded) -> None:
    with seeded.there() as there:
        found = differing_blocks(reader(NEW), SIZE, there, cancel=NEVER)
    assert found == blocks(*CHANGES)


@pytest.mark.parametrize("fine", [65536, MIB])
def test_as_exactly_as_is_wanted(seeded: Seeded, fine: int) -> None:
    with seeded.there() as there:
        found = differing_blocks(reader(NEW), SIZE, there, cancel=NEVER, fine=Bytes(fine))
    wanted = BlockSet()
    for number in CHANGES:
        at = number * BLOCK // fine * fine
        wanted.add(at, min(fine, SIZE - at))
    assert found == wanted


def test_nothing_differs(seeded: Seeded) -> None:
    with seeded.there() as there:
        assert not differing_blocks(reader(OLD), SIZE, there, cancel=NEVER)


def test_everything_differs(seeded: Seeded) -> None:
    with seeded.there() as there:
        found = differing_blocks(reader(b"\x55" * SIZE), SIZE, there, cancel=NEVER)
    assert found == blocks(*range(LAST + 1))


def test_what_was_found_makes_a_replica_of_the_seed(seeded: Seeded) -> None:
    """Bytes sent follow what differs, not what the volume holds."""
    with seeded.there() as there:
        found = differing_blocks(reader(NEW), SIZE, there, cancel=NEVER)
        chunk = fitting_chunk(found, Bytes(65536))
        delta = ImageDelta(reader(NEW), found.extents(chunk, SIZE), chunk, SIZE)
        said = manifest(1, delta, base=9, base_uuid=seeded.volume.seed_uuid)
        result = send(there.stub, said, delta)
    assert result.plain < len(CHANGES) * BLOCK
    assert result.sent < len(CHANGES) * BLOCK + 2000
    assert seeded.replica.image() == NEW


def test_a_committed_generation_is_compared_alike(seeded: Seeded, tmp_path: Path) -> None:
    replica = Replica(tmp_path / "other")
    say(replica, messages(3, whole(OLD, 65536)))
    seeded.replica = replica
    with seeded.there(generation(3).uuid) as there:
        found = differing_blocks(reader(NEW), SIZE, there, cancel=NEVER)
    assert found == blocks(*CHANGES)


def test_progress_is_told_and_ends(seeded: Seeded) -> None:
    told: list[tuple[int, int]] = []
    with seeded.there() as there:
        differing_blocks(
            reader(NEW), SIZE, there, cancel=NEVER, progress=lambda *now: told.append(now)
        )
    done = [one for one, _ in told]
    assert done == sorted(done)
    assert told[0] == (COARSE, SIZE)
    assert told[-1][0] == told[-1][1] == SIZE + 2 * STRETCH + SIZE - 2 * STRETCH


def test_the_limiter_is_asked_for_what_is_read(seeded: Seeded) -> None:
    class Counting(RateLimiter):
        taken = 0

        def take(self, count: int, check: Callable[[], None] = lambda: None) -> None:
            self.taken += count

    limiter = Counting()
    with seeded.there() as there:
        differing_blocks(reader(OLD), SIZE, there, cancel=NEVER, limiter=limiter)
    assert limiter.taken == SIZE
    stopped = RateLimiter(1)
    stopped.stop.set()
    with seeded.there() as there, pytest.raises(Interrupted):
        differing_blocks(reader(OLD), SIZE, there, cancel=NEVER, limiter=stopped)


def test_it_can_be_stopped(seeded: Seeded) -> None:
    cancel = threading.Event()

    def stopping(done: int, total: int) -> None:
        if done > 2 * MIB:
            cancel.set()

    with seeded.there() as there:
        with pytest.raises(ComparingStopped):
            differing_blocks(reader(NEW), SIZE, there, cancel=cancel, progress=stopping)
        # The replica let go: the seed can be used at once.
        for _ in range(200):
            if not seeded.replica.store.held_numbers("data"):
                break
            time.sleep(0.02)
        assert not seeded.replica.store.held_numbers("data")


def test_a_generation_that_is_not_there(seeded: Seeded) -> None:
    with seeded.there(generation(7).uuid) as there, pytest.raises(GenerationNotFound):
        differing_blocks(reader(NEW), SIZE, there, cancel=NEVER)


def test_an_image_that_ends_too_early(seeded: Seeded) -> None:
    with seeded.there() as there, pytest.raises(SourceChanged):
        differing_blocks(reader(NEW[:-512]), SIZE, there, cancel=NEVER)


def test_a_replica_that_is_away(tmp_path: Path) -> None:
    with connect(f"unix:{tmp_path}/away.sock", None, True) as channel:
        there = There(ReplicaStub(channel), "data", "u", "b")
        with pytest.raises(PeerUnreachable, match="b cannot be reached"):
            differing_blocks(reader(NEW), SIZE, there, cancel=NEVER)


class Odd(ReplicaServicer):
    """A replica that answers what a test wants, or never."""

    def __init__(self, parts: list[replica_pb2.BlockDigests] | None) -> None:
        self.parts = parts
        self.asked = threading.Event()

    def Digests(
        self, request: replica_pb2.DigestsRequest, context: grpc.ServicerContext
    ) -> Iterator[replica_pb2.BlockDigests]:
        self.asked.set()
        if self.parts is None:
            ended = threading.Event()
            context.add_callback(ended.set)
            ended.wait(60)
            return
        yield from self.parts


@contextmanager
def odd(tmp_path: Path, service: Odd) -> Iterator[There]:
    server = grpc.server(futures.ThreadPoolExecutor(2))
    add_ReplicaServicer_to_server(service, server)
    address = f"unix:{tmp_path}/odd.sock"
    server.add_insecure_port(address)
    server.start()
    try:
        with connect(address, None, True) as channel:
            yield There(ReplicaStub(channel), "data", "u")
    finally:
        server.stop(0).wait()


def test_it_can_be_stopped_while_the_replica_says_nothing(tmp_path: Path) -> None:
    cancel, service = threading.Event(), Odd(None)
    with odd(tmp_path, service) as there:

        def stop_it() -> None:
            service.asked.wait(30)
            cancel.set()

        threading.Thread(target=stop_it).start()
        with pytest.raises(ComparingStopped):
            differing_blocks(reader(NEW), SIZE, there, cancel=cancel)


def part(offset: int, count: int, digests: int = 0, block: int = MIB) -> replica_pb2.BlockDigests:
    return replica_pb2.BlockDigests(
        offset=offset, block_bytes=block, blocks=count, digests=bytes(16 * digests)
    )


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [part(0, 9)],
        [part(0, 9), part(8 * MIB, 2)],
        [part(MIB, 9)],
        [part(0, 11)],
        [part(0, 0)],
        [part(0, 9, 8), part(9 * MIB, 1)],
        [part(0, 20, block=MIB // 2)],
    ],
)
def test_an_answer_that_is_none(tmp_path: Path, parts: list[replica_pb2.BlockDigests]) -> None:
    with odd(tmp_path, Odd(parts)) as there, pytest.raises(DataLoss):
        differing_blocks(reader(bytes(SIZE)), SIZE, there, cancel=NEVER)


def test_an_answer_of_zeroes(tmp_path: Path) -> None:
    """The check before would pass everything if every answer were refused."""
    with odd(tmp_path, Odd([part(0, 9), part(9 * MIB, 1)])) as there:
        assert not differing_blocks(reader(bytes(SIZE)), SIZE, there, cancel=NEVER)


def test_a_cycle_onto_a_seed_is_told_as_what_it_was(tmp_path: Path) -> None:
    """Whole is what it would have been; that there is a seed, only the replica can say."""
    image = noise(chain.SIZE)
    middle, last = chain.Station(tmp_path / "middle"), Replica(tmp_path)
    (tmp_path / "shipped").write_bytes(patched(image, chain.CHUNK, {3: noise(chain.CHUNK)}))
    span = Span(tmp_path / "shipped", Bytes(0), Bytes(chain.SIZE))
    seed(last.store, "data", (span,), "loopback")
    try:
        chain.Model(image).commit(middle, 1, {})
        with chain.served(last) as peer:
            middle.mirror("on", "data", peer)
            cycle = middle.sync("on")
        assert (cycle.kind, cycle.changed_bytes) == (CycleKind.CATCH_UP, chain.CHUNK)
        same = chain.image_of(last) == image
        assert same
    finally:
        middle.close()
