"""The kernel's own description of its types (BTF): where the fields of a structure lie.

bcc compiles against headers, and those with ``struct bio`` take a minute; four offsets out of
``/sys/kernel/btf/vmlinux`` take a second. Format: Documentation/bpf/btf.rst.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

VMLINUX = Path("/sys/kernel/btf/vmlinux")
MAGIC = 0xEB9F

_HEADER = struct.Struct("<HBBIIIII")
_TYPE = struct.Struct("<III")
_MEMBER = struct.Struct("<III")
_ENUMERATOR = struct.Struct("<Ii")

_STRUCT, _ENUM = 4, 6
_FIXED = {1: 4, 3: 12, 14: 4, 17: 4}
"""Bytes behind a type of a kind: integer, array, variable, declaration tag."""
_EACH = {4: 12, 5: 12, 6: 8, 13: 8, 15: 12, 19: 12}
"""Bytes behind it for each of its members: structure, union, enumeration, prototype …"""


class NoTypes(Exception):
    """The kernel does not describe its types, or not the ones that are needed."""


@dataclass(frozen=True, slots=True)
class Types:
    """What was asked of the kernel's types.

    :ivar offsets: bytes from the beginning of a structure: ``bio.bi_opf``.
    :ivar values: of enumerators.
    """

    offsets: dict[str, int]
    values: dict[str, int]


def read_types(data: bytes, structures: set[str], enumerations: set[str]) -> Types:
    """Every member of the structures, every enumerator of the enumerations, by name.

    :raises NoTypes: it is no BTF. What is not in it is left out.
    """
    try:
        return _read(data, structures, enumerations)
    except (struct.error, IndexError) as error:
        raise NoTypes(f"the kernel's types cannot be read: {error}") from error


def _read(data: bytes, structures: set[str], enumerations: set[str]) -> Types:
    magic, _, _, header, type_start, type_length, text_start, text_length = _HEADER.unpack_from(
        data
    )
    if magic != MAGIC:
        raise NoTypes(f"magic {magic:#x} is not {MAGIC:#x}")
    text = data[header + text_start : header + text_start + text_length]
    wanted = {_place(text, name): name for name in structures | enumerations}
    found = Types({}, {})
    start = header + type_start
    for at, name_at, info in _types(data, start, start + type_length):
        name = wanted.get(name_at)
        kind, count = info >> 24 & 0x1F, info & 0xFFFF
        if name is None or name_at < 0:
            continue
        if kind == _STRUCT and name in structures:
            bits = 0xFFFFFF if info >> 31 else 0xFFFFFFFF
            for member in range(count):
                member_name, _, offset = _MEMBER.unpack_from(data, at + 12 * member)
                found.offsets[f"{name}.{_text(text, member_name)}"] = (offset & bits) // 8
        elif kind == _ENUM and name in enumerations:
            for item in range(count):
                item_name, value = _ENUMERATOR.unpack_from(data, at + 8 * item)
                found.values[_text(text, item_name)] = value
    return found


def _types(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(where what is behind it lies, place of its name, info) of each type."""
    unpack, fixed, each = _TYPE.unpack_from, _FIXED, _EACH
    while at < end:
        name, info, _ = unpack(data, at)
        at += 12
        yield at, name, info
        kind = info >> 24 & 0x1F
        if kind in each:
            at += each[kind] * (info & 0xFFFF)
        else:
            at += fixed.get(kind, 0)


def _place(text: bytes, name: str) -> int:
    """Where a name lies in the strings; negative if nowhere."""
    found = text.find(b"\0" + name.encode() + b"\0")
    return found + 1 if found >= 0 else -1


def _text(text: bytes, at: int) -> str:
    return text[at : text.index(b"\0", at)].decode()


def bio_flags(types: Types) -> list[str]:
    """What ``layers.c`` has to be told of ``struct bio``, as the compiler's arguments.

    :raises NoTypes: this kernel's bio is another one (before 5.12).
    """
    try:
        where = types.offsets
        given = {
            "BIO_OPF": where["bio.bi_opf"],
            "BIO_BDEV": where["bio.bi_bdev"],
            "BIO_SECTOR": where["bio.bi_iter"] + where["bvec_iter.bi_sector"],
            "BIO_BYTES": where["bio.bi_iter"] + where["bvec_iter.bi_size"],
            "BDEV_DEV": where["block_device.bd_dev"],
            "OPF_PREFLUSH": 1 << types.values["__REQ_PREFLUSH"],
            "OPF_FUA": 1 << types.values["__REQ_FUA"],
            "OPF_META": 1 << types.values["__REQ_META"],
        }
    except KeyError as error:
        raise NoTypes(f"this kernel has no {error.args[0]}: it takes Linux 5.12 or newer") from None
    return [f"-D{name}={value}" for name, value in given.items()]


def running_bio_flags(path: Path = VMLINUX) -> list[str]:
    """:func:`bio_flags` of the running kernel.

    :raises NoTypes: it has no BTF, or another bio.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise NoTypes(f"the kernel does not describe its types: {path}: {error.strerror}") from None
    return bio_flags(read_types(data, {"bio", "bvec_iter", "block_device"}, {"req_flag_bits"}))
