"""What goes over the wire arrives as it was, or not at all: cut, damaged, reordered, doubled."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from google.protobuf.message import DecodeError
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from control.blocks import Extent
from control.replica.receive import Pace
from control.store.reader import StoreReader
from control.wire.batches import Checkpoint, batches, find_start
from control.wire.checking import Once, Rising, RunChecker
from control.wire.codec import Compressor, Decompressor
from control.wire.deltas import Delta, StoreDelta
from control.wire.frames import Tally
from dm_tables.errors import FrazilError
from dm_tables.units import Bytes
from proto.frazil.v1 import replica_pb2
from tests.replica_tools import MEMORY, Replica, messages, patched, resume, say, whole, write_store

CHUNKS = 40
KINDS = {"zero": 0, "text": 1, "noise": 2}
chunk_sizes = st.sampled_from([4096, 8192])
contents = st.sampled_from(sorted(KINDS))
change_lists = st.lists(
    st.tuples(st.integers(0, CHUNKS - 1), contents), max_size=30, unique_by=lambda change: change[0]
)
tails = st.sampled_from([512, 4096 - 512, 4096])


def content(kind: str, seed: int, chunk: int) -> bytes:
    if kind == "zero":
        return bytes(chunk)
    if kind == "text":
        return (b"%07d " % seed) * (chunk // 8)
    return random.Random(seed).randbytes(chunk)


def size_of(chunk: int, tail: int) -> int:
    return chunk * (CHUNKS - 1) + tail


def changed(changes: list[tuple[int, str]], chunk: int) -> dict[int, bytes]:
    return {n: content(kind, seed, chunk) for seed, (n, kind) in enumerate(changes)}


@contextmanager
def store_delta(made: dict[int, bytes], chunk: int, size: int) -> Iterator[StoreDelta]:
    with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
        path = write_store(Path(directory) / "store", made, chunk, size)
        with StoreReader(path, Bytes(size), Bytes(chunk)) as reader:
            yield StoreDelta(reader)


def carried(delta: Delta, image: bytes) -> bytes:
    """``image`` after every run of ``delta`` was packed, serialised, parsed, checked, unpacked."""
    made = bytearray(image)
    checker = RunChecker(delta.size, delta.chunk, Once(delta.chunk), Tally())
    tally = Tally()
    for batch in batches(delta.stretches(), tally, delta, Compressor()):
        for got in checker.check_all(replica_pb2.Runs.FromString(batch.runs.SerializeToString())):
            data = bytes(got.length) if got.data is None else got.data
            made[got.address : got.address + got.length] = data
        tally = batch.tally
    checker.check_trailer(tally.trailer())
    count = delta.count()
    assert (tally.chunks, tally.length) == (count.chunks, count.length)
    return bytes(made)


@given(changes=change_lists, chunk=chunk_sizes, tail=tails)
def test_a_store_arrives_as_it_is(changes: list[tuple[int, str]], chunk: int, tail: int) -> None:
    size = size_of(chunk, tail)
    image = content("noise", 99, chunk) * CHUNKS
    made = changed(changes, chunk)
    with store_delta(made, chunk, size) as delta:
        assert carried(delta, image[:size]) == patched(image[:size], chunk, made)


@given(
    changes=change_lists,
    chunk=chunk_sizes,
    tail=tails,
    holes=st.sets(st.integers(0, CHUNKS - 1)),
)
def test_an_image_arrives_as_it_is(
    changes: list[tuple[int, str]], chunk: int, tail: int, holes: set[int]
) -> None:
    size = size_of(chunk, tail)
    made = changed(changes, chunk)
    for number in holes:
        made[number] = bytes(chunk)
    image = patched(bytes(size), chunk, made)
    extents = [Extent(Bytes(n * chunk), Bytes(chunk)) for n in range(CHUNKS) if n not in holes]
    assert carried(whole(image, chunk, extents), bytes(size)) == image


@given(changes=change_lists, tail=tails, data=st.data())
def test_it_goes_on_from_any_place(
    changes: list[tuple[int, str]], tail: int, data: st.DataObject
) -> None:
    """Whatever the replica has and whichever checkpoint the source kept, the end is the same."""
    with store_delta(changed(changes, 4096), 4096, size_of(4096, tail)) as delta:
        marks = [Checkpoint(0, 0, Tally().digest)]
        tallies = [Tally()]
        for stretch in delta.stretches():
            [batch] = batches(iter([stretch]), tallies[-1], delta, Compressor())
            tallies.append(batch.tally)
            if batch.checkpoint is not None:
                marks.append(batch.checkpoint)
        there = data.draw(st.sampled_from(tallies))
        kept = data.draw(st.sampled_from([None, *marks]))
        ready = replica_pb2.Ready(next_ordinal=there.runs, digest=there.digest)
        start = find_start(delta, ready, kept)
        assert start.tally == there
        rest = list(batches(start.stretches, start.tally, delta, Compressor()))
        assert (rest[-1].tally if rest else start.tally) == tallies[-1]


class Sent:
    """A replica with one generation, and everything that is said to bring it the next."""

    def __init__(self, directory: str, changes: list[tuple[int, str]]) -> None:
        size = size_of(4096, 512)
        self.replica = Replica(Path(directory), Pace(bytes=1))
        self.before = patched(bytes(size), 4096, changed([(1, "noise"), (7, "text")], 4096))
        say(self.replica, messages(1, whole(self.before, 4096)))
        made = changed(changes, 4096)
        self.after = patched(self.before, 4096, made)
        with store_delta(made, 4096, size) as delta:
            self.said = messages(2, delta, base=1)

    def must_not_arrive(self, said: list[replica_pb2.ReceiveRequest]) -> None:
        """It is refused with a type, nothing of it is seen, and the right thing still arrives."""
        with pytest.raises(FrazilError):
            say(self.replica, said)
        assert self.replica.newest() == 1
        assert self.replica.image() == self.before
        resume(self.replica, self.said)
        assert self.replica.image() == self.after


@contextmanager
def sent(changes: list[tuple[int, str]]) -> Iterator[Sent]:
    with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
        made = Sent(directory, changes)
        try:
            yield made
        finally:
            made.replica.store.close()


some_changes = change_lists.filter(lambda changes: len(changes) >= 4)


@settings(max_examples=50)
@given(changes=some_changes, cuts=st.lists(st.floats(0, 1), max_size=3))
def test_cut_anywhere_and_resumed(changes: list[tuple[int, str]], cuts: list[float]) -> None:
    with sent(changes) as made:
        reached = 0
        for cut in sorted(cuts):
            end = max(1 + reached, 1 + int(cut * (len(made.said) - 2)))
            with pytest.raises(FrazilError, match="without a trailer"):
                say(made.replica, [made.said[0], *made.said[1 + reached : end]])
            reached = end - 1
            assert made.replica.image() == made.before
            made.replica = made.replica.reopened()
        replies = resume(made.replica, made.said)
        assert replies[0].ready.next_ordinal == reached
        assert made.replica.image() == made.after


@settings(max_examples=100)
@given(changes=some_changes, data=st.data())
def test_any_damaged_byte_is_found(changes: list[tuple[int, str]], data: st.DataObject) -> None:
    """Whatever byte changes on the way, the generation arrives as it is, or not at all.

    What came before the damage is kept, and nothing else: a source that goes on from there,
    without asking what the replica has, still brings the generation.
    """
    with sent(changes) as made:
        index = data.draw(st.integers(1, len(made.said) - 1))
        packed = bytearray(made.said[index].SerializeToString())
        at = data.draw(st.integers(0, len(packed) - 1))
        packed[at] ^= data.draw(st.integers(1, 255))
        damaged = list(made.said)
        try:
            damaged[index] = replica_pb2.ReceiveRequest.FromString(bytes(packed))
        except DecodeError:
            assume(False)
        try:
            say(made.replica, damaged)
        except FrazilError:
            assert made.replica.image() == made.before
            resume(made.replica, made.said)
        assert made.replica.image() == made.after


@settings(max_examples=50)
@given(changes=some_changes, data=st.data())
def test_another_order_does_not_arrive(changes: list[tuple[int, str]], data: st.DataObject) -> None:
    with sent(changes) as made:
        middle = made.said[1:-1]
        assume(len(middle) >= 2)
        shuffled = data.draw(st.permutations(middle))
        assume(shuffled != middle)
        made.must_not_arrive([made.said[0], *shuffled, made.said[-1]])


@settings(max_examples=50)
@given(changes=some_changes, data=st.data())
def test_a_doubled_run_does_not_arrive(changes: list[tuple[int, str]], data: st.DataObject) -> None:
    """Neither the same run again, nor the same chunks under the next number."""
    with sent(changes) as made:
        index = data.draw(st.integers(1, len(made.said) - 2))
        again = replica_pb2.ReceiveRequest()
        again.CopyFrom(made.said[index])
        if data.draw(st.booleans()):
            again.runs.run[0].ordinal += 1
        made.must_not_arrive([*made.said[: index + 1], again, *made.said[index + 1 :]])


@settings(max_examples=50)
@given(changes=some_changes, data=st.data())
def test_a_missing_run_does_not_arrive(changes: list[tuple[int, str]], data: st.DataObject) -> None:
    """Not even when those behind it are numbered so that none seems to be missing."""
    with sent(changes) as made:
        index = data.draw(st.integers(1, len(made.said) - 2))
        short = [replica_pb2.ReceiveRequest.FromString(m.SerializeToString()) for m in made.said]
        del short[index]
        if data.draw(st.booleans()):
            for ordinal, message in enumerate(short[1:-1]):
                message.runs.run[0].ordinal = ordinal
            short[-1].trailer.runs -= 1
        made.must_not_arrive(short)


@settings(max_examples=30)
@given(changes=some_changes)
def test_payloads_swapped_do_not_arrive(changes: list[tuple[int, str]]) -> None:
    with sent(changes) as made:
        said = [replica_pb2.ReceiveRequest.FromString(m.SerializeToString()) for m in made.said]
        runs = [m.runs.run[0] for m in said[1:-1] if m.runs.run[0].payload]
        assume(len(runs) >= 2 and runs[0].payload != runs[1].payload)
        one, two = runs[0], runs[1]
        one.payload, two.payload = two.payload, one.payload
        one.checksum, two.checksum = two.checksum, one.checksum
        made.must_not_arrive(said)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 5)), max_size=20))
def test_what_may_follow_what(places: list[tuple[int, int]]) -> None:
    """Both rules against sets: once each, and only rising."""
    once, rising = Once(Bytes(4096)), Rising()
    seen: set[int] = set()
    end = 0
    for first, count in places:
        chunks = set(range(first, first + count))
        fits = not seen & chunks
        assert _fits(once, first, count) is fits
        seen |= chunks if fits else set()
        follows = first >= end
        assert _fits(rising, first, count) is follows
        end = first + count if follows else end


def _fits(placing: Once | Rising, first: int, count: int) -> bool:
    try:
        placing.place(first * 4096, count * 4096)
    except FrazilError:
        return False
    return True


def test_the_oracle_sees_a_checksum_that_is_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: without the check of the checksum, damage would arrive."""
    with sent([(1, "noise"), (3, "noise"), (4, "noise"), (5, "noise")]) as made:
        damaged = [replica_pb2.ReceiveRequest.FromString(m.SerializeToString()) for m in made.said]
        run = damaged[1].runs.run[0]
        run.payload = bytes([run.payload[0] ^ 1]) + run.payload[1:]
        monkeypatch.setattr(RunChecker, "_data", lambda self, run: unchecked(run))
        say(made.replica, damaged)
        assert made.replica.newest() == 2
        assert made.replica.image() != made.after


def unchecked(run: replica_pb2.Run) -> bytes | None:
    """A run's bytes, whatever they are."""
    if run.encoding == replica_pb2.ENCODING_ZERO:
        return None
    return Decompressor().decode(run.encoding, run.payload, run.length)
