"""Runs, their checksums and the digest chain: what a generation is on the wire.

A generation is a sequence of runs numbered from 0. A run is a stretch of whole chunks, the last
one clipped to the volume's end. Each carries a checksum over its plain bytes, and a chain of
digests covers every run's number, place and checksum, so that two ends that agree on a digest
agree on everything before it. This is the copy of the penultimate auxiliary volume to the
ultimate remote volume (figure 8, steps 226 and 228), made provable and resumable.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

from dm_tables.units import GIB, MIB, Bytes, chunks_covering
from proto.frazil.v1 import replica_pb2

PROTOCOL = 2
"""The version of the protocol between two frazilds."""

MAX_RUN_BYTES = MIB
"""Plain bytes in a run that carries a payload."""

MAX_ZERO_RUN_BYTES = GIB
"""Bytes in a run of zeroes, which carries none."""

MAX_BATCH_BYTES = MIB
"""Payload bytes after which a message is sent off."""

MAX_BATCH_RUNS = 1024
"""Runs in one message."""

CHECKSUM_BYTES = 16
DIGEST_BYTES = 32
START_DIGEST = bytes(DIGEST_BYTES)
MIN_CHUNK = 4096
MAX_CHUNK = MIB

_PLACE = struct.Struct("<QQQ")


@dataclass(frozen=True, slots=True)
class Tally:
    """What a prefix of a generation's runs comes to: the next ordinal, counts, and the chain.

    ``length`` is in bytes.

    The chain starts at 32 zero bytes, and each run makes it
    BLAKE2b-256(chain || u64le ordinal || u64le address || u64le length || checksum).
    """

    runs: int = 0
    chunks: int = 0
    length: int = 0
    digest: bytes = START_DIGEST

    def plus(self, address: int, length: int, checksum: bytes, chunk: Bytes) -> Tally:
        """The tally with one more run; ``address`` and ``length`` in bytes."""
        place = _PLACE.pack(self.runs, address, length)
        digest = hashlib.blake2b(
            self.digest + place + checksum, digest_size=DIGEST_BYTES, usedforsecurity=False
        ).digest()
        chunks = chunks_covering(Bytes(length), chunk)
        return Tally(self.runs + 1, self.chunks + chunks, self.length + length, digest)

    def trailer(self) -> replica_pb2.Trailer:
        """The trailer of a generation that ends here."""
        return replica_pb2.Trailer(
            runs=self.runs, chunks=self.chunks, bytes=self.length, digest=self.digest
        )


def checksum(data: bytes | memoryview) -> bytes:
    """BLAKE2b-128 of a run's plain bytes."""
    return hashlib.blake2b(data, digest_size=CHECKSUM_BYTES, usedforsecurity=False).digest()


def is_chunk_size(chunk: int) -> bool:
    """Whether a layer may have chunks of this many bytes: a power of two, 4 KiB to 1 MiB."""
    return MIN_CHUNK <= chunk <= MAX_CHUNK and chunk & (chunk - 1) == 0
