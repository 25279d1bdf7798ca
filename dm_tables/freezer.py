"""The daemon's side of freezing: starts the freezer and its guard, asks, and knows what became.

Neither process dies with the daemon: they end when their sockets do, after a window that is
under way. Under systemd keep KillMode=control-group: both ignore SIGTERM and leave by themselves.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from dm_tables import messages
from dm_tables.errors import FrazilError, Unavailable
from dm_tables.ioctl import CONTROL, Control, DeviceMapper
from dm_tables.messages import Message
from dm_tables.syncing import opened, write_out
from dm_tables.table import devno_of
from dm_tables.window import FreezePlan, FreezeResult, HeadPlan, Step, Token

START_LIMIT = 60.0
"""Seconds that the processes have to come up."""

AFTER_DEADLINE = 15.0
"""Seconds past sync and deadline after which a freezer that says nothing is given up."""

LOCK_POLL = 0.05


class On(Enum):
    """Which table a head was found on after a freeze that failed."""

    OLD = "old"
    NEW = "new"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class HeadState:
    """A head after a freeze that failed."""

    name: str
    table: On
    suspended: bool


class FreezerUnavailable(Unavailable):
    """The freezer's processes cannot be started, or one of a former daemon will not go."""


class FreezeFailed(Unavailable):
    """A freeze did not go through; ``heads`` says how each head was found afterwards.

    Unless ``step`` is ``RESUME`` or ``GUARD`` died with it, every head is on its old table. A
    head on its new table is there after its layer was flushed: never a swap without a flush.
    """

    def __init__(self, what: str, hint: str, step: Step, heads: tuple[HeadState, ...]) -> None:
        super().__init__(what, hint)
        self.step = step
        self.heads = heads


