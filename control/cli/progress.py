"""Progress of anything long, on standard error: a bar on a terminal, a line now and then else."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol, TextIO

from control.units_text import human_duration, human_rate, human_size
from dm_tables.errors import Unavailable

if TYPE_CHECKING:
    from rich.progress import TaskID

    from proto.frazil.v1.control_pb2 import Progress

LINE_SECONDS = 2.0


class Unfinished(Unavailable):
    """A stream of progress that ended without saying how the work ended."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what}: frazild ended the stream before the work was done",
            "it may have been stopped; ask again",
        )


class NotInTime(Unavailable):
    """The time limit passed; ``problem`` is what stood in the way last."""

    def __init__(self, what: str, problem: str) -> None:
        super().__init__(
            f"{what}: not done within the time limit: {problem}",
            "it goes on without this command",
        )


class View(Protocol):
    """Somewhere to show progress."""

    def update(self, progress: Progress) -> None:
        """Show ``progress``."""

    def close(self) -> None:
        """Leave the terminal as it was."""


def follow(stream: Iterable[Progress], what: str, view: View | None = None) -> Progress:
    """Show a stream of progress to its end. :return: the last message, which says how it ended.

    :param what: what is being done, in one or two words.
    :raises FrazilError: the stream's own.
    :raises Unfinished: the stream ended without a last message.
    :raises NotInTime: it was given up while something stood in its way.
    """
    shown = view or view_for(what)
    problem = ""
    try:
        for progress in stream:
            if progress.finished:
                return progress
            problem = progress.message
            shown.update(progress)
    except Unavailable as error:
        if problem and type(error) is Unavailable:
            raise NotInTime(what, problem) from None
        raise
    finally:
        shown.close()
    raise Unfinished(what)


def view_for(what: str, out: TextIO | None = None) -> View:
    """A bar when ``out`` (standard error) is a terminal, lines when it is not."""
    stream = out or sys.stderr
    return Bar(what, stream) if stream.isatty() else Lines(what, stream)


def remaining(done: int, total: int, bytes_per_second: int) -> float | None:
    """Seconds until ``done`` is ``total``; None when nobody can know."""
    if not bytes_per_second or total <= done:
        return None
    return (total - done) / bytes_per_second


def describe(progress: Progress) -> str:
    """``copying 40 %, 4.0 MiB of 10 MiB, 2.0 MiB/s, 3.0 s left``."""
    numbers = amounts(progress)
    return f"{progress.phase or 'working'} {numbers}".rstrip()


def amounts(progress: Progress) -> str:
    """How far it is, without a word for what it is: ``40 %, 4.0 MiB of 10 MiB``."""
    parts: list[str] = []
    if progress.total:
        parts.append(f"{100 * progress.done // progress.total} %")
        parts.append(f"{human_size(progress.done)} of {human_size(progress.total)}")
    elif progress.done:
        parts.append(human_size(progress.done))
    if progress.bytes_per_second:
        parts.append(human_rate(progress.bytes_per_second))
    left = remaining(progress.done, progress.total, progress.bytes_per_second)
    if left is not None:
        parts.append(f"{human_duration(left)} left")
    if progress.message:
        parts.append(progress.message)
    return ", ".join(parts)


class Lines:
    """A line at every change of phase, and every two seconds in between."""

    def __init__(self, what: str, out: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._what = what
        self._out = out
        self._clock = clock
        self._phase: str | None = None
        self._next = 0.0

    def update(self, progress: Progress) -> None:
        """Write a line, if it is time for one."""
        now = self._clock()
        if progress.phase == self._phase and now < self._next:
            return
        self._phase, self._next = progress.phase, now + LINE_SECONDS
        self._out.write(f"{self._what}: {describe(progress)}\n")
        self._out.flush()

    def close(self) -> None:
        """Nothing to undo."""


class Bar:
    """A bar with rate and time left, gone when the work is done."""

    def __init__(self, what: str, out: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[numbers]}", style="dim"),
            console=Console(file=out),
            transient=True,
        )
        self._task: TaskID = self._bar.add_task(what, total=None, numbers="")
        self._what = what
        self._bar.start()

    def update(self, progress: Progress) -> None:
        """Move the bar; without a total it only pulses."""
        self._bar.update(
            self._task,
            description=f"{self._what}: {progress.phase or 'working'}",
            completed=progress.done,
            total=progress.total or None,
            numbers=amounts(progress),
        )

    def close(self) -> None:
        """Take the bar away."""
        self._bar.stop()
