"""Parts of chunks: which are read, which are sent, and what that costs on a real connection."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from control.blocks import BLOCK, BlockSet
from control.needed import ComparingStopped, changed_blocks
from control.replica.server import PeerServer
from control.store.reader import StoreReader
from control.wire.blocks import BlockDelta, layer_delta
from control.wire.channel import connect
from control.wire.deltas import Count, Delta, StoreDelta
from control.wire.errors import SourceChanged
from control.wire.send import SendResult, send
from dm_tables.units import KIB, MIB, Bytes
from proto.frazil.v1.replica_pb2_grpc import ReplicaStub
from tests.replica_tools import Replica, manifest, messages, say, whole
from tests.traced_layer import TracedLayer, Write, block_set


def scattered(chunks: int, chunk: int, tail: int = 0) -> TracedLayer:
    """One write of one block in each chunk, here and there, in no order."""
    before = random.Random(1).randbytes(chunks * chunk - chunk + (tail or chunk))
    chance = random.Random(2)
    writes = []
    for number in chance.sample(range(chunks), chunks):
        last = min(len(before), (number + 1) * chunk) // BLOCK - 1
        block = chance.randint(number * chunk // BLOCK, last)
        writes.append(Write(block * BLOCK, BLOCK, 100 + number))
    return TracedLayer(before, chunk, writes)


def everything(delta: Delta, position: int = 0) -> list[tuple[int, int]]:
    return [(s.address, s.length) for s in delta.stretches(position)]


# What is sent.


def test_only_what_was_written_is_sent(tmp_path: Path) -> None:
    before = bytes(range(256)) * 1024
    writes = [Write(65536 + 5 * BLOCK, 2 * BLOCK, 1), Write(3 * BLOCK + 7, 2, 2)]
    layer = TracedLayer(before, 65536, [*writes, Write(70000, 1, 3), Write(0, 512, 0)])
    with layer.store(tmp_path) as store:
        delta = layer_delta(store, block_set(layer.blocks))
        found = list(delta.stretches())
        assert delta.chunk == BLOCK
        assert delta.count() == Count(5, 5 * BLOCK)
    assert [(s.address, s.length) for s in found] == [
        (65536 + BLOCK, BLOCK),
        (65536 + 5 * BLOCK, 2 * BLOCK),
        (0, BLOCK),
        (3 * BLOCK, BLOCK),
    ]
    assert [s.data == layer.after[s.address : s.address + s.length] for s in found] == [True] * 4
    assert [s.resume for s in found] == [None, None, None, 2]


def test_whole_chunks_stay_whole(tmp_path: Path) -> None:
    layer = TracedLayer(bytes(1 << 20), 65536, [Write(65536, 5 * 65536, 1)])
    with layer.store(tmp_path) as store:
        assert isinstance(layer_delta(store, block_set(layer.blocks)), StoreDelta)
        assert isinstance(layer_delta(store, None), StoreDelta)
        assert isinstance(layer_delta(store, BlockSet()), StoreDelta), "nothing traced: all of it"


def test_the_volume_may_end_inside_a_block(tmp_path: Path) -> None:
    size = 3 * 65536 + 2 * BLOCK + 512
    layer = TracedLayer(bytes(size), 65536, [Write(size - 512, 512, 1), Write(0, BLOCK, 2)])
    with layer.store(tmp_path) as store:
        delta = layer_delta(store, block_set(layer.blocks))
        assert everything(delta) == [(size - 512, 512), (0, BLOCK)]
        assert delta.count() == Count(2, BLOCK + 512)
        assert delta.count(1) == Count(1, 512)
        assert delta.count(0) == Count(0, 0)


def test_starting_again_yields_the_same(tmp_path: Path) -> None:
    layer = scattered(40, 64 * KIB, tail=BLOCK)
    with layer.store(tmp_path) as store:
        delta = layer_delta(store, block_set(layer.blocks))
        found = list(delta.stretches())
        places = [i for i, s in enumerate(found) if s.resume is not None]
        assert len(places) > 1
        for index in places:
            position = found[index].resume
            assert position is not None
            assert list(delta.stretches(position)) == found[index + 1 :]
            assert delta.count(position).length == sum(s.length for s in found[: index + 1])


def test_a_store_that_changed_is_noticed(tmp_path: Path) -> None:
    layer = scattered(4, 64 * KIB)
    with layer.store(tmp_path) as store:
        delta = layer_delta(store, block_set(layer.blocks))
        longer = TracedLayer(layer.before, layer.chunk, layer.writes[:-1])
        with longer.store(tmp_path), pytest.raises(SourceChanged):
            everything(delta)


def test_what_lies_between_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With chunks of 1 MiB a write of 4 KiB costs one read of 4 KiB; near ones share a read."""
    reads: list[int] = []
    read_at = StoreReader.read_at

    def counted(self: StoreReader, view: memoryview, at: int) -> None:
        reads.append(len(view))
        read_at(self, view, at)

    writes = [Write(number * MIB + 9 * BLOCK, 1, 1) for number in (2, 0, 1)]
    near = [Write(3 * MIB, BLOCK, 1), Write(3 * MIB + 3 * BLOCK, BLOCK, 2)]
    far = [Write(4 * MIB, BLOCK, 1), Write(4 * MIB + 100 * BLOCK, BLOCK, 2)]
    layer = TracedLayer(bytes(5 * MIB), MIB, [*writes, *near, *far])
    monkeypatch.setattr(StoreReader, "read_at", counted)
    with layer.store(tmp_path) as store:
        everything(layer_delta(store, block_set(layer.blocks)))
    assert reads == [BLOCK, BLOCK, BLOCK, 4 * BLOCK, BLOCK, BLOCK]


