"""What is owed to an application that is being quieted: a small file for each group."""

from __future__ import annotations

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path

from dm_tables.errors import Corrupt, Unavailable

STAT_STARTTIME = 22
"""The field of /proc/PID/stat, counted from 1 (proc(5))."""


class NotNoted(Unavailable):
    """That a hook has to run cannot be written down, so that nothing is begun."""


class PendingUnreadable(Corrupt):
    """A file that should say what is owed, and does not."""


@dataclass(frozen=True, slots=True)
class Started:
    """A process, also after its number was given to another: ``ticks`` is when it started."""

    pid: int
    ticks: int

    @classmethod
    def of(cls, pid: int) -> Started:
        """The process that runs as ``pid`` now."""
        return cls(pid, _ticks(pid))


@dataclass(frozen=True, slots=True)
class Pending:
    """That ``after`` has to run, and within how many seconds; ``before`` once it started."""

    group: str
    volumes: tuple[str, ...]
    after: tuple[str, ...]
    limit: float
    before: Started | None = None

    def with_started(self, before: Started) -> Pending:
        """The same with its ``before`` under way."""
        return dataclasses.replace(self, before=before)


def note(directory: Path, pending: Pending) -> Path:
    """Write it down, on stable storage when this returns. :return: where.

    :raises NotNoted: the disk is full, or fails.
    """
    place = directory / f"{pending.group}.json"
    fresh = directory / f".{pending.group}.new"
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with fresh.open("w", encoding="utf-8") as file:
            json.dump(dataclasses.asdict(pending), file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(place)
        _sync(directory)
    except OSError as error:
        raise NotNoted(
            f"{place} cannot be written: {error.strerror}; no hook was run and nothing frozen"
        ) from error
    return place


def forget(place: Path) -> None:
    """Nothing is owed any more."""
    place.unlink(missing_ok=True)
    _sync(place.parent)


def read_pending(place: Path) -> Pending:
    """What :func:`note` wrote. :raises PendingUnreadable: it does not say so."""
    try:
        said = json.loads(place.read_text(encoding="utf-8"))
        before = said["before"]
        return Pending(
            str(said["group"]),
            tuple(map(str, said["volumes"])),
            tuple(map(str, said["after"])),
            float(said["limit"]),
            Started(int(before["pid"]), int(before["ticks"])) if before else None,
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PendingUnreadable(
            f"{place} does not say which hook is still to run: {error!r}",
            "see that the group's application is not held any more",
        ) from error


def still_running(process: Started) -> bool:
    """Whether it has not ended, nor its number gone to another."""
    return process.ticks > 0 and _ticks(process.pid) == process.ticks


def _ticks(pid: int) -> int:
    """When a process started, in clock ticks since boot; 0 if it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    # The name in brackets may hold blanks and brackets.
    fields = stat.rpartition(")")[2].split()
    return 0 if fields[0] in "ZX" else int(fields[STAT_STARTTIME - 3])


def _sync(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
