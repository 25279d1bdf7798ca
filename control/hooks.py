"""Programs around a freeze: one quiets an application before it, one lets it go on after.

Both run outside the freeze window, which forks nothing. The second one runs whatever became of
the first and of the freeze; that it has to is on disk before the first one starts, so that it
runs even if this process is killed in between.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Literal

from control.hooks_pending import Pending, Started, forget, note, read_pending, still_running
from control.records import GroupRecord
from control.units_text import Seconds, exact_duration
from dm_tables.errors import FrazilError, Precondition, Unavailable, Usage

LIMIT = Seconds(30.0)
LONGEST = Seconds(3600.0)
GRACE_SECONDS = 2.0
"""Between asking a program that takes too long to end and ending it."""

LINE_AT_MOST = 300
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

Phase = Literal["before", "after"]
LOOK_SECONDS = 0.1
"""How often it is looked whether a program that runs is still wanted."""

Tell = Callable[[FrazilError], None]
Tracked = Callable[[int], None]
Wanted = Callable[[], bool]


class BadHook(Usage):
    """Words that are no program to run."""


class HookMissing(Precondition):
    """A hook's program is not there, or cannot be run."""


class HookFailed(Precondition):
    """A hook ended with an exit code other than 0. :ivar code: that, or minus the signal."""

    def __init__(self, what: str, hint: str, code: int) -> None:
        super().__init__(what, hint)
        self.code = code


class HookTimedOut(Unavailable):
    """A hook was not done within its time limit, and was ended."""


class HookEnded(Unavailable):
    """A hook was ended because nobody wants the freeze any more: the daemon ends."""


@dataclass(frozen=True, slots=True)
class Hook:
    """A program with its arguments, run without a shell, and the seconds it has."""

    argv: tuple[str, ...]
    limit: Seconds = LIMIT


@dataclass(frozen=True, slots=True)
class Hooks:
    """What runs before and after the freezes of a group; either may be missing."""

    before: Hook | None = None
    after: Hook | None = None

    def __bool__(self) -> bool:
        return bool(self.before or self.after)


def parse_hooks(
    before: Sequence[str],
    before_ms: int,
    after: Sequence[str],
    after_ms: int,
    default: Seconds = LIMIT,
) -> Hooks:
    """Hooks as they were asked for; no words: none, 0 ms: the default limit.

    :raises BadHook: no absolute path, or a time limit that cannot be meant.
    """
    return Hooks(
        _hook("before", before, before_ms, default), _hook("after", after, after_ms, default)
    )


def hooks_of(record: GroupRecord) -> Hooks:
    """A group's hooks. :raises BadHook: they are none."""
    return parse_hooks(record.before, record.before_ms, record.after, record.after_ms)


def _hook(phase: Phase, argv: Sequence[str], limit_ms: int, default: Seconds) -> Hook | None:
    if not argv:
        return None
    if not argv[0].startswith("/"):
        raise BadHook(
            f'the hook {phase} the freeze, "{argv[0]}", is not an absolute path',
            "name the program from / on, and its arguments one by one",
        )
    if any("\0" in word for word in argv):
        raise BadHook(f"the hook {phase} the freeze has a zero byte in its words")
    limit = Seconds(limit_ms / 1000) if limit_ms else default
    if not 0 < limit <= LONGEST:
        raise BadHook(
            f"the hook {phase} the freeze has a time limit of {exact_duration(limit)}",
            f"at most {exact_duration(LONGEST)}",
        )
    return Hook(tuple(argv), limit)


def check_hooks(hooks: Hooks) -> None:
    """:raises HookMissing: a program that cannot be run, so that it is known before a freeze."""
    for phase, hook in (("before", hooks.before), ("after", hooks.after)):
        if hook is None:
            continue
        program = Path(hook.argv[0])
        if not program.is_file():
            raise _missing(f"the hook {phase} the freeze", program, "is not there")
        if not os.access(program, os.X_OK):
            raise _missing(f"the hook {phase} the freeze", program, "is not executable")


def _missing(hook: str, program: Path, why: str, outcome: str = "") -> HookMissing:
    return HookMissing(f"{hook}, {program}, {why}{outcome}", "put it there, or change the group")


# Around a freeze.


@contextmanager
def quiesced(
    hooks: Hooks,
    group: str,
    volumes: Sequence[str],
    directory: Path,
    tell: Tell,
    *,
    wanted: Wanted = lambda: True,
) -> Iterator[None]:
    """Run what is inside between the hooks: the freeze, and nothing that takes long.

    An error of ``after`` undoes no freeze: it goes to ``tell``. If ``before`` fails, nothing
    inside runs: a group that asks for quiet is not silently frozen without.

    :param directory: where it is written down that ``after`` has to run.
    :param wanted: once it says no, ``before`` is ended, so that ``after`` can run.
    :raises HookMissing, HookFailed, HookTimedOut, HookEnded: of ``before``; ``after`` has run.
    """
    if not hooks:
        yield
        return
    pending = Pending(group, tuple(volumes), *_after_of(hooks))
    place = note(directory, pending)
    result = "failed"
    try:
        if hooks.before is not None:
            _run_before(hooks.before, pending, directory, wanted)
        yield
        result = "frozen"
    finally:
        if hooks.after is not None:
            _run_after(hooks.after, pending, result, tell)
        forget(place)


def _after_of(hooks: Hooks) -> tuple[tuple[str, ...], float]:
    return (hooks.after.argv, hooks.after.limit) if hooks.after else ((), 0.0)


