"""The guard: a process of its own that frees the heads if a window outlives its deadline.

It is armed before the first suspend and disarmed after the last resume. At the deadline, or when
the freezer dies while it is armed, every head that is still suspended runs again: on its old
table, the new one cleared first, unless the token says that all was flushed (see
:mod:`dm_tables.window`). A swap that no flush went before never happens.

The freezer's process forks it off when it starts: see :mod:`dm_tables.freezing`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from dm_tables import messages
from dm_tables.hardening import harden
from dm_tables.ioctl import Control, DeviceMapper
from dm_tables.messages import Message
from dm_tables.window import Token, roll_back

KILL_AFTER = 1.0
"""Seconds past the deadline that the freezer has to answer before it is killed."""

SWEEP = 0.05
"""Seconds between two looks at the heads while the freezer has not answered."""

SETTLE_TRIES = 200
"""Looks at heads that will not run, once the freezer has answered or is gone."""


def kill(pid: int) -> None:
    """SIGKILL: a suspend that waits for I/O gives up and lets the device run on."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


class Guard:
    """Serves one freezer until it goes away."""

    def __init__(
        self,
        channel: socket.socket,
        dm: DeviceMapper,
        token: Token,
        *,
        killer: Callable[[int], None] = kill,
        kill_after: float = KILL_AFTER,
    ) -> None:
        self._channel = channel
        self._dm = dm
        self._token = token
        self._kill = killer
        self._kill_after = kill_after

    def serve(self) -> None:
        """Be armed and disarmed, again and again; returns when the freezer is gone."""
        while (message := messages.receive(self._channel)) is not None:
            if message["do"] == "arm":
                self._watch(message)
            else:
                self._answer({"fired": False})

    def _watch(self, armed: Message) -> None:
        names: list[str] = armed["heads"]
        self._dm.prepare(names, lockfs=False)
        self._answer({"armed": True})
        left = (armed["deadline"] - time.monotonic_ns()) / 1e9
        try:
            disarmed = messages.receive(self._channel, max(left, 0.001))
        except TimeoutError:
            self._outlive(names, self._fire(names), armed["pid"])
            return
        if disarmed is None:
            self._settle(names, self._fire(names))
            return
        self._answer({"fired": False})

    def _fire(self, names: Sequence[str]) -> bool:
        """Free the heads. :return: whether forward, which is decided once for the whole window."""
        forward = not self._token.take()
        if not forward:
            for name in names:
                with contextlib.suppress(OSError):
                    self._dm.clear(name)
        self._sweep(names, forward)
        return forward

    def _sweep(self, names: Sequence[str], forward: bool) -> bool:
        """Free the heads that are suspended. :return: whether there was none."""
        quiet = True
        for name in names:
            try:
                if not self._dm.state(name).suspended:
                    continue
                quiet = False
                if forward:
                    self._dm.resume(name)
                    continue
            except OSError:
                quiet = False
            roll_back(self._dm, [name])
        return quiet

    def _outlive(self, names: Sequence[str], forward: bool, pid: int) -> None:
        """Keep the heads free until the freezer answers or is gone: it may yet suspend one."""
        patience = time.monotonic() + self._kill_after
        while True:
            try:
                answer = messages.receive(self._channel, SWEEP)
            except TimeoutError:
                self._sweep(names, forward)
                if time.monotonic() > patience:
                    self._kill(pid)
                continue
            self._settle(names, forward)
            if answer is not None:
                self._answer({"fired": True})
            return

    def _settle(self, names: Sequence[str], forward: bool) -> None:
        """Once nobody else suspends a head any more: see that none stays so."""
        for _ in range(SETTLE_TRIES):
            if self._sweep(names, forward):
                return
            time.sleep(SWEEP)

    def _answer(self, message: Message) -> None:
        with contextlib.suppress(OSError):
            messages.send(self._channel, message)


@dataclass(frozen=True, slots=True)
class Leftover:
    """A device that was found suspended: whether it had a table waiting, and whether it runs."""

    name: str
    cleared: bool
    running: bool


def leftovers(
    dm: DeviceMapper, prefix: str = "FRAZIL-", but: Collection[str] = ()
) -> tuple[Leftover, ...]:
    """Free every device of frazil's that is suspended, on its live table.

    For a daemon's start, once no freezer of a former daemon is left (``Freezer.start`` sees to
    that): nothing of frazil's is suspended then on purpose, ``but`` these. A table that waits in
    the inactive slot was not preceded by a flush for all that is known, so it is cleared.

    :raises OSError: device-mapper cannot be asked at all.
    """
    found: list[Leftover] = []
    for name in dm.names():
        try:
            state = dm.state(name)
        except OSError:
            continue
        ours = state.uuid.startswith(prefix) and name not in but
        if not (state.suspended and state.live and ours):
            continue
        dm.prepare([name], lockfs=False)
        roll_back(dm, [name])
        with contextlib.suppress(OSError):
            found.append(Leftover(name, state.inactive, not dm.state(name).suspended))
    return tuple(found)


def run(control: Path, channel: socket.socket, token: Token) -> int:
    """Serve the freezer at the other end of ``channel``. :return: the exit code."""
    locked = harden()
    try:
        dm = Control(control)
    except OSError as error:
        messages.send(channel, {"ready": False, "errno": error.errno})
        return 1
    messages.send(channel, {"ready": True, "locked": locked})
    Guard(channel, dm, token).serve()
    return 0
