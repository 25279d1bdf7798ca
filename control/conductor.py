"""The conductor of a group: decides when it is frozen, and freezes it (figure 8; claim 18)."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from control.context import Context
from control.cycle import NEVER, freeze_in
from control.group import Group
from control.hooks import finish_pending, hooks_of, quiesced
from control.mirror import MirrorWorker
from control.timing import FOREVER, POLL_SECONDS
from dm_tables.errors import FrazilError

log = logging.getLogger("frazil.group")

COPY_ENDS_SECONDS = 10.0
FREEZE_ENDS_SECONDS = 60.0
"""For a freeze that is under way when the daemon ends, with the hook after it; systemd waits 90."""


class Conductor(threading.Thread):
    """One thread a group. It sleeps until a mirror is due, or has committed.

    :param workers: gives the workers of the group's mirrors.
    """

    def __init__(
        self, group: Group, context: Context, workers: Callable[[], Sequence[MirrorWorker]]
    ) -> None:
        super().__init__(name=f"group {group.name}", daemon=True)
        self.group = group
        self.problem = ""
        self._context = context
        self._workers = workers
        self._wanted = threading.Event()
        self._stopping = False
        self._attempts = 0

    def wake(self) -> None:
        """Something changed: look again."""
        self._attempts = 0
        self._wanted.set()

    @contextmanager
    def between_cycles(self, *, quiet: bool) -> Iterator[None]:
        """Nothing of the group is frozen, nor with ``quiet`` copied, as long as the context lasts.

        Not for who holds a lock that a worker takes when it has committed, as the roster's.
        """
        with self.group.freezes, ExitStack() as stack:
            for worker in self._workers() if quiet else ():
                stack.enter_context(worker.quiet())
            yield

    def stop(self) -> None:
        """End the thread. A freeze under way ends first, but what quiets it before is cut short."""
        self._stopping = True
        self._wanted.set()

    def wait_ended(self, seconds: float) -> None:
        """Wait, at most so long, until nothing freezes the group any more, whoever asked for it."""
        if self.is_alive():
            self.join(seconds)
        if not self.is_alive() and self.group.freezes.acquire(timeout=seconds):
            self.group.freezes.release()

    def _goes_on(self) -> bool:
        return not self._stopping

    def run(self) -> None:
        """Look, freeze when due, and sleep until the next look."""
        self._finish_hooks()
        while not self._stopping:
            self._wanted.clear()
            began = time.monotonic()
            try:
                wait = self._step()
                self._attempts = 0
            except FrazilError as error:
                wait = self._failed(error, began)
            except Exception as error:
                log.exception("group %s", self.group.name)
                wait = self._failed(FrazilError(f"internal error: {error!r}"), began)
            if wait > 0 and not self._stopping:
                self._wanted.wait(wait)

    def _finish_hooks(self) -> None:
        """What a daemon that was killed owes comes before the next freeze."""
        try:
            finish_pending(self._context.config.paths.hooks, self._tell, self.group.name)
        except Exception:
            log.exception("hooks of group %s", self.group.name)

    def _failed(self, error: FrazilError, began: float) -> float:
        self._attempts += 1
        settings = self._context.config.copy
        self.problem = str(error)
        for worker in self._workers():
            worker.report(error, began)
        return min(settings.retry_longest, settings.retry_first * 2.0 ** min(self._attempts, 20))

    def _step(self) -> float:
        """Freeze if it is due. :return: how many seconds to wait before the next look."""
        with self.group.freezes:
            newest = self.group.newest()
            seen = [(worker, worker.readiness(newest)) for worker in self._workers()]
            running = [(worker, view) for worker, view in seen if view is not None]
            if not running:
                return FOREVER
            for worker, view in running:
                if view.pending and view.due_in <= 0:
                    # It may have begun to wait before there was what it is to copy.
                    worker.look()
            record = self.group.record
            wait = freeze_in(record.policy, record.quorum, [view for _, view in running])
            if wait > 0:
                # Who counts changes with time, and tells nobody.
                return POLL_SECONDS if wait == NEVER else min(wait, FOREVER)
            waiting = [worker for worker, view in running if not view.pending]
            for worker in waiting:
                worker.enter("freezing")
            self.freeze()
        for worker in self._workers():
            worker.look()
        return 0.0

    def _tell(self, error: FrazilError) -> None:
        self._context.events.add("error", self.group.name, error.name, str(error))

    def freeze(self) -> None:
        """Freeze the group now, between its hooks; for who holds the group's ``freezes``.

        :raises FrazilError: of a hook before it, or of the freeze; heads go on.
        """
        # With writers running, and before any of them is quieted: the less is left for later.
        self.group.sync()
        volumes = [volume.name for volume in self.group.volumes]
        hooks, noted = hooks_of(self.group.record), self._context.config.paths.hooks
        with quiesced(hooks, self.group.name, volumes, noted, self._tell, wanted=self._goes_on):
            instant = self.group.freeze()
        self.problem = ""
        for volume in self.group.volumes:
            self._context.tracing.collect(volume.name)
        self._context.events.add(
            "info",
            self.group.name,
            "frozen",
            f"generation {instant.number} frozen in {instant.pause_us / 1000:.1f} ms",
            generation=instant.number,
            pause_us=instant.pause_us,
        )


def end_all(workers: Sequence[MirrorWorker], conductors: Sequence[Conductor] = ()) -> None:
    """Stop threads, and wait for them."""
    for conductor in conductors:
        conductor.stop()
    for worker in workers:
        worker.stop()
    for worker in workers:
        if worker.is_alive():
            worker.join(COPY_ENDS_SECONDS)
    for conductor in conductors:
        conductor.wait_ended(FREEZE_ENDS_SECONDS)
