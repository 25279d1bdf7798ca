"""Changes spread thinly: one write into each of so many chunks, anywhere on a volume."""

from __future__ import annotations

import os
import random
from pathlib import Path

from tests.workload.device_io import DeviceWriter

WRITE_BYTES = 4096


def scatter(path: str, chunk: int, count: int, seed: int, at: int = 0) -> int:
    """Write 4 KiB into ``count`` different chunks of a device, ``at`` bytes from the start of each.

    :return: the bytes written.
    """
    writer = DeviceWriter(Path(path))
    chance = random.Random(seed)
    chunks: set[int] = set()
    while len(chunks) < count:
        chunks.add(chance.randrange(writer.size // chunk))
    for number in chunks:
        writer.write_direct(number * chunk + at, os.urandom(WRITE_BYTES))
    writer.flush()
    writer.close()
    return count * WRITE_BYTES
