"""The brake: writers wait before an auxiliary volume overflows, because an overflow is an error.

The kernel tells nobody that a COW device fills, so the ones that could overflow are looked at
fifty times a second, by ioctl. One with room for the whole volume needs no look.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from control.events import Events
from control.volume import Volume
from dm_tables.ioctl import Control
from dm_tables.status import Usage, parse_snapshot

log = logging.getLogger("frazil.brake")

LOOK_SECONDS = 0.02
BRAKE_AT = 0.85
"""A live layer this full makes its writers wait until it has more room."""


class Brake(threading.Thread):
    """Suspends a head whose live layer is nearly full, and tells the one who makes room.

    :param volumes: gives the volumes there are now.
    :param wake: called after a head was suspended.
    """

    def __init__(
        self, events: Events, volumes: Callable[[], Sequence[Volume]], wake: Callable[[], None]
    ) -> None:
        super().__init__(name="brake", daemon=True)
        self._events = events
        self._volumes = volumes
        self._wake = wake
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._dm: Control | None = None

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()

    def run(self) -> None:
        """Look, and look again."""
        while not self._stopped.wait(LOOK_SECONDS):
            for volume in self._volumes():
                if volume.watched and not volume.stalled:
                    self._look(volume)

    def _look(self, volume: Volume) -> None:
        try:
            (line,) = self._control().status(volume.watched)
        except (OSError, ValueError):
            # The layer was just merged or removed: whoever did so looks for the next one.
            return
        status = parse_snapshot(line.text) if line.kind == "snapshot" else None
        if isinstance(status, Usage) and status.fraction >= BRAKE_AT:
            self.stall(volume)
            self._wake()

    def stall(self, volume: Volume) -> None:
        """Make the head's writers wait; nothing to do if they do.

        A head that is being frozen is left alone: its next layer has room.
        """
        name = str(volume.stack.head.name)
        with self._lock:
            if volume.stalled:
                return
            dm = self._control()
            if dm.state(name).suspended:
                return
            dm.prepare([name], lockfs=False)
            dm.suspend(name)
            volume.stalled = True
        self._events.add("warning", volume.name, "stalled", "writers wait: room is being made")

    def release(self, volume: Volume) -> None:
        """Let the writers go on."""
        name = str(volume.stack.head.name)
        with self._lock:
            if not volume.stalled:
                return
            dm = self._control()
            if dm.state(name).suspended:
                dm.prepare([name], lockfs=False)
                dm.clear(name)
                dm.resume(name)
            volume.stalled = False
        self._events.add("info", volume.name, "released", "writers go on")

    def _control(self) -> Control:
        if self._dm is None:
            self._dm = Control()
        return self._dm
