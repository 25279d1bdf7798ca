"""Runs are numbered, placed, checksummed and chained; whatever is wrong has its error."""

from __future__ import annotations

import hashlib
import struct

import pytest
from pyroaring import BitMap64

from control.wire.checking import Once, Placing, Rising, RunChecker
from control.wire.codec import MAX_SKIP, Compressor, Decompressor
from control.wire.errors import BadStream, DataLoss
from control.wire.frames import MAX_RUN_BYTES, MAX_ZERO_RUN_BYTES, Tally, checksum, is_chunk_size
from dm_tables.units import Bytes
from proto.frazil.v1 import replica_pb2
from tests.replica_tools import noise

CHUNK = Bytes(4096)
SIZE = Bytes(4096 * 1000 + 512)


def run_of(ordinal: int, address: int, data: bytes, **fields: object) -> replica_pb2.Run:
    """A plain run, with whatever is to be wrong about it."""
    made = replica_pb2.Run(
        ordinal=ordinal,
        address=address,
        length=len(data),
        encoding=replica_pb2.ENCODING_RAW,
        payload=data,
        checksum=checksum(data),
    )
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def checker(placing: Placing | None = None, size: int = SIZE) -> RunChecker:
    return RunChecker(Bytes(size), CHUNK, placing or Once(CHUNK), Tally())


def test_the_chain_is_what_the_docstring_says() -> None:
    place = struct.pack("<QQQ", 0, 8192, 4096)
    wanted = hashlib.blake2b(bytes(32) + place + b"c" * 16, digest_size=32).digest()
    tally = Tally().plus(8192, 4096, b"c" * 16, CHUNK)
    assert tally == Tally(1, 1, 4096, wanted)


def test_a_clipped_chunk_counts_as_one() -> None:
    assert Tally().plus(4096 * 1000, 512, b"", CHUNK).chunks == 1


@pytest.mark.parametrize("other", [(1, 4096, b"c"), (0, 8192, b"c"), (0, 4096, b"d")])
def test_the_chain_tells_place_length_and_content_apart(other: tuple[int, int, bytes]) -> None:
    one = Tally().plus(0, 4096, b"c", CHUNK)
    assert Tally().plus(*other, CHUNK).digest != one.digest


def test_the_chain_tells_order_apart() -> None:
    one = Tally().plus(0, 4096, b"c", CHUNK).plus(4096, 4096, b"d", CHUNK)
    two = Tally().plus(4096, 4096, b"d", CHUNK).plus(0, 4096, b"c", CHUNK)
    assert one.digest != two.digest


@pytest.mark.parametrize(
    ("chunk", "possible"),
    [(4096, True), (1 << 20, True), (2048, False), (2 << 20, False), (12288, False), (0, False)],
)
def test_chunk_sizes(chunk: int, possible: bool) -> None:
    assert is_chunk_size(chunk) is possible


def test_a_good_run_comes_through() -> None:
    check = checker()
    data = noise(8192)
    got = check.check(run_of(0, 4096, data))
    assert (got.address, got.length, got.data) == (4096, 8192, data)
    assert check.tally == Tally().plus(4096, 8192, checksum(data), CHUNK)


def test_a_zero_run_comes_through_without_bytes() -> None:
    run = replica_pb2.Run(address=0, length=40960, encoding=replica_pb2.ENCODING_ZERO)
    assert checker().check(run).data is None


def test_the_last_chunk_is_clipped() -> None:
    assert checker().check(run_of(0, 4096 * 1000, noise(512))).length == 512


@pytest.mark.parametrize(
    ("address", "length"),
    [
        (512, 4096),
        (0, 512),
        (4096, 4608),
        (4096 * 1000, 4096),
        (4096 * 1001, 4096),
        (0, 0),
        ((1 << 64) - 4096, 4096),
        (4096 * 999, 8192),
    ],
)
def test_a_run_must_be_whole_chunks_of_the_volume(address: int, length: int) -> None:
    with pytest.raises(BadStream):
        checker().check(run_of(0, address, noise(length)))


@pytest.mark.parametrize("ordinal", [1, 7])
def test_ordinals_have_no_gaps(ordinal: int) -> None:
    with pytest.raises(BadStream, match=f"run {ordinal} came where run 0 belongs"):
        checker().check(run_of(ordinal, 0, noise(4096)))


def test_a_run_does_not_come_twice() -> None:
    check = checker()
    check.check(run_of(0, 0, noise(4096)))
    with pytest.raises(BadStream):
        check.check(run_of(0, 4096, noise(4096)))


def test_one_flipped_bit_is_found() -> None:
    data = noise(4096)
    broken = bytes([data[0] ^ 1]) + data[1:]
    with pytest.raises(DataLoss):
        checker().check(run_of(0, 0, broken, checksum=checksum(data)))


