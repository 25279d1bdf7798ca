"""Seeds: what is here already is compared, and only what differs comes."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from control.adopt import SpanOverlaps, VolumeTooSmall
from control.pool.files import FileObject
from control.replica.admission import judge
from control.replica.describe import describe
from control.replica.images import image_digests
from control.replica.receive import Pace, first_request
from control.replica.seeds import ReplicaSpans, occupied, seed
from control.spans import Span
from control.wire.errors import (
    BadStream,
    BaseMismatch,
    GenerationNotFound,
    OnOwnDevice,
    ReplicaRefused,
    SizeMismatch,
    VolumeNameTaken,
)
from dm_tables.errors import Kind
from dm_tables.names import BadName
from dm_tables.units import MIB, Bytes
from proto.frazil.v1 import replica_pb2
from tests.replica_tools import (
    VOLUME_UUID,
    Replica,
    generation,
    messages,
    noise,
    patched,
    resume,
    say,
    whole,
)
from tests.unit.test_replica_growth import delta

CHUNK = 4096
PIECES = (Bytes(MIB), Bytes(MIB // 2 + 512))
IMAGE = noise(sum(PIECES))
CHANGES = {0: noise(CHUNK), 200: bytes(CHUNK), len(IMAGE) // CHUNK: noise(CHUNK)}
CHANGED = patched(IMAGE, CHUNK, CHANGES)


class Seeded:
    """A replica volume on two pieces of files that hold ``IMAGE`` between other bytes."""

    def __init__(self, directory: Path) -> None:
        self.replica = Replica(directory / "replica", Pace(bytes=1))
        first, second = directory / "first", directory / "second"
        self.around = noise(512)
        first.write_bytes(IMAGE[: PIECES[0]] + self.around)
        second.write_bytes(self.around + IMAGE[PIECES[0] :] + self.around)
        self.spans = (Span(first, Bytes(0), PIECES[0]), Span(second, Bytes(512), PIECES[1]))
        self.volume = seed(self.replica.store, "data", self.spans, "loopback")

    def held(self) -> bytes:
        """What the pieces hold now."""
        found = b""
        for span in self.spans:
            with span.path.open("rb") as file:
                file.seek(span.offset)
                found += file.read(span.length)
        return found

    def untouched(self) -> bool:
        """Whether what lies around the pieces is as it was."""
        first, second = (span.path.read_bytes() for span in self.spans)
        ends = first[PIECES[0] :], second[:512], second[512 + PIECES[1] :]
        return ends == (self.around,) * 3

    def send(self, number: int = 1, image: bytes = CHANGED, old: bytes = IMAGE) -> None:
        sent = delta(number, image, old)
        if number == 1:
            sent[0].manifest.base_uuid = self.volume.seed_uuid
            sent[0].manifest.chunks = sum(-(-r.runs.run[0].length // CHUNK) for r in sent[1:-1])
        resume(self.replica, sent)

    def merge(self) -> None:
        while self.replica.merger.merge_next():
            pass


@pytest.fixture
def seeded(tmp_path: Path) -> Seeded:
    return Seeded(tmp_path)


def digests(replica: Replica, uuid: str) -> list[replica_pb2.BlockDigests]:
    request = replica_pb2.DigestsRequest(volume="data", generation_uuid=uuid, block_bytes=CHUNK)
    return list(image_digests(replica.store, request))


def test_a_seed_is_described_and_not_shown(seeded: Seeded) -> None:
    said = describe(seeded.replica.store, "data")
    assert (said.role, said.newest.number, said.newest.uuid) == (
        "seed",
        0,
        seeded.volume.seed_uuid,
    )
    assert (said.size_bytes, said.volume_uuid, said.allocated_bytes) == (len(IMAGE), "", 0)
    assert said.base_path == str(seeded.spans[0].path)
    assert said.HasField("role_since")
    for number in (0, 1):
        with pytest.raises(GenerationNotFound):
            seeded.replica.store.hold("data", number)
    assert seeded.replica.newest() == 0
    assert not seeded.replica.merger.merge_next()


def test_its_digests_are_those_of_its_content(seeded: Seeded) -> None:
    found = b"".join(part.digests for part in digests(seeded.replica, seeded.volume.seed_uuid))
    say(seeded.replica, messages(1, whole(IMAGE, CHUNK), volume="other"))
    request = replica_pb2.DigestsRequest(
        volume="other", generation_uuid=generation(1).uuid, block_bytes=CHUNK
    )
    wanted = b"".join(p.digests for p in image_digests(seeded.replica.store, request))
    same = found == wanted
    assert same


def test_a_delta_on_a_seed_makes_a_replica_of_it(seeded: Seeded) -> None:
    seeded.send()
    for _ in range(2):
        assert seeded.replica.image() == CHANGED
        same = seeded.held() == IMAGE
        assert same
        said = describe(seeded.replica.store, "data")
        assert (said.role, said.newest.number, said.volume_uuid) == ("replica", 1, VOLUME_UUID)
        seeded.replica = seeded.replica.reopened()
    with pytest.raises(GenerationNotFound):
        digests(seeded.replica, seeded.volume.seed_uuid)


def test_it_is_merged_into_the_content_itself(seeded: Seeded) -> None:
    seeded.send()
    seeded.merge()
    same = seeded.held() == CHANGED
    assert same
    assert seeded.replica.image() == CHANGED
    assert seeded.untouched()
    assert seeded.replica.pool.list() == ()
    other = patched(CHANGED, CHUNK, {7: noise(CHUNK)})
    seeded.send(2, other, CHANGED)
    assert seeded.replica.image() == other
    seeded.merge()
    same = seeded.held() == other
    assert same
    # Zeroes are written, not punched: the room of the content stays its own.
    assert seeded.spans[0].path.stat().st_blocks * 512 >= PIECES[0]


def test_a_cut_delta_on_a_seed_goes_on(seeded: Seeded) -> None:
    sent = delta(1, CHANGED, IMAGE)
    sent[0].manifest.base_uuid = seeded.volume.seed_uuid
    sent[0].manifest.chunks = 3
    with pytest.raises(BadStream):
        say(seeded.replica, sent[:2])
    # The seed is still a seed, and can still be compared.
    assert describe(seeded.replica.store, "data").role == "seed"
    assert digests(seeded.replica, seeded.volume.seed_uuid)
    seeded.replica = seeded.replica.reopened()
    assert resume(seeded.replica, sent)[0].ready.next_ordinal == 1
    assert seeded.replica.image() == CHANGED


def test_a_seed_is_not_merged_into_while_it_is_compared(seeded: Seeded) -> None:
    with seeded.replica.store.reading("data", uuid=seeded.volume.seed_uuid) as chain:
        seeded.send()
        assert not seeded.replica.merger.merge_next()
        assert chain.generation.number == 0
        same = seeded.held() == IMAGE
        assert same
    seeded.merge()
    same = seeded.held() == CHANGED
    assert same


@pytest.mark.parametrize("seeds", [True, False])
def test_a_whole_copy_would_leave_the_device(seeded: Seeded, seeds: bool) -> None:
    if not seeds:
        seeded.send()
    with pytest.raises(OnOwnDevice, match=str(seeded.spans[0].path)) as caught:
        say(seeded.replica, messages(5, whole(IMAGE, CHUNK)))
    assert caught.value.kind is Kind.PRECONDITION
    assert "digests" in caught.value.hint
    same = seeded.held() == IMAGE
    assert same


def test_a_delta_on_something_else(seeded: Seeded) -> None:
    with pytest.raises(BaseMismatch, match="is a seed"):
        say(seeded.replica, delta(2, CHANGED, IMAGE))
    assert describe(seeded.replica.store, "data").volume_uuid == ""


@pytest.mark.parametrize("more", [512, -512])
def test_a_seed_of_another_size(seeded: Seeded, more: int) -> None:
    image = CHANGED.ljust(len(IMAGE) + more, b"x")[: len(IMAGE) + more]
    sent = delta(1, image, IMAGE[: len(image)])
    sent[0].manifest.base_uuid = seeded.volume.seed_uuid
    sent[0].manifest.chunks = 4
    with pytest.raises(SizeMismatch, match=f"seed data has {len(IMAGE)} bytes"):
        say(seeded.replica, sent)


def test_another_identity(seeded: Seeded) -> None:
    with pytest.raises(ReplicaRefused):
        sent = messages(1, whole(IMAGE, CHUNK, []))
        judge(first_request(iter(sent)), seeded.replica.store.standing("data"), "thief")


def test_a_seed_belongs_to_whom_it_was_sent_first(seeded: Seeded) -> None:
    sent = delta(1, CHANGED, IMAGE)
    sent[0].manifest.base_uuid = seeded.volume.seed_uuid
    sent[0].manifest.chunks = 3
    with pytest.raises(BadStream):
        say(seeded.replica, sent[:2])
    sent[0].manifest.volume_uuid = str(uuid.uuid4())
    with pytest.raises(VolumeNameTaken):
        say(seeded.replica, sent)


def test_a_seed_that_grows_keeps_its_content_where_it_is(seeded: Seeded) -> None:
    """What lies behind the content may be somebody else's: the new part goes to the pool."""
    seeded.send()
    larger = CHANGED + noise(CHUNK * 3)
    seeded.send(2, larger, CHANGED)
    assert seeded.replica.image() == larger
    assert seeded.replica.image(1) == CHANGED
    seeded.merge()
    largest = larger.ljust(len(larger) + MIB, b"\0")
    seeded.send(3, patched(largest, CHUNK, {1: noise(CHUNK)}), larger)
    seeded.replica = seeded.replica.reopened()
    seeded.merge()
    assert seeded.replica.image()[CHUNK * 2 :] == largest[CHUNK * 2 :]
    assert seeded.untouched()
    [tail] = seeded.replica.pool.list()
    found = FileObject(seeded.replica.pool, tail)
    assert found.size() == len(largest) - len(IMAGE)


