"""What is in use: images that are read or shown, and objects that are written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from control.replica.journal import ReplicaJournal
from control.replica.records import Chain, LayerRecord, VolumeRecord, base_key


class Holds:
    """Held generations: those of readers here, and those of devices in the journal.

    Whoever calls holds the store's lock.
    """

    def __init__(self, journal: ReplicaJournal) -> None:
        self._journal = journal
        self._readers: Counter[Chain] = Counter()
        self._objects: Counter[str] = Counter()

    def take(self, chain: Chain) -> None:
        """A reader began."""
        self._readers[chain] += 1

    def give_back(self, chain: Chain) -> None:
        """A reader ended."""
        self._readers[chain] -= 1
        if not self._readers[chain]:
            del self._readers[chain]

    def read(self, volume: str) -> list[Chain]:
        """The images that readers have of a volume."""
        return [chain for chain in self._readers if chain.volume == volume]

    def all(self, volume: str) -> list[Chain]:
        """The held images of a volume."""
        return self._journal.held(volume) + self.read(volume)

    def numbers(self, volume: str) -> set[int]:
        """The held generations of a volume."""
        return {chain.generation.number for chain in self.all(volume)}

    def allow_merge(self, volume: VolumeRecord, lowest: LayerRecord) -> bool:
        """Whether folding ``lowest`` into the base leaves every held image as it is.

        An image that has the layer reads its chunks from it; one without it reads the base.
        Once all is copied, letting the layer go waits until nothing of this base is held.
        """
        held = self._over(volume)
        if any(chain.generation.number < lowest.number for chain in held):
            return False
        return not (held and lowest.merged >= lowest.chunks)

    def allow_letting_go(self, volume: VolumeRecord) -> bool:
        """Whether a layer that is in the base may go: no device must stand on it."""
        return not self._over(volume)

    def _over(self, volume: VolumeRecord) -> list[Chain]:
        """The held images that stand on the volume's base, as it is now."""
        held = self.all(volume.name)
        return [chain for chain in held if base_key(chain) == base_key(volume)]

    def needs(self, volume: str, object_name: str) -> bool:
        """Whether a held image stands on the object, or something works on it."""
        return self.is_busy(object_name) or any(
            object_name in chain.objects for chain in self.all(volume)
        )

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
