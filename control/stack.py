"""A stack on device-mapper: a base and an ordered list of layers (figures 2 and 7).

Both ends are one thing. Layer device ``s`` is the resulting source volume of cycle ``s``: a
snapshot whose origin is the layer device below it and whose COW is auxiliary volume ``s``. Only
the order of sequences counts, not that they follow each other. The lowest layer device, the
bottom, is a linear over the contents spans. The head, where there is one, is a linear over
the top one and never changes its name.

Merging the lowest auxiliary volume ends in :meth:`StackDevices.settle`: its layer device
becomes the linear over the spans, and the one below it goes. So a stack never grows by merging,
no origin named in a live table changes, and no metadata is read at the swap.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

from control.pool.loops import attach_loop, detach_loop, find_loop
from control.pool.pool import Pool
from control.spans import Span, size_of
from control.store.scrub import scrub as scrub_store
from dm_tables import names
from dm_tables.device import Device
from dm_tables.dmsetup import DeviceBusy, Dmsetup
from dm_tables.table import Segment, Table
from dm_tables.targets import Linear, Snapshot
from dm_tables.units import Bytes, Sectors, bytes_to_sectors


@dataclass(frozen=True, slots=True)
class StackLayer:
    """An auxiliary volume in a stack; ``chunk`` in bytes.

    ``size`` is what it covers of the volume, which may have grown since; 0: all of it.
    """

    sequence: int
    object_name: str
    chunk: Bytes
    size: Bytes = Bytes(0)


class StackDevices:
    """The devices of one stack, made and compared by name and UUID; every step can be repeated.

    :param name: the stem of the devices' names: a volume's name.
    :param uuid: the volume's UUID.
    """

    def __init__(
        self, name: str, uuid: str, spans: tuple[Span, ...], pool: Pool, dmsetup: Dmsetup
    ) -> None:
        self.name = name
        self.uuid = UUID(uuid)
        self.spans = spans
        self.pool = pool
        self.dmsetup = dmsetup

    @property
    def length(self) -> Sectors:
        """How long the volume is now."""
        return bytes_to_sectors(size_of(self.spans))

    @property
    def head(self) -> Device:
        """What applications open."""
        return Device(self.dmsetup, names.head_name(self.name), names.head_uuid(self.uuid))

    def layer(self, sequence: int) -> Device:
        """Layer device ``sequence``."""
        return Device(
            self.dmsetup,
            names.layer_name(self.name, sequence),
            names.layer_uuid(self.uuid, sequence),
        )

    def spans_table(self) -> Table:
        """A linear over the spans; files among them are attached to loop devices."""
        segments: list[Segment] = []
        start = 0
        for span in self.spans:
            device = str(span.path) if span.path.is_block_device() else attach_loop(span.path)
            length = bytes_to_sectors(span.length)
            target = Linear(device, bytes_to_sectors(span.offset))
            segments.append(Segment(Sectors(start), length, target))
            start += length
        return Table(tuple(segments))

    def linear_over(self, device: Device, length: Sectors = Sectors(0)) -> Table:
        """A linear over another device of the stack; a length of 0: over the whole of it."""
        return Table.single(length or self.length, Linear(device.devno, Sectors(0)))

    def snapshot_table(self, layer: StackLayer, below: int) -> Table:
        """Layer device ``layer.sequence``: persistent, with overflow, so that reads go on.

        What the volume grew by since the layer was live is in the spans alone, and shown from
        there. Not from the layer device below, which is the snapshot's origin: opened for reading
        by the one target and for writing by the other, it would leave the snapshot with a device
        that the kernel has freed (upgrade_mode in dm-table.c).
        """
        covered = bytes_to_sectors(layer.size) or self.length
        target = Snapshot(
            origin=self.layer(below).devno,
            cow=self.pool.open(layer.object_name).attach(),
            chunk=bytes_to_sectors(layer.chunk),
        )
        grown = self._spans_from(covered) if covered < self.length else ()
        return Table((Segment(Sectors(0), covered, target), *grown))

    def _spans_from(self, start: Sectors) -> tuple[Segment, ...]:
        """The part of the spans' table from a sector on."""
        found = []
        for segment in self.spans_table().segments:
            skipped = max(0, start - segment.start)
            if skipped < segment.length:
                assert isinstance(segment.target, Linear)
                target = Linear(segment.target.device, Sectors(segment.target.offset + skipped))
                length = Sectors(segment.length - skipped)
                found.append(Segment(Sectors(segment.start + skipped), length, target))
        return tuple(found)

    def push(self, layer: StackLayer, below: int) -> Device:
        """Make layer device ``layer.sequence`` over ``below``; nothing moves onto it."""
        device = self.layer(layer.sequence)
        device.ensure(self.snapshot_table(layer, below))
        return device

    def is_suspended(self) -> bool:
        """Whether the head is there, and its writers wait."""
        info = self.head.info()
        return info is not None and info.suspended

    def settle(self, bottom: int) -> None:
        """Auxiliary volume ``bottom`` is merged: its layer device becomes the spans (7D).

        What was below it goes; what somebody still reads goes with the next one.

        :raises DmsetupFailed: the kernel refused; the device goes on as it was.
        """
        self.layer(bottom).ensure(self.spans_table())
        for sequence in self._below(bottom):
            with suppress(DeviceBusy):
                self.layer(sequence).remove()

    def _below(self, bottom: int) -> list[int]:
        """Layer devices that the stack does not stand on any more, highest first."""
        return sorted((one for one in self._sequences() if one < bottom), reverse=True)

    def _sequences(self) -> list[int]:
        """The layer devices of this stack that there are."""
        found = [names.parse_uuid(info.uuid) for info in self.dmsetup.list()]
        return [
            identity.number
            for identity in found
            if identity is not None
            and identity.volume == self.uuid
            and identity.role is names.Role.LAYER
            and identity.number is not None
        ]

    def assemble(
        self, bottom: int, layers: Sequence[StackLayer], *, head: bool = True, scrub: bool = True
    ) -> None:
        """Make every device that is missing, lowest first, and leave those that are right.

        A store whose layer device is not there yet is scrubbed before the kernel reads it: bytes
        behind its terminator would come back to life otherwise.
        """
        self.settle(bottom)
        below = bottom
        for layer in layers:
            if not self.layer(layer.sequence).exists():
                if scrub:
                    scrub_store(self.pool.open(layer.object_name).path)
                self.push(layer, below)
            elif layer is not layers[-1] or self.is_short(self.layer(layer.sequence)):
                # Nothing writes to a frozen one: it is brought to what the journal says.
                self.layer(layer.sequence).ensure(self.snapshot_table(layer, below))
            below = layer.sequence
        if head and not self.head.exists():
            # Behind what the live layer covers, writes would go into the spans, and be tracked
            # nowhere: the head is longer with the next freeze.
            covered = bytes_to_sectors(layers[-1].size) if layers else Sectors(0)
            self.head.ensure(self.linear_over(self.layer(below), covered))

    def is_short(self, device: Device) -> bool:
        """Whether the volume has grown, and a device of its stack has not."""
        table = device.table()
        return table is not None and sum(s.length for s in table.segments) < self.length

    def disassemble(self, bottom: int, layers: Sequence[StackLayer]) -> None:
        """Remove every device of the stack, top first; stores and spans stay as they are.

        :raises DeviceBusy: somebody reads one; what is left goes with the next attempt.
        """
        self.head.remove()
        for layer in reversed(layers):
            self.layer(layer.sequence).remove()
            if layer.object_name in self.pool.list():
                self.pool.open(layer.object_name).detach()
        for sequence in (bottom, *self._below(bottom)):
            self.layer(sequence).remove()
        for span in self.spans:
            if not span.path.is_block_device() and find_loop(span.path):
                detach_loop(span.path)
