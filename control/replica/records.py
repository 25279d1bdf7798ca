"""What the replica's journal holds, as values. Sizes in bytes, times in ns since the epoch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from control.spans import Span
from control.wire.frames import Tally
from dm_tables.units import Bytes
from proto.frazil.v1 import replica_pb2

ROLE_REPLICA = "replica"
ROLE_SEED = "seed"
"""Content that was there before, and no generation yet."""
ROLE_PROMOTED = "promoted"
"""A source of this host now; only its history is left here."""


@dataclass(frozen=True, slots=True)
class Generation:
    """A frozen instant of a volume."""

    number: int
    uuid: str
    parent_uuid: str
    frozen_at: int

    @staticmethod
    def of(message: replica_pb2.Generation) -> Generation:
        """From the wire."""
        frozen_at = message.frozen_at.ToNanoseconds()
        return Generation(message.number, message.uuid, message.parent_uuid, frozen_at)

    def message(self) -> replica_pb2.Generation:
        """For the wire."""
        made = replica_pb2.Generation(
            number=self.number, uuid=self.uuid, parent_uuid=self.parent_uuid
        )
        made.frozen_at.FromNanoseconds(self.frozen_at)
        return made


@dataclass(frozen=True, slots=True)
class VolumeRecord:
    """A replica volume: remote volume RVx/1 of figure 7 is its base.

    ``identity`` is the only one that may write it. ``base_object`` is empty and ``base_number``
    0 while nothing is committed; else the base, and the generation that it is merged up to.

    ``base_spans`` is content that was there before, as a seed or a source's own device, and the
    beginning of the base; ``base_object`` holds what they do not. ``seed_uuid`` is what a delta
    on them names as its base while nothing is committed. ``role`` is one of the ROLE_ constants,
    since ``role_since`` if that is not 0.
    """

    name: str
    volume_uuid: str
    identity: str
    size: Bytes
    base_object: str = ""
    base_number: int = 0
    base_spans: tuple[Span, ...] = ()
    role: str = ROLE_REPLICA
    role_since: int = 0
    seed_uuid: str = ""


@dataclass(frozen=True, slots=True)
class LayerRecord:
    """A committed delta that is not merged yet: remote volume RVx/s.

    ``number`` is the generation it leads to. Once ``merging``, the base is no generation by
    itself any more; ``merged`` exceptions of it are durable in the base.
    """

    volume: str
    number: int
    object_name: str
    chunk: Bytes
    chunks: int
    merging: bool = False
    merged: int = 0


@dataclass(frozen=True, slots=True)
class CommittedRecord:
    """A generation in the history, and what it came to on the wire.

    ``size`` is the volume's at that instant; ``group`` is empty for a volume by itself.
    """

    volume: str
    generation: Generation
    chunks: int
    length: Bytes
    digest: bytes
    committed_at: int
    size: Bytes = Bytes(0)
    group: str = ""


@dataclass(frozen=True, slots=True)
class IncomingRecord:
    """A generation that is being received, up to its last durable checkpoint.

    ``base_uuid`` is empty for a whole copy; ``expected`` chunks are to come in a delta.
    ``position`` is where the staged object goes on: exceptions, or a byte address. ``size`` is
    the volume's at that instant. Once ``staged`` all of it is there, and waits for its group.
    """

    volume: str
    generation: Generation
    base_uuid: str
    object_name: str
    chunk: Bytes
    expected: int
    tally: Tally = field(default_factory=Tally)
    position: int = 0
    size: Bytes = Bytes(0)
    staged: bool = False

    @property
    def whole(self) -> bool:
        """Whether it is a whole copy, into a base of its own."""
        return not self.base_uuid


@dataclass(frozen=True, slots=True)
class ChainLayer:
    """A layer as part of an image."""

    object_name: str
    chunk: Bytes


@dataclass(frozen=True, slots=True)
class Chain:
    """The objects that make up a generation's image: the base and layers over it, lowest first."""

    volume: str
    size: Bytes
    generation: Generation
    base_object: str
    layers: tuple[ChainLayer, ...]
    base_spans: tuple[Span, ...] = ()

    @property
    def objects(self) -> set[str]:
        """The names of all of them."""
        return {self.base_object, *(layer.object_name for layer in self.layers)}


class Based(Protocol):
    """What stands on a base: a volume, or a generation's image."""

    @property
    def base_spans(self) -> tuple[Span, ...]:
        """Content that was there before; the base begins with it."""

    @property
    def base_object(self) -> str:
        """The pool's object that holds the rest; empty: there is none."""

    @property
    def size(self) -> Bytes:
        """How much of the base counts, in bytes."""


def base_key(based: Based) -> str:
    """What tells this base from any other, however it grows."""
    if based.base_spans:
        first = based.base_spans[0]
        return f"{first.path}@{first.offset}"
    return based.base_object
