"""A volume's stack as journal and kernel have it: nothing is changed here."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from control.context import Context
from control.pool.sizing import full_room
from control.records import GenerationRecord, LayerRecord, LayerState, VolumeRecord
from control.stack import StackDevices
from control.store.direct import DirectFile
from control.store.reader import StoreReader
from dm_tables.device import Device
from dm_tables.errors import Precondition
from dm_tables.status import SnapshotStatus, parse_snapshot
from dm_tables.units import Bytes


@dataclass(frozen=True, slots=True, eq=False)
class Hold:
    """Somebody's hold of a layer device's image; ``firm``: it is not taken away."""

    layer: int
    firm: bool
    taken: threading.Event = field(default_factory=threading.Event)


class Stacked:
    """A volume in use on this host.

    ``tables`` is held while device tables change, so that a merge's swap never falls into a
    freeze. Copying needs no lock: what is copied is frozen. ``stalled``: the head's writers wait.
    ``wanted_room``: what a freeze did not find, with nothing to merge that would give it.

    ``window`` is held by whoever suspends or resumes the head with others about: a freeze, from
    its last look at the head until what became of it is known, and the brake. ``stalled`` changes
    under it alone. It is the innermost lock: ``merging`` and ``tables`` are taken before it, a
    group's in the order of its volumes, and nothing of a volume's after it.
    """

    def __init__(self, record: VolumeRecord, context: Context) -> None:
        self.name = record.name
        self.uuid = record.uuid
        self.context = context
        self.stack = StackDevices(
            record.name, record.uuid, record.spans, context.pool, context.dmsetup
        )
        self.tables = threading.RLock()
        self.problem = ""
        self.window = threading.Lock()
        self.stalled = False
        self._watched = ""
        self.wanted_room = Bytes(0)
        self.merged_chunks = (0, 0)
        self.merging = threading.Lock()
        self._holding = threading.Lock()
        self._held: list[Hold] = []

    # What the journal says.

    @property
    def record(self) -> VolumeRecord:
        """The volume as journaled."""
        record = self.context.journal.volume(self.name)
        if record is None:
            raise Precondition(f"volume {self.name} is gone")
        return record

    @property
    def size(self) -> Bytes:
        """In bytes."""
        return self.record.size

    @property
    def layers(self) -> list[LayerRecord]:
        """The auxiliary volumes in the stack, lowest first, without merged ones."""
        records = self.context.journal.layers(self.name)
        return [record for record in records if record.state is not LayerState.MERGED]

    @property
    def top(self) -> int:
        """The sequence of the layer device that the head stands on."""
        settled = [r.sequence for r in self.layers if r.state is not LayerState.PREPARED]
        return max(settled, default=self.record.bottom)

    @property
    def next_number(self) -> int:
        """The lowest number that the next generation may have."""
        newest = next(iter(self.context.journal.generations(self.name)), None)
        return max(self.top, newest.number if newest is not None else 0) + 1

    def below(self, sequence: int) -> int:
        """The layer device that the one of ``sequence`` stands on."""
        lower = [r.sequence for r in self.layers if r.sequence < sequence]
        return max(lower, default=self.record.bottom)

    def images(self) -> list[GenerationRecord]:
        """The frozen instants whose image is there, newest first.

        One that a layer above it is being merged into is none any more.
        """
        devices = self.image_layers()
        return [
            generation
            for generation in self.context.journal.generations(self.name)
            if generation.frozen_at is not None and generation.layer in devices
        ]

    def image_layers(self) -> set[int]:
        """The layer devices that show an image, or what is written; not spans that are a mixture.

        Those a layer above them is being merged into are one.
        """
        devices = {layer.sequence for layer in self.layers}
        merging = self.context.journal.merging(self.uuid)
        if all(sequence > merging for sequence in devices):
            devices.add(self.record.bottom)
        return devices

    def image(self, generation: GenerationRecord) -> Device:
        """The device that shows a generation: unchanging as long as it is held or newest."""
        return self.stack.layer(generation.layer)

    def size_at(self, generation: GenerationRecord) -> Bytes:
        """How long the volume was when a generation was frozen, in bytes."""
        pushed = (layer for layer in self.layers if layer.sequence == generation.number)
        layer = next(pushed, None)
        return (layer.size if layer is not None else Bytes(0)) or self.record.size

    def open_image(self, generation: GenerationRecord) -> DirectFile:
        """A generation's image, to be read."""
        return DirectFile(self.image(generation))

    def reader(self, layer: LayerRecord) -> StoreReader:
        """The exception store of a layer; the caller closes it."""
        path = self.context.pool.open(layer.object_name).path
        return StoreReader(path, layer.size or self.record.size, layer.chunk)

    @contextmanager
    def hold(self, layer: int, *, firm: bool = False) -> Iterator[threading.Event]:
        """Keep the image of a layer device as long as the context lasts.

        :param firm: until then nothing is merged over it, whatever happens.
        :return: set if it was taken away all the same: what was read since is something else.
        """
        held = Hold(layer, firm)
        with self._holding:
            self._held.append(held)
        try:
            yield held.taken
        finally:
            with self._holding:
                self._held.remove(held)

    def held_layers(self) -> set[int]:
        """The layer devices whose images are held, or kept while it changes sides."""
        with self._holding:
            held = {one.layer for one in self._held if not one.taken.is_set()}
        return held | self.context.journal.kept(self.uuid)

    def check_unread(self) -> None:
        """:raises Precondition: somebody holds an image."""
        if self.held_layers():
            what = f"an image of volume {self.name} is being read"
            raise Precondition(what, "let frazil verify end, or end it")

    def check_mergeable(self, layer: LayerRecord) -> None:
        """:raises Precondition: what is in a lower layer would come on top of it (claim 19); or
        the volume changes sides.
        """
        if any(kept < layer.sequence for kept in self.context.journal.kept(self.uuid)):
            raise Precondition(
                f"the layers of {self.name} are kept as they are while it changes sides",
                "wait until its promote or demote has ended",
            )
        lowest = self.layers[0].sequence
        if layer.sequence != lowest:
            raise Precondition(
                f"layer {layer.sequence} of {self.name} stands on layer {lowest}",
                "the lowest one is merged first",
            )

    def begin_merge(self, layer: LayerRecord, *, overrule: bool = False) -> bool:
        """Write down that a layer is merged from now on, unless somebody holds what is below.

        Who holds an image, and then still finds it among :meth:`images`, has it for as long, or
        until it is told that ``overrule`` took it away; a firm hold is not overruled.
        """
        with self._holding:
            over = [one for one in self._held if one.layer < layer.sequence]
            if any(one.firm or not (overrule or one.taken.is_set()) for one in over):
                return False
            for one in over:
                one.taken.set()
            self.context.journal.note_merging(self.uuid, layer.sequence)
        return True

    # How full.

    @property
    def watched(self) -> str:
        """The live layer's device, where its auxiliary volume could overflow; else empty."""
        return self._watched

    @watched.setter
    def watched(self, device: str) -> None:
        self._watched = device
        if device:
            self.context.watching.set()

    def watch_live(self) -> None:
        """Look anew whether the live auxiliary volume has room for everything."""
        live = next((r for r in self.layers if r.state is LayerState.LIVE), None)
        if live is None:
            self.watched = ""
            return
        pool = self.context.pool
        full = full_room(self.record.size, live.chunk, granularity=pool.granularity)
        tight = pool.open(live.object_name).size() < full
        self.watched = str(self.stack.layer(live.sequence).name) if tight else ""

    def layer_status(self, layer: LayerRecord) -> SnapshotStatus:
        """How full a layer is, as the kernel has it.

        :raises DeviceMissing: the layer has no device.
        """
        lines = self.stack.layer(layer.sequence).status()
        return parse_snapshot(lines[0].text)

    def size_of_layer(self, layer: LayerRecord) -> Bytes:
        """The size of an auxiliary volume."""
        return Bytes(self.context.pool.open(layer.object_name).size())
