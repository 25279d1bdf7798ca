"""A frozen generation of one of this host's own volumes: what a copy of it needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from control.blocks import BlockSet, Extent
from control.chunk_size import DEFAULT_CHUNK
from control.mirrored import Readable
from control.records import GenerationRecord, LayerRecord, StandingRecord
from control.stacked import Stacked
from control.store.direct import DirectFile
from control.store.reader import StoreReader
from control.wire.extents import data_extents
from dm_tables.units import Bytes
from proto.frazil.v1 import replica_pb2


class FrozenVolume:
    """See :class:`control.mirrored.Frozen`. Whoever makes it holds the generation's image."""

    base = ""

    def __init__(self, volume: Stacked, generation: GenerationRecord) -> None:
        record = volume.record
        self.volume = volume.name
        self.uuid = volume.uuid
        self.size = volume.size_at(generation)
        self.chunk = record.chunk or Bytes(DEFAULT_CHUNK)
        self.generation = generation
        self.layers = [one for one in volume.layers if one.sequence <= generation.layer]
        self._of = volume

    def follows(self, standing: StandingRecord) -> bool:
        """What is merged before its time is remembered, so that nothing is missing."""
        return True

    def grown(self, size: Bytes) -> BlockSet:
        """What lies behind so many bytes by now; see :meth:`control.volume.Volume.grow`."""
        blocks = BlockSet()
        blocks.add(size, self._of.record.size - size)
        return blocks

    def known(self) -> Sequence[GenerationRecord]:
        """The volume's generations."""
        return self._of.context.journal.generations(self.volume)

    @contextmanager
    def standing_on(self) -> Iterator[int]:
        """The lowest layer device that shows an image, and all that came since is above it.

        A merge begins before that, or sees the standing that is journaled in this context.
        """
        with self._of.context.journal.transaction():
            yield min(self._of.image_layers())

    def message(self, base_uuid: str) -> replica_pb2.Generation:
        """The generation; what it is sent on is its parent."""
        return generation_message(self.generation, base_uuid)

    def open(self) -> DirectFile:
        """Its image."""
        return self._of.open_image(self.generation)

    @contextmanager
    def open_at(self, layer: int) -> Iterator[Readable | None]:
        """The image of a layer device below, held as long as the context lasts."""
        with self._of.hold(layer, firm=True):
            if layer not in self._of.image_layers():
                yield None
                return
            with DirectFile(self._of.stack.layer(layer)) as image:
                yield image

    def base_extents(self) -> Iterator[Extent]:
        """What the spans may hold other than zeroes, up to the image's end."""
        for extent in data_extents(self._of.stack.spans):
            if extent.address < self.size:
                length = min(extent.length, self.size - extent.address)
                yield Extent(extent.address, Bytes(length))

    def reader(self, layer: LayerRecord) -> StoreReader:
        """The exception store of a layer."""
        return self._of.reader(layer)

    def traced(self, layer: LayerRecord) -> BlockSet | None:
        """What was written to a layer, where it was traced."""
        return self._of.context.tracing.blocks_of(layer)


def generation_message(record: GenerationRecord, base_uuid: str = "") -> replica_pb2.Generation:
    """A generation as it travels; ``base_uuid`` is what it was sent on, its parent there."""
    message = replica_pb2.Generation(
        number=record.number, uuid=record.uuid, parent_uuid=base_uuid or record.parent_uuid
    )
    if record.frozen_at is not None:
        message.frozen_at.FromNanoseconds(int(record.frozen_at * 1e9))
    return message
