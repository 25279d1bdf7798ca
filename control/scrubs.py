"""What a host has compared in the background: every volume of every mirror that runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from control.blocks import BlockSet
from control.comparing import SEPARATOR, key_of
from control.context import Context
from control.limiter import RateLimiter
from control.mirror import MirrorWorker
from control.records import MirrorState
from control.roster import Roster
from control.scrubber import Scrubber
from control.verify import Verification
from control.verify_position import KeptTexts
from dm_tables.errors import Precondition


def scrubber_of(context: Context, roster: Roster) -> Scrubber:
    """The host's scrubber, as configured."""
    kept = KeptTexts(context.config.paths.scrub)

    def tell(level: str, key: str, kind: str, message: str) -> None:
        mirror, _, volume = key.partition(SEPARATOR)
        context.events.add(level, mirror, kind, f"{volume}: {message}")

    return Scrubber(
        context.config.verify, Scrubs(roster), load=kept.load, save=kept.save, tell=tell
    )


class Scrubs:
    """The host's side of the scrubber: see :class:`control.scrubber.Scrubbed`."""

    def __init__(self, roster: Roster) -> None:
        self._roster = roster

    def scrub_keys(self) -> Sequence[str]:
        """Every volume that is mirrored and of which a replica has something."""
        return [
            key_of(worker.mirror, standing.volume)
            for worker in self._roster.workers()
            if worker.record.state is MirrorState.RUNNING
            for standing in worker.standings
            if standing.committed_uuid
        ]

    def scrub_slice(
        self,
        key: str,
        *,
        load: Callable[[], str],
        save: Callable[[str], None],
        seconds: float,
        limiter: RateLimiter,
        cancel: threading.Event,
    ) -> Verification:
        """At the newest committed generation. :raises Precondition: there is none any more."""
        worker, name = self._named(key)
        for volume, generation in worker.comparisons.members():
            if volume.name == name:
                return worker.comparisons.compare(
                    volume,
                    generation,
                    limiter=limiter,
                    load=load,
                    save=save,
                    seconds=seconds,
                    cancel=cancel,
                )
        raise Precondition(f"the replica has nothing of {name} any more")

    def scrub_repair(self, key: str, blocks: BlockSet) -> None:
        """With the mirror's next cycle."""
        worker, name = self._named(key)
        self._roster.repair(worker.mirror, name, blocks)

    def _named(self, key: str) -> tuple[MirrorWorker, str]:
        mirror, _, volume = key.partition(SEPARATOR)
        return self._roster.worker(mirror), volume
