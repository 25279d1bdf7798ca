"""Soft worlds to begin with: volumes in one generation at a replica, or at both of two sites."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.soft.sites import Sites
from tests.soft.world import World

CHUNK = 4096


@contextmanager
def mirrored(volumes: str = "a", replicas: Sequence[str] = ("far",)) -> Iterator[World]:
    """Volumes of 64 chunks of noise, by their names' letters, that mirror ``m`` brought to far."""
    chance = random.Random(1)
    contents = {name: chance.randbytes(64 * CHUNK) for name in volumes}
    made = World(contents, list(volumes), list(replicas))
    try:
        made.add_mirror("m", "far")
        made.freeze()
        assert made.copy("m") is None
        yield made
    finally:
        made.close()


@contextmanager
def two_sites(names: Sequence[str] = ("a", "b")) -> Iterator[Sites]:
    """A group of volumes, all alike, that the second site has a generation of."""
    made = Sites({name: random.Random(1).randbytes(16 * CHUNK) for name in names})
    try:
        made.freeze()
        assert made.copy() is None
        yield made
    finally:
        made.close()
