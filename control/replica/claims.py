"""Who may write a replica volume now: one call at a time, and the newest wins.

A source whose connection broke comes back while the replica still waits on the old one. So a
new call tells the old one to end, and waits; nobody stays busy for ever.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from control.wire.errors import ReplicaBusy, Superseded

WAIT_SECONDS = 20.0


class Claim:
    """The right to write one volume, until it is taken over."""

    def __init__(self, volume: str, interrupt: Callable[[], object]) -> None:
        """:param interrupt: wakes the holder where it waits."""
        self._volume = volume
        self._interrupt = interrupt
        self._lost = threading.Event()

    def check(self) -> None:
        """:raises Superseded: a newer call wants the volume."""
        if self._lost.is_set():
            raise Superseded(f"a newer call took over {self._volume}")

    def take_away(self) -> None:
        """Tell the holder to end."""
        self._lost.set()
        self._interrupt()


class Claims:
    """The claims on all volumes."""

    def __init__(self, wait_seconds: float = WAIT_SECONDS) -> None:
        self._wait_seconds = wait_seconds
        self._free = threading.Condition()
        self._claims: dict[str, Claim] = {}

    @contextmanager
    def claim(self, volume: str, interrupt: Callable[[], object]) -> Iterator[Claim]:
        """Take ``volume`` over, and have it until the context is left.

        :param interrupt: called from another thread when a newer call wants the volume.
        :raises ReplicaBusy: the holder did not end in time.
        """
        mine = Claim(volume, interrupt)
        with self._free:
            self._take_over(volume)
            self._claims[volume] = mine
        try:
            yield mine
        finally:
            self._let_go(volume)

    @contextmanager
    def unwritten(self, volume: str) -> Iterator[None]:
        """Have a volume that no call writes; none begins until the context is left.

        :raises ReplicaBusy: a call writes it; it goes on.
        """
        with self._free:
            if volume in self._claims:
                raise ReplicaBusy(
                    f"a generation of {volume} is coming in",
                    "try again when it has come, or end the mirror first",
                )
            self._claims[volume] = Claim(volume, lambda: None)
        try:
            yield
        finally:
            self._let_go(volume)

    def _let_go(self, volume: str) -> None:
        with self._free:
            del self._claims[volume]
            self._free.notify_all()

    def _take_over(self, volume: str) -> None:
        deadline = time.monotonic() + self._wait_seconds
        while volume in self._claims:
            self._claims[volume].take_away()
            left = deadline - time.monotonic()
            if left <= 0 or not self._free.wait(left):
                raise ReplicaBusy(
                    f"{volume} is still being written by an older call", "it is tried again"
                )

    def end_all(self, seconds: float) -> bool:
        """Tell every holder to end, and wait. :return: whether all did."""
        deadline = time.monotonic() + seconds
        with self._free:
            while self._claims:
                for claim in self._claims.values():
                    claim.take_away()
                left = deadline - time.monotonic()
                if left <= 0 or not self._free.wait(left):
                    return False
        return True

    def is_claimed(self, volume: str) -> bool:
        """Whether a call writes the volume now."""
        with self._free:
            return volume in self._claims
