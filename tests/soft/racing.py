"""A copy that runs in a thread of its own while something else is done to its volumes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from unittest import mock

from control.mirror import MirrorWorker
from tests.soft.world import World


def finished(thread: threading.Thread) -> bool:
    thread.join(60)
    return not thread.is_alive()


@contextmanager
def committing(world: World, replica: str) -> Iterator[Callable[[], None]]:
    """A copy of the instant there is, stopped in its commit; ends it when called."""
    reached, goes_on = threading.Event(), threading.Event()
    receiver = world.replicas[replica].replica.receiver
    commit = receiver.commit

    def waits(group: str, members: Mapping[str, str]) -> object:
        reached.set()
        goes_on.wait(20)
        return commit(group, members)

    with mock.patch.object(receiver, "commit", waits):
        copying = threading.Thread(target=world.copy, args=[f"to-{replica}"])
        copying.start()
        assert reached.wait(60)
        try:
            yield goes_on.set
        finally:
            goes_on.set()
            assert finished(copying)


def beside(worker: MirrorWorker, change: Callable[[], object]) -> threading.Thread:
    """Begin a change, and wait until it is over or has asked for quiet."""
    changing = threading.Thread(target=change)
    changing.start()
    while changing.is_alive() and not worker._cancel.is_set():
        changing.join(0.01)
    return changing
