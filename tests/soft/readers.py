"""Who reads frozen images for long, as a comparison does."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from dataclasses import dataclass

from control.volume import Volume
from tests.histories.model import demand


@dataclass(frozen=True, slots=True)
class Reading:
    """An image that is held."""

    volume: Volume
    uuid: str
    number: int
    taken: threading.Event
    held: ExitStack


class Readers:
    """Each has its image until it lets it go, or is told that it was taken away."""

    def __init__(self) -> None:
        self._all: list[Reading] = []

    def begin(self, volume: Volume, pick: int) -> None:
        """Hold one of a volume's images, if there are any."""
        images = volume.images()
        if not images:
            return
        made, held = images[pick % len(images)], ExitStack()
        taken = held.enter_context(volume.hold(made.layer))
        self._all.append(Reading(volume, made.uuid, made.number, taken, held))

    def end(self) -> None:
        """All let go."""
        for one in self._all:
            one.held.close()
        self._all.clear()

    def check(self) -> None:
        """:raises Wrong: an image was taken from somebody who was not told."""
        for one in self._all:
            there = one.taken.is_set() or one.uuid in {made.uuid for made in one.volume.images()}
            demand(there, f"{one.volume.name}: generation {one.number} was held, and is gone")
