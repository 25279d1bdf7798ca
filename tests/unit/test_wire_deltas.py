"""What a delta yields: every byte once, zeroes as zeroes, the same again from any place."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from control.blocks import Extent
from control.spans import Span
from control.store.reader import StoreReader
from control.wire.batches import Checkpoint, batches, find_start
from control.wire.codec import Compressor
from control.wire.deltas import Count, Delta, ImageDelta, StoreDelta, Stretch, coalesced
from control.wire.errors import SourceChanged
from control.wire.extents import Backing, backing_of, data_extents
from control.wire.frames import MAX_BATCH_RUNS, MAX_ZERO_RUN_BYTES, Tally
from dm_tables.units import GIB, MIB, Bytes
from proto.frazil.v1 import replica_pb2
from tests.replica_tools import noise, whole, write_store

CHUNK = 4096
SIZE = 4096 * 2000 + 512


def opened(path: Path, chunk: int = CHUNK, size: int = SIZE) -> StoreReader:
    return StoreReader(path, Bytes(size), Bytes(chunk))


def applied(delta: Delta, image: bytes) -> bytes:
    """``image`` with everything the delta yields."""
    made = bytearray(image)
    for stretch in delta.stretches():
        data = bytes(stretch.length) if stretch.data is None else stretch.data
        assert len(data) == stretch.length
        made[stretch.address : stretch.address + stretch.length] = data
    return bytes(made)


def test_a_store_yields_its_chunks_in_order(tmp_path: Path) -> None:
    changes = {7: noise(CHUNK), 3: noise(CHUNK), 4: noise(CHUNK), 2000: noise(CHUNK)}
    with opened(write_store(tmp_path / "store", changes, CHUNK, SIZE)) as reader:
        found = list(StoreDelta(reader).stretches())
    assert [(s.address // CHUNK, s.length) for s in found] == [(7, 4096), (3, 8192), (2000, 512)]
    assert found[1].data == changes[3] + changes[4]
    assert found[2].data == changes[2000][:512]
    assert [s.resume for s in found] == [None, None, 4]


def test_zeroes_in_a_store_are_zeroes(tmp_path: Path) -> None:
    changes = {1: bytes(CHUNK), 2: noise(CHUNK), 3: bytes(CHUNK), 4: bytes(CHUNK)}
    changes[2000] = bytes(512) + noise(CHUNK - 512)
    with opened(write_store(tmp_path / "store", changes, CHUNK, SIZE)) as reader:
        found = [(s.address, s.length, s.data is None) for s in StoreDelta(reader).stretches()]
    # What lies in the store past the volume's end does not count.
    assert found == [
        (4096, 4096, True),
        (8192, 4096, False),
        (12288, 8192, True),
        (4096 * 2000, 512, True),
    ]


@pytest.mark.parametrize("exceptions", [0, 1, 2, 3])
def test_a_store_is_counted(tmp_path: Path, exceptions: int) -> None:
    changes = {5: noise(CHUNK), 2000: noise(CHUNK), 6: noise(CHUNK)}
    with opened(write_store(tmp_path / "store", changes, CHUNK, SIZE)) as reader:
        delta = StoreDelta(reader)
        assert delta.count() == Count(3, 8192 + 512)
        clipped = CHUNK - 512 if exceptions >= 2 else 0
        assert delta.count(exceptions) == Count(exceptions, exceptions * CHUNK - clipped)


def test_a_store_that_changed_is_noticed(tmp_path: Path) -> None:
    path = write_store(tmp_path / "store", {5: noise(CHUNK)}, CHUNK, SIZE)
    with opened(path) as reader, pytest.raises(SourceChanged):
        list(StoreDelta(reader, exceptions=2).stretches())


@pytest.mark.parametrize("chunk", [4096, 65536, MIB])
def test_starting_again_yields_the_same(tmp_path: Path, chunk: int) -> None:
    size = chunk * 1000 + 512
    changes = {number * 7 % 1001: noise(chunk) for number in range(5)}
    for number in range(400, 420):
        changes[number] = bytes(chunk) if number % 3 else noise(chunk)
    with opened(write_store(tmp_path / "store", changes, chunk, size), chunk, size) as reader:
        delta = StoreDelta(reader)
        everything = list(delta.stretches())
        places = [i for i, s in enumerate(everything) if s.resume is not None]
        assert places[-1] == len(everything) - 1
        for index in places:
            position = everything[index].resume
            assert position is not None
            assert list(delta.stretches(position)) == everything[index + 1 :]
            sent = everything[: index + 1]
            assert delta.count(position).length == sum(s.length for s in sent)


def test_an_image_yields_its_extents() -> None:
    image = noise(MIB) + bytes(MIB) + noise(MIB + 512)
    assert applied(whole(image, CHUNK), bytes(len(image))) == image
    extents = [Extent(Bytes(100), Bytes(1)), Extent(Bytes(MIB - 1), Bytes(2))]
    delta = whole(image, CHUNK, extents)
    found = [(s.address, s.length, s.data is None) for s in delta.stretches()]
    assert found == [(0, 4096, False), (MIB - 4096, 4096, False), (MIB, 4096, True)]
    assert delta.count() == Count(3, 12288)
    assert delta.count(MIB) == Count(2, 8192)
    assert delta.count(MIB - 4096) == Count(1, 4096)


def test_extents_are_widened_joined_and_clipped() -> None:
    image = noise(40960 + 512)
    extents = [
        Extent(Bytes(0), Bytes(0)),
        Extent(Bytes(10), Bytes(4096)),
        Extent(Bytes(8000), Bytes(300)),
        Extent(Bytes(40960), Bytes(4096)),
    ]
    delta = whole(image, CHUNK, extents)
    assert [(s.address, s.length) for s in delta.stretches()] == [(0, 12288), (40960, 512)]
    assert delta.count() == Count(4, 12288 + 512)


def test_extents_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="order"):
        whole(bytes(MIB), CHUNK, [Extent(Bytes(8192), Bytes(1)), Extent(Bytes(0), Bytes(1))])


def test_an_image_can_be_started_again_anywhere() -> None:
    image = noise(3 * MIB) + bytes(2 * MIB) + noise(MIB + 512)
    delta = whole(image, CHUNK)
    everything = list(delta.stretches())
    for index, stretch in enumerate(everything):
        if stretch.resume is not None:
            assert list(delta.stretches(stretch.resume)) == everything[index + 1 :]


def test_an_image_that_gives_less_is_noticed() -> None:
    extents = [Extent(Bytes(0), Bytes(8192))]
    delta = ImageDelta(
        lambda _address, length: bytes(length - 1), extents, Bytes(4096), Bytes(8192)
    )
    with pytest.raises(SourceChanged):
        list(delta.stretches())


def test_zeroes_are_joined_up_to_a_limit() -> None:
    half = MAX_ZERO_RUN_BYTES // 2
    pieces = [Stretch(half * i, half, None, i) for i in range(5)]
    found = list(coalesced(pieces))
    assert [(s.address, s.length, s.resume) for s in found] == [
        (0, GIB, 1),
        (GIB, GIB, 3),
        (2 * GIB, half, 4),
    ]


def test_zeroes_that_do_not_follow_are_not_joined() -> None:
    pieces = [Stretch(0, 4096, None, 1), Stretch(8192, 4096, None, 2)]
    assert list(coalesced(pieces)) == pieces


def test_batches_hold_every_run_once() -> None:
    image = b"".join(noise(CHUNK) if i % 2 else bytes(CHUNK) for i in range(3000))
    delta = whole(image, CHUNK)
    made = list(batches(delta.stretches(), Tally(), delta, Compressor()))
    runs = [run for batch in made for run in batch.runs.run]
    assert [run.ordinal for run in runs] == list(range(3000))
    assert max(len(batch.runs.run) for batch in made) <= MAX_BATCH_RUNS
    assert max(batch.runs.ByteSize() for batch in made) < 2 * MIB
    assert made[-1].tally.length == len(image)
    assert sum(batch.plain for batch in made) == len(image) // 2


def test_a_checkpoint_is_a_place_to_go_on_from() -> None:
    image = noise(5 * MIB) + bytes(MIB) + noise(MIB)
    delta = whole(image, CHUNK)
    made = list(batches(delta.stretches(), Tally(), delta, Compressor()))
    end = made[-1].tally
    marks = [batch.checkpoint for batch in made if batch.checkpoint is not None]
    assert len(marks) > 3
    for mark in marks:
        ready = replica_pb2.Ready(next_ordinal=mark.ordinal, digest=mark.digest)
        for known in (mark, marks[0], None):
            start = find_start(delta, ready, known)
            assert start.tally.runs == mark.ordinal
            rest = list(batches(start.stretches, start.tally, delta, Compressor()))
            assert (rest[-1].tally if rest else start.tally) == end


@pytest.mark.parametrize("known", [None, Checkpoint(1, MIB, b"x" * 32), Checkpoint(9, 0, b"")])
def test_where_the_digests_differ_everything_is_sent(known: Checkpoint | None) -> None:
    delta = whole(noise(3 * MIB), CHUNK)
    ready = replica_pb2.Ready(next_ordinal=2, digest=b"y" * 32)
    start = find_start(delta, ready, known)
    assert start.tally == Tally()
    assert len(list(start.stretches)) == 3


def test_a_replica_that_claims_more_than_there_is_gets_everything() -> None:
    delta = whole(noise(MIB), CHUNK)
    start = find_start(delta, replica_pb2.Ready(next_ordinal=50, digest=bytes(32)), None)
    assert start.tally.runs == 0


def sparse(path: Path, size: int, pieces: dict[int, bytes]) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
        for at, data in pieces.items():
            file.seek(at)
            file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return path


def test_holes_of_files_are_not_data(tmp_path: Path) -> None:
    one = sparse(tmp_path / "one", 64 * MIB, {0: b"a" * 4096, 32 * MIB: b"b" * 4096})
    two = sparse(tmp_path / "two", 64 * MIB, {MIB: b"c" * 4096})
    spans = (
        Span(one, Bytes(16 * MIB), Bytes(32 * MIB)),
        Span(two, Bytes(0), Bytes(2 * MIB)),
    )
    found = list(data_extents(spans))
    assert [(e.address, e.length) for e in found] == [
        (16 * MIB, 4096),
        (33 * MIB, 4096),
    ]


def test_a_hole_only_file_has_no_data(tmp_path: Path) -> None:
    path = sparse(tmp_path / "file", 64 * MIB, {})
    assert list(data_extents((Span(path, Bytes(0), Bytes(64 * MIB)),))) == []


def test_data_is_cut_at_the_span(tmp_path: Path) -> None:
    path = sparse(tmp_path / "file", 4 * MIB, {0: b"x" * 4 * MIB})
    assert list(data_extents((Span(path, Bytes(MIB), Bytes(4096)),))) == [
        Extent(Bytes(0), Bytes(4096))
    ]


def test_a_loop_device_is_asked_through_its_file(tmp_path: Path) -> None:
    file = sparse(tmp_path / "backing", 4 * MIB, {})
    device = Path("/dev/null")
    number = device.stat().st_rdev
    loop = tmp_path / "sys" / f"{os.major(number)}:{os.minor(number)}" / "loop"
    loop.mkdir(parents=True)
    (loop / "offset").write_text("1048576\n")
    assert backing_of(device, tmp_path / "sys") is None
    (loop / "backing_file").write_text(f"{tmp_path}/gone (deleted)\n")
    # /dev/null cannot be flushed; a loop device can.
    with pytest.raises(OSError, match="Invalid argument"):
        backing_of(device, tmp_path / "sys")
    assert backing_of(file) == Backing(file, 0)
