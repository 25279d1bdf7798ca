"""Writing out what is dirty before the pause, while writers run, so that little is left for it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from dm_tables.hardening import syncfs

ROUNDS = 3
"""Times a filesystem is written out while a round takes long."""

SHORT = 0.05
"""Seconds of a round after which another one would save nothing."""


@contextmanager
def opened(paths: Iterable[str], flags: int = os.O_RDONLY) -> Iterator[list[int]]:
    """Descriptors of all ``paths``, closed at the end. :raises OSError: one cannot be opened."""
    descriptors: list[int] = []
    try:
        for path in paths:
            descriptors.append(os.open(path, flags | os.O_CLOEXEC))
        yield descriptors
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def write_out(mountpoints: Iterable[str], layers: Sequence[int]) -> int:
    """Write out the filesystems mounted at ``mountpoints``, then flush the layers below them.

    :param layers: descriptors of layer devices.
    :return: microseconds that it took. :raises OSError: a disk failed.
    """
    began = time.monotonic_ns()
    with opened(mountpoints, os.O_RDONLY | os.O_DIRECTORY) as mounted:
        for descriptor in mounted:
            _sync(descriptor)
    for descriptor in layers:
        os.fsync(descriptor)
    return (time.monotonic_ns() - began) // 1000


def _sync(descriptor: int) -> None:
    for _ in range(ROUNDS):
        began = time.monotonic()
        syncfs(descriptor)
        if time.monotonic() - began < SHORT:
            return
