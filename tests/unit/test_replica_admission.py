"""Whether a generation may come: every refusal has its type, and nothing else is refused."""

from __future__ import annotations

import uuid
from dataclasses import replace

import pytest

from control.replica.admission import Standing, Verdict, Wanted, judge, read_manifest
from control.replica.records import CommittedRecord, Generation, IncomingRecord, VolumeRecord
from control.wire.errors import (
    BadManifest,
    BaseMismatch,
    ReplicaRefused,
    SizeMismatch,
    VolumeNameTaken,
)
from dm_tables.errors import Usage
from dm_tables.units import MIB, Bytes
from proto.frazil.v1 import replica_pb2
from tests.replica_tools import manifest, whole

SIZE = Bytes(100 * MIB)


def uuid_of(number: int) -> str:
    return str(uuid.UUID(int=number))


def made(number: int) -> Generation:
    return Generation(number, uuid_of(number), "", 0)


def wanted(number: int, base: int = 0, **fields: object) -> Wanted:
    chunks = 5 if base else 0
    plain = Wanted(
        "data",
        uuid_of(99),
        made(number),
        uuid_of(base) if base else "",
        SIZE,
        Bytes(65536),
        chunks,
    )
    return replace(plain, **fields)  # type: ignore[arg-type]


VOLUME = VolumeRecord("data", uuid_of(99), "source", SIZE)


def standing(newest: int = 0, incoming: IncomingRecord | None = None) -> Standing:
    committed = CommittedRecord("data", made(newest), 1, Bytes(1), b"", 0) if newest else None
    return Standing(VOLUME, committed, incoming)


def part(number: int, base: int = 0) -> IncomingRecord:
    source = wanted(number, base)
    return IncomingRecord(
        "data",
        source.generation,
        source.base_uuid,
        "object",
        source.chunk,
        source.chunks,
        size=source.size,
    )


def test_a_new_name_takes_a_whole_copy() -> None:
    assert judge(wanted(1), Standing(), "source") is Verdict.BEGIN
    assert judge(wanted(7), Standing(), "source") is Verdict.BEGIN


def test_a_delta_on_the_newest() -> None:
    assert judge(wanted(6, base=5), standing(5), "source") is Verdict.BEGIN
    # Generations may be left out: a catch-up.
    assert judge(wanted(9, base=5), standing(5), "source") is Verdict.BEGIN


def test_the_newest_is_there_already() -> None:
    assert judge(wanted(5), standing(5), "source") is Verdict.ALREADY
    assert judge(wanted(5, base=4), standing(5), "source") is Verdict.ALREADY


@pytest.mark.parametrize("base", [4, 6, 98])
def test_a_delta_fits_only_its_base(base: int) -> None:
    with pytest.raises(BaseMismatch, match="stands at generation 5"):
        judge(wanted(6 + base, base=base), standing(5), "source")


def test_a_delta_without_a_base() -> None:
    for place in (Standing(), standing(0)):
        with pytest.raises(BaseMismatch, match="no generation"):
            judge(wanted(6, base=5), place, "source")


@pytest.mark.parametrize(("number", "base"), [(4, 0), (3, 5), (5, 5)])
def test_a_replica_does_not_go_back(number: int, base: int) -> None:
    other = replace(made(number), uuid=uuid_of(1000 + number))
    with pytest.raises(BaseMismatch, match="does not go back"):
        judge(wanted(number, base, generation=other), standing(5), "source")


def test_a_whole_copy_may_follow_anything_older() -> None:
    assert judge(wanted(6), standing(5), "source") is Verdict.BEGIN


@pytest.mark.parametrize("newest", [0, 5])
def test_another_volume_has_the_name(newest: int) -> None:
    with pytest.raises(VolumeNameTaken):
        judge(wanted(6, volume_uuid=uuid_of(98)), standing(newest), "source")


def test_another_identity_has_the_volume() -> None:
    with pytest.raises(ReplicaRefused):
        judge(wanted(5), standing(5), "thief")


def test_a_volume_may_grow_and_not_shrink() -> None:
    larger, smaller = Bytes(SIZE + 512), Bytes(SIZE - 512)
    for base in (0, 5):
        assert judge(wanted(6, base=base, size=larger), standing(5), "source") is Verdict.BEGIN
        with pytest.raises(SizeMismatch, match=f"only {smaller}"):
            judge(wanted(6, base=base, size=smaller), standing(5), "source")
    begun = standing(5, part(6, base=5))
    assert judge(wanted(6, base=5, size=larger), begun, "source") is Verdict.BEGIN


def test_what_is_staged_waits() -> None:
    staged = replace(part(6, base=5), staged=True)
    assert judge(wanted(6, base=5), standing(5, staged), "source") is Verdict.STAGED
    assert judge(wanted(7, base=5), standing(5, staged), "source") is Verdict.BEGIN


def test_what_was_begun_goes_on() -> None:
    assert judge(wanted(6, base=5), standing(5, part(6, base=5)), "source") is Verdict.RESUME
    assert judge(wanted(1), standing(0, part(1)), "source") is Verdict.RESUME


@pytest.mark.parametrize(
    "fields",
    [
        {"generation": made(7)},
        {"chunk": Bytes(4096)},
        {"chunks": 6},
        {"base_uuid": ""},
    ],
)
def test_another_generation_begins_anew(fields: dict[str, object]) -> None:
    place = standing(5, part(6, base=5))
    assert judge(wanted(6, base=5, **fields), place, "source") is Verdict.BEGIN


def good() -> replica_pb2.Manifest:
    return manifest(1, whole(bytes(MIB), 65536))


def test_a_manifest_is_read() -> None:
    read = read_manifest(good())
    assert read.whole
    assert (read.volume, read.size, read.chunk, read.chunks) == ("data", MIB, 65536, 0)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("volume", ""),
        ("volume", "../etc"),
        ("volume", "a/b"),
        ("volume", "x" * 65),
        ("volume", "data-1"),
        ("volume_uuid", "none"),
        ("base_uuid", "none"),
        ("size_bytes", 0),
        ("size_bytes", 513),
        ("size_bytes", 1 << 63),
        ("chunk_bytes", 512),
        ("chunk_bytes", 65537),
        ("chunk_bytes", 2 * MIB),
        ("chunks", 1),
    ],
)
def test_a_manifest_that_cannot_be_meant(field: str, value: object) -> None:
    bad = good()
    setattr(bad, field, value)
    with pytest.raises(Usage):
        read_manifest(bad)


def test_a_delta_cannot_have_more_chunks_than_the_volume() -> None:
    bad = manifest(2, whole(bytes(MIB), 65536), base=1, chunks=17)
    with pytest.raises(BadManifest):
        read_manifest(bad)
    bad.chunks = 16
    assert read_manifest(bad).chunks == 16


@pytest.mark.parametrize(
    ("field", "value"),
    [("number", 0), ("number", 1 << 63), ("uuid", "x"), ("uuid", ""), ("parent_uuid", "x")],
)
def test_a_generation_that_cannot_be_meant(field: str, value: object) -> None:
    bad = good()
    setattr(bad.generation, field, value)
    with pytest.raises(BadManifest):
        read_manifest(bad)


def test_a_freeze_time_that_no_clock_shows() -> None:
    bad = good()
    bad.generation.frozen_at.seconds = 1 << 40
    with pytest.raises(BadManifest):
        read_manifest(bad)
