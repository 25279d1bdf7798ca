"""Changes spread thinly: one write into each of so many chunks, anywhere on a volume."""

from __future__ import annotations

import os
import random
from pathlib import Path

from tests.workload.device_io import DeviceWriter

WRITE_BYTES = 4096


def scatter(path: str, chunk: int, count: int, seed: int) -> int:
    """Write 4 KiB at the start of ``count`` different chunks of a device, then flush.

    :return: the bytes written.
    """
    writer = DeviceWriter(Path(path))
    chance = random.Random(seed)
    chunks: set[int] = set()
    while len(chunks) < count:
        chunks.add(chance.randrange(writer.size // chunk))
    for number in chunks:
        writer.write_direct(number * chunk, os.urandom(WRITE_BYTES))
    writer.flush()
    writer.close()
    return count * WRITE_BYTES