class Forked:
    """A process that another one forked off: whether it has ended, without being its parent.

    :raises ProcessLookupError: there is none.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._fd = os.pidfd_open(pid)

    def wait(self, seconds: float) -> bool:
        """:return: whether it has ended within that time."""
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def poll(self) -> int | None:
        """None while it runs, as of ``subprocess.Popen``; how it ended nobody here knows."""
        return 0 if self.wait(0) else None

    def close(self) -> None:
        """Forget it."""
        os.close(self._fd)


class Freezer:
    """Freezes groups of heads, one at a time; starts its processes when it has none.

    :param control: the device-mapper's control node.
    :param lock: a file that the processes keep locked, so that a daemon started anew waits for
        the window of its predecessor; None for none.
    """

    def __init__(
        self,
        *,
        control: Path = CONTROL,
        lock: Path | None = None,
        dm: Callable[[Path], DeviceMapper] = Control,
    ) -> None:
        self._control = control
        self._lock = lock
        self._open_dm = dm
        self._mutex = threading.Lock()
        self._channel: socket.socket | None = None
        self._freezing: subprocess.Popen[bytes] | None = None
        self._guard: Forked | None = None
        self.locked_in_memory = False

    @property
    def pids(self) -> tuple[int, ...]:
        """The guard's and the freezer's process ids, while they run."""
        return tuple(one.pid for one in (self._guard, self._freezing) if one is not None)

    def start(self) -> None:
        """Start the processes unless they run; waits for those of a former daemon to go.

        :raises FreezerUnavailable: no device-mapper, or they do not come up.
        """
        with self._mutex:
            self._start()

    def freeze(self, plan: FreezePlan, before: Callable[[], None] = lambda: None) -> FreezeResult:
        """Freeze every head of ``plan`` at one instant; its next table is loaded already.

        :param before: called once all is written out, before the last look at the heads: from
            then on nobody else may suspend or resume one until this returns or raises. What it
            raises ends the freeze, and nothing was touched.
        :raises FreezeFailed: see there for what state the heads are in.
        :raises FreezerUnavailable: there is no freezer; nothing was touched.
        """
        began = time.monotonic_ns()
        self._write_out(plan)
        sync_us = (time.monotonic_ns() - began) // 1000
        with self._mutex:
            self._start()
            answer = self._asked(plan, before)
            if answer is None:
                self._give_up(plan)
                raise self._failure(plan, Step.GUARD, -1, 0, "the freezer died or hung")
            if "failed" in answer:
                step = Step(answer["failed"])
                raise self._failure(plan, step, answer["head"], answer["errno"], "")
            return FreezeResult(
                frozen_at=answer["frozen_at"],
                pause_us=answer["pause_us"],
                suspended_us=tuple(answer["suspended_us"]),
                fsync_us=answer["fsync_us"],
                sync_us=sync_us + answer["sync_us"],
            )

    def close(self) -> None:
        """Let the processes go; a window under way is finished first."""
        with self._mutex:
            self._leave(AFTER_DEADLINE)

    def _start(self) -> None:
        if self._runs():
            return
        self._leave(AFTER_DEADLINE)
        lock = self._locked()
        token = Token.create()
        daemon, freezer = messages.pair()
        try:
            self._freezing = self._spawn([freezer.fileno(), token.fd], lock)
        finally:
            freezer.close()
            os.close(token.fd)
            if lock is not None:
                os.close(lock)
        self._channel = daemon
        self._greet(daemon)

    def _runs(self) -> bool:
        both = (self._freezing, self._guard)
        return all(one is not None and one.poll() is None for one in both)

    def _spawn(self, fds: list[int], lock: int | None) -> subprocess.Popen[bytes]:
        # Without site packages, and from this very package whatever the daemon's path is.
        argv = [sys.executable, "-S", "-P", "-m", "dm_tables.freezing", str(self._control)]
        package = str(Path(__file__).resolve().parent.parent)
        return subprocess.Popen(
            [*argv, *map(str, fds)],
            pass_fds=fds if lock is None else [*fds, lock],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            cwd="/",
            env={**os.environ, "PYTHONPATH": package, "PYTHONDONTWRITEBYTECODE": "1"},
            start_new_session=True,
        )

    def _greet(self, daemon: socket.socket) -> None:
        try:
            ready = messages.receive(daemon, START_LIMIT)
            if ready is not None and ready["ready"]:
                self._guard = Forked(ready["guard"])
        except (TimeoutError, ProcessLookupError):
            ready = None
        if ready is None or not ready["ready"]:
            self._leave(1.0)
            number = ready["errno"] if ready else 0
            why = os.strerror(number) if number else "they do not answer"
            raise FreezerUnavailable(
                f"the freezer cannot be started: {self._control}: {why}",
                "device-mapper must be in the kernel (dm-mod), and frazild must run as root",
            )
        self.locked_in_memory = ready["locked"]

    def _locked(self) -> int | None:
        """A descriptor with the lock, to be shared by both processes."""
        if self._lock is None:
            return None
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        patience = time.monotonic() + START_LIMIT
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() < patience:
                    time.sleep(LOCK_POLL)
                    continue
                os.close(descriptor)
                raise FreezerUnavailable(
                    f"a freezer of a former daemon still has {self._lock}",
                    "it is stuck in the kernel, likely on a disk that hangs: see dmesg",
                ) from None
            return descriptor

    def _write_out(self, plan: FreezePlan) -> None:
        """The long part, before other groups are kept waiting; the freezer does what is left.

        In a thread of its own: a disk that hangs would keep this one for good.
        """
        failed: list[OSError] = []

        def write() -> None:
            try:
                with opened(head.rsv_path for head in plan.heads) as layers:
                    write_out(_mountpoints(plan), layers)
            except OSError as error:
                failed.append(error)

        thread = threading.Thread(target=write, daemon=True, name="frazil-sync")
        thread.start()
        thread.join(plan.sync_seconds)
        if thread.is_alive():
            raise self._failure(plan, Step.SYNC, -1, 0, "")
        if failed:
            why = f"{failed[0].filename or 'what is dirty'} could not be written out"
            raise self._failure(plan, Step.SYNC, -1, failed[0].errno or 0, why)

    def _asked(self, plan: FreezePlan, before: Callable[[], None]) -> Message | None:
        assert self._channel is not None
        request = {
            "heads": [head.name for head in plan.heads],
            "layers": [head.rsv_path for head in plan.heads],
            "mountpoints": _mountpoints(plan),
            "lockfs": plan.lockfs,
            "deadline_ns": int(plan.deadline_seconds * 1e9),
            "not_after": time.monotonic_ns() + int(plan.sync_seconds * 1e9),
        }
        try:
            messages.send(self._channel, request)
            answer = messages.receive(self._channel, plan.sync_seconds + AFTER_DEADLINE)
            if answer is None or "failed" in answer:
                return answer
            self._let_go(self._channel, before)
            return messages.receive(self._channel, plan.deadline_seconds + AFTER_DEADLINE)
        except OSError:
            return None

    def _let_go(self, channel: socket.socket, before: Callable[[], None]) -> None:
        """Answer the freezer, which has written all out; again what ``before`` raises."""
        go = False
        try:
            before()
            go = True
        finally:
            messages.send(channel, {"go": go})

    def _give_up(self, plan: FreezePlan) -> None:
        """End a freezer that died or hangs; the guard frees the heads, and is waited for."""
        if self._freezing is not None:
            self._freezing.kill()
        self._leave(plan.deadline_seconds + AFTER_DEADLINE)

    def _leave(self, patience: float) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        end = time.monotonic() + patience
        if self._freezing is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._freezing.wait(max(0.0, end - time.monotonic()))
            self._freezing = None
        if self._guard is not None:
            self._guard.wait(max(0.0, end - time.monotonic()))
            self._guard.close()
            self._guard = None

    def _failure(
        self, plan: FreezePlan, step: Step, head: int, errno: int, why: str
    ) -> FreezeFailed:
        heads = tuple(self._found(head) for head in plan.heads)
        reason = why or _REASONS[step]
        whose = f" at {plan.heads[head].name}" if head >= 0 else ""
        cause = f": {os.strerror(errno)}" if errno else ""
        return FreezeFailed(
            f"the freeze failed{whose}: {reason}{cause}; {_summary(heads)}",
            _HINTS.get(step, ""),
            step,
            heads,
        )

    def _found(self, head: HeadPlan) -> HeadState:
        try:
            dm = self._open_dm(self._control)
        except OSError:
            return HeadState(head.name, On.UNKNOWN, False)
        with contextlib.closing(dm):
            try:
                old = f"linear {devno_of(head.rsv_path)} "
                lines = dm.table(head.name)
                table = On.OLD if all(old in line for line in lines) else On.NEW
                return HeadState(head.name, table, dm.state(head.name).suspended)
            except (OSError, FrazilError):
                return HeadState(head.name, On.UNKNOWN, False)


def _mountpoints(plan: FreezePlan) -> list[str]:
    return [str(point) for head in plan.heads for point in head.mountpoints if plan.lockfs]


_REASONS = {
    Step.CHECK: "it must run, with its next table loaded",
    Step.SYNC: "what is dirty could not be written out in time",
    Step.GUARD: "the guard does not answer",
    Step.SUSPEND: "it cannot be suspended",
    Step.FLUSH: "the layer below cannot be flushed",
    Step.DEADLINE: "the pause reached its deadline",
    Step.RESUME: "the kernel refused its next table",
}

_HINTS = {
    Step.SYNC: "the disk is slow or fails: see dmesg",
    Step.SUSPEND: "EBUSY means that the filesystem on it is frozen already: fsfreeze --unfreeze",
    Step.FLUSH: "the pool's disk fails: see dmesg",
    Step.DEADLINE: "the disk is slow: raise the freeze's deadline, or write less at once",
}


def _summary(heads: tuple[HeadState, ...]) -> str:
    tables = {head.table for head in heads}
    suspended = [head.name for head in heads if head.suspended]
    where = f"on {tables.pop().value} tables" if len(tables) == 1 else "on different tables"
    tail = f", and {', '.join(suspended)} is still suspended" if suspended else ""
    return f"the heads go on {where}{tail}"
