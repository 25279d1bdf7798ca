"""Replica volumes that are mirrored on to a further host: a cascade.

A mirror of a replica never freezes: its instants are what the source commits here. Number, UUID,
parent and freeze time of a generation travel on as they came, so that every host of the chain
knows it as the same one. The layers that the replica keeps are the deltas, as a source's are.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from control.blocks import BlockSet, Extent
from control.chunk_size import DEFAULT_CHUNK
from control.image import StackImage
from control.mirrored import Instant, Readable, common_instants
from control.records import (
    GenerationRecord,
    GroupRecord,
    LayerRecord,
    LayerState,
    StandingRecord,
)
from control.replica import records
from control.replica.admission import LARGEST_NUMBER
from control.replica.bases import base_of
from control.replica.images import open_image
from control.replica.records import ROLE_PROMOTED, Chain, base_key
from control.replica.shortage import Shortage
from control.replica.store import ReplicaStore
from control.store.reader import StoreReader
from control.wire.errors import GenerationNotFound
from control.wire.extents import data_extents
from dm_tables.errors import FrazilError, NotFound, Precondition, Unavailable
from dm_tables.units import Bytes
from proto.frazil.v1 import replica_pb2


class CascadeVolume:
    """A replica volume here, as what a mirror brings on. See :class:`MirroredVolume`.

    :param group: only generations that were committed with this group count; empty: all do.
    """

    def __init__(self, store: ReplicaStore, shortage: Shortage, name: str, group: str = "") -> None:
        self.name = name
        self._store = store
        self._shortage = shortage
        self._group = group

    @property
    def size(self) -> Bytes:
        """In bytes; 0 if it is gone."""
        record = self._store.journal.volume(self.name)
        return record.size if record is not None else Bytes(0)

    def images(self) -> list[GenerationRecord]:
        """The committed generations whose image is there, newest first."""
        with self._store.lock:
            volume = self._store.journal.volume(self.name)
            if volume is None or volume.role == ROLE_PROMOTED:
                return []
            layers = self._store.journal.layers(self.name)
            there = {layer.number for layer in layers}
            if not any(layer.merging for layer in layers):
                there.add(volume.base_number)
            return [
                as_generation(record)
                for record in self._store.journal.history(self.name)
                if record.generation.number in there and self._group in ("", record.group)
            ]

    @contextmanager
    def hold(self, layer: int) -> Iterator[threading.Event]:
        """Keep the image of the generation with this number: it is never taken away.

        :raises GenerationNotFound: gone.
        """
        with self._store.reading(self.name, layer):
            yield threading.Event()

    @contextmanager
    def open_image(self, generation: GenerationRecord) -> Iterator[Readable]:
        """A generation's image, held as long as the context lasts."""
        with (
            self._store.reading(self.name, uuid=generation.uuid) as chain,
            open_image(self._store, chain) as image,
        ):
            yield ReplicaImage(image)

    @contextmanager
    def frozen(self, generation: GenerationRecord) -> Iterator[FrozenReplica]:
        """A generation for a copy, held as long as the context lasts.

        :raises GenerationNotFound: it is not there any more.
        :raises Unavailable: room is short here, and what is held would cost more of it.
        """
        if self._shortage.presses(self._store.volume(self.name)):
            raise Unavailable(
                f"room for replicas is short here, so {self.name} is not copied on for now",
                "it is tried again; give the replica's pool more room",
            )
        with ExitStack() as stack:
            with self._store.lock:
                chain = stack.enter_context(self._store.reading(self.name, uuid=generation.uuid))
                made = FrozenReplica(self._store, chain)
            yield made


class ReplicaImage:
    """A committed generation's image, to be read."""

    def __init__(self, image: StackImage) -> None:
        self._image = image

    def read(self, address: Bytes, length: Bytes) -> memoryview:
        """See :meth:`StackImage.read`."""
        return self._image.read(address, length)

    def read_into(self, view: memoryview, address: Bytes) -> None:
        """See :meth:`StackImage.read_into`."""
        self._image.read_into(view, address)

    def size(self) -> Bytes:
        """The volume's at that instant."""
        return self._image.size


class FrozenReplica:
    """A committed generation; see :class:`control.mirrored.Frozen`.

    Whoever makes it holds ``chain``, and the store's lock while making it: layers that are
    squashed or merged since stay as they are for the chain.
    """

    chunk = Bytes(DEFAULT_CHUNK)

    def __init__(self, store: ReplicaStore, chain: Chain) -> None:
        volume = store.volume(chain.volume)
        history = store.journal.history(chain.volume)
        record = next(one for one in history if one.generation.uuid == chain.generation.uuid)
        self.volume = chain.volume
        self.uuid = volume.volume_uuid
        self.size = chain.size
        self.generation = as_generation(record)
        self.layers = [
            as_layer(layer)
            for layer in store.journal.layers(chain.volume)
            if layer.number <= chain.generation.number
        ]
        self.base = base_key(chain)
        self._history = [as_generation(one) for one in history]
        self._store = store
        self._chain = chain

    def follows(self, standing: StandingRecord) -> bool:
        """Not when a whole copy took the base's place since, nor on another history."""
        if standing.base != self.base:
            return False
        number = standing.committed_number
        known = next((one.uuid for one in self._history if one.number == number), "")
        return known == standing.committed_uuid or number < self._history[-1].number

    def grown(self, size: Bytes) -> BlockSet:
        """Nothing: what a volume grew by came in a layer."""
        return BlockSet()

    def known(self) -> Sequence[GenerationRecord]:
        """The newest generations that were committed here."""
        return self._history

    @contextmanager
    def standing_on(self) -> Iterator[int]:
        """The generation that the base is merged up to, which stays so."""
        with self._store.lock:
            volume = self._store.volume(self.volume)
            # On another base than this image, nothing that is here leads from anywhere.
            yield volume.base_number if base_key(volume) == self.base else LARGEST_NUMBER

    def message(self, base_uuid: str) -> replica_pb2.Generation:
        """The generation as it came, whatever it is sent on."""
        return self._chain.generation.message()

    @contextmanager
    def open(self) -> Iterator[Readable]:
        """Its image."""
        with open_image(self._store, self._chain) as image:
            yield ReplicaImage(image)

    @contextmanager
    def open_at(self, layer: int) -> Iterator[Readable | None]:
        """The image of the generation with this number, held as long as the context lasts."""
        with ExitStack() as stack:
            image: Readable | None = None
            try:
                chain = stack.enter_context(self._store.reading(self.volume, layer))
                image = ReplicaImage(stack.enter_context(open_image(self._store, chain)))
            except GenerationNotFound:
                pass
            yield image

    def base_extents(self) -> Iterator[Extent]:
        """What the base may hold other than zeroes."""
        return data_extents(base_of(self._store.pool, self._chain))

    def reader(self, layer: LayerRecord) -> StoreReader:
        """The exception store of a layer."""
        return StoreReader(self._store.object_path(layer.object_name), self.size, layer.chunk)

    def traced(self, layer: LayerRecord) -> BlockSet | None:
        """A layer of a replica has just what was sent."""
        return None


