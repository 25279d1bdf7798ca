"""A group: volumes that are frozen at one instant (claims 5 and 29; Table 2, rows III to VI)."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

from control.context import Context
from control.fence import ask, fence
from control.mirrored import Instant, common_instants
from control.mounts import mountpoints_of, sync_filesystem
from control.pool.errors import PoolFull
from control.records import GroupRecord, LayerRecord, LayerState, MirrorRecord
from control.volume import Volume
from control.wire.errors import SplitBrain
from dm_tables.errors import FrazilError, Precondition, Unavailable
from dm_tables.status import Usage
from dm_tables.units import Bytes, bytes_to_sectors
from dm_tables.window import FreezePlan, FreezeResult, HeadPlan


class HeadStayed(Unavailable):
    """A window ended well, and yet a head is not on its new table: what froze is no instant."""


class Group:
    """The volumes of a group, in the order of their names. Its members change between cycles."""

    def __init__(self, name: str, context: Context, volumes: Sequence[Volume]) -> None:
        self.name = name
        self.context = context
        self.volumes: tuple[Volume, ...] = ()
        self.freezes = threading.Lock()
        self.set_volumes(volumes)

    def set_volumes(self, volumes: Sequence[Volume]) -> None:
        """Who belongs to it from now on; what is under way ends with those it began with."""
        self.volumes = tuple(sorted(volumes, key=lambda volume: volume.name))

    @property
    def record(self) -> GroupRecord:
        """The group as journaled."""
        record = self.context.journal.group(self.name)
        if record is None:
            raise Precondition(f"group {self.name} is gone")
        return record

    def freezing(self) -> bool:
        """Whether somebody holds ``freezes``: a freeze is being decided on or made."""
        return self.freezes.locked()

    @property
    def problem(self) -> str:
        """What is wrong with one of its volumes, or between it and the authority."""
        problem = next((volume.problem for volume in self.volumes if volume.problem), "")
        return problem or self.context.authority.problem(self.name)

    @property
    def next_number(self) -> int:
        """The lowest number that the next instant may have."""
        return max((volume.next_number for volume in self.volumes), default=1)

    def size(self) -> int:
        """Bytes of all its volumes."""
        return sum(volume.record.size for volume in self.volumes)

    def instants(self) -> list[Instant]:
        """The instants of which every member's image is there, newest first."""
        return common_instants([volume.images() for volume in self.volumes])

    def newest(self) -> Instant | None:
        """The newest of them."""
        return next(iter(self.instants()), None)

    def newest_number(self) -> int:
        """The number of the newest instant; 0 for none."""
        newest = self.newest()
        return newest.number if newest is not None else 0

    def taken_over(self, error: FrazilError, mirror: str, committed: int) -> FrazilError:
        """A replica is written elsewhere: this side's heads are kept back (invariant 4).

        :param committed: the newest generation that it has. :return: what to say of it.
        """
        record = self.context.journal.mirror(mirror)
        found = self._taken_over(record) if record is not None else {}
        if not found:
            return error
        for volume in self.volumes:
            fence(volume, found.get(volume.name) or next(iter(found.values())), record)
        if not self.written() and self.newest_number() <= committed:
            return error
        return SplitBrain(
            f"split brain: {error.what}, and here was written since generation {committed}",
            f"give one side up: frazil mirror resolve {mirror} --discard local --force here, "
            "or demote the volume at the other host",
        )

    def _taken_over(self, mirror: MirrorRecord) -> dict[str, str]:
        """By whom and when, by volume, if that is later than this side's own promotion."""
        found: dict[str, str] = {}
        for volume in self.volumes:
            try:
                found[volume.name] = ask(volume.name, mirror, self.context)
            except FrazilError:
                # It is asked again with the next attempt.
                break
        return {name: why for name, why in found.items() if why}

    def written(self) -> bool:
        """Whether anything was written since the last freeze."""
        return any(_written(volume) for volume in self.volumes)

    def changed(self) -> float:
        """Bytes that the live layers hold by now, by when they were looked at last."""
        return sum(_changed(volume) for volume in self.volumes)

    def growth(self) -> float:
        """Bytes a second by which that grows, on average."""
        return sum(self.context.rates.growth(volume.name).average for volume in self.volumes)

    def layers_at_most(self) -> int:
        """How high the highest stack is."""
        return max((len(volume.layers) for volume in self.volumes), default=0)

    def sync(self) -> None:
        """Write out mounted filesystems, with their writers running: the less is left to freeze."""
        for volume in self.volumes:
            for point in mountpoints_of(volume.stack.head):
                sync_filesystem(point)

    def freeze(self) -> Instant:
        """Freeze all members at one instant; their writes go to new auxiliary volumes from then on.

        All heads are suspended before the first one is let go, so no write that was begun after
        another one had ended is without it.

        :raises PoolFull: there is no room for the auxiliary volumes; all heads go on as they were.
        :raises Unavailable: the same, but layers are being merged, which gives room.
        :raises FreezeFailed: the window failed; all heads go on, on their old tables.
        :raises HeadStayed: so did it, and did not notice.
        :raises Precondition: a head is kept from applications; nothing was touched.
        """
        if not self.volumes:
            raise Precondition(f"group {self.name} has no volumes", "frazil group add")
        with self._tables():
            for volume in self.volumes:
                volume.settle_left()
            number, generation_uuid = self.next_number, str(uuid.uuid4())
            prepared: list[tuple[Volume, LayerRecord]] = []
            try:
                later = [volume.least_room() for volume in self.volumes[1:]]
                for place, volume in enumerate(self.volumes):
                    # What one might take beyond its need is room that another one lacks.
                    made = self._prepare(volume, number, generation_uuid, sum(later[place:]))
                    prepared.append((volume, made))
                for volume in self.volumes:
                    volume.wanted_room = Bytes(0)
                result = self._swap(prepared)
            except FrazilError:
                if not _settled(prepared):
                    raise
            else:
                with self.context.journal.transaction():
                    for volume, layer in prepared:
                        volume.freeze_happened(layer, result.frozen_at, result.pause_us)
            for volume in self.volumes:
                volume.watch_live()
            return Instant.of(self.context.journal.instant(generation_uuid))

    def _prepare(
        self, volume: Volume, number: int, generation_uuid: str, leave: int
    ) -> LayerRecord:
        # Asked before as well: by the time there was no room the merge may have ended.
        merging = volume.next_merge() is not None
        try:
            return volume.prepare(number, generation_uuid, len(self.volumes), leave=leave)
        except PoolFull as error:
            if not merging and volume.next_merge() is None:
                volume.wanted_room = Bytes(sum(one.least_room() for one in self.volumes))
                raise
            raise Unavailable(f"{error}, until layers are merged", "it is tried again") from error

    @contextmanager
    def _tables(self) -> Iterator[None]:
        with ExitStack() as stack:
            for volume in self.volumes:
                stack.enter_context(volume.tables)
                _check_not_stalled(volume)
                _check_head_there(volume)
            yield

    def _swap(self, prepared: Sequence[tuple[Volume, LayerRecord]]) -> FreezeResult:
        """Put all heads on their next tables at one instant, out of the brake's reach."""
        heads = tuple(volume.stand_by(layer) for volume, layer in prepared)
        volumes = [volume for volume, _ in prepared]
        with ExitStack() as windows:
            result = self.context.freezer.freeze(
                self._plan(heads), lambda: self._take_windows(volumes, windows)
            )
            for volume, layer in prepared:
                _check_moved(volume, layer)
            for volume, layer in prepared:
                # The brake looks at the one that is written now, also before all is journaled.
                volume.watched = str(volume.stack.layer(layer.sequence).name)
        return result

    def _take_windows(self, volumes: Sequence[Volume], windows: ExitStack) -> None:
        """:raises Unavailable: writers wait for room, or are just being made to."""
        for volume in volumes:
            if not volume.window.acquire(timeout=self.context.config.freeze.deadline):
                raise Unavailable(
                    f"the head of {volume.name} is being suspended to make room, and its disk "
                    "takes long",
                    "it is tried again; if it stays so, see dmesg",
                )
            windows.callback(volume.window.release)
            _check_not_stalled(volume)

    def _plan(self, heads: tuple[HeadPlan, ...]) -> FreezePlan:
        settings = self.context.config.freeze
        consistency = self.record.consistency or settings.consistency
        return FreezePlan(
            heads=heads,
            deadline_seconds=settings.deadline,
            lockfs=consistency == "filesystem",
        )


