"""What the program keeps in its maps, taken apart; and what it is told of the kernel's types."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from bpf import compiling
from bpf.btf import NoTypes, bio_flags, read_types, running_bio_flags
from bpf.layout import (
    BLOCK,
    BUCKETS,
    LAYER_BYTES,
    REGION,
    REGION_BLOCKS,
    REGION_BYTES,
    Counters,
    blocks_in,
    device_key,
    new_layer,
    parse_key,
    parse_layer,
    parse_regions,
    region_key,
)
from control.blocks import BlockSet
from control.trace import block_set

SOURCE = compiling.SOURCE.read_text()


def test_a_layers_value_is_the_structure_in_the_program() -> None:
    body = re.search(r"struct layer_t \{(.*?)\};", SOURCE, re.S)
    assert body is not None
    names = re.findall(r"u64 (\w+)(?:\[BUCKETS\])?;", body[1])
    value = struct.pack(f"={LAYER_BYTES // 8}Q", *range(LAYER_BYTES // 8))
    trace, counters = parse_layer(value)
    assert names[0] == "id"
    assert trace == 0
    for number, name in enumerate(names[1:12], start=1):
        assert getattr(counters, name) == number, name
    assert names[12:] == ["sizes", "alignments"]
    assert counters.sizes == tuple(range(12, 12 + BUCKETS))
    assert counters.alignments == tuple(range(12 + BUCKETS, 12 + 2 * BUCKETS))
    assert parse_layer(new_layer(7)) == (7, Counters())


def test_constants_are_those_of_the_program() -> None:
    defined = dict(re.findall(r"#define (\w+) (\w+)", SOURCE))
    assert 1 << int(defined["BLOCK_SHIFT"]) == BLOCK
    assert int(defined["WORDS"]) * 8 == REGION_BYTES
    assert int(defined["WORDS"]) << int(defined["WORD_SHIFT"]) == REGION_BLOCKS
    assert int(defined["BUCKETS"]) == BUCKETS


def test_keys() -> None:
    assert device_key("254:3") == (254 << 20 | 3).to_bytes(4, "little")
    assert parse_key(region_key(9, 0xFFFFFFFF)) == (9, 0xFFFFFFFF)
    for wrong in ("254", "a:b", "", "1:2:3"):
        with pytest.raises(ValueError, match=r".*"):
            device_key(wrong)


def test_bits_are_blocks() -> None:
    bits = bytearray(REGION_BYTES)
    bits[0], bits[9], bits[-1] = 0b1, 0b1000_0010, 0x80
    assert list(blocks_in([(3, bytes(bits))])) == [
        3 * REGION_BLOCKS + bit for bit in (0, 73, 79, REGION_BLOCKS - 1)
    ]


def test_regions_that_travelled_are_a_block_set() -> None:
    one = b"\x05" + bytes(REGION_BYTES - 1)
    data = REGION.pack(0, one) + REGION.pack(2, b"\xff" * REGION_BYTES)
    blocks = block_set(data)
    wanted = BlockSet()
    wanted.add(0, 1)
    wanted.add(2 * BLOCK + 5, 1)
    wanted.add(2 * REGION_BLOCKS * BLOCK, REGION_BLOCKS * BLOCK)
    assert blocks == wanted
    with pytest.raises(ValueError, match="whole regions"):
        list(parse_regions(data[:-1]))


def test_counters_travel_as_json_also_from_another_version() -> None:
    counters = Counters(writes=3, busy=1, sizes=(1,) * BUCKETS)
    assert Counters.of(counters.as_dict()) == counters
    assert Counters.of({"writes": 2, "unheard_of": 5}) == Counters(writes=2)
    assert "being changed" in counters.why_lost()
    assert Counters(writes=3).why_lost() == ""


def btf(types: bytes, names: bytes) -> bytes:
    """The kernel's types as a file."""
    header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(names))
    return header + types + names


NAMES = b"\0bio\0bi_opf\0bi_iter\0flags\0FUA\0other\0"


def place(name: str) -> int:
    return NAMES.index(b"\0" + name.encode() + b"\0") + 1


def kinds() -> bytes:
    """One of each kind that is skipped, then a structure and an enumeration that are wanted."""
    skipped = b"".join(
        struct.pack("<III", place("other"), kind << 24 | count, 0) + bytes(behind)
        for kind, count, behind in [
            (1, 0, 4), (2, 0, 0), (3, 0, 12), (5, 2, 24), (7, 0, 0), (13, 3, 24), (14, 0, 4),
            (15, 1, 12), (16, 0, 0), (17, 0, 4), (19, 2, 24), (4, 1, 12), (6, 1, 8),
        ]
    )  # fmt: skip
    # The kind flag: offsets are bits, with a field's width above them.
    bio = struct.pack("<III", place("bio"), 1 << 31 | 4 << 24 | 2, 0)
    bio += struct.pack("<III", place("bi_opf"), 0, 5 << 24 | 16 * 8)
    bio += struct.pack("<III", place("bi_iter"), 0, 32 * 8)
    flags = struct.pack("<III", place("flags"), 6 << 24 | 1, 4)
    flags += struct.pack("<Ii", place("FUA"), 17)
    return skipped + bio + flags


def test_types_are_found_among_all_kinds() -> None:
    found = read_types(btf(kinds(), NAMES), {"bio"}, {"flags"})
    assert found.offsets == {"bio.bi_opf": 16, "bio.bi_iter": 32}
    assert found.values == {"FUA": 17}


def test_what_is_no_description_of_types_is_said(tmp_path: Path) -> None:
    whole = btf(kinds(), NAMES)
    for wrong in (b"", b"\0" * 64, whole[:40]):
        with pytest.raises(NoTypes):
            read_types(wrong, {"bio"}, {"flags"})
    with pytest.raises(NoTypes, match=r"bio\.bi_bdev.*5\.12"):
        bio_flags(read_types(whole, {"bio"}, {"flags"}))
    with pytest.raises(NoTypes, match="vmlinux"):
        running_bio_flags(tmp_path / "vmlinux")
