"""One change of roles at a time on a host, and what is written down of one that is under way."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from control.authority.claims import PROMOTING
from control.journal import Journal
from dm_tables.errors import Precondition, Unavailable

DEMOTING = "demoting"
"""The note of a demote under way."""

WAIT_SECONDS = 10.0


class Turning:
    """Whose turn it is; the thread that has it may take it again."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._what = ""

    @contextmanager
    def alone(self, what: str) -> Iterator[None]:
        """Have the turn as long as the context lasts.

        :param what: is done, for others to be told.
        :raises Unavailable: another one has it. It is not waited for long: two hosts that switch
            roles with each other would wait for each other.
        """
        if not self._lock.acquire(timeout=WAIT_SECONDS):
            raise Unavailable(
                f"{self._what} is under way on this host", "try again when it has ended"
            )
        before, self._what = self._what, what
        try:
            yield
        finally:
            self._what = before
            self._lock.release()


def begun(journal: Journal, note: str) -> dict[str, Any]:
    """What is written down of a change that was begun and has not ended; empty: there is none."""
    text = journal.note(note)
    return dict(json.loads(text)) if text else {}


def check_not_promoting(journal: Journal, volumes: Iterable[str]) -> None:
    """:raises Precondition: one of the volumes is being promoted."""
    left = begun(journal, PROMOTING)
    if left and set(left["names"]) & set(volumes):
        raise unfinished_promote(left)


def check_not_demoting(journal: Journal, replicas: Iterable[str]) -> None:
    """:raises Precondition: one of the replicas is what a volume becomes that is being demoted."""
    left = begun(journal, DEMOTING)
    if left and set(left["names"].values()) & set(replicas):
        raise unfinished_demote(left)


def unfinished_promote(left: dict[str, Any]) -> Precondition:
    """That a promote was begun and has not ended."""
    name = left["group"] or left["names"][0]
    return Precondition(
        f"the promote of {name} was begun on this host, and has not ended",
        f"it goes on where it stopped with: frazil replica promote {name}",
    )


def unfinished_demote(left: dict[str, Any]) -> Precondition:
    """That a demote was begun and has not ended."""
    return Precondition(
        f"the demote of {left['mirrored']} was begun on this host, and has not ended",
        "it goes on where it stopped with: "
        f"frazil volume demote {left['mirrored']} --identity {left['by']}",
    )
