"""bpf(2), as far as it takes to hold maps and a program: no bcc, no LLVM in memory.

Structures: ``union bpf_attr``, ``struct bpf_prog_info`` and ``struct bpf_link_info`` of
include/uapi/linux/bpf.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterator, Sequence
from typing import Protocol

LOOKUP, UPDATE, DELETE = 1, 2, 3
OBJECT_INFO = 15
LOOKUP_BATCH, DELETE_BATCH = 24, 27
NO_EXIST = 1

_NUMBERS = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "ppc64le": 361, "s390x": 351}
_ELEMENT = struct.Struct("=IxxxxQQQ")
_BATCH = struct.Struct("=QQQQIIQQ")
_INFO = struct.Struct("=IIQ")
_PROGRAM_INFO = 216
"""Bytes of the structure up to and with recursion_misses, its last eight."""

_LINK_INFO = 16
"""Type, number and the program's number: what every kernel that has links fills in."""

_NUMBER = struct.Struct("=I")
BATCH = 1024

_libc = ctypes.CDLL(None, use_errno=True)


def bpf(command: int, attributes: bytes) -> tuple[int, bytes]:
    """The system call. :return: its value and the attributes as the kernel left them.

    :raises OSError: it failed.
    """
    error, value, after = _call(command, attributes)
    if error:
        raise OSError(error, os.strerror(error))
    return value, after


def _call(command: int, attributes: bytes) -> tuple[int, int, bytes]:
    number = _NUMBERS.get(platform.machine())
    if number is None:
        return errno.ENOSYS, -1, attributes
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    value = _libc.syscall(number, command, buffer, len(attributes))
    return (ctypes.get_errno() if value < 0 else 0), value, buffer.raw


class Map(Protocol):
    """A hash map of the kernel's, or one that tests put in its place."""

    def get(self, key: bytes) -> bytes | None:
        """The value of a key."""

    def add(self, key: bytes, value: bytes) -> None:
        """Put a value where there was none. :raises OSError: there was one, or no room is left."""

    def remove(self, keys: Sequence[bytes]) -> None:
        """Remove keys that are there."""

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Everything in it. What is added meanwhile may be left out."""


class KernelMap:
    """A hash map by its descriptor; the descriptor keeps it alive."""

    def __init__(self, fd: int, key_bytes: int, value_bytes: int) -> None:
        self.fd = fd
        self._key_bytes = key_bytes
        self._value_bytes = value_bytes

    def get(self, key: bytes) -> bytes | None:
        """The value of a key."""
        value = ctypes.create_string_buffer(self._value_bytes)
        try:
            self._element(LOOKUP, key, value, 0)
        except FileNotFoundError:
            return None
        return value.raw

    def add(self, key: bytes, value: bytes) -> None:
        """Put a value where there was none. :raises OSError: EEXIST, or E2BIG when it is full."""
        buffer = ctypes.create_string_buffer(value, len(value))
        self._element(UPDATE, key, buffer, NO_EXIST)

    def change(self, key: bytes, value: bytes) -> None:
        """Put a value whether there was one or not, in one step."""
        buffer = ctypes.create_string_buffer(value, len(value))
        self._element(UPDATE, key, buffer, 0)

    def _element(
        self, command: int, key: bytes, value: ctypes.Array[ctypes.c_char], flags: int
    ) -> None:
        name = ctypes.create_string_buffer(key, len(key))
        bpf(
            command,
            _ELEMENT.pack(self.fd, ctypes.addressof(name), ctypes.addressof(value), flags),
        )

    def remove(self, keys: Sequence[bytes]) -> None:
        """Remove keys that are there."""
        for start in range(0, len(keys), BATCH):
            some = keys[start : start + BATCH]
            names = ctypes.create_string_buffer(b"".join(some), len(some) * self._key_bytes)
            bpf(
                DELETE_BATCH,
                _BATCH.pack(0, 0, ctypes.addressof(names), 0, len(some), self.fd, 0, 0),
            )

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Everything in it, bucket by bucket: what stays in it is given exactly once."""
        keys = ctypes.create_string_buffer(BATCH * self._key_bytes)
        values = ctypes.create_string_buffer(BATCH * self._value_bytes)
        place = ctypes.create_string_buffer(8)
        begun = False
        while True:
            attributes = _BATCH.pack(
                ctypes.addressof(place) if begun else 0,
                ctypes.addressof(place),
                ctypes.addressof(keys),
                ctypes.addressof(values),
                BATCH,
                self.fd,
                0,
                0,
            )
            error, _, after = _call(LOOKUP_BATCH, attributes)
            if error not in (0, errno.ENOENT):
                raise OSError(error, os.strerror(error))
            count = _BATCH.unpack(after)[4]
            names, contents = keys.raw, values.raw
            for i in range(count):
                yield (
                    names[i * self._key_bytes : (i + 1) * self._key_bytes],
                    contents[i * self._value_bytes : (i + 1) * self._value_bytes],
                )
            if error:
                return
            begun = True


def missed_runs(program: int) -> int:
    """How often the kernel left a program out because it was running on that CPU already.

    :param program: its descriptor. Kernels before 6.1 leave none out, and say 0.
    """
    return int.from_bytes(_object_info(program, _PROGRAM_INFO)[-8:], "little")


def is_attached(attachment: int, program: int) -> bool:
    """Whether an attachment is there, and is this program's. Both are descriptors."""
    try:
        (attached,) = _NUMBER.unpack_from(_object_info(attachment, _LINK_INFO), 8)
        (known,) = _NUMBER.unpack_from(_object_info(program, _PROGRAM_INFO), 4)
    except OSError:
        return False
    return bool(attached == known)


def _object_info(descriptor: int, length: int) -> bytes:
    info = ctypes.create_string_buffer(length)
    bpf(OBJECT_INFO, _INFO.pack(descriptor, length, ctypes.addressof(info)))
    return info.raw
