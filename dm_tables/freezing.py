"""The freezer's process: small, locked in memory, with everything opened before it is needed.

It outlives the daemon inside a window: it finishes, and goes when nobody is left to ask it.
``python -m dm_tables.freezing`` is started by :mod:`dm_tables.freezer`. It forks the guard off:
what both need is loaded once.
"""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dm_tables import guard, messages
from dm_tables.hardening import harden, urgent
from dm_tables.ioctl import Control, DeviceMapper
from dm_tables.messages import Message
from dm_tables.syncing import opened, write_out
from dm_tables.team import Each, Team
from dm_tables.window import Failure, Step, Token, Window

GUARD_START = 60.0
"""Seconds that the guard has to come up: as long as the daemon waits for both, since a host that
boots has other things to do."""

GUARD_ANSWER = 10.0
"""Seconds that the guard has to say that it is armed, or what it did."""


class Refused(Exception):
    """The freeze failed before any head was suspended."""

    def __init__(self, step: Step, head: int = -1, errno: int = 0) -> None:
        super().__init__(step)
        self.failure = Failure(step, head, errno)


class Freezing:
    """Serves the daemon's requests until the daemon goes away."""

    def __init__(
        self, daemon: socket.socket, guard: socket.socket, dm: DeviceMapper, token: Token
    ) -> None:
        self._daemon = daemon
        self._guard = guard
        self._dm = dm
        self._token = token

    def serve(self) -> None:
        """Freeze when asked; returns when the daemon is gone."""
        while (request := messages.receive(self._daemon)) is not None:
            try:
                answer = self._freeze(request)
            except Refused as refused:
                answer = _failed(refused.failure)
            if answer is not None:
                with contextlib.suppress(OSError):
                    messages.send(self._daemon, answer)
            gc.collect()

    def _freeze(self, request: Message) -> Message | None:
        """:return: None if the daemon wants it no more."""
        names: list[str] = request["heads"]
        self._dm.prepare(names, lockfs=request["lockfs"])
        self._check(names)
        with _opened(request["layers"]) as layers:
            sync_us = _written_out(request, layers)
            if time.monotonic_ns() > request["not_after"]:
                raise Refused(Step.SYNC)
            if not self._may_go():
                return None
            self._check(names)
            with urgent(), Team(len(names)) as each:
                return self._guarded(names, layers, each, request["deadline_ns"], sync_us)

    def _may_go(self) -> bool:
        """All is written out: the daemon keeps everybody else off the heads, or gives it up."""
        try:
            messages.send(self._daemon, {"written_out": True})
            answer = messages.receive(self._daemon)
        except OSError:
            return False
        return answer is not None and bool(answer["go"])

    def _check(self, names: Sequence[str]) -> None:
        """Every head must run, with a table waiting to be swapped in."""
        for index, name in enumerate(names):
            try:
                state = self._dm.state(name)
            except OSError as error:
                raise Refused(Step.CHECK, index, error.errno or 0) from error
            if state.suspended or not state.live or not state.inactive:
                raise Refused(Step.CHECK, index)

    def _guarded(
        self, names: Sequence[str], layers: Sequence[int], each: Each, length: int, sync_us: int
    ) -> Message:
        self._token.put()
        deadline = time.monotonic_ns() + length
        window = Window(self._dm, names, layers, self._token, deadline, each=each)
        self._ask_guard(
            {"do": "arm", "heads": list(names), "deadline": deadline, "pid": os.getpid()}
        )
        window.run()
        with contextlib.suppress(Refused):
            self._ask_guard({"do": "disarm"})
        self._token.take()
        if window.failure is not None:
            return _failed(window.failure)
        result = window.result(sync_us)
        return {
            "frozen_at": result.frozen_at,
            "pause_us": result.pause_us,
            "suspended_us": list(result.suspended_us),
            "fsync_us": result.fsync_us,
            "sync_us": result.sync_us,
        }

    def _ask_guard(self, message: Message) -> None:
        try:
            messages.send(self._guard, message)
            answer = messages.receive(self._guard, GUARD_ANSWER)
        except OSError as error:
            raise Refused(Step.GUARD, -1, error.errno or 0) from error
        if answer is None:
            raise Refused(Step.GUARD)


def _written_out(request: Message, layers: Sequence[int]) -> int:
    try:
        return write_out(request["mountpoints"], layers)
    except OSError as error:
        raise Refused(Step.SYNC, -1, error.errno or 0) from error


@contextmanager
def _opened(paths: Sequence[str]) -> Iterator[list[int]]:
    with contextlib.ExitStack() as stack:
        descriptors: list[int] = []
        for index, path in enumerate(paths):
            try:
                descriptors += stack.enter_context(opened([path]))
            except OSError as error:
                raise Refused(Step.CHECK, index, error.errno or 0) from error
        yield descriptors


def _failed(failure: Failure) -> Message:
    return {"failed": failure.step.value, "head": failure.head, "errno": failure.errno}


def main(arguments: Sequence[str]) -> int:
    """``python -m dm_tables.freezing CONTROL DAEMON-FD TOKEN-FD``."""
    control, daemon_fd, token_fd = arguments
    daemon = socket.socket(fileno=int(daemon_fd))
    token = Token(int(token_fd))
    with contextlib.ExitStack() as stack:
        try:
            guarded = _guarded(Path(control), daemon, token)
            channel, pid = stack.enter_context(guarded)
        except OSError as error:
            messages.send(daemon, {"ready": False, "errno": error.errno})
            return 1
        return serve(Path(control), daemon, channel, token, pid)


def serve(
    control: Path, daemon: socket.socket, channel: socket.socket, token: Token, pid: int
) -> int:
    """Be ready once the guard is: its process is ``pid``, ``channel`` leads to it.

    :return: the exit code.
    """
    locked = harden()
    ready = messages.receive(channel, GUARD_START)
    if ready is None or not ready["ready"]:
        messages.send(daemon, ready or {"ready": False, "errno": 0})
        return 1
    try:
        dm = Control(control)
    except OSError as error:
        messages.send(daemon, {"ready": False, "errno": error.errno})
        return 1
    messages.send(daemon, {"ready": True, "locked": locked and ready["locked"], "guard": pid})
    Freezing(daemon, channel, dm, token).serve()
    return 0


@contextmanager
def _guarded(
    control: Path, daemon: socket.socket, token: Token
) -> Iterator[tuple[socket.socket, int]]:
    """Fork the guard off. It goes when it is left alone, and is waited for.

    :raises OSError: there is no room for another process.
    """
    above, below = messages.pair()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            # Held open here, they would never tell of the other's end.
            daemon.close()
            above.close()
            os.setsid()
            code = guard.run(control, below, token)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)
    below.close()
    try:
        yield above, pid
    finally:
        above.close()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
