"""What a mirror brings to a replica: a group with its volumes, and the instants they have.

A group of this host's own volumes is one (:mod:`control.group`); what another host's mirror
committed here, and is mirrored on, is the other (:mod:`control.cascade`).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from control.blocks import BlockSet, Extent
from control.records import GenerationRecord, GroupRecord, LayerRecord, StandingRecord
from control.store.reader import StoreReader
from dm_tables.errors import FrazilError
from dm_tables.units import Bytes
from proto.frazil.v1 import replica_pb2


@dataclass(frozen=True, slots=True)
class Instant:
    """A frozen instant of a group: one generation of each member, with one number and UUID."""

    number: int
    uuid: str
    frozen_at: float
    pause_us: int
    parts: dict[str, GenerationRecord]
    """By volume."""

    @staticmethod
    def of(parts: Sequence[GenerationRecord]) -> Instant:
        """From its parts, at least one."""
        first = parts[0]
        return Instant(
            first.number,
            first.uuid,
            max(part.frozen_at or 0.0 for part in parts),
            max(part.pause_us for part in parts),
            {part.volume: part for part in parts},
        )


def common_instants(images: Sequence[Sequence[GenerationRecord]]) -> list[Instant]:
    """The instants that all members have, newest first.

    :param images: of each member, newest first.
    """
    if not images:
        return []
    by_uuid = [{generation.uuid: generation for generation in one} for one in images]
    return [
        Instant.of([others[found] for others in by_uuid])
        for found in by_uuid[0]
        if all(found in others for others in by_uuid)
    ]


class Readable(Protocol):
    """An image that can be read; errors as :meth:`control.store.direct.DirectFile.read`."""

    def read(self, address: Bytes, length: Bytes, /) -> bytes | memoryview:
        """Bytes in a buffer of their own."""

    def read_into(self, view: memoryview, address: Bytes, /) -> object:
        """Fill ``view`` with the bytes from ``address`` on."""

    def size(self) -> Bytes:
        """How many there are."""


class Frozen(Protocol):
    """A generation of a volume whose image stays as it is: what a copy of it needs.

    ``layers`` are the auxiliary volumes up to it, lowest first. ``chunk`` is the widest that is
    sent of an image.
    """

    @property
    def volume(self) -> str:
        """The volume's name."""

    @property
    def uuid(self) -> str:
        """The volume's."""

    @property
    def size(self) -> Bytes:
        """The volume's at that instant."""

    @property
    def chunk(self) -> Bytes:
        """See above."""

    @property
    def generation(self) -> GenerationRecord:
        """Which."""

    @property
    def layers(self) -> Sequence[LayerRecord]:
        """See above."""

    @property
    def base(self) -> str:
        """Tells what the layers stand on from what took its place; see :meth:`follows`."""

    def follows(self, standing: StandingRecord) -> bool:
        """Whether layers and what ``standing`` lacks are all that came since it."""

    def grown(self, size: Bytes) -> BlockSet:
        """What no layer has of all that a replica of so many bytes lacks: the volume grew by it."""

    def known(self) -> Sequence[GenerationRecord]:
        """The volume's generations, also those without an image."""

    def standing_on(self) -> AbstractContextManager[int]:
        """The layer device that the volume's layers stand on, for as long as the context lasts."""

    def message(self, base_uuid: str) -> replica_pb2.Generation:
        """The generation as it travels on ``base_uuid``, empty for a whole copy."""

    def open(self) -> AbstractContextManager[Readable]:
        """Its image."""

    def open_at(self, layer: int) -> AbstractContextManager[Readable | None]:
        """The image of the layer device ``layer``, below this one; None if it is not there."""

    def base_extents(self) -> Iterator[Extent]:
        """What the base below all layers may hold other than zeroes, in rising order."""

    def reader(self, layer: LayerRecord) -> StoreReader:
        """The exception store of one of the layers; the caller closes it."""

    def traced(self, layer: LayerRecord) -> BlockSet | None:
        """What was written to one of the layers, or more; None: not known."""


class MirroredVolume(Protocol):
    """A volume that mirrors bring to replicas."""

    @property
    def name(self) -> str:
        """Its name on this host."""

    @property
    def size(self) -> Bytes:
        """In bytes."""

    def images(self) -> list[GenerationRecord]:
        """The frozen instants whose image is there, newest first."""

    def hold(self, layer: int) -> AbstractContextManager[threading.Event]:
        """Keep the image of a layer device as long as the context lasts.

        :return: set if it was taken away all the same: what was read since is something else.
        """

    def open_image(self, generation: GenerationRecord) -> AbstractContextManager[Readable]:
        """A generation's image: unchanging as long as it is held."""

    def frozen(self, generation: GenerationRecord) -> AbstractContextManager[Frozen]:
        """Hold a generation's image as long as the context lasts."""


class MirroredGroup(Protocol):
    """Volumes that mirrors bring to replicas together."""

    @property
    def name(self) -> str:
        """Its name on this host."""

    @property
    def volumes(self) -> Sequence[MirroredVolume]:
        """Who belongs to it now, by name."""

    @property
    def record(self) -> GroupRecord:
        """How it is frozen, and whether it is a volume by itself."""

    @property
    def problem(self) -> str:
        """What is wrong with one of its volumes."""

    @property
    def next_number(self) -> int:
        """The number that the instant of a cycle has at least that is asked for now."""

    def size(self) -> int:
        """Bytes of all its volumes."""

    def instants(self) -> list[Instant]:
        """The instants of which every member's image is there, newest first."""

    def taken_over(self, error: FrazilError, mirror: str, committed: int) -> FrazilError:
        """A replica is written elsewhere: do what is to be done here, and say it.

        :param committed: the newest generation that it has.
        """

    def freezing(self) -> bool:
        """Whether a freeze of it is being decided on or made."""

    def written(self) -> bool:
        """Whether anything was written since the last freeze."""

    def layers_at_most(self) -> int:
        """How high the highest stack is that a freeze would make higher."""

    def changed(self) -> float:
        """Bytes that the next instant has by now, by when it was looked at last."""

    def growth(self) -> float:
        """Bytes a second by which that grows, on average."""
