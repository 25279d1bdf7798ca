"""Whatever was traced, the replica's image is the source's: exact traces, wider ones, or none."""

from __future__ import annotations

import random
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from google.protobuf.message import DecodeError
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from control.blocks import BLOCK
from control.needed import SLACK, changed_blocks, fitting_chunk, needed_blocks
from control.replica.receive import Pace
from control.wire.batches import Checkpoint, batches, find_start
from control.wire.blocks import BlockDelta, layer_delta
from control.wire.checking import Once, RunChecker
from control.wire.codec import Compressor
from control.wire.deltas import Delta
from control.wire.errors import BaseMismatch
from control.wire.frames import Tally
from dm_tables.errors import FrazilError
from dm_tables.units import Bytes
from proto.frazil.v1 import replica_pb2
from tests.replica_tools import MEMORY, Replica, messages, resume, say, whole
from tests.traced_layer import TracedLayer, Write, block_set

BLOCKS = 64
Requests = list[replica_pb2.ReceiveRequest]

chunks = st.sampled_from([4096, 16384, 65536])
sizes = st.sampled_from([BLOCKS * BLOCK, BLOCKS * BLOCK - BLOCK + 512, BLOCKS * BLOCK - 512])


@st.composite
def write_lists(draw: st.DrawFn, size: int, least: int = 0) -> list[Write]:
    """Writes of some sectors anywhere, some of zeroes, some that span chunks."""
    found = []
    for _ in range(draw(st.integers(least, 8))):
        sector = draw(st.integers(0, size // 512 - 1))
        length = draw(st.sampled_from([1, 7, 8, 16, 40, 129]))
        seed = draw(st.integers(0, 3))
        found.append(Write(sector * 512, min(length * 512, size - sector * 512), seed))
    return found


@st.composite
def layers(draw: st.DrawFn, least: int = 0) -> TracedLayer:
    size = draw(sizes)
    before = random.Random(draw(st.integers(0, 9))).randbytes(size)
    return TracedLayer(before, draw(chunks), draw(write_lists(size, least)))


@st.composite
def wider(draw: st.DrawFn, layer: TracedLayer) -> set[int]:
    """A trace that may hold more than what was written, and of some chunks nothing at all."""
    extra = draw(st.sets(st.integers(0, -(-layer.size // BLOCK) - 1), max_size=12))
    lost = draw(st.sets(st.sampled_from(layer.chunks))) if layer.chunks else set()
    traced = layer.blocks | extra
    return {block for block in traced if block * BLOCK // layer.chunk not in lost}


@contextmanager
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=MEMORY) as made:
        yield Path(made)


def carried(delta: Delta, image: bytes) -> bytes:
    """``image`` after every run of ``delta`` was packed, serialised, parsed, checked, unpacked."""
    made = bytearray(image)
    checker = RunChecker(delta.size, delta.chunk, Once(delta.chunk), Tally())
    tally = Tally()
    for batch in batches(delta.stretches(), tally, delta, Compressor()):
        for run in replica_pb2.Runs.FromString(batch.runs.SerializeToString()).run:
            got = checker.check(run)
            data = bytes(got.length) if got.data is None else got.data
            made[got.address : got.address + got.length] = data
        tally = batch.tally
    checker.check_trailer(tally.trailer())
    count = delta.count()
    assert (tally.chunks, tally.length) == (count.chunks, count.length)
    return bytes(made)


# What is needed.


@given(layer=layers(), data=st.data())
def test_what_is_needed(layer: TracedLayer, data: st.DataObject) -> None:
    """Against plain sets: the store says which chunks, the trace which of their blocks."""
    traced = data.draw(st.none() | wider(layer))
    with directory() as place, layer.store(place) as store:
        found = set(needed_blocks(store, None if traced is None else block_set(traced)))
    wanted = set()
    for chunk in layer.chunks:
        per_chunk = layer.chunk // BLOCK
        inside = set(range(chunk * per_chunk, (chunk + 1) * per_chunk))
        inside &= set(range(-(-layer.size // BLOCK)))
        wanted |= (inside & (traced or set())) or inside
    assert found == wanted
    assert traced is None or layer.blocks <= found


@given(st.sets(st.integers(0, 4 * BLOCKS)), chunks)
def test_the_widest_chunk_that_costs_next_to_nothing(blocks: set[int], most: int) -> None:
    cost = {
        chunk: len({block * BLOCK // chunk for block in blocks}) * chunk
        for chunk in (BLOCK << shift for shift in range(9))
        if chunk <= most
    }
    limit = len(blocks) * BLOCK + len(blocks) * BLOCK // SLACK
    wanted = max(chunk for chunk, length in cost.items() if length <= limit)
    assert fitting_chunk(block_set(blocks), Bytes(most)) == wanted


@given(layer=layers(), data=st.data())
def test_what_did_not_change_is_left_out(layer: TracedLayer, data: st.DataObject) -> None:
    traced = data.draw(st.none() | wider(layer))
    before, after = layer.before, layer.after
    with directory() as place, layer.store(place) as store:
        needed = needed_blocks(store, None if traced is None else block_set(traced))
        found = changed_blocks(
            needed,
            lambda at, length: after[at : at + length],
            lambda at, length: memoryview(before)[at : at + length],
            Bytes(layer.size),
            threading.Event(),
        )
        delta = BlockDelta(store, found, fitting_chunk(found, store.chunk))
        assert carried(delta, before) == after
    assert set(found) == {
        at // BLOCK
        for at in range(0, layer.size, BLOCK)
        if before[at : at + BLOCK] != after[at : at + BLOCK]
    }


# What is sent.


@given(layer=layers())
def test_an_exact_trace_brings_the_image_and_little_else(layer: TracedLayer) -> None:
    with directory() as place, layer.store(place) as store:
        delta = layer_delta(store, block_set(layer.blocks))
        assert carried(delta, layer.before) == layer.after
        changed = len(layer.blocks) * BLOCK
        assert delta.count().length <= changed + changed // SLACK


@given(layer=layers(), data=st.data())
def test_any_wider_trace_brings_the_same_image(layer: TracedLayer, data: st.DataObject) -> None:
    traced = data.draw(st.none() | wider(layer))
    with directory() as place, layer.store(place) as store:
        delta = layer_delta(store, None if traced is None else block_set(traced))
        assert carried(delta, layer.before) == layer.after


@given(layer=layers(least=1), data=st.data())
def test_it_goes_on_from_any_place(layer: TracedLayer, data: st.DataObject) -> None:
    """Whatever the replica has and whichever checkpoint the source kept, the end is the same."""
    with directory() as place, layer.store(place) as store:
        blocks = needed_blocks(store, block_set(data.draw(wider(layer))))
        chunk = data.draw(st.sampled_from([4096, 16384, 65536]).filter(lambda c: c <= layer.chunk))
        delta = BlockDelta(store, blocks, Bytes(chunk))
        marks = [Checkpoint(0, 0, Tally().digest)]
        tallies = [Tally()]
        for stretch in delta.stretches():
            [batch] = batches(iter([stretch]), tallies[-1], delta, Compressor())
            tallies.append(batch.tally)
            if batch.checkpoint is not None:
                marks.append(batch.checkpoint)
        assert marks[-1].ordinal == tallies[-1].runs
        there = data.draw(st.sampled_from(tallies))
        kept = data.draw(st.sampled_from([None, *marks]))
        ready = replica_pb2.Ready(next_ordinal=there.runs, digest=there.digest)
        start = find_start(delta, ready, kept)
        assert start.tally == there
        rest = list(batches(start.stretches, start.tally, delta, Compressor()))
        assert (rest[-1].tally if rest else start.tally) == tallies[-1]


# What a replica makes of it.


def said(layer: TracedLayer, traced: set[int] | None, number: int = 2) -> Requests:
    """Everything that brings a replica from generation ``number - 1`` to the next."""
    with directory() as place, layer.store(place) as store:
        delta = layer_delta(store, None if traced is None else block_set(traced))
        return messages(number, delta, base=number - 1)


@contextmanager
def replica_with(image: bytes) -> Iterator[Replica]:
    """A replica whose generation 1 is ``image``, and that saves after every message."""
    with directory() as place:
        replica = Replica(place, Pace(bytes=1))
        say(replica, messages(1, whole(image, 4096)))
        try:
            yield replica
        finally:
            replica.store.close()


@settings(max_examples=40)
@given(data=st.data())
def test_layers_of_any_chunk_stack_and_merge(data: st.DataObject) -> None:
    """Traced and untraced generations over each other; each is its image, before and after."""
    layer = data.draw(layers())
    with replica_with(layer.before) as replica:
        images = {1: layer.before}
        for number in range(2, 5):
            traced = data.draw(st.sampled_from([None, layer.blocks]))
            say(replica, said(layer, traced, number))
            images[number] = layer.after
            writes = data.draw(write_lists(layer.size))
            layer = TracedLayer(layer.after, data.draw(chunks), writes)
        for number, image in images.items():
            assert replica.image(number) == image
        while replica.merger.merge_next():
            assert replica.image() == images[4]
        assert replica.image() == images[4]


@settings(max_examples=40)
@given(layer=layers(least=2), cuts=st.lists(st.floats(0, 1), max_size=3), data=st.data())
def test_cut_anywhere_and_resumed_traced_or_not(
    layer: TracedLayer, cuts: list[float], data: st.DataObject
) -> None:
    """A trace that is lost or found between two attempts begins anew, and mixes nothing."""
    with replica_with(layer.before) as first:
        replicas = [first]
        for cut in cuts:
            sent = said(layer, data.draw(st.sampled_from([None, layer.blocks])))
            with pytest.raises(FrazilError, match="without a trailer"):
                resume(replicas[-1], sent[: 1 + int(cut * (len(sent) - 2))])
            assert replicas[-1].image() == layer.before
            replicas.append(replicas[-1].reopened())
        resume(replicas[-1], said(layer, layer.blocks))
        assert replicas[-1].image() == layer.after
        replicas[-1].store.close()


@settings(max_examples=60)
@given(layer=layers(least=2), data=st.data())
def test_any_damaged_byte_is_found(layer: TracedLayer, data: st.DataObject) -> None:
    with replica_with(layer.before) as replica:
        sent = said(layer, layer.blocks)
        index = data.draw(st.integers(1, len(sent) - 1))
        packed = bytearray(sent[index].SerializeToString())
        packed[data.draw(st.integers(0, len(packed) - 1))] ^= data.draw(st.integers(1, 255))
        damaged = list(sent)
        try:
            damaged[index] = replica_pb2.ReceiveRequest.FromString(bytes(packed))
        except DecodeError:
            assume(False)
        try:
            say(replica, damaged)
        except FrazilError:
            assert replica.image() == layer.before
            resume(replica, sent)
        assert replica.image() == layer.after


@settings(max_examples=40)
@given(layer=layers(least=3), data=st.data())
def test_another_order_or_base_does_not_arrive(layer: TracedLayer, data: st.DataObject) -> None:
    with replica_with(layer.before) as replica:
        sent = said(layer, layer.blocks)
        with pytest.raises(BaseMismatch):
            say(replica, said(layer, layer.blocks, 4))
        shuffled = data.draw(st.permutations(sent[1:-1]))
        assume(shuffled != sent[1:-1])
        with pytest.raises(FrazilError):
            say(replica, [sent[0], *shuffled, sent[-1]])
        assert replica.newest() == 1
        assert replica.image() == layer.before
        resume(replica, sent)
        assert replica.image() == layer.after


@settings(max_examples=40)
@given(layer=layers(least=2), data=st.data())
def test_a_block_that_no_trace_names_is_missed(layer: TracedLayer, data: st.DataObject) -> None:
    """The negative control: a trace that lost one block of a chunk makes another image."""
    before, after = layer.before, layer.after
    per_chunk = layer.chunk // BLOCK
    changed = {
        block
        for block in layer.blocks
        if before[block * BLOCK : (block + 1) * BLOCK] != after[block * BLOCK : (block + 1) * BLOCK]
        and len([b for b in layer.blocks if b // per_chunk == block // per_chunk]) > 1
    }
    assume(changed)
    lost = data.draw(st.sampled_from(sorted(changed)))
    with directory() as place, layer.store(place) as store:
        blocks = needed_blocks(store, block_set(layer.blocks - {lost}))
        assert carried(BlockDelta(store, blocks, Bytes(BLOCK)), before) != after
