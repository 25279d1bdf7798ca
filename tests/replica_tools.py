"""A replica in this process, and a source that is a plain model, for tests of the wire."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from control.blocks import Extent
from control.pool.files import FilesPool
from control.replica.claims import Claims
from control.replica.images import open_image
from control.replica.merging import ReplicaMerger
from control.replica.receive import Pace, Receiver, first_request
from control.replica.server import PeerServer
from control.replica.service import ReplicaService
from control.replica.store import ReplicaStore
from control.store.writer import StoreWriter
from control.wire.batches import batches
from control.wire.channel import connect
from control.wire.codec import Compressor
from control.wire.deltas import Delta, ImageDelta
from control.wire.frames import Tally
from control.wire.peers import Me
from dm_tables.units import Bytes
from proto.frazil.v1 import replica_pb2
from proto.frazil.v1.replica_pb2_grpc import ReplicaStub

VOLUME_UUID = str(uuid.UUID(int=0xF0))
ME = Me(str(uuid.UUID(int=1)), "here", "test")

MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where the many short-lived replicas of property tests lie: flushing costs nothing there."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A [[replica.allow]]."""

    identity: str = "loopback"
    volumes: tuple[str, ...] = ("*",)
    quota: Bytes | None = None
    discard: bool = False


@dataclass
class Replica:
    """A replica on plain files, without its merger's thread unless it is started."""

    directory: Path
    pace: Pace = field(default_factory=Pace)
    rules: tuple[Rule, ...] = (Rule(),)

    def __post_init__(self) -> None:
        self.pool = FilesPool(self.directory / "objects")
        self.store = ReplicaStore(self.directory, self.pool)
        self.claims = Claims(wait_seconds=5)
        self.receiver = Receiver(self.store, self.claims, pace=self.pace)
        self.merger = ReplicaMerger(self.store)
        self.service = ReplicaService(
            self.store, self.receiver, self.merger, ME, lambda: self.rules
        )

    def reopened(self) -> Replica:
        """The same directory, as a daemon that starts again finds it."""
        self.store.close()
        return Replica(self.directory, self.pace, self.rules)

    @contextmanager
    def stub(self) -> Iterator[ReplicaStub]:
        """A client of this replica, over a unix socket."""
        server = PeerServer(self.service, f"unix:{self.directory}/peer.sock", plaintext=True)
        server.start()
        try:
            with connect(server.address, None, True) as channel:
                yield ReplicaStub(channel)
        finally:
            server.stop(0)

    def image(self, number: int = 0, name: str = "data") -> bytes:
        """The whole image of a committed generation."""
        with (
            self.store.reading(name, number) as chain,
            open_image(self.store, chain) as image,
        ):
            return bytes(image.read(Bytes(0), chain.size))

    def newest(self, name: str = "data") -> int:
        """The newest committed generation's number; 0: none."""
        newest = self.store.standing(name).newest
        return newest.generation.number if newest is not None else 0


def generation(number: int) -> replica_pb2.Generation:
    """Generation ``number`` of the model's history."""
    made = replica_pb2.Generation(number=number, uuid=str(uuid.UUID(int=0x1000 + number)))
    made.frozen_at.FromSeconds(1_700_000_000 + number)
    return made


def manifest(number: int, delta: Delta, *, base: int = 0, **fields: object) -> replica_pb2.Manifest:
    """What announces generation ``number``; ``base`` 0 is a whole copy."""
    made = replica_pb2.Manifest(
        volume="data",
        volume_uuid=VOLUME_UUID,
        generation=generation(number),
        base_uuid=generation(base).uuid if base else "",
        size_bytes=delta.size,
        chunk_bytes=delta.chunk,
        chunks=delta.count().chunks if base else 0,
        logical_block_bytes=512,
    )
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def whole(image: bytes, chunk: int, extents: list[Extent] | None = None) -> ImageDelta:
    """A whole copy of ``image``."""
    found = extents if extents is not None else [Extent(Bytes(0), Bytes(len(image)))]
    return ImageDelta(
        lambda address, length: image[address : address + length],
        found,
        Bytes(chunk),
        Bytes(len(image)),
    )


def patched(image: bytes, chunk: int, changes: Mapping[int, bytes]) -> bytes:
    """``image`` with whole chunks replaced; the last one is clipped."""
    made = bytearray(image)
    for number, data in changes.items():
        start = number * chunk
        end = min(start + chunk, len(image))
        made[start:end] = data[: end - start]
    return bytes(made)


def write_store(path: Path, changes: Mapping[int, bytes], chunk: int, size: int) -> Path:
    """An exception store with whole chunks, in the mapping's order."""
    path.touch()
    with StoreWriter(path, Bytes(chunk), Bytes(size)) as writer:
        writer.create()
        for number, data in changes.items():
            writer.append(number, 1, data)
        writer.finish()
    return path


def noise(length: int) -> bytes:
    """Bytes that do not compress."""
    return os.urandom(length)


def code_of(error: grpc.RpcError) -> grpc.StatusCode:
    """The status of a failed call."""
    assert isinstance(error, grpc.Call)
    return error.code()


def messages(
    number: int, delta: Delta, *, base: int = 0, **fields: object
) -> list[replica_pb2.ReceiveRequest]:
    """Everything a source would say for a generation, one run a message."""
    made = [replica_pb2.ReceiveRequest(manifest=manifest(number, delta, base=base, **fields))]
    tally = Tally()
    for batch in batches(delta.stretches(), tally, delta, Compressor()):
        for run in batch.runs.run:
            tally = tally.plus(run.address, run.length, run.checksum, delta.chunk)
            alone = replica_pb2.Runs(run=[run], digest=tally.digest)
            made.append(replica_pb2.ReceiveRequest(runs=alone))
    return [*made, replica_pb2.ReceiveRequest(trailer=tally.trailer())]


def say(
    replica: Replica, requests: Iterable[replica_pb2.ReceiveRequest], identity: str = "loopback"
) -> list[replica_pb2.ReceiveReply]:
    """Say it to the replica's receiver, without gRPC between; what it answers."""
    stream = iter(requests)
    wanted = first_request(stream)
    return list(replica.receiver.receive(identity, wanted, stream, lambda: None))


def resume(
    replica: Replica, requests: list[replica_pb2.ReceiveRequest], identity: str = "loopback"
) -> list[replica_pb2.ReceiveReply]:
    """Say the rest of what was cut off, as a source would that knows where the replica stands."""
    stream = iter(requests)
    wanted = first_request(stream)
    rest: list[replica_pb2.ReceiveRequest] = []
    replies: list[replica_pb2.ReceiveReply] = []
    for reply in replica.receiver.receive(identity, wanted, _fed(rest), lambda: None):
        if reply.WhichOneof("message") == "ready":
            rest += requests[1 + reply.ready.next_ordinal :]
        replies.append(reply)
    return replies


def _fed(
    rest: list[replica_pb2.ReceiveRequest],
) -> Iterator[replica_pb2.ReceiveRequest]:
    # The list is filled after Ready, which comes before the first of these is asked for.
    yield from rest
