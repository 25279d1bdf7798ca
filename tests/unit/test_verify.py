"""Comparing both ends: what differs is found to the block, also in parts, and can be repaired."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from control.blocks import BLOCK, BlockSet, Extent
from control.limiter import RateLimiter
from control.replica.images import image_digests
from control.verify import DIFFERENCES_AT_MOST, repair_blocks
from control.verify_position import KeptTexts, Position
from control.wire.errors import GenerationNotFound
from dm_tables.units import KIB, MIB, Bytes
from proto.frazil.v1 import replica_pb2
from tests.ends import CHUNK, SIZE, Ends, blocks
from tests.replica_tools import generation, noise, patched

HOLE = Extent(Bytes(2 * MIB), Bytes(MIB))


@pytest.fixture
def image() -> bytes:
    made = bytearray(noise(SIZE))
    made[HOLE.address : HOLE.address + HOLE.length] = bytes(HOLE.length)
    return bytes(made)


@pytest.fixture
def ends(tmp_path: Path, image: bytes) -> Iterator[Ends]:
    made = Ends(tmp_path)
    with made.serving():
        made.bring(1, image)
        yield made


def test_the_same_at_both_ends(ends: Ends) -> None:
    found = ends.verify()
    assert found.finished
    assert not found.cancelled
    assert found.compared == SIZE
    assert found.differences == []
    assert not repair_blocks(found)
    assert ends.kept.load("m") == "", "there is nothing to go on with"


@pytest.mark.parametrize("block_bytes", [0, BLOCK, 16 * MIB])
def test_what_differs_is_found_to_the_block(ends: Ends, block_bytes: int) -> None:
    at = (5, MIB + 3 * BLOCK, MIB + 4 * BLOCK, 2 * MIB + 100, SIZE - 1)
    ends.rot(*at)
    found = ends.verify(block_bytes=block_bytes)
    assert found.finished
    wanted = blocks(*(address // BLOCK for address in at))
    assert found.blocks == repair_blocks(found) == wanted
    assert found.differences[0] == Extent(Bytes(0), Bytes(BLOCK))
    assert found.differences[1] == Extent(Bytes(MIB + 3 * BLOCK), Bytes(2 * BLOCK))
    assert found.differences[-1] == Extent(Bytes(SIZE - 2 * KIB), Bytes(2 * KIB))


def test_repaired_is_the_same_again(ends: Ends, image: bytes) -> None:
    ends.rot(7, 3 * MIB, SIZE - 1)
    repair = repair_blocks(ends.verify())
    assert len(repair) == 3
    ends.bring(2, image, base=1, changed=repair)
    assert not ends.verify(2).blocks
    same = ends.replica.image() == image
    assert same


def test_a_repair_without_one_of_the_blocks_is_seen(ends: Ends, image: bytes) -> None:
    """The negative control."""
    ends.rot(7, 3 * MIB)
    repair = repair_blocks(ends.verify())
    repair.remove_chunks([0], Bytes(BLOCK))
    ends.bring(2, image, base=1, changed=repair)
    assert ends.verify(2).blocks == blocks(0)


def test_everything_differs_and_the_list_is_bounded(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends.image(1).write_bytes(noise(SIZE))
    monkeypatch.setattr("control.verify.DIFFERENCES_AT_MOST", 1)
    found = ends.verify()
    assert len(found.blocks) == -(-SIZE // BLOCK)
    assert len(found.differences) == 1
    assert DIFFERENCES_AT_MOST == 1000


def test_past_a_bound_coarse_blocks_are_repaired_whole(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("control.verify.NARROWED_AT_MOST", MIB)
    ends.rot(0, 3 * MIB)
    found = ends.verify()
    coarse = BlockSet()
    coarse.add(0, 1)
    coarse.add(3 * MIB, MIB)
    assert found.blocks == coarse


# In parts.


def test_an_interrupted_one_goes_on_where_it_was(ends: Ends) -> None:
    ends.rot(5, 4 * MIB)
    first = ends.verify(watch=ends.stopping_at(2 * MIB))
    assert first.cancelled
    assert not first.finished
    assert first.blocks == blocks(0)
    ends.cancel.clear()
    ends.seen.clear()
    rest = ends.verify(resume=True)
    assert min(ends.seen) == 3 * MIB, "what was compared is not read again"
    assert rest.finished
    assert rest.blocks == blocks(0, 4 * MIB // BLOCK)
    assert ends.kept.load("m") == ""


def test_without_resume_it_begins_anew(ends: Ends) -> None:
    ends.verify(watch=ends.stopping_at(2 * MIB))
    ends.cancel.clear()
    ends.seen.clear()
    ends.verify()
    assert min(ends.seen) == MIB


def test_in_slices_of_time_everything_is_compared(ends: Ends) -> None:
    ends.rot(5, 4 * MIB)
    slices = [ends.verify(seconds=0.0)]
    while not slices[-1].finished:
        slices.append(ends.verify(seconds=0.0, resume=True))
    assert len(slices) == 6
    assert not any(found.cancelled for found in slices)
    assert slices[-1].blocks == blocks(0, 4 * MIB // BLOCK)


def test_at_a_newer_generation_earlier_differences_are_looked_at_again(
    ends: Ends, image: bytes
) -> None:
    """One was repaired meanwhile, one was not; and one is found in the rest."""
    ends.rot(5, MIB, 4 * MIB)
    assert ends.verify(watch=ends.stopping_at(2 * MIB)).blocks == blocks(0, 256)
    ends.cancel.clear()
    ends.bring(2, image, base=1, changed=blocks(0))
    ends.seen.clear()
    found = ends.verify(2, resume=True)
    assert min(ends.seen) == 3 * MIB
    assert found.blocks == blocks(256, 1024)


def test_a_failure_keeps_the_place(ends: Ends, image: bytes) -> None:
    """The replica has no such generation: neither the place nor what differed is lost."""
    ends.rot(5)
    ends.verify(watch=ends.stopping_at(2 * MIB))
    ends.cancel.clear()
    kept = ends.kept.load("m")
    ends.image(9).write_bytes(image)
    with pytest.raises(GenerationNotFound):
        ends.verify(9, resume=True)
    assert ends.kept.load("m") == kept
    assert ends.verify(resume=True).blocks == blocks(0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "no json",
        '{"generation": "g", "offset": -1, "blocks": ""}',
        '{"generation": "g", "offset": 5, "blocks": "AAAA"}',
        '{"generation": "g", "offset": 5, "blocks": 5}',
    ],
)
def test_a_place_that_cannot_be_read_is_the_start(ends: Ends, text: str) -> None:
    assert Position.parse(text) is None
    ends.kept.save("m", text)
    assert ends.verify(resume=True).finished
    assert min(ends.seen) == MIB


def test_a_place_survives_its_text() -> None:
    place = Position("g", 5, blocks(1, 2, 9).serialise())
    assert Position.parse(place.text()) == place


def test_texts_are_kept_by_name(tmp_path: Path) -> None:
    kept = KeptTexts(tmp_path / "kept")
    assert kept.load("a") == ""
    kept.save("a", "x")
    kept.save("b", "y")
    kept.save("a", "z")
    assert (kept.load("a"), kept.load("b")) == ("z", "y")
    kept.save("a", "")
    kept.save("a", "")
    assert [path.name for path in kept.directory.iterdir()] == ["b.json"]
    (tmp_path / "file").write_text("")
    KeptTexts(tmp_path / "file").save("a", "not kept, and no error")


# The rate.


def test_a_slow_one_gives_a_seconds_worth_in_each_message(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RateLimiter, "take", lambda self, count: None)

    def parts(rate: int) -> list[int]:
        request = replica_pb2.DigestsRequest(
            volume="data",
            generation_uuid=generation(1).uuid,
            block_bytes=BLOCK,
            length=MIB,
            rate_bytes=rate,
        )
        return [part.blocks for part in image_digests(ends.replica.store, request)]

    assert parts(0) == [256]
    assert parts(64 * MIB) == [256]
    assert set(parts(16 * BLOCK * 10)) == {160, 96}


def test_both_ends_read_at_the_rate(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: dict[int, int] = {}

    def take(self: RateLimiter, count: int) -> None:
        taken[id(self)] = taken.get(id(self), 0) + count
        rates[id(self)] = self.rate

    rates: dict[int, int] = {}
    monkeypatch.setattr(RateLimiter, "take", take)
    mine = RateLimiter(5 * MIB)
    ends.verify(limiter=mine)
    assert taken.pop(id(mine)) == SIZE
    assert list(taken.values()) == [SIZE - HOLE.length]
    assert set(rates.values()) == {5 * MIB}


def test_patched_images_differ_where_they_were_patched(ends: Ends, image: bytes) -> None:
    ends.image(1).write_bytes(patched(image, CHUNK, {3: noise(CHUNK)}))
    found = ends.verify()
    assert found.differences == [Extent(Bytes(3 * CHUNK), Bytes(CHUNK))]