class CascadeGroup:
    """What another host's mirror commits here, as a group. See :class:`MirroredGroup`.

    :param name: a replica volume's, or the group's that its source commits it with.
    :param several: whether it is a group: its members are those that were committed last.
    """

    def __init__(
        self, name: str, store: ReplicaStore, shortage: Shortage, *, several: bool
    ) -> None:
        self.name = name
        self._store = store
        self._shortage = shortage
        self._several = several

    @property
    def volumes(self) -> tuple[CascadeVolume, ...]:
        """Who was committed last, by name."""
        if not self._several:
            return (CascadeVolume(self._store, self._shortage, self.name),)
        journal = self._store.journal
        with self._store.lock:
            members = journal.members(self.name, journal.newest_of(self.name))
        return tuple(
            CascadeVolume(self._store, self._shortage, member, self.name) for member in members
        )

    @property
    def record(self) -> GroupRecord:
        """It is frozen elsewhere."""
        return GroupRecord(self.name, implicit=not self._several)

    @property
    def problem(self) -> str:
        """Why nothing comes on."""
        with self._store.lock:
            found = [self._store.journal.volume(volume.name) for volume in self.volumes]
        if not found:
            return f"nothing of group {self.name} is committed here"
        if None in found:
            return f"the replica {self.name} is gone"
        promoted = [one.name for one in found if one is not None and one.role == ROLE_PROMOTED]
        if promoted:
            return f"{promoted[0]} was promoted: it is a source of this host now"
        return ""

    @property
    def next_number(self) -> int:
        """The newest instant's that is here; nobody can ask the source for one from here."""
        newest = next(iter(self.instants()), None)
        return newest.number if newest is not None else 1

    def size(self) -> int:
        """Bytes of all its volumes."""
        return sum(volume.size for volume in self.volumes)

    def freezing(self) -> bool:
        """It is frozen elsewhere: nothing here waits for that."""
        return False

    def instants(self) -> list[Instant]:
        """The instants of which every member's image is here, newest first.

        :raises Precondition: several hosts commit a group of this name.
        """
        with self._store.lock:
            sources = self._store.journal.identities(self.name) if self._several else []
            if len(sources) > 1:
                raise Precondition(
                    f"group {self.name} is committed here by {' and by '.join(sources)}",
                    "mirror the replicas one by one: --volume",
                )
            return common_instants([volume.images() for volume in self.volumes])

    def check(self) -> None:
        """See that a mirror of it can be made.

        :raises NotFound: nothing of the name is committed here.
        :raises Precondition: it is not to be mirrored, or not by itself.
        """
        if self._several and not self.volumes:
            raise NotFound(
                f"there is no group {self.name!r} here, and none of that name is committed here",
                "see frazil group list and frazil replica list",
            )
        if not self._several:
            self._store.volume(self.name)
            newest = self._store.journal.newest(self.name)
            if newest is not None and newest.group:
                raise Precondition(
                    f"the replica {self.name} is committed with group {newest.group}",
                    f"mirror that on: --group {newest.group}",
                )
        if self.problem:
            raise Precondition(self.problem)
        self.instants()

    def settle(self) -> None:
        """The further host has something new: layers may go."""
        self._store.settle()

    def taken_over(self, error: FrazilError, mirror: str, committed: int) -> FrazilError:
        """No head of this host's is to be kept back; the further host goes its own way."""
        return error

    def written(self) -> bool:
        """What is written comes as a commit."""
        return False

    def layers_at_most(self) -> int:
        """No freeze makes a stack higher."""
        return 0

    def changed(self) -> float:
        """What comes next is written elsewhere."""
        return 0.0

    def growth(self) -> float:
        """As :meth:`changed`."""
        return 0.0


def as_generation(record: records.CommittedRecord) -> GenerationRecord:
    """A committed generation as a source has it: the image of the layer that leads to it."""
    made = record.generation
    return GenerationRecord(
        record.volume,
        made.number,
        made.uuid,
        made.parent_uuid,
        made.frozen_at / 1e9,
        made.number,
    )


def as_layer(layer: records.LayerRecord) -> LayerRecord:
    """A replica's layer as a source has it."""
    return LayerRecord(
        layer.volume, layer.number, layer.object_name, layer.chunk, LayerState.FROZEN
    )
