"""The freeze window: suspend every head, flush every layer, resume every head on its next table.

Figure 8, steps 230 to 250: the instant at which the contents span is divided into what was and
what will be. A flush sent to a head after the swap no longer reaches the layer below, so each
rsv_s is flushed while its head is suspended: what was acknowledged before is then on stable
storage, or the swap does not happen.

Between the first suspend and the last resume there are only system calls on descriptors and
buffers made before: no fork, no exec, no import, no logging.

Two processes may end a window: the one that runs it and the guard. One *token* decides. It is
there when the window begins; the window takes it once every flush is done, and only then swaps.
Whoever finds it there while a head must be freed may only roll back: clear the inactive tables,
then resume. Whoever finds it gone knows that all is flushed, and may only go forward.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from dm_tables.ioctl import DeviceMapper
from dm_tables.team import Each


@dataclass(frozen=True, slots=True)
class HeadPlan:
    """A head to freeze: its device's name, the layer device below it, where it is mounted.

    The head's next table must be in its inactive slot.
    """

    name: str
    rsv_path: str
    mountpoints: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class FreezePlan:
    """The heads of a group, frozen at one instant.

    ``deadline_seconds`` bounds the pause; ``lockfs`` freezes a mounted filesystem for a clean
    image, without it the image is as after a power cut; ``sync_seconds`` bounds what comes
    before the pause.
    """

    heads: tuple[HeadPlan, ...]
    deadline_seconds: float = 5.0
    lockfs: bool = True
    sync_seconds: float = 120.0


@dataclass(frozen=True, slots=True)
class FreezeResult:
    """A freeze that happened. Times in microseconds, but for ``frozen_at``: seconds since 1970.

    ``pause_us`` runs from the first suspend to the last resume, ``suspended_us`` is each head's
    own share in the plan's order, ``fsync_us`` what the flushes in the window took, ``sync_us``
    what was written out before it, with writers running.
    """

    frozen_at: float
    pause_us: int
    suspended_us: tuple[int, ...]
    fsync_us: int
    sync_us: int


class Step(Enum):
    """Where a freeze can fail. From ``RESUME`` on, heads may be on their new tables."""

    CHECK = "check"
    SYNC = "sync"
    GUARD = "guard"
    SUSPEND = "suspend"
    FLUSH = "flush"
    DEADLINE = "deadline"
    RESUME = "resume"


class Token:
    """What decides between rolling back and going forward: an eventfd that holds one count."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    @classmethod
    def create(cls) -> Token:
        """A new one, not there yet."""
        return cls(os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC))

    def put(self) -> None:
        """Let it be there, once, whether it was or not."""
        self.take()
        os.eventfd_write(self.fd, 1)

    def take(self) -> bool:
        """Whether it was there; it is gone now. Atomic between processes."""
        try:
            os.eventfd_read(self.fd)
        except BlockingIOError:
            return False
        return True


@dataclass(slots=True)
class Failure:
    """What went wrong first; ``head`` is an index, -1 for none."""

    step: Step
    head: int
    errno: int


class Window:
    """One run of the window, with everything made before it begins.

    :param names: the heads, whose calls ``dm`` has prepared.
    :param flushes: descriptors of the layer devices below them, same order.
    :param token: put before the guard was armed.
    :param deadline: CLOCK_MONOTONIC in nanoseconds.
    :param each: calls an action for every head; a :class:`dm_tables.team.Team` for all at once.
    """

    def __init__(
        self,
        dm: DeviceMapper,
        names: Sequence[str],
        flushes: Sequence[int],
        token: Token,
        deadline: int,
        *,
        each: Each | None = None,
        fsync: Callable[[int], None] = os.fsync,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._dm = dm
        self._names = tuple(names)
        self._flushes = tuple(flushes)
        self._token = token
        self._deadline = deadline
        self._each = each or self._one_by_one
        self._fsync = fsync
        self._clock = clock
        self._went_down = [0] * len(names)
        self._came_up = [0] * len(names)
        self._flush_began = 0
        self._flush_ended = 0
        self._frozen_at = 0.0
        self.failure: Failure | None = None

    def run(self) -> None:
        """Freeze, or leave every head as it was and say why in :attr:`failure`.

        Never raises: a head left suspended is the worst there is.
        """
        if self._suspend() and self._flush():
            self._resume()
        else:
            self._roll_back()

    def result(self, sync_us: int) -> FreezeResult:
        """The times of a window that went well."""
        return FreezeResult(
            frozen_at=self._frozen_at,
            pause_us=(max(self._came_up) - min(self._went_down)) // 1000,
            suspended_us=tuple(
                (up - down) // 1000 for up, down in zip(self._came_up, self._went_down, strict=True)
            ),
            fsync_us=(self._flush_ended - self._flush_began) // 1000,
            sync_us=sync_us,
        )

    def _one_by_one(self, action: Callable[[int], None]) -> None:
        for index in range(len(self._names)):
            action(index)

    def _suspend(self) -> bool:
        self._each(self._suspend_one)
        self._frozen_at = time.time()
        return self._in_time()

    def _suspend_one(self, index: int) -> None:
        if self.failure is not None:
            return
        self._went_down[index] = self._clock()
        try:
            self._dm.suspend(self._names[index])
        except OSError as error:
            self._failed(Step.SUSPEND, index, error.errno or 0)

    def _flush(self) -> bool:
        self._flush_began = self._clock()
        self._each(self._flush_one)
        self._flush_ended = self._clock()
        if self._in_time() and not self._token.take():
            self._failed(Step.DEADLINE, -1, 0)
        return self.failure is None

    def _flush_one(self, index: int) -> None:
        try:
            self._fsync(self._flushes[index])
        except OSError as error:
            self._failed(Step.FLUSH, index, error.errno or 0)

    def _in_time(self) -> bool:
        if self.failure is None and self._clock() > self._deadline:
            self._failed(Step.DEADLINE, -1, 0)
        return self.failure is None

    def _resume(self) -> None:
        self._each(self._resume_one)

    def _resume_one(self, index: int) -> None:
        # Flushed: a head whose swap the kernel refuses must not keep the others suspended.
        try:
            self._dm.resume(self._names[index])
        except OSError as error:
            self._failed(Step.RESUME, index, error.errno or 0)
            roll_back(self._dm, (self._names[index],))
        self._came_up[index] = self._clock()

    def _roll_back(self) -> None:
        roll_back(self._dm, self._names)

    def _failed(self, step: Step, head: int, errno: int) -> None:
        if self.failure is None:
            self.failure = Failure(step, head, errno)


def roll_back(dm: DeviceMapper, names: Sequence[str]) -> None:
    """Free the heads on their old tables: every inactive table goes before any head is resumed.

    A resume of a device that is not suspended changes nothing once its inactive slot is empty. A
    table that the kernel refused at the swap has left its slot, and the old one is still live.
    """
    cleared = [_tried(dm.clear, name) for name in names]
    for name, was_cleared in zip(names, cleared, strict=True):
        if was_cleared or _tried(dm.clear, name):
            _tried(dm.resume, name)


def _tried(action: Callable[[str], None], name: str) -> bool:
    try:
        action(name)
    except OSError:
        return False
    return True
