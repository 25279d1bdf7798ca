"""Comparisons of a mirror's replicas with what is here: of the newest committed generations."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from control.blocks import BlockSet
from control.context import Context
from control.limiter import RateLimiter
from control.mirrored import MirroredGroup, MirroredVolume
from control.records import GenerationRecord, MirrorRecord
from control.units_text import human_size
from control.verify import Load, Save, Verification, verify_generation
from control.verify_position import KeptTexts, Position
from control.wire.errors import GenerationNotFound
from dm_tables.errors import Precondition, Unavailable

NEWER_SECONDS = 20.0
"""How long a newer generation is waited for, where the one to be compared is gone."""

LOOK_SECONDS = 0.2

SEPARATOR = "+"
"""Between the names of mirror and volume; no name has one."""


class MergedOver(Precondition):
    """What the replica has cannot be compared: its image is not here any more."""

    def __init__(self, volume: str, number: int) -> None:
        super().__init__(
            f"generation {number} of {volume} is merged over here", "compare after the next cycle"
        )


class MemberGone(Precondition):
    """What was to be compared is mirrored no more, or is copied anew."""

    def __init__(self, mirror: str, volume: str) -> None:
        super().__init__(
            f"mirror {mirror} has nothing of {volume} at its replica any more",
            "compare again: what is mirrored now",
        )


def key_of(mirror: str, volume: str) -> str:
    """Names a volume of a mirror."""
    return f"{mirror}{SEPARATOR}{volume}"


class Comparisons:
    """Those of one mirror."""

    def __init__(self, mirror: str, group: MirroredGroup, context: Context) -> None:
        self._mirror = mirror
        self._group = group
        self._context = context
        self._kept = KeptTexts(context.config.paths.verify)

    @property
    def record(self) -> MirrorRecord:
        """The mirror as journaled."""
        record = self._context.journal.mirror(self._mirror)
        if record is None:
            raise Precondition(f"mirror {self._mirror} is gone")
        return record

    def members(self) -> list[tuple[MirroredVolume, GenerationRecord]]:
        """What the replica has, where its image is here still.

        :raises Precondition: nothing is committed yet, or the image is merged over.
        """
        found = []
        for volume in self._group.volumes:
            standing = self._context.journal.standing(self._mirror, volume.name)
            if not standing.committed_uuid:
                continue
            images = {generation.uuid: generation for generation in volume.images()}
            if standing.committed_uuid not in images:
                raise MergedOver(volume.name, standing.committed_number)
            found.append((volume, images[standing.committed_uuid]))
        if not found:
            raise Precondition(
                f"mirror {self._mirror} has committed nothing yet", "let a cycle end first"
            )
        return found

    def compare(
        self,
        volume: MirroredVolume,
        generation: GenerationRecord,
        *,
        cancel: threading.Event,
        block_bytes: int = 0,
        limiter: RateLimiter | None = None,
        progress: Callable[[int, int], None] | None = None,
        load: Load | None = None,
        save: Save | None = None,
        seconds: float | None = None,
    ) -> Verification:
        """Compare a generation's image with the replica's, block by block (no pause).

        Keywords and errors are those of :func:`control.verify.verify_generation`.
        """
        with volume.hold(generation.layer) as taken:
            # It may have been merged over before it was held.
            if generation.uuid not in {there.uuid for there in volume.images()}:
                raise MergedOver(volume.name, generation.number)
            found = verify_generation(
                volume,
                self.record,
                self._context,
                generation,
                block_bytes=block_bytes,
                limiter=limiter,
                progress=progress,
                load=load,
                save=save,
                seconds=seconds,
                cancel=cancel,
                taken=taken,
            )
            if taken.is_set():
                raise MergedOver(volume.name, generation.number)
            return found

    def after_commit(
        self, volume: MirroredVolume, generation: GenerationRecord, cancel: threading.Event
    ) -> bool:
        """Compare what was just committed; what differs is told, and asked for if so configured.

        For who copies, so that nothing else does. :return: whether both ends are the same.
        :raises Unavailable: it was interrupted.
        """
        found = self.compare(volume, generation, cancel=cancel)
        if found.cancelled:
            raise Unavailable("the comparison was interrupted", "the next generation is compared")
        if found.blocks and self._context.config.verify.repair:
            self.lack(volume.name, found.blocks)
        self._tell(volume, generation, found)
        return not found.blocks

    def asked(
        self,
        volume: MirroredVolume,
        generation: GenerationRecord,
        *,
        block_bytes: int,
        rate_bytes: int,
        resume: bool,
        progress: Callable[[int, int], None],
        cancel: threading.Event,
    ) -> Verification:
        """Compare as somebody asked for, so that it can be gone on with.

        :raises Unavailable: it was interrupted; ``resume`` goes on there.
        """
        key = key_of(self._mirror, volume.name)
        found = self.compare(
            volume,
            generation,
            block_bytes=block_bytes,
            limiter=RateLimiter(rate_bytes, cancel),
            progress=progress,
            load=(lambda: self._kept.load(key)) if resume else None,
            save=lambda text: self._kept.save(key, text),
            cancel=cancel,
        )
        if found.cancelled:
            raise Unavailable("the comparison was interrupted", "frazil verify --resume goes on")
        # Another volume's may be interrupted still: this one need not be compared again then.
        through = Position(generation.uuid, found.size, found.blocks.serialise())
        self._kept.save(key, through.text())
        self._tell(volume, generation, found)
        return found

    def newest(
        self, volume: MirroredVolume, generation: GenerationRecord, **options: Any
    ) -> tuple[GenerationRecord, Verification]:
        """As :meth:`asked`; at a newer generation where this one goes before it is held.

        :return: at which one, and what was found.
        """
        until = time.monotonic() + NEWER_SECONDS
        while True:
            try:
                return generation, self.asked(volume, generation, **options)
            except (GenerationNotFound, MergedOver):
                newer = self._newer(volume.name, generation)
                if newer is None and time.monotonic() > until:
                    raise
                generation = newer or generation
                options["cancel"].wait(LOOK_SECONDS)

    def _newer(self, volume: str, generation: GenerationRecord) -> GenerationRecord | None:
        """What the replica has by now, if that is another one than it was.

        :raises MemberGone: it has left, or is copied anew.
        """
        try:
            found = next((made for there, made in self.members() if there.name == volume), None)
        except MergedOver:
            return None
        if found is None:
            raise MemberGone(self._mirror, volume)
        return found if found.uuid != generation.uuid else None

    def forget(self, volumes: Iterable[str]) -> None:
        """All that was asked for is compared: the next one begins anew."""
        for volume in volumes:
            self._kept.save(key_of(self._mirror, volume), "")

    def lack(self, volume: str, blocks: BlockSet) -> None:
        """The next cycle sends these blocks too. For who knows that nothing is copied now."""
        journal = self._context.journal
        with journal.transaction():
            total = BlockSet(journal.standing(self._mirror, volume).lacking)
            total.update(blocks)
            journal.change_standing(self._mirror, volume, lacking=total.serialise())

    def _tell(
        self, volume: MirroredVolume, generation: GenerationRecord, found: Verification
    ) -> None:
        if not found.blocks:
            return
        first = found.differences[0]
        self._context.events.add(
            "error",
            self._mirror,
            "differs",
            f"generation {generation.number} of {volume.name} differs at the replica in "
            f"{human_size(found.blocks.length)}, the first {first.length} bytes at "
            f"{first.address}",
        )
