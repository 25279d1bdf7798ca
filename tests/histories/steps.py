"""The steps of a history: which there are, and from what their arguments are drawn."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any, Final

Domains = Mapping[str, Sequence[Any]]
"""By a step's arguments."""

Step = tuple[str, dict[str, Any]]

PLACES: Final = range(100)
SECTORS: Final = range(1, 41)
CHUNKS: Final = (4, 8, 16)
"""KiB."""

YES_OR_NO: Final = (False, True)


def deaths(most: int) -> Sequence[int | None]:
    """When a daemon dies: in one half of all cases not at all."""
    return (None,) * most + tuple(range(most))


def shuffled(seed: int, steps: Mapping[str, Domains], names: Sequence[str]) -> list[Step]:
    """The steps that are named, as often as they are, in a random order; the arguments random."""
    chance = random.Random(seed)
    order = chance.sample(names, len(names))
    return [(n, {key: chance.choice(domain) for key, domain in steps[n].items()}) for n in order]


def content(chance: random.Random, kind: str, before: bytes) -> bytes:
    """What is written in place of ``before``."""
    if kind == "same":
        return before
    if kind == "zero":
        return bytes(len(before))
    noise = chance.randbytes(len(before))
    return noise if kind == "noise" else noise[:8] * (len(before) // 8)


def span(size: int, place: int, sectors: int, sector: int = 512) -> slice:
    """Where to write: so many hundredths into a volume, as far as it goes."""
    at = size // sector * place // 100 * sector
    return slice(at, at + min(sectors * sector, size - at))
