"""Payloads: compressed with zstd where that pays, and plain where it does not."""

from __future__ import annotations

import zstandard

from control.wire.errors import BadStream, DataLoss
from proto.frazil.v1 import replica_pb2

LEVEL = 1
WORTH = 0.9
"""A compressed payload is sent when it is smaller than this share of the plain one."""
SAMPLE = 4096
SAMPLES = 4
MAX_SKIP = 64
"""Short runs that are sent plain without trying, at most, after ones that did not compress."""


class Compressor:
    """Chooses each payload's encoding, so that packed or encrypted data costs next to nothing.

    Of a long run, samples are compressed first, and the whole only where they shrink. A short
    one is tried; after one that does not compress the next is not tried, after two of them the
    next two, then four, up to :data:`MAX_SKIP`.
    """

    def __init__(self, enabled: bool = True) -> None:
        """:param enabled: False sends everything plain."""
        self._enabled = enabled
        self._zstd = zstandard.ZstdCompressor(level=LEVEL, write_checksum=False)
        self._skip = 0
        self._step = 1

    def encode(self, data: bytes) -> tuple[replica_pb2.Encoding, bytes]:
        """The encoding to send ``data`` in, and the payload."""
        if not self._enabled or not self._is_promising(data):
            return replica_pb2.ENCODING_RAW, data
        packed = self._zstd.compress(data)
        if len(packed) < WORTH * len(data):
            self._step = 1
            return replica_pb2.ENCODING_ZSTD, packed
        self._skip = self._step
        self._step = min(self._step * 2, MAX_SKIP)
        return replica_pb2.ENCODING_RAW, data

    def _is_promising(self, data: bytes) -> bool:
        if len(data) > SAMPLES * SAMPLE:
            stride = (len(data) - SAMPLE) // (SAMPLES - 1)
            starts = range(0, stride * SAMPLES, stride)
            sample = b"".join(data[start : start + SAMPLE] for start in starts)
            return len(self._zstd.compress(sample)) < WORTH * len(sample)
        if self._skip:
            self._skip -= 1
            return False
        return True


class Decompressor:
    """Gives a payload's plain bytes back."""

    def __init__(self) -> None:
        self._zstd = zstandard.ZstdDecompressor()

    def decode(self, encoding: int, payload: bytes, length: int) -> bytes:
        """The plain bytes of ``payload``, of which there must be ``length``.

        The length a compressed payload claims is compared before anything is allocated for it.

        :raises BadStream: an unknown encoding, or a plain payload of another length.
        :raises DataLoss: the compressed bytes are damaged.
        """
        if encoding == replica_pb2.ENCODING_RAW:
            plain = payload
        elif encoding == replica_pb2.ENCODING_ZSTD:
            plain = self._unpacked(payload, length)
        else:
            raise BadStream(f"a payload has encoding {encoding}, which is unknown here")
        if len(plain) != length:
            raise BadStream(f"a payload holds {len(plain)} bytes, its run says {length}")
        return plain

    def _unpacked(self, payload: bytes, length: int) -> bytes:
        try:
            claimed = zstandard.frame_content_size(payload)
            if claimed != length:
                raise DataLoss(f"a payload unpacks to {claimed} bytes, its run says {length}")
            return self._zstd.decompress(payload)
        except zstandard.ZstdError as error:
            raise DataLoss(f"a compressed payload is damaged: {error}") from error