def test_a_comparison_stops_when_told(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    image = bytes(MIB)
    with pytest.raises(ComparingStopped):
        changed_blocks(
            block_set({3}),
            lambda at, length: image[at : at + length],
            lambda at, length: image[at : at + length],
            Bytes(MIB),
            stop,
        )


# What it costs.


class Relay:
    """Between a client and a unix socket; counts what the client says, to the last byte."""

    def __init__(self, path: str, target: str) -> None:
        self.sent = 0
        self._target = target
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(path)
        self._server.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._server.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                there = socket.socket(socket.AF_UNIX)
                there.connect(self._target)
                for pair in ((client, there, True), (there, client, False)):
                    threading.Thread(target=self._carry, args=pair, daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, counted: bool) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                self.sent += len(data) if counted else 0
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


@contextmanager
def relayed(replica: Replica) -> Iterator[tuple[ReplicaStub, Relay]]:
    path, middle = f"{replica.directory}/peer.sock", f"{replica.directory}/middle.sock"
    server = PeerServer(replica.service, f"unix:{path}", plaintext=True)
    server.start()
    relay = Relay(middle, path)
    try:
        with connect(f"unix:{middle}", None, True) as channel:
            yield ReplicaStub(channel), relay
    finally:
        relay.close()
        server.stop(0)


def test_scattered_writes_cost_what_they_changed(tmp_path: Path) -> None:
    """Chunks of 1 MiB, writes of 4 KiB: at most 5 % over the 4 KiB, framing and all, not 256 x."""
    layer = scattered(24, MIB)
    replica = Replica(tmp_path)
    say(replica, messages(1, whole(layer.before, 4096)))
    changed = len(layer.blocks) * BLOCK
    with layer.store(tmp_path) as store, relayed(replica) as (stub, relay):
        delta = layer_delta(store, block_set(layer.blocks))
        result: SendResult = send(stub, manifest(2, delta, base=1), delta, compress=False)
        assert StoreDelta(store).count().length == 256 * changed
    assert result.plain == changed
    assert changed < result.sent <= 1.05 * changed
    assert result.sent < relay.sent <= 1.05 * changed
    assert replica.image() == layer.after
    [committed] = replica.store.journal.layers("data")
    assert committed.chunk == BLOCK
    assert committed.chunks * committed.chunk == changed, "nothing is written twice there either"


def test_a_block_delta_of_nothing_is_committed(tmp_path: Path) -> None:
    layer = scattered(2, 64 * KIB)
    replica = Replica(tmp_path)
    say(replica, messages(1, whole(layer.before, 4096)))
    with layer.store(tmp_path) as store:
        say(replica, messages(2, BlockDelta(store, BlockSet(), Bytes(BLOCK)), base=1))
    assert replica.newest() == 2
    assert replica.image() == layer.before
