"""Frames on the command channel, the same at both ends.

A frame is a head (payload length, request number, kind) and its payload. The host opens
a request with REQUEST; all later frames with its number belong to it, until DONE.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any

HEAD = struct.Struct("!IIB")
MAX_PAYLOAD = 1 << 20
CHUNK = 60 * 1024

# From the host.
REQUEST, DATA, SIGNAL, WINDOW = 1, 2, 3, 4
# From the guest.
STDOUT, STDERR, DONE = 17, 18, 19

Frame = tuple[int, int, bytes]


def frame(number: int, kind: int, payload: bytes = b"") -> bytes:
    """One frame's bytes."""
    return HEAD.pack(len(payload), number, kind) + payload


def json_frame(number: int, kind: int, value: Any) -> bytes:
    """A frame whose payload is JSON."""
    return frame(number, kind, json.dumps(value).encode())


class Parser:
    """Cuts a byte stream into frames; raises ValueError on a stream that is not ours."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Frames (number, kind, payload) that are whole with this data."""
        self._buffer += data
        while len(self._buffer) >= HEAD.size:
            length, number, kind = HEAD.unpack_from(self._buffer)
            if length > MAX_PAYLOAD:
                raise ValueError(f"frame of {length} bytes")
            end = HEAD.size + length
            if len(self._buffer) < end:
                return
            payload = bytes(self._buffer[HEAD.size : end])
            del self._buffer[:end]
            yield number, kind, payload
