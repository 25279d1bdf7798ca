"""Digests of blocks: every block once, in order, empty ones without being read."""

from __future__ import annotations

import pytest

from control.blocks import Extent
from control.wire.digests import BadRange, block_digests, check_range
from control.wire.errors import SourceChanged
from control.wire.frames import CHECKSUM_BYTES, checksum
from dm_tables.units import GIB, MIB, Bytes
from tests.replica_tools import noise

BLOCK = Bytes(4096)


def expanded(
    image: bytes, data: list[Extent], offset: int = 0, end: int | None = None
) -> tuple[list[bytes], int]:
    """The digest of each block as a receiver would see it, and how many bytes were read."""
    read_bytes = 0

    def read(address: Bytes, length: Bytes) -> bytes:
        nonlocal read_bytes
        read_bytes += length
        return image[address : address + length]

    stop = len(image) if end is None else end
    found: list[bytes] = []
    at = offset
    for part in block_digests(read, data, BLOCK, Bytes(offset), Bytes(stop)):
        assert part.offset == at
        assert part.block_bytes == BLOCK
        for index in range(part.blocks):
            length = min(BLOCK, stop - at)
            digest = part.digests[index * CHECKSUM_BYTES : (index + 1) * CHECKSUM_BYTES]
            found.append(digest or checksum(bytes(length)))
            at += length
    assert at == stop
    return found, read_bytes


def wanted(image: bytes, offset: int = 0, end: int | None = None) -> list[bytes]:
    stop = len(image) if end is None else end
    return [checksum(image[at : min(at + BLOCK, stop)]) for at in range(offset, stop, BLOCK)]


def test_every_block_has_its_digest() -> None:
    image = noise(40960) + bytes(40960) + noise(512)
    assert expanded(image, [Extent(Bytes(0), Bytes(len(image)))])[0] == wanted(image)


def test_one_flipped_bit_shows_in_one_block() -> None:
    image = noise(40960)
    other = image[:20000] + bytes([image[20000] ^ 1]) + image[20001:]
    extent = [Extent(Bytes(0), Bytes(len(image)))]
    pairs = zip(expanded(image, extent)[0], expanded(other, extent)[0], strict=True)
    assert [index for index, (a, b) in enumerate(pairs) if a != b] == [20000 // BLOCK]


def test_holes_are_not_read() -> None:
    image = bytearray(MIB)
    image[100_000:100_010] = b"0123456789"
    image[500_000] = 1
    data = [
        Extent(Bytes(100_000), Bytes(10)),
        Extent(Bytes(100_005), Bytes(1)),
        Extent(Bytes(500_000), Bytes(1)),
    ]
    found, read = expanded(bytes(image), data)
    assert found == wanted(bytes(image))
    assert read == 2 * BLOCK


def test_a_part_of_the_volume() -> None:
    image = noise(MIB + 512)
    data = [Extent(Bytes(0), Bytes(len(image)))]
    assert expanded(image, data, 8192, 40960)[0] == wanted(image, 8192, 40960)
    assert expanded(image, data, MIB)[0] == wanted(image, MIB)


def test_a_large_hole_takes_few_messages() -> None:
    parts = list(block_digests(lambda a, n: bytes(n), [], Bytes(MIB), Bytes(0), Bytes(4096 * GIB)))
    assert len(parts) == 4096
    assert sum(part.blocks for part in parts) == 4096 * 1024


def test_an_image_that_gives_less_is_noticed() -> None:
    data = [Extent(Bytes(0), Bytes(8192))]
    with pytest.raises(SourceChanged):
        list(block_digests(lambda a, n: bytes(1), data, BLOCK, Bytes(0), Bytes(8192)))


def test_defaults() -> None:
    assert check_range(10 * MIB + 512, 0, 0, 0) == (MIB, 0, 10 * MIB + 512)
    assert check_range(10 * MIB, 4096, 8192, 4096) == (4096, 8192, 12288)


@pytest.mark.parametrize(
    ("block", "offset", "length"),
    [
        (512, 0, 0),
        (12288, 0, 0),
        (64 * MIB, 0, 0),
        (4096, 100, 0),
        (4096, 0, 100),
        (4096, 20 * MIB, 0),
        (4096, 0, 20 * MIB),
    ],
)
def test_ranges_that_cannot_be_meant(block: int, offset: int, length: int) -> None:
    with pytest.raises(BadRange):
        check_range(10 * MIB, block, offset, length)