def test_removing_it_leaves_the_content(seeded: Seeded) -> None:
    seeded.send()
    seeded.replica.store.remove("data")
    same = seeded.held() == IMAGE
    assert same
    assert seeded.replica.pool.list() == ()


def test_seeding_twice_is_seeding_once(seeded: Seeded) -> None:
    store = seeded.replica.store
    assert seed(store, "data", seeded.spans, "loopback") == seeded.volume
    for spans, identity in ((seeded.spans[:1], "loopback"), (seeded.spans, "other")):
        with pytest.raises(VolumeNameTaken):
            seed(store, "data", spans, identity)
    seeded.send()
    with pytest.raises(VolumeNameTaken):
        seed(store, "data", seeded.spans, "loopback")


def test_content_that_is_taken(seeded: Seeded, tmp_path: Path) -> None:
    store = seeded.replica.store
    assert [one.spans for one in occupied(store)] == [seeded.spans]
    with pytest.raises(SpanOverlaps, match=r"data \(a replica\)"):
        seed(store, "again", seeded.spans, "loopback")
    (tmp_path / "third").write_bytes(bytes(2 * MIB))
    span = Span(tmp_path / "third", Bytes(0), Bytes(2 * MIB))
    with pytest.raises(SpanOverlaps, match="part of volume mine"):
        seed(store, "again", (span,), "loopback", [ReplicaSpans("mine", (span,))])
    with pytest.raises(SpanOverlaps, match="named twice"):
        seed(store, "again", (span, span), "loopback")
    assert store.journal.volume("again") is None
    assert seed(store, "again", (span,), "loopback").size == 2 * MIB


def test_what_cannot_be_a_seed(seeded: Seeded, tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(bytes(4096))
    span = Span(tmp_path / "small", Bytes(0), Bytes(4096))
    with pytest.raises(VolumeTooSmall):
        seed(seeded.replica.store, "small", (span,), "loopback")
    with pytest.raises(BadName):
        seed(seeded.replica.store, "../small", (span,), "loopback")
