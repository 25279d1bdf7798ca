"""What is in use: images that are read or shown, and objects that are written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from control.replica.journal import ReplicaJournal
from control.replica.records import Chain, LayerRecord


class Holds:
    """Held generations: those of readers here, and those of devices in the journal.

    Whoever calls holds the store's lock.
    """

    def __init__(self, journal: ReplicaJournal) -> None:
        self._journal = journal
        self._readers: Counter[tuple[str, int]] = Counter()
        self._objects: Counter[str] = Counter()

    def take(self, chain: Chain) -> None:
        """A reader began."""
        self._readers[chain.volume, chain.generation.number] += 1

    def give_back(self, chain: Chain) -> None:
        """A reader ended."""
        key = (chain.volume, chain.generation.number)
        self._readers[key] -= 1
        if not self._readers[key]:
            del self._readers[key]

    def numbers(self, volume: str) -> set[int]:
        """The held generations of a volume."""
        shown = {chain.generation.number for chain in self._journal.held(volume)}
        return shown | {number for name, number in self._readers if name == volume}

    def any(self, volume: str) -> bool:
        """Whether a generation of the volume is held."""
        return bool(self.numbers(volume))

    def allow_merge(self, volume: str, lowest: LayerRecord) -> bool:
        """Whether folding ``lowest`` into the base leaves every held image as it is.

        An image that has the layer reads its chunks from it; one without it reads the base.
        Once all is copied, letting the layer go waits until nothing is held.
        """
        held = self.numbers(volume)
        if any(number < lowest.number for number in held):
            return False
        return not (held and lowest.merged >= lowest.chunks)

    def use(self, objects: Iterable[str]) -> None:
        """Something works on these objects."""
        self._objects.update(objects)

    def unuse(self, objects: Iterable[str]) -> None:
        """It is done."""
        self._objects.subtract(objects)
        self._objects += Counter()

    def is_busy(self, object_name: str) -> bool:
        """Whether something works on the object."""
        return self._objects[object_name] > 0
