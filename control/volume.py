"""A source volume: its stack, its freezes, its merges (figures 2, 7 and 8)."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager

from control import cycle, fence, settling
from control.blocks import BlockSet
from control.chunk_size import CYCLES, Choice, choose
from control.context import Context
from control.forecast import expected_room
from control.frozen import FrozenVolume
from control.limiter import RateLimiter
from control.merge import merge
from control.mounts import mountpoints_of
from control.needed import needed_blocks
from control.pattern import Pattern
from control.pool.presence import check_present
from control.pool.sizing import initial_size, least_size
from control.records import GenerationRecord, LayerRecord, LayerState, VolumeState
from control.spans import Span, first_of, size_of
from control.stack import StackLayer
from control.stacked import Stacked
from control.store.scrub import blank
from dm_tables.device import Device
from dm_tables.errors import FrazilError, Precondition
from dm_tables.units import Bytes
from dm_tables.window import HeadPlan

LOOK_BACK = 16
"""Cycles of the history that the next layer follows from."""


class Volume(Stacked):
    """A volume in use on this host: what changes its stack."""

    # Bringing up.

    def activate(self, *, force: bool = False, certain: bool = False) -> None:
        """Make the volume's devices, and finish what a crash left half done.

        A head that is in the kernel stays as it is: the daemon adopts it.

        :param force: this time without asking who may have taken it over.
        :param certain: the head waits for their answer, as :func:`fence.check` has it.
        :raises PoolAbsent: the auxiliary volumes' pool is not there; nothing was touched.
        """
        with self.tables:
            if self.layers:
                check_present(self.context.journal, self.context.pool)
            self.drop_merged()
            booting = not self.stack.head.exists()
            if booting:
                self.context.tracing.interrupted(self.name, "its devices were made anew")
            # First: it may have been journaled, and not even allocated.
            self.settle_left()
            removing = self.record.state is VolumeState.REMOVING
            refused = None if removing or force else fence.refusal(self, certain=certain)
            wanted = not removing and refused is None
            self._assemble(head=wanted)
            if booting and wanted:
                self.stack.head.announce()
            self.drop_squashed()
            self.drop_unfinished()
            self.watch_live()
            if self.record.state is VolumeState.CREATING:
                self.context.journal.set_volume_state(self.name, VolumeState.ACTIVE)
            if refused is not None:
                raise refused
            if removing:
                raise Precondition(
                    f"the removal of volume {self.name} was interrupted",
                    f"finish it: frazil volume remove {self.name}",
                )

    def _assemble(self, *, head: bool) -> None:
        """Make the devices that are missing; a live layer that is new is traced from the first.

        What a promote left has a live layer without a trace, which no head ever stood on.
        """
        records, bottom = self.layers, self.record.bottom
        layers = [in_stack(record) for record in records]
        live = next((r for r in records if r.state is LayerState.LIVE), None)
        if live is not None and self.context.journal.trace(self.name, live.sequence) is None:
            self.stack.assemble(bottom, layers, head=False)
            if not self.stack.head.exists():
                self.context.tracing.watch(live, self.stack.layer(live.sequence))
        self.stack.assemble(bottom, layers, head=head)

    def settle_left(self) -> None:
        """End a freeze that broke off, and was not settled at once.

        Without a head to ask, as at boot, the stores say what became of it.
        """
        prepared = next((r for r in self.layers if r.state is LayerState.PREPARED), None)
        if prepared is None:
            return
        if self.stack.head.exists():
            self.settle_freeze(prepared)
        elif settling.has_happened(self, prepared):
            self.freeze_happened(prepared, time.time(), pause_us=0)
        else:
            self._forget_prepared(prepared)

    def settle_freeze(self, prepared: LayerRecord) -> bool:
        """After a freeze that broke off: the kernel says whether the head moved.

        :return: whether it did; else what was prepared is gone.
        """
        head, layer = self.stack.head, self.stack.layer(prepared.sequence)
        if layer.exists() and head.matches(self.stack.linear_over(layer)):
            self.freeze_happened(prepared, time.time(), pause_us=0)
            return True
        self.context.dmsetup.clear(head.name)
        self._forget_prepared(prepared)
        return False

    def _forget_prepared(self, prepared: LayerRecord) -> None:
        self.stack.layer(prepared.sequence).remove()
        self.context.tracing.forget(prepared)
        self._delete_object(prepared)
        with self.context.journal.transaction():
            self.forget_generation(prepared)
            self.context.journal.remove_layer(self.name, prepared.sequence)

    def forget_generation(self, pushed: LayerRecord) -> None:
        """What was frozen when a layer was pushed, or was to be, is no generation."""
        planned = self._generation(pushed.sequence)
        if planned is not None:
            self.context.journal.remove_generation(self.name, planned.uuid)

    def _generation(self, number: int) -> GenerationRecord | None:
        generations = self.context.journal.generations(self.name)
        return next((g for g in generations if g.number == number), None)

    def _delete_object(self, layer: LayerRecord) -> None:
        if layer.object_name in self.context.pool.list():
            self.context.pool.open(layer.object_name).delete()

    # Freezing.

    def prepare(
        self, number: int, generation_uuid: str, members: int = 1, *, leave: int = 0
    ) -> LayerRecord:
        """Journal the next layer and generation, then allocate the auxiliary volume (206, 220).

        :param number: the generation's, and the layer's sequence; see :attr:`next_number`.
        :param members: how many volumes are frozen in this instant.
        :param leave: bytes that others of them need yet.
        :raises PoolFull: there is no room for it; nothing is left of it.
        """
        journal = self.context.journal
        choice = self.next_chunk()
        prepared = LayerRecord(
            self.name,
            number,
            f"{self.name}.{number}",
            choice.chunk,
            LayerState.PREPARED,
            self.record.size,
        )
        self.context.history.explain(self.uuid, number, str(choice))
        parent = next(iter(journal.generations(self.name)), None)
        planned = GenerationRecord(
            self.name,
            number,
            generation_uuid,
            parent.uuid if parent else "",
            None,
            self.top,
            members,
        )
        with journal.transaction():
            journal.save_layer(prepared)
            journal.save_generation(planned)
        try:
            self.allocate(prepared, leave)
        except FrazilError:
            self._forget_prepared(prepared)
            raise
        return prepared

    def stand_by(self, prepared: LayerRecord) -> HeadPlan:
        """Make a prepared layer's device, and load the head's table over it: all but the swap."""
        head = self.stack.head
        layer = self.push(prepared)
        self.context.dmsetup.load(head.name, self.stack.linear_over(layer))
        below = self.stack.layer(self.below(prepared.sequence))
        return HeadPlan(head.name, str(below.path), mountpoints_of(head))

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

    def allocate(self, layer: LayerRecord, leave: int = 0) -> None:
        """Make a layer's auxiliary volume, blank, in the place of what a crash may have left."""
        pool = self.context.pool
        check_present(self.context.journal, pool)
        free = Bytes(pool.free() - leave)
        size = room_of_layer(self.context, self.uuid, self.record.size, layer.chunk, free)
        self._delete_object(layer)
        created = pool.create(layer.object_name, size)
        blank(created.path, layer.chunk)

    def least_room(self, chunk: Bytes = Bytes(0)) -> Bytes:
        """What the next layer's auxiliary volume can do with.

        :param chunk: its chunk size; 0: as it is going to be, which takes a look at the history.
        """
        chunk = chunk or self.next_chunk().chunk
        policy, granularity = self.context.config.pool, self.context.pool.granularity
        return least_size(self.size, chunk, policy, granularity=granularity)

    def push(self, prepared: LayerRecord) -> Device:
        """Make the device of a prepared layer."""
        device = self.stack.push(in_stack(prepared), self.below(prepared.sequence))
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
            self.generation_of(prepared), frozen_at=frozen_at, pause_us=pause_us
        )
        with journal.transaction():
            for layer in self.layers:
                if layer.state is LayerState.LIVE:
                    journal.save_layer(dataclasses.replace(layer, state=LayerState.FROZEN))
            journal.save_layer(dataclasses.replace(prepared, state=LayerState.LIVE))
            journal.save_generation(frozen)
        return frozen

    def generation_of(self, layer: LayerRecord) -> GenerationRecord:
        """The generation whose freeze put ``layer`` on the stack."""
        generation = self._generation(layer.sequence)
        if generation is None:
            raise Precondition(f"volume {self.name}: no generation {layer.sequence} is journaled")
        return generation

    @contextmanager
    def frozen(self, generation: GenerationRecord) -> Iterator[FrozenVolume]:
        """A generation for a copy, its image held as long as the context lasts.

        :raises Precondition: it has none any more.
        """
        with self.hold(generation.layer, firm=True):
            if generation.uuid not in {there.uuid for there in self.images()}:
                what = f"generation {generation.number} of {self.name} is merged over here"
                raise Precondition(what, "a newer one is copied")
            yield FrozenVolume(self, generation)

    # Merging.

    def next_merge(self, spare: Collection[str] = ()) -> LayerRecord | None:
        """The layer that may be merged now.

        :param spare: mirrors for which nothing is kept.
        """
        held = self.held_layers()
        standings = self.context.journal.standings_of(self.name)
        kept = [standing for standing in standings if standing.mirror not in spare]
        return cycle.mergeable(self.layers, kept, held)

    def merge_lowest(
        self,
        layer: LayerRecord,
        limiter: RateLimiter,
        between: Callable[[], None] = lambda: None,
        *,
        overrule: bool = False,
    ) -> bool:
        """Fold the lowest auxiliary volume into the spans (figure 7D, claim 19), then drop it.

        Safe to be killed at any point and to be done again.

        :param between: called after every few MiB.
        :param overrule: whoever holds an image below is told that it is taken away.
        :return: False if somebody holds one; else it is merged, by now or already before.
        :raises Interrupted: the limiter's stop is set; nothing is lost.
        :raises Precondition: the volume changes sides, or a layer is below; nothing was changed.
        """
        with self.merging:
            if layer.sequence not in {one.sequence for one in self.layers}:
                return True
            self.check_mergeable(layer)
            if not self.begin_merge(layer, overrule=overrule):
                return False
            self.remember(layer)
            self.copy_into_spans(layer, limiter, between)
            self._merged(layer)
            return True

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
            spans = first_of(self.stack.spans, store.origin_bytes)
            merge(store, spans, limiter=limiter, progress=progress)

    def frozen_chunks(self, layer: LayerRecord) -> int:
        """How many chunks a layer holds; reads its metadata."""
        with self.reader(layer) as store:
            return store.count()

    def _merged(self, layer: LayerRecord) -> None:
        """The spans hold the layer's every chunk on stable storage: journal it, then drop it."""
        with self.context.journal.transaction():
            self.journal_merged(layer)
        with self.tables:
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
            if self.stack.layer(layer.sequence).exists():
                self.stack.settle(layer.sequence)
            self._delete_object(layer)
            self.context.tracing.forget(layer)
            self.context.journal.remove_layer(self.name, layer.sequence)

    @property
    def squashed_note(self) -> str:
        """Where the journal notes which objects a squash left."""
        return f"squashed {self.uuid}"

    def drop_squashed(self) -> None:
        """Delete the auxiliary volumes that were squashed into another one."""
        journal, pool = self.context.journal, self.context.pool
        note = journal.note(self.squashed_note)
        if note:
            for name in json.loads(note):
                pool.remove(name)
            journal.set_note(self.squashed_note, "")

    @property
    def squashing_note(self) -> str:
        """Where the journal notes which object is being made of two."""
        return f"squashing {self.uuid}"

    def drop_unfinished(self) -> None:
        """Delete what a squash that broke off had made."""
        journal, pool = self.context.journal, self.context.pool
        name = journal.note(self.squashing_note)
        if name:
            pool.remove(name)
            journal.set_note(self.squashing_note, "")

    def remember(self, layer: LayerRecord) -> None:
        """Write down, for each mirror that lacks it, what a layer that is being merged changed.

        Once its merge has begun: a mirror that comes later does not build on what is below it.
        """
        journal = self.context.journal
        standings = journal.standings_of(self.name)
        lacking = [standing for standing in standings if cycle.lacks(standing, layer)]
        if not lacking:
            return
        traced = self.context.tracing.blocks_of(layer)
        with self.reader(layer) as store:
            journal.add_lacking(lacking, needed_blocks(store, traced))

    # Growing.

    @property
    def growing(self) -> bool:
        """Whether the head is shorter than the volume: it follows with the next freeze."""
        return self.stack.is_short(self.stack.head)

    def grow(self, spans: tuple[Span, ...]) -> None:
        """Take more spans, or longer ones; the head follows with the next freeze. Can be repeated.

        What is new lies below every layer, and no layer has any of it: every replica lacks it.
        Each layer device is swapped for one that shows it too, lowest first, also the live one
        under its writers.
        """
        journal, old = self.context.journal, self.record.size
        size, new = size_of(spans), BlockSet()
        new.add(old, size - old)
        with self.tables:
            with journal.transaction():
                standings = journal.standings_of(self.name)
                journal.add_lacking([one for one in standings if one.committed_uuid], new)
                journal.set_spans(self.name, spans, size)
            self.stack.spans = spans
            self._assemble(head=False)

    # Giving back.

    def check_removable(self) -> None:
        """:raises Precondition: the head is open, or a mirror still uses the volume."""
        journal = self.context.journal
        group = journal.group_of(self.name)
        mirrors = [mirror.name for mirror in journal.mirrors_of(group)]
        if mirrors:
            raise Precondition(
                f"volume {self.name} is mirrored by {', '.join(mirrors)}",
                f"frazil mirror remove {mirrors[0]}"
                if group == self.name
                else f"frazil group leave {group} {self.name}",
            )
        self.check_unread()
        self.check_idle()

    def check_idle(self) -> None:
        """:raises Precondition: the head is open."""
        info = self.context.dmsetup.info(self.stack.head.name)
        if info is not None and info.open_count:
            places = ", ".join(map(str, mountpoints_of(self.stack.head)))
            raise Precondition(
                f"{self.stack.head.link} is in use" + (f" at {places}" if places else ""),
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
            while not self.merge_lowest(layer, RateLimiter(), overrule=True):
                self.check_unread()
        with self.tables:
            self.stack.disassemble(self.record.bottom, [])
            self.context.journal.remove_volume(self.name)
        progress(len(layers), len(layers))

    def take_down(self) -> None:
        """Remove every device; stores and spans stay as they are."""
        layers = [in_stack(record) for record in self.layers]
        self.stack.disassemble(self.record.bottom, layers)

    def delete_layers(self, layers: Sequence[LayerRecord]) -> None:
        """Give the room of layers back that no stack has any more."""
        for layer in layers:
            self._delete_object(layer)


def room_of_layer(context: Context, uuid: str, size: Bytes, chunk: Bytes, free: Bytes) -> Bytes:
    """The size of the next auxiliary volume of a volume of ``size`` bytes, in bytes.

    :param free: in the pool. :raises PoolFull: it is not enough.
    """
    cycles = context.history.cycles(uuid, LOOK_BACK)
    return initial_size(
        size,
        chunk,
        free,
        context.config.pool,
        granularity=context.pool.granularity,
        expected=expected_room(cycles, chunk),
    )


def in_stack(record: LayerRecord) -> StackLayer:
    """A layer as the stack takes it."""
    return StackLayer(record.sequence, record.object_name, record.chunk, record.size)
