"""Comparing each replica with its source now and then, in the background, slice by slice.

A slice holds a generation at both ends, and layers wait for that to be merged; so it is short,
and the next one takes the generation that is newest then. A pass through all of a volume proves
of every block that both ends had the same at some generation since it began (or names it). What
was written to the block later was sent on top of that, with checksums of its own; what rots later
the next pass finds.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from control.blocks import BlockSet
from control.limiter import RateLimiter
from control.scrub_plan import Scrub, due_in
from control.units_text import Rate, Seconds, human_duration, human_size
from control.verify import Verification, repair_blocks
from dm_tables.errors import FrazilError, NotFound, Precondition, Unavailable

log = logging.getLogger("frazil.scrubber")

LOOK_SECONDS = 60.0
BETWEEN_SECONDS = 1.0
"""Between two slices, for whatever waits for a generation to be let go."""

RETRY_SECONDS = 300.0


class ScrubSettings(Protocol):
    """What is configured as ``[verify]``."""

    @property
    def every(self) -> Seconds | None:
        """From the end of one pass to the start of the next; None: never."""

    @property
    def rate(self) -> Rate:
        """Bytes a second; 0: no limit."""

    @property
    def slice(self) -> Seconds:
        """How long a generation is held at a time."""

    @property
    def repair(self) -> bool:
        """Whether what differs is sent with the next cycle."""


class Scrubbed(Protocol):
    """The host's side of it: what there is to compare, and how. Keys are names of files too."""

    def scrub_keys(self) -> Sequence[str]:
        """Every replica volume of a running mirror that has a committed generation."""

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
        """Compare from where ``load`` says, at the newest committed generation: see
        :func:`control.verify.verify_generation`. The image is held meanwhile."""

    def scrub_repair(self, key: str, blocks: BlockSet) -> None:
        """Let the next cycle send these blocks."""


class Scrubber(threading.Thread):
    """The thread that compares.

    :param load: gives what ``save`` was given last under a key; empty if nothing was.
    :param tell: an event: level, key, kind, sentence.
    """

    def __init__(
        self,
        settings: ScrubSettings,
        host: Scrubbed,
        *,
        load: Callable[[str], str],
        save: Callable[[str, str], None],
        tell: Callable[[str, str, str, str], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(name="scrubber", daemon=True)
        self._settings = settings
        self._host = host
        self._load = load
        self._save = save
        self._tell = tell
        self._clock = clock
        self._cancel = threading.Event()
        self._limiter = RateLimiter(settings.rate, self._cancel)
        self._not_before: dict[str, float] = {}
        self._problems: dict[str, str] = {}

    def run(self) -> None:
        """Slice by slice until stopped."""
        while not self._cancel.is_set():
            try:
                wait = self.step()
            except Exception:
                log.exception("scrubbing")
                wait = LOOK_SECONDS
            self._cancel.wait(min(wait, LOOK_SECONDS))

    def stop(self) -> None:
        """End the thread; a running slice ends where it is, and is gone on with later."""
        self._cancel.set()

    def step(self) -> float:
        """One slice of each that is due. :return: seconds until the next is."""
        every = self._settings.every
        if every is None:
            return LOOK_SECONDS
        wait = float(every)
        for key in self._host.scrub_keys():
            if self._cancel.is_set():
                break
            now = self._clock()
            scrub = Scrub.parse(self._load(key), now)
            due = max(due_in(scrub, now, every), self._not_before.get(key, 0.0) - now)
            if due <= 0:
                due = self._slice(key, scrub.begun(now), every)
            elif scrub.since == now:
                self._save(key, scrub.text())
            wait = min(wait, due)
        return wait

    def _slice(self, key: str, scrub: Scrub, every: float) -> float:
        """:return: seconds until this one's next."""

        def keep(position: str) -> None:
            nonlocal scrub
            scrub = dataclasses.replace(scrub, position=position)
            self._save(key, scrub.text())

        try:
            found = self._host.scrub_slice(
                key,
                load=lambda: scrub.position,
                save=keep,
                seconds=self._settings.slice,
                limiter=self._limiter,
                cancel=self._cancel,
            )
        except FrazilError as error:
            return self._failed(key, error)
        self._not_before.pop(key, None)
        self._problems.pop(key, None)
        told = BlockSet(scrub.told)
        told.update(found.blocks)
        if found.blocks:
            self._differs(key, found, new=told != BlockSet(scrub.told))
        scrub = dataclasses.replace(scrub, told=told.serialise())
        if not found.finished:
            self._save(key, scrub.text())
            return BETWEEN_SECONDS
        self._through(key, scrub, found)
        return every

    def _through(self, key: str, scrub: Scrub, found: Verification) -> None:
        now = self._clock()
        self._save(key, scrub.ended(now).text())
        left = found.blocks.length
        outcome = f"{human_size(left)} differ" if left else "both ends are the same"
        took = human_duration(max(0.0, now - scrub.began))
        self._tell(
            "warning" if left else "info",
            key,
            "compared",
            f"{human_size(found.size)} were compared in {took}: {outcome}",
        )

    def _differs(self, key: str, found: Verification, *, new: bool) -> None:
        """Told when some of it was not told before; asked for until it is repaired."""
        repair = self._settings.repair
        if new:
            size, first = human_size(found.blocks.length), found.differences[0].address
            again = "; the next cycle sends it again" if repair else ""
            self._tell(
                "error",
                key,
                "differs",
                f"{size} differ at the replica, the first at byte {first}{again}",
            )
        if repair:
            self._host.scrub_repair(key, repair_blocks(found))

    def _failed(self, key: str, error: FrazilError) -> float:
        """Told once; tried again later.

        That a replica is away is told elsewhere; that it has merged past a generation meanwhile
        is no news.
        """
        text = str(error)
        known = isinstance(error, Unavailable | NotFound | Precondition)
        if self._problems.get(key) != text and not known:
            self._tell("warning", key, error.name, f"comparing it failed: {text}")
        self._problems[key] = text
        self._not_before[key] = self._clock() + RETRY_SECONDS
        return RETRY_SECONDS
