"""A volume that grows between cycles: the replica follows at the commit, and not before."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from control.blocks import Extent
from control.pool.errors import PoolFull
from control.pool.files import FileObject
from control.replica.describe import describe
from control.replica.images import image_digests
from control.replica.receive import Pace
from control.store.direct import DirectFile
from control.wire.errors import BadStream, ReplicaFull, SizeMismatch
from dm_tables.units import Bytes
from proto.frazil.v1 import replica_pb2
from tests.replica_tools import Replica, generation, messages, noise, patched, resume, say, whole

CHUNK = 4096
SMALL = noise(CHUNK * 9) + noise(CHUNK + 512)
"""Its last chunk is clipped."""
LARGE = SMALL + noise(CHUNK * 20 - 1024)


def delta(
    number: int, new: bytes, old: bytes, chunk: int = CHUNK, *, staged: bool = False
) -> list[replica_pb2.ReceiveRequest]:
    """What differs, and no more; where the old one ends there were zeroes."""
    old = old.ljust(len(new), b"\0")
    extents = [
        Extent(Bytes(at), Bytes(min(chunk, len(new) - at)))
        for at in range(0, len(new), chunk)
        if new[at : at + chunk] != old[at : at + chunk]
    ]
    return messages(number, whole(new, chunk, extents), base=number - 1, staged=staged)


@pytest.fixture
def replica(tmp_path: Path) -> Replica:
    made = Replica(tmp_path / "replica", Pace(bytes=1))
    say(made, messages(1, whole(SMALL, CHUNK)))
    return made


def size(replica: Replica) -> int:
    return replica.store.volume("data").size


def merge(replica: Replica) -> None:
    while replica.merger.merge_next():
        pass


@pytest.mark.parametrize("chunk", [4096, 16384, 65536])
def test_a_delta_of_a_larger_volume(replica: Replica, chunk: int) -> None:
    say(replica, delta(2, LARGE, SMALL, chunk))
    for _ in range(2):
        assert size(replica) == len(LARGE)
        assert replica.image() == LARGE
        assert replica.image(1) == SMALL
        replica = replica.reopened()
    merge(replica)
    assert replica.image() == LARGE
    base = Path(describe(replica.store, "data").base_path)
    assert base.stat().st_size == len(LARGE)


def test_a_whole_copy_of_a_larger_volume(replica: Replica) -> None:
    say(replica, messages(2, whole(LARGE, CHUNK)))
    assert size(replica) == len(LARGE)
    assert replica.image() == LARGE


def test_growing_again_and_again_over_unmerged_layers(replica: Replica) -> None:
    """What lies behind an older layer's last, clipped chunk is zero until something comes."""
    images = {1: SMALL}
    for number, more in ((2, 512), (3, 3072), (4, CHUNK * 7 + 512), (5, 0), (6, CHUNK * 40)):
        grown = images[number - 1].ljust(len(images[number - 1]) + more, b"\0")
        last = (len(grown) - 1) // CHUNK
        images[number] = patched(grown, CHUNK, {2: noise(CHUNK)})
        if number % 2:
            images[number] = patched(images[number], CHUNK, {last: noise(CHUNK)})
        say(replica, delta(number, images[number], images[number - 1], 16384))
        for old, image in images.items():
            assert replica.image(old) == image
    for number in (2, 3, 4, 5, 6):
        assert replica.merger.merge_next()
        assert replica.image(number) == images[number]
    assert replica.image() == images[6]


def test_what_is_not_sent_of_the_new_part_is_zero(replica: Replica) -> None:
    grown = SMALL.ljust(len(LARGE), b"\0")
    say(replica, delta(2, grown, SMALL))
    assert replica.image() == grown
    merge(replica)
    assert replica.image() == grown