@pytest.mark.parametrize("field", ["address", "length", "ordinal", "digest"])
def test_a_run_that_would_go_elsewhere_is_found(field: str) -> None:
    zeroes = replica_pb2.Run(address=8192, length=8192, encoding=replica_pb2.ENCODING_ZERO)
    runs = replica_pb2.Runs(run=[zeroes], digest=Tally().plus(8192, 8192, b"", CHUNK).digest)
    assert len(checker().check_all(runs)) == 1
    if field == "digest":
        runs.digest = bytes(32)
    else:
        setattr(runs.run[0], field, 4096)
    with pytest.raises((DataLoss, BadStream)):
        checker().check_all(runs)


def test_a_zero_run_that_carries_bytes_is_refused() -> None:
    run = run_of(0, 0, noise(4096), encoding=replica_pb2.ENCODING_ZERO)
    with pytest.raises(BadStream):
        checker().check(run)


@pytest.mark.parametrize(
    ("encoding", "longest"),
    [
        (replica_pb2.ENCODING_RAW, MAX_RUN_BYTES),
        (replica_pb2.ENCODING_ZERO, MAX_ZERO_RUN_BYTES),
    ],
)
def test_runs_are_bounded(encoding: replica_pb2.Encoding, longest: int) -> None:
    run = replica_pb2.Run(address=0, length=longest + 4096, encoding=encoding)
    with pytest.raises(BadStream, match="longer"):
        checker(size=1 << 40).check(run)


def test_an_unknown_encoding_is_refused() -> None:
    with pytest.raises(BadStream, match="unknown"):
        checker().check(run_of(0, 0, noise(4096), encoding=0))


def test_a_payload_of_another_length_is_refused() -> None:
    with pytest.raises(BadStream):
        checker().check(run_of(0, 0, noise(4096), length=8192))


def test_a_chunk_does_not_come_twice_in_a_delta() -> None:
    once = Once(CHUNK, BitMap64([5]))
    once.place(0, 4096 * 5)
    with pytest.raises(BadStream):
        once.place(4096 * 4, 8192)
    with pytest.raises(BadStream):
        once.place(4096 * 5, 512)
    once.place(4096 * 6, 512)


def test_a_whole_copy_only_rises() -> None:
    rising = Rising(4096)
    rising.place(4096, 4096)
    rising.place(40960, 4096)
    with pytest.raises(BadStream):
        rising.place(8192, 4096)


def test_the_trailer_must_agree() -> None:
    check = checker()
    check.check(run_of(0, 0, noise(4096)))
    check.check_trailer(check.tally.trailer())
    for wrong in (
        Tally().trailer(),
        replica_pb2.Trailer(runs=1, chunks=1, bytes=4096, digest=bytes(32)),
        replica_pb2.Trailer(runs=1, chunks=2, bytes=4096, digest=check.tally.digest),
    ):
        with pytest.raises(DataLoss):
            check.check_trailer(wrong)


def test_what_compresses_is_compressed() -> None:
    data = b"frazil " * 1000
    encoding, payload = Compressor().encode(data)
    assert encoding == replica_pb2.ENCODING_ZSTD
    assert len(payload) < 100
    assert Decompressor().decode(encoding, payload, len(data)) == data


def test_compression_can_be_turned_off() -> None:
    data = bytes(4096)
    assert Compressor(enabled=False).encode(data) == (replica_pb2.ENCODING_RAW, data)


def test_what_does_not_compress_is_hardly_tried() -> None:
    compressor = Compressor()
    tried = 0
    compress = compressor._zstd.compress

    class Counting:
        def compress(self, data: bytes) -> bytes:
            nonlocal tried
            tried += 1
            return compress(data)

    compressor._zstd = Counting()  # type: ignore[assignment]
    data = noise(4096)
    for _ in range(1000):
        assert compressor.encode(data) == (replica_pb2.ENCODING_RAW, data)
    assert tried < 30
    # And what compresses is found again soon.
    assert replica_pb2.ENCODING_ZSTD in {
        compressor.encode(bytes(4096))[0] for _ in range(MAX_SKIP + 1)
    }


def test_of_long_runs_samples_decide_each_time() -> None:
    compressor = Compressor()
    for _ in range(5):
        assert compressor.encode(noise(65536))[0] == replica_pb2.ENCODING_RAW
        assert compressor.encode(b"frazil! " * 8192)[0] == replica_pb2.ENCODING_ZSTD


def test_a_payload_does_not_unpack_to_more_than_its_run_says() -> None:
    _, bomb = Compressor().encode(bytes(1 << 20))
    with pytest.raises(DataLoss, match="unpacks to 1048576"):
        Decompressor().decode(replica_pb2.ENCODING_ZSTD, bomb, 4096)


@pytest.mark.parametrize("payload", [b"", b"no zstd at all", bytes(100)])
def test_rubbish_does_not_unpack(payload: bytes) -> None:
    with pytest.raises(DataLoss):
        Decompressor().decode(replica_pb2.ENCODING_ZSTD, payload, 4096)
