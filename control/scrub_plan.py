"""When a replica is compared as a whole again: pure, in seconds since the epoch."""

from __future__ import annotations

import base64
import dataclasses
import json
from contextlib import suppress
from dataclasses import dataclass

from control.blocks import BlockSet


@dataclass(frozen=True, slots=True)
class Scrub:
    """How far the comparisons of one replica volume are.

    :ivar since: when the last one ended; before the first, when the volume was first seen.
    :ivar began: when the running one began; 0 between two.
    :ivar position: where it is, see :class:`control.verify_position.Position`.
    :ivar told: what was told to differ in it, a serialised :class:`control.blocks.BlockSet`.
    """

    since: float
    began: float = 0.0
    position: str = ""
    told: bytes = b""

    def text(self) -> str:
        """As JSON."""
        told = base64.b64encode(self.told).decode()
        return json.dumps(dataclasses.asdict(self) | {"told": told})

    @classmethod
    def parse(cls, text: str, now: float) -> Scrub:
        """What :meth:`text` gave; anything else is a volume that is seen for the first time."""
        with suppress(ValueError, KeyError, TypeError):
            said = json.loads(text)
            told = base64.b64decode(said["told"], validate=True)
            BlockSet(told)
            since, began = float(said["since"]), float(said["began"])
            return cls(since, began, str(said["position"]), told)
        return cls(now)

    def begun(self, now: float) -> Scrub:
        """A comparison under way: the one that is, or a new one."""
        return self if self.began else dataclasses.replace(self, began=now, position="", told=b"")

    def ended(self, now: float) -> Scrub:
        """Between two comparisons."""
        return Scrub(now)


def due_in(scrub: Scrub, now: float, every: float) -> float:
    """Seconds until a slice is due: one that was begun goes on at once.

    ``every`` counts from end to end, so that one that takes long leaves room for others.
    """
    if scrub.began:
        return 0.0
    # An end yet to come tells of a clock that was set back.
    return max(0.0, min(scrub.since, now) + every - now)