def test_older_digests_are_of_the_older_size(replica: Replica) -> None:
    say(replica, delta(2, LARGE, SMALL))
    for number, image in ((1, SMALL), (2, LARGE)):
        request = replica_pb2.DigestsRequest(
            volume="data", generation_uuid=generation(number).uuid, block_bytes=CHUNK
        )
        parts = list(image_digests(replica.store, request))
        assert sum(part.blocks for part in parts) == -(-len(image) // CHUNK)


def test_a_smaller_volume_is_refused(replica: Replica) -> None:
    say(replica, delta(2, LARGE, SMALL))
    with pytest.raises(SizeMismatch, match=f"{len(LARGE)} bytes here, .* only {len(SMALL)}"):
        say(replica, delta(3, SMALL, SMALL))
    with pytest.raises(SizeMismatch):
        say(replica, messages(3, whole(SMALL, CHUNK)))
    assert replica.image() == LARGE


def test_a_copy_that_breaks_off_grows_nothing(replica: Replica) -> None:
    with pytest.raises(BadStream):
        say(replica, delta(2, LARGE, SMALL)[:-1])
    assert size(replica) == len(SMALL)
    assert replica.image() == SMALL
    say(replica, delta(2, LARGE, SMALL))
    assert replica.image() == LARGE


def test_a_staged_growth_waits_for_the_commit(replica: Replica) -> None:
    say(replica, delta(2, LARGE, SMALL, staged=True))
    assert size(replica) == len(SMALL)
    assert replica.image() == SMALL
    replica = replica.reopened()
    replica.receiver.commit("", {"data": generation(2).uuid})
    assert size(replica) == len(LARGE)
    assert replica.image() == LARGE


def test_another_size_is_another_copy(replica: Replica) -> None:
    """Part of a generation that came with another size is not gone on with."""
    other = patched(SMALL, CHUNK, {1: noise(CHUNK), 5: noise(CHUNK)})
    with pytest.raises(BadStream):
        say(replica, delta(2, other, SMALL)[:2])
    assert resume(replica, delta(2, LARGE, SMALL))[0].ready.next_ordinal == 0
    assert replica.image() == LARGE


def test_no_room_to_grow_loses_nothing(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: FileObject, size: Bytes, *, sparse: bool = False) -> Bytes:
        raise PoolFull("here", self.name, size, 0)

    with monkeypatch.context() as patch:
        patch.setattr(FileObject, "grow", full)
        with pytest.raises(ReplicaFull):
            say(replica, delta(2, LARGE, SMALL))
    assert size(replica) == len(SMALL)
    assert replica.image() == SMALL
    say(replica, delta(2, LARGE, SMALL))
    assert replica.image() == LARGE


class Device(DirectFile):
    """A file that is treated as the block device it stands for."""

    def __init__(self, path: str | os.PathLike[str], writable: bool = False) -> None:
        super().__init__(path, writable)
        self.device = True
        self.block = 512

    def zero(self, at: int, length: int) -> None:
        self.device = False
        super().zero(at, length)
        self.device = True


def test_what_a_logical_volume_held_is_not_seen(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    grow = FileObject.grow

    def dirty(self: FileObject, size: Bytes, *, sparse: bool = False) -> Bytes:
        before = self.size()
        grow(self, size, sparse=sparse)
        with self.path.open("r+b") as file:
            file.seek(before)
            file.write(b"\xff" * (size - before))
        return size

    monkeypatch.setattr(FileObject, "grow", dirty)
    monkeypatch.setattr("control.replica.bases.ZERO_STEP", CHUNK * 3)
    grown = SMALL.ljust(len(LARGE), b"\0")
    with monkeypatch.context() as patch:
        patch.setattr("control.replica.bases.DirectFile", Device)
        replica.receiver._pace = Pace(bytes=1, seconds=0)
        replies = say(replica, delta(2, grown, SMALL))
    assert replica.image() == grown
    # Long work is told of: the source must not take it for a stall.
    assert [reply.WhichOneof("message") for reply in replies].count("durable") > 5
    # The negative control: a plain file is not zeroed, so the dirt of this one shows.
    larger = grown.ljust(len(grown) + CHUNK * 4, b"\0")
    say(replica, delta(3, larger, grown))
    assert replica.image() != larger
