"""The brake: writers wait before an auxiliary volume overflows, because an overflow is an error.

The kernel tells nobody that a COW device fills, so the ones that could overflow are looked at
fifty times a second, by ioctl. One with room for the whole volume needs no look, and without any
other the brake sleeps until there is one.

A head that is being frozen is left alone: the kernel takes a suspend of a suspended device for
done (``do_suspend`` of dm-ioctl.c), so of two who suspend it each would resume it under the other.
"""

from __future__ import annotations

import errno
import logging
import threading
from collections.abc import Callable, Sequence

from control.events import Events
from control.volume import Volume
from dm_tables.ioctl import Control
from dm_tables.status import Usage, parse_snapshot

log = logging.getLogger("frazil.brake")

LOOK_SECONDS = 0.02
SLEEP_SECONDS = 0.25
"""So long, at most, where nothing could overflow."""
BRAKE_AT = 0.85
"""A live layer this full makes its writers wait until it has more room."""


class Brake(threading.Thread):
    """Suspends a head whose live layer is nearly full, and tells the one who makes room.

    :param volumes: gives the volumes there are now.
    :param watching: set by whoever makes one of them ``watched``.
    :param wake: called after a head was suspended.
    """

    def __init__(
        self,
        events: Events,
        volumes: Callable[[], Sequence[Volume]],
        watching: threading.Event,
        wake: Callable[[], None],
    ) -> None:
        super().__init__(name="brake", daemon=True)
        self._events = events
        self._volumes = volumes
        self._watching = watching
        self._wake = wake
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._dm: Control | None = None
        self._told: dict[str, str] = {}

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        self._watching.set()

    def run(self) -> None:
        """Look, and look again; what fails is told once, and tried again."""
        while not self._stopped.is_set():
            self._watching.clear()
            if self._look_at_all():
                self._stopped.wait(LOOK_SECONDS)
            else:
                self._watching.wait(SLEEP_SECONDS)

    def _look_at_all(self) -> bool:
        """:return: whether there is a volume to look at."""
        any_watched = False
        for volume in self._volumes():
            try:
                if volume.watched:
                    any_watched = True
                    if not volume.stalled:
                        self._look(volume)
            except Exception as error:
                self._failed(volume, error)
        return any_watched

    def _failed(self, volume: Volume, error: Exception) -> None:
        text = f"writers may not be held back before there is no room: {error}"
        if self._told.get(volume.name) == text:
            return
        self._told[volume.name] = text
        log.error("braking volume %s", volume.name, exc_info=error)
        try:
            self._events.add("error", volume.name, "brake-failed", text)
        except Exception:
            log.exception("telling of volume %s", volume.name)

    def _look(self, volume: Volume) -> None:
        if not volume.window.acquire(blocking=False):
            return
        try:
            # What is watched changes with a freeze: it is looked at and braked in one.
            stalled = self._nearly_full(volume) and self._suspend(volume)
        finally:
            volume.window.release()
        self._told.pop(volume.name, None)
        if stalled:
            self._wake()
            self._tell(volume)

    def _nearly_full(self, volume: Volume) -> bool:
        with self._lock:
            dm = self._control()
        try:
            lines = dm.status(volume.watched)
        except OSError:
            # The layer was just merged or removed: whoever did so looks for the next one.
            return False
        # Behind the snapshot lies what the volume grew by.
        if not lines or lines[0].kind != "snapshot":
            return False
        status = parse_snapshot(lines[0].text)
        return isinstance(status, Usage) and status.fraction >= BRAKE_AT

    def stall(self, volume: Volume) -> bool:
        """Make the head's writers wait.

        :return: whether they do, until they are released; not while the head is being frozen:
            its next layer has room. Nor is there anything to wait where there is no head.
        :raises OSError: the kernel refused.
        """
        if not volume.window.acquire(blocking=False):
            return False
        try:
            before = volume.stalled
            stalled = self._suspend(volume)
        finally:
            volume.window.release()
        if stalled and not before:
            self._tell(volume)
        return stalled

    def _suspend(self, volume: Volume) -> bool:
        """For who holds the volume's ``window``. :return: whether the head is suspended."""
        name = str(volume.stack.head.name)
        with self._lock:
            dm = self._control()
            try:
                if not dm.state(name).suspended:
                    volume.stalled = False
                    dm.prepare([name], lockfs=False)
                    dm.suspend(name)
                volume.stalled = True
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                volume.stalled = False
        return volume.stalled

    def release(self, volume: Volume) -> None:
        """Let the writers go on; nothing to do if they do.

        :raises OSError: the kernel refused.
        """
        if not volume.stalled:
            return
        name = str(volume.stack.head.name)
        with volume.window, self._lock:
            dm = self._control()
            try:
                if dm.state(name).suspended:
                    dm.prepare([name], lockfs=False)
                    dm.clear(name)
                    dm.resume(name)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
            volume.stalled = False
        self._events.add("info", volume.name, "released", "writers go on")

    def _tell(self, volume: Volume) -> None:
        self._events.add("warning", volume.name, "stalled", "writers wait: room is being made")

    def _control(self) -> Control:
        if self._dm is None:
            self._dm = Control()
        return self._dm
