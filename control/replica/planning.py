"""Which layer of a replica goes next: decided from values alone.

Layers below the lowest kept generation are folded into the base. Those between two kept ones
are squashed together, where the gap is closed for good; what came since is squashed only as far
as its number asks for, the smallest neighbours first, or each cycle would write anew what all
before it brought.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from control.replica.retention import POLICY, Rule
from dm_tables.units import Bytes

MOST_OPEN = 8
"""So many layers of generations that are not kept may lie above the last closed gap."""

CLOSING = frozenset({Rule.HOURLY, Rule.DAILY, Rule.WEEKLY, Rule.DIVERGED})
"""What keeps a generation for long, once it is not the newest."""


@dataclass(frozen=True, slots=True)
class PlannedLayer:
    """A layer that leads to generation ``number``.

    ``stored``: the bytes that it holds. ``size``: the volume's, then. ``fixed``: devices stand
    on it, or it is being merged.
    """

    number: int
    stored: Bytes
    size: Bytes
    fixed: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """A replica volume: base, layers lowest first, and which generations are kept, and why.

    ``base`` is the generation that the base shows; None while a layer is being merged into it.
    """

    base: int | None
    layers: tuple[PlannedLayer, ...]
    kept: Mapping[int, tuple[Rule, ...]]

    def merges(self) -> bool:
        """Whether the lowest layer may be folded into the base: nothing below it is kept."""
        return bool(self.layers) and self.base not in self.kept

    def gives_way(self) -> int | None:
        """The generation that the base shows, if only retention keeps it from being merged."""
        if self.base is None or not self.layers or not self.kept.get(self.base):
            return None
        return self.base if POLICY.issuperset(self.kept[self.base]) else None

    def squashes(self) -> tuple[int, int] | None:
        """The numbers of two neighbours to be made one; the lower one's generation goes."""
        gap: list[PlannedLayer] = []
        for layer in self.layers[self._merged() :]:
            gap.append(layer)
            if self._closes(layer.number):
                if pair := self._cheapest(gap):
                    return pair
                gap = []
        surplus = sum(1 for layer in gap if layer.number not in self.kept)
        return self._cheapest(gap) if surplus > MOST_OPEN else None

    def _merged(self) -> int:
        """How many layers, from the lowest on, are going to be in the base."""
        if self.base in self.kept:
            return 0
        kept = (i for i, layer in enumerate(self.layers) if layer.number in self.kept)
        return next(kept, -1) + 1

    def _closes(self, number: int) -> bool:
        rules = self.kept.get(number, ())
        return Rule.NEWEST not in rules and not CLOSING.isdisjoint(rules)

    def _cheapest(self, gap: list[PlannedLayer]) -> tuple[int, int] | None:
        pairs = [
            (lower.stored + upper.stored, lower.number, upper.number)
            for lower, upper in pairwise(gap)
            if lower.number not in self.kept
            and not (lower.fixed or upper.fixed)
            and lower.size == upper.size
        ]
        return min(pairs)[1:] if pairs else None