def _settled(prepared: Sequence[tuple[Volume, LayerRecord]]) -> bool:
    """After a window that failed, each as the kernel has it. :return: whether all heads moved.

    One that cannot be settled now keeps no other from it, and is settled with the next freeze.
    """
    moved = []
    for volume, layer in prepared:
        try:
            if volume.settle_freeze(layer):
                moved.append((volume, layer))
            volume.watch_live()
        except FrazilError as error:
            volume.context.events.add("error", volume.name, error.name, str(error))
        with suppress(FrazilError):
            _leave_to_keeper(volume)
    if moved and len(moved) == len(prepared):
        return True
    for volume, layer in moved:
        # Half an instant is none, and never becomes one when the others are settled.
        volume.forget_generation(layer)
    return False


def _leave_to_keeper(volume: Volume) -> None:
    """A head that the kernel did not let go is one that waits: who keeps room tries again."""
    if volume.window.acquire(blocking=False):
        try:
            volume.stalled = volume.stalled or volume.stack.is_suspended()
        finally:
            volume.window.release()


def _check_not_stalled(volume: Volume) -> None:
    if volume.stalled:
        raise Unavailable(f"writers of {volume.name} wait for room", "it is tried again")


def _check_head_there(volume: Volume) -> None:
    if not volume.stack.head.exists():
        raise Precondition(
            f"the head of {volume.name} is not there, so nothing of its group is frozen",
            f"frazil volume activate {volume.name}",
        )


def _check_moved(volume: Volume, layer: LayerRecord) -> None:
    head, wanted = volume.stack.head, volume.stack.layer(layer.sequence)
    if not head.matches(volume.stack.linear_over(wanted)):
        raise HeadStayed(
            f"the freeze failed: {head.name} is not on {wanted.name}, though no step of it failed",
            "something else suspends or resumes heads on this host: it is tried again",
        )


def _changed(volume: Volume) -> float:
    rates = volume.context.rates
    seen = rates.seen(volume.name)
    live = next((r for r in volume.layers if r.state is LayerState.LIVE), None)
    if seen is None or live is None or seen.sequence != live.sequence:
        return 0.0
    growth = rates.growth(volume.name).average
    return seen.used + growth * max(0.0, time.monotonic() - seen.at)


def _written(volume: Volume) -> bool:
    live = next((r for r in volume.layers if r.state is LayerState.LIVE), None)
    if live is None:
        return True
    status = volume.layer_status(live)
    return not isinstance(status, Usage) or status.exceptions(bytes_to_sectors(live.chunk)) > 0
