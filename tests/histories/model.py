"""What volumes hold and held: bytes, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field

from control.blocks import BLOCK

WIDEST = 16 * 1024
"""The largest chunk that a layer is made of here."""


@dataclass
class VolumeModel:
    """One volume: its head, and the image of every generation that was ever frozen.

    ``changed`` are the blocks written between a generation and the one before it.
    """

    head: bytearray
    images: dict[str, bytes] = field(default_factory=dict)
    changed: dict[str, set[int]] = field(default_factory=dict)
    since: set[int] = field(default_factory=set)
    instant: tuple[bytes, set[int]] | None = None

    def write(self, at: int, data: bytes) -> None:
        """Write to the head."""
        self.head[at : at + len(data)] = data
        self.since.update(range(at // BLOCK, (at + len(data) - 1) // BLOCK + 1))

    def freeze(self) -> None:
        """The instant of a freeze, which may yet come to nothing."""
        self.instant = bytes(self.head), self.since
        self.since = set()

    def happened(self, uuid: str) -> None:
        """A generation is there: the instant's, or that of the head as it is."""
        if self.instant is None:
            self.freeze()
        assert self.instant is not None
        self.images[uuid], self.changed[uuid] = self.instant
        self.instant = None

    def came_to_nothing(self) -> None:
        """No generation came of the instant, if there was one."""
        if self.instant is not None:
            self.since |= self.instant[1]
            self.instant = None

    def bytes_between(self, base: str, uuid: str, widest: int = WIDEST) -> int:
        """At most so many bytes have to be sent from one generation to another.

        :param widest: the largest chunk of the layers between.
        """
        order = list(self.images)
        blocks: set[int] = set()
        for made in order[order.index(base) + 1 : order.index(uuid) + 1]:
            blocks |= self.changed[made]
        return widest * len({block * BLOCK // widest for block in blocks})


class Wrong(AssertionError):
    """What frazil holds is not what the model says."""


def demand(true: bool, what: str) -> None:
    """:raises Wrong: it is not true."""
    if not true:
        raise Wrong(what)
