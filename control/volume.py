"""A source volume: its stack, its freezes, its merges (figures 2, 7 and 8)."""

from __future__ import annotations

import dataclasses
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from control import cycle
from control.blocks import BlockSet
from control.chunk_size import CYCLES, Choice, choose
from control.context import Context
from control.forecast import expected_room
from control.limiter import RateLimiter
from control.merge import merge
from control.mounts import mountpoints_of, sync_filesystem
from control.needed import needed_blocks
from control.pattern import Pattern
from control.pool.presence import check_present
from control.pool.sizing import full_room, initial_size
from control.records import GenerationRecord, LayerRecord, LayerState, VolumeRecord, VolumeState
from control.stack import StackDevices, StackLayer
from control.store.direct import DirectFile
from control.store.errors import BlankStore
from control.store.reader import StoreReader, read_header
from control.store.scrub import blank
from dm_tables.device import Device
from dm_tables.errors import FrazilError, Precondition, Unavailable
from dm_tables.status import SnapshotStatus, parse_snapshot
from dm_tables.units import Bytes
from dm_tables.window import FreezePlan, HeadPlan

LOOK_BACK = 16
"""Cycles of the history that the next layer follows from."""


class Volume:
    """A volume in use on this host.

    ``tables`` is held while device tables change, so that a merge's swap never falls into a
    freeze. Copying needs no lock: what is copied is frozen. ``watched`` names the live layer's
    device where its auxiliary volume could overflow; ``stalled``: the head's writers wait.
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
        self.stalled = False
        self.watched = ""
        self.merged_chunks = (0, 0)
        self.merging = threading.Lock()
        self._holding = threading.Lock()
        self._held: Counter[int] = Counter()

    # What the journal says.

    @property
    def record(self) -> VolumeRecord:
        """The volume as journaled."""
        record = self.context.journal.volume(self.name)
        if record is None:
            raise Precondition(f"volume {self.name} is gone")
        return record

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
    def newest(self) -> GenerationRecord | None:
        """The newest frozen instant whose image is still there."""
        bottom = self.record.bottom
        return next(
            (
                generation
                for generation in self.context.journal.generations(self.name)
                if generation.frozen_at is not None and generation.number > bottom
            ),
            None,
        )

    def image(self, generation: int) -> Device:
        """The device that shows a generation: unchanging as long as it is held or newest."""
        return self.stack.layer(generation - 1)

    def reader(self, layer: LayerRecord) -> StoreReader:
        """The exception store of a layer; the caller closes it."""
        path = self.context.pool.open(layer.object_name).path
        return StoreReader(path, self.record.size, layer.chunk)

    @contextmanager
    def hold(self, generation: int) -> Iterator[None]:
        """Keep a generation's image as long as the context lasts."""
        with self._holding:
            self._held[generation] += 1
        try:
            yield
        finally:
            with self._holding:
                self._held[generation] -= 1

    # Bringing up.

    def activate(self) -> None:
        """Make the volume's devices, and finish what a crash left half done.

        A head that is in the kernel stays as it is: the daemon adopts it.

        :raises PoolAbsent: the auxiliary volumes' pool is not there; nothing was touched.
        """
        with self.tables:
            if self.layers:
                check_present(self.context.journal, self.context.pool)
            self.drop_merged()
            booting = not self.stack.head.exists()
            if booting:
                self.context.tracing.interrupted(self.name, "its devices were made anew")
            prepared = self._prepared
            if prepared is not None and booting:
                self._settle_at_boot(prepared)
            wanted = self.record.state is not VolumeState.REMOVING
            layers = [_in_stack(r) for r in self.layers]
            self.stack.assemble(self.record.bottom, layers, head=wanted)
            if prepared is not None and not booting:
                self._settle_freeze(prepared, pause_us=0)
            self.watch_live()
            if self.record.state is VolumeState.CREATING:
                self.context.journal.set_volume_state(self.name, VolumeState.ACTIVE)
            if not wanted:
                raise Precondition(
                    f"the removal of volume {self.name} was interrupted",
                    f"finish it: frazil volume remove {self.name}",
                )

    @property
    def _prepared(self) -> LayerRecord | None:
        return next((r for r in self.layers if r.state is LayerState.PREPARED), None)

    def _settle_at_boot(self, prepared: LayerRecord) -> None:
        """A layer the kernel once activated may hold writes: its freeze counts."""
        pool = self.context.pool
        there = prepared.object_name in pool.list()
        if there and _was_activated(pool.open(prepared.object_name).path):
            self.freeze_happened(prepared, time.time(), pause_us=0)
        else:
            self._forget_prepared(prepared)

    def _settle_freeze(self, prepared: LayerRecord, pause_us: int) -> None:
        """The kernel says whether the head moved onto the prepared layer."""
        head, layer = self.stack.head, self.stack.layer(prepared.sequence)
        if layer.exists() and head.matches(self.stack.linear_over(layer)):
            self.freeze_happened(prepared, time.time(), pause_us)
            return
        self.context.dmsetup.clear(head.name)
        layer.remove()
        self._forget_prepared(prepared)

    def _forget_prepared(self, prepared: LayerRecord) -> None:
        self.context.tracing.forget(prepared)
        with self.context.journal.transaction():
            planned = self._generation(prepared.sequence)
            if planned is not None:
                self.context.journal.remove_generation(planned.uuid)
        self._delete_object(prepared)
        self.context.journal.remove_layer(self.name, prepared.sequence)

    def _generation(self, number: int) -> GenerationRecord | None:
        generations = self.context.journal.generations(self.name)
        return next((g for g in generations if g.number == number), None)

    def _delete_object(self, layer: LayerRecord) -> None:
        if layer.object_name in self.context.pool.list():
            self.context.pool.open(layer.object_name).delete()

    # Freezing.

    def sync(self) -> None:
        """Write out a mounted filesystem, with its writers running: the less is left to freeze."""
        for point in mountpoints_of(self.stack.head):
            sync_filesystem(point)

    def freeze(self) -> GenerationRecord:
        """Freeze the volume at an instant; its writes go to a new auxiliary volume from then on.

        :raises PoolFull: there is no room for the auxiliary volume; the head goes on as it was.
        :raises FreezeFailed: the window failed; the head goes on, on its old table.
        """
        with self.tables:
            if self.stalled:
                raise Unavailable(f"writers of {self.name} wait for room", "it is tried again")
            prepared = self.prepare()
            try:
                head = self.stack.head
                layer = self.push(prepared)
                self.context.dmsetup.load(head.name, self.stack.linear_over(layer))
                result = self.context.freezer.freeze(self._window(prepared.sequence - 1))
            except FrazilError:
                self._settle_freeze(prepared, pause_us=0)
                if self.top != prepared.sequence:
                    raise
                return self._generation_of(prepared)
            generation = self.freeze_happened(prepared, result.frozen_at, result.pause_us)
            self.watch_live()
            return generation

    def _window(self, top: int) -> FreezePlan:
        settings = self.context.config.freeze
        head = self.stack.head
        return FreezePlan(
            heads=(HeadPlan(head.name, str(self.stack.layer(top).path), mountpoints_of(head)),),
            deadline_seconds=settings.deadline,
            lockfs=settings.consistency == "filesystem",
        )

    def prepare(self) -> LayerRecord:
        """Journal the next layer and generation, then allocate the auxiliary volume (206, 220)."""
        journal = self.context.journal
        sequence = self.top + 1
        choice = self.next_chunk()
        prepared = LayerRecord(
            self.name, sequence, f"{self.name}.{sequence}", choice.chunk, LayerState.PREPARED
        )
        self.context.history.explain(self.uuid, sequence, str(choice))
        parent = self._generation(sequence - 1)
        planned = GenerationRecord(
            self.name, sequence, str(uuid.uuid4()), parent.uuid if parent else "", None
        )
        with journal.transaction():
            journal.save_layer(prepared)
            journal.save_generation(planned)
        try:
            self._allocate(prepared)
        except FrazilError:
            self._forget_prepared(prepared)
            raise
        return prepared

    def next_chunk(self) -> Choice:
        """The chunk size of the next layer, and why."""
        newest = self.layers[-1:] or self.context.history.cycles(self.uuid, 1)
        now = newest[0].chunk if newest else Bytes(0)
        return choose(self.record.chunk, now, self.evidence())

    def evidence(self) -> list[Pattern]:
        """How it was written in the newest traced cycles that had any writes, oldest first."""
        cycles = self.context.history.cycles(self.uuid, LOOK_BACK)
        traced = [cycle.pattern for cycle in cycles if cycle.traced and cycle.pattern.writes]
        return traced[-CYCLES:]

    def _allocate(self, layer: LayerRecord) -> None:
        pool = self.context.pool
        check_present(self.context.journal, pool)
        cycles = self.context.history.cycles(self.uuid, LOOK_BACK)
        size = initial_size(
            self.record.size,
            layer.chunk,
            pool.free(),
            self.context.config.pool,
            granularity=pool.granularity,
            expected=expected_room(cycles, layer.chunk),
        )
        self._delete_object(layer)
        created = pool.create(layer.object_name, size)
        blank(created.path, layer.chunk)

    def push(self, prepared: LayerRecord) -> Device:
        """Make the device of a prepared layer."""
        device = self.stack.push(_in_stack(prepared))
        self.context.tracing.watch(prepared, device)
        return device

    def freeze_happened(
        self, prepared: LayerRecord, frozen_at: float, pause_us: int
    ) -> GenerationRecord:
        """Write down that the head stands on ``prepared`` now.

        :return: the generation that is frozen since.
        """
        journal = self.context.journal
        frozen = dataclasses.replace(
            self._generation_of(prepared), frozen_at=frozen_at, pause_us=pause_us
        )
        with journal.transaction():
            for layer in self.layers:
                if layer.state is LayerState.LIVE:
                    journal.save_layer(dataclasses.replace(layer, state=LayerState.FROZEN))
            journal.save_layer(dataclasses.replace(prepared, state=LayerState.LIVE))
            journal.save_generation(frozen)
        return frozen

    def _generation_of(self, layer: LayerRecord) -> GenerationRecord:
        """The generation whose freeze put ``layer`` on the stack."""
        generation = self._generation(layer.sequence)
        if generation is None:
            raise Precondition(f"volume {self.name}: no generation {layer.sequence} is journaled")
        return generation

    # Merging.

    def next_merge(self) -> LayerRecord | None:
        """The layer that may be merged now."""
        mirrors = [m for m in self.context.journal.mirrors() if m.volume == self.name]
        with self._holding:
            held = [number for number, holders in self._held.items() if holders > 0]
            self._held = Counter({number: self._held[number] for number in held})
        return cycle.mergeable(self.record.bottom, self.layers, mirrors, held)

    def merge_lowest(
        self,
        layer: LayerRecord,
        limiter: RateLimiter,
        between: Callable[[], None] = lambda: None,
    ) -> None:
        """Fold the lowest auxiliary volume into the spans (figure 7D, claim 19), then drop it.

        Safe to be killed at any point and to be done again.

        :param between: called after every few MiB.
        :raises Interrupted: the limiter's stop is set; nothing is lost.
        """
        with self.merging:
            if any(there.sequence == layer.sequence for there in self.layers):
                self.copy_into_spans(layer, limiter, between)
                self._merged(layer)

    def copy_into_spans(
        self,
        layer: LayerRecord,
        limiter: RateLimiter,
        between: Callable[[], None] = lambda: None,
    ) -> None:
        """Copy a layer's chunks into the spans, durably; no layer may lie between (claim 19)."""
        total = self.frozen_chunks(layer)

        def progress(done: int, _: Bytes) -> None:
            self.merged_chunks = (done, total)
            between()

        with self.reader(layer) as store:
            merge(store, self.stack.spans, limiter=limiter, progress=progress)

    def frozen_chunks(self, layer: LayerRecord) -> int:
        """How many chunks a layer holds; reads its metadata."""
        with self.reader(layer) as store:
            return store.count()

    def _merged(self, layer: LayerRecord) -> None:
        """The spans hold the layer's every chunk on stable storage: journal it, then drop it."""
        with self.context.journal.transaction():
            self.journal_merged(layer)
        with self.tables:
            self.stack.settle(layer.sequence)
            self.drop_merged()

    def journal_merged(self, layer: LayerRecord) -> None:
        """Write down that the spans hold everything that a layer does."""
        journal = self.context.journal
        journal.save_layer(dataclasses.replace(layer, state=LayerState.MERGED))
        journal.set_bottom(self.name, layer.sequence)

    def drop_merged(self) -> None:
        """Delete auxiliary volumes that are merged; again what could not be deleted before."""
        for layer in self.context.journal.layers(self.name):
            if layer.state is not LayerState.MERGED:
                continue
            device = self.stack.layer(layer.sequence)
            if device.exists():
                self.stack.settle(layer.sequence)
            self._delete_object(layer)
            self.context.tracing.forget(layer)
            self.context.journal.remove_layer(self.name, layer.sequence)

    def remember(self, layer: LayerRecord) -> None:
        """Write down, for each mirror that lacks it, what a layer about to be merged changed."""
        journal = self.context.journal
        lacking = [
            mirror
            for mirror in journal.mirrors()
            if mirror.volume == self.name and cycle.lacks(mirror, layer)
        ]
        if not lacking:
            return
        traced = self.context.tracing.blocks_of(layer)
        with self.reader(layer) as store:
            changed = needed_blocks(store, traced)
        for mirror in lacking:
            total = BlockSet(mirror.lacking)
            total.update(changed)
            journal.change_mirror(mirror.name, lacking=total.serialise())

    # How full.

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

    # Giving back.

    def check_removable(self) -> None:
        """:raises Precondition: the head is open, or a mirror still uses the volume."""
        mirrors = [m.name for m in self.context.journal.mirrors() if m.volume == self.name]
        if mirrors:
            raise Precondition(
                f"volume {self.name} is mirrored by {', '.join(mirrors)}",
                f"frazil mirror remove {mirrors[0]}",
            )
        info = self.context.dmsetup.info(self.stack.head.name)
        if info is not None and info.open_count:
            places = ", ".join(map(str, mountpoints_of(self.stack.head)))
            raise Precondition(
                f"{self.stack.head.path} is in use" + (f" at {places}" if places else ""),
                "unmount it or stop what has it open, then try again",
            )

    def remove(self, progress: Callable[[int, int], None]) -> None:
        """Merge everything and give the spans back with exactly the head's content.

        :raises Precondition: see :meth:`check_removable`.
        """
        with self.tables:
            self.check_removable()
            self.stack.head.remove()
            self.context.journal.set_volume_state(self.name, VolumeState.REMOVING)
        layers = self.layers
        for done, layer in enumerate(layers):
            progress(done, len(layers))
            self.merge_lowest(layer, RateLimiter())
        with self.tables:
            self.stack.disassemble(self.record.bottom, [])
            self.context.journal.remove_volume(self.name)
        progress(len(layers), len(layers))

    def size_of_layer(self, sequence: int) -> Bytes:
        """The size of an auxiliary volume."""
        return Bytes(self.context.pool.open(f"{self.name}.{sequence}").size())


def _was_activated(store: Path) -> bool:
    """Whether the kernel ever made ``store`` a store: only then can it hold writes."""
    try:
        with DirectFile(store) as file:
            read_header(file)
    except BlankStore:
        return False
    return True


def _in_stack(record: LayerRecord) -> StackLayer:
    return StackLayer(record.sequence, record.object_name, record.chunk)
