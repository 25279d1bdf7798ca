"""Who else needs the layers of a replica than those that read its images."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from control.replica.records import LayerRecord, VolumeRecord


class Keeper(Protocol):
    """Asked before a layer goes; :class:`control.keeping.LayerKeeper` where there are mirrors."""

    def relieve(self) -> None:
        """Let go of images where room is short. Called now and then."""

    def may_go(self, volume: VolumeRecord, layer: LayerRecord) -> bool:
        """Whether a volume's lowest layer may be merged, or be let go once it is.

        Called under the store's lock. What it answers holds for the layer until it is asked
        again, which is before the layer is let go at the latest.
        """

    def check_unused(self, name: str) -> None:
        """:raises Precondition: somebody needs the volume."""

    def quiet(self, name: str) -> AbstractContextManager[None]:
        """Nobody reads the volume as long as the context lasts."""


class Nobody:
    """Nobody else does."""

    def relieve(self) -> None:
        """Nothing to do."""

    def may_go(self, volume: VolumeRecord, layer: LayerRecord) -> bool:
        """Any may."""
        return True

    def check_unused(self, name: str) -> None:
        """It is not used."""

    def quiet(self, name: str) -> AbstractContextManager[None]:
        """Nobody does."""
        return nullcontext()