def _run_before(hook: Hook, pending: Pending, directory: Path, wanted: Wanted) -> None:
    def started(pid: int) -> None:
        note(directory, pending.with_started(Started.of(pid)))

    environment = _environment(pending.group, pending.volumes, "before")
    run_hook(hook, "before", pending.group, environment, started, wanted=wanted)


def _run_after(hook: Hook, pending: Pending, result: str, tell: Tell) -> None:
    environment = _environment(pending.group, pending.volumes, "after")
    environment["FRAZIL_RESULT"] = result
    try:
        try:
            run_hook(hook, "after", pending.group, environment)
        except HookFailed as error:
            # Who ends the daemon, as systemd does, may end with it all that it has started.
            if error.code >= 0:
                raise
            run_hook(hook, "after", pending.group, environment)
    except FrazilError as error:
        tell(error)


def finish_pending(directory: Path, tell: Tell, group: str = "*") -> list[str]:
    """Run every ``after`` that a killed daemon still owes; for the start.

    A ``before`` that still runs is ended first: it must not have the last word.

    :param group: only that one's.
    :return: the groups. What fails goes to ``tell``, and is not tried again.
    """
    done = []
    for place in sorted(directory.glob(f"{group}.json")):
        try:
            pending = read_pending(place)
        except FrazilError as error:
            tell(error)
        else:
            if pending.before is not None and still_running(pending.before):
                end_processes(pending.before.pid)
            if pending.after:
                hook = Hook(pending.after, Seconds(pending.limit))
                _run_after(hook, pending, "failed", tell)
            done.append(pending.group)
        forget(place)
    return done


# One program.


def _environment(group: str, volumes: Sequence[str], phase: Phase) -> dict[str, str]:
    """Nothing of the daemon's own: its sockets to systemd are none of a hook's business."""
    return {
        "PATH": PATH,
        "LANG": "C.UTF-8",
        "HOME": "/root",
        "FRAZIL_GROUP": group,
        "FRAZIL_VOLUMES": " ".join(volumes),
        "FRAZIL_PHASE": phase,
    }


_OUTCOMES = {
    "before": "; nothing was frozen",
    "after": "; what it should have let go may still be held",
}


def run_hook(
    hook: Hook,
    phase: Phase,
    group: str,
    environment: dict[str, str],
    started: Tracked = lambda pid: None,
    *,
    wanted: Wanted = lambda: True,
) -> None:
    """Run a program to its end, as the leader of a process group and session of its own.

    What it leaves behind in the background goes on: a session that holds a lock until ``after``.
    :param started: told of its process id.
    :raises HookMissing: it cannot be started. :raises HookFailed: an exit code other than 0.
    :raises HookTimedOut, HookEnded: the limit passed, or it is not wanted any more; its process
        group was ended.
    """
    name = f"the hook {phase} the freeze of {group}"
    # No pipe: who goes on in the background keeps one open, and its reader waiting. No file on a
    # disk: a full one must not keep "after" from running.
    with open(os.memfd_create("stderr", os.MFD_CLOEXEC), "w+b", buffering=0) as said:
        try:
            process = subprocess.Popen(
                hook.argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                cwd="/",
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            why = f"cannot be run: {error.strerror}"
            raise _missing(name, Path(hook.argv[0]), why, _OUTCOMES[phase]) from error
        try:
            started(process.pid)
            code = _wait(process, hook.limit, wanted)
        except subprocess.TimeoutExpired as error:
            end_group(process)
            raise HookTimedOut(
                f"{name} was not done within {exact_duration(hook.limit)}, and was ended"
                f"{_last_line(said)}{_OUTCOMES[phase]}",
                f"see what {hook.argv[0]} waits for, or give it more time",
            ) from error
        except BaseException:
            end_group(process)
            raise
        if code is None:
            end_group(process)
            raise HookEnded(f"{name} was ended with the daemon{_OUTCOMES[phase]}")
        if code != 0:
            ended = f"exit code {code}" if code > 0 else f"signal {-code}"
            raise HookFailed(
                f"{name} ended with {ended}{_last_line(said)}{_OUTCOMES[phase]}",
                f"run {hook.argv[0]} by hand with FRAZIL_PHASE={phase}",
                code,
            )


def _wait(process: subprocess.Popen[bytes], limit: float, wanted: Wanted) -> int | None:
    """Its exit code; None once it is not wanted. :raises TimeoutExpired: it takes too long."""
    ends = time.monotonic() + limit
    while wanted():
        left = ends - time.monotonic()
        try:
            return process.wait(min(max(left, 0.0), LOOK_SECONDS))
        except subprocess.TimeoutExpired:
            if left <= LOOK_SECONDS:
                raise
    return None


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End a program with all that it started in its process group, and wait for it."""
    end_processes(process.pid)
    process.wait()


def end_processes(group: int) -> None:
    """End a process group: gently, and what is left of it when its leader has gone, at once."""
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGTERM)
        _until_gone(group, GRACE_SECONDS)
        os.killpg(group, signal.SIGKILL)


def _until_gone(pid: int, seconds: float) -> None:
    """Wait for a process that may be anybody's child, at most so long."""
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        return
    try:
        select.select([fd], [], [], seconds)
    finally:
        os.close(fd)


def _last_line(said: FileIO) -> str:
    said.seek(0, os.SEEK_END)
    said.seek(max(0, said.tell() - 64 * LINE_AT_MOST))
    lines = [line for line in said.read().decode(errors="replace").splitlines() if line.strip()]
    return f": {lines[-1].strip()[:LINE_AT_MOST]}" if lines else ""
