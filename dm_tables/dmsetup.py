"""``dmsetup`` as a subprocess: everything that changes devices but the freeze window itself.

What only looks is asked of the kernel by ioctl where that is given, and else, or where that
fails, of dmsetup, too: it says why not.

Argument lists, never a shell; a time limit; stderr in the error. Works with udev (dmsetup
waits for the rules, so the node in /dev/mapper is there when a call returns) and without
(``DM_DISABLE_UDEV=1``: dmsetup makes the node). Calls that neither make nor remove a node do
not wait for udev: a udevd that is stuck on a suspended device must not delay its resume.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dm_tables.errors import Denied, Exists, FrazilError, NotFound, Precondition, Unavailable
from dm_tables.looking import Looks
from dm_tables.names import UUID_PREFIX, DmName, DmUuid
from dm_tables.running import Completed, Runner, TimedOut, run
from dm_tables.status import (
    INFO_FIELDS,
    SEPARATOR,
    DeviceInfo,
    StatusLine,
    parse_info,
    parse_status,
)
from dm_tables.table import Table

TIME_LIMIT = 30.0
"""Seconds that one call of dmsetup may take."""

UDEV_CONTROL = Path("/run/udev/control")
"""Where libudev looks to know whether udevd runs."""


class DmsetupFailed(FrazilError):
    """dmsetup ended with a failure; ``argv``, ``code`` and ``stderr`` are its own."""

    def __init__(self, argv: tuple[str, ...], code: int, stderr: str, hint: str = "") -> None:
        # With --retry it says the same thing at every try.
        lines = dict.fromkeys(" ".join(line.split()) for line in stderr.splitlines())
        said = "; ".join(filter(None, lines))
        super().__init__(f"{' '.join(argv)}: {said or f'exit code {code}'}", hint)
        self.argv = argv
        self.code = code
        self.stderr = stderr


class DeviceMissing(DmsetupFailed, NotFound):
    """There is no device of that name."""


class DeviceExists(DmsetupFailed, Exists):
    """A device of that name or UUID is there already."""


class DeviceBusy(DmsetupFailed, Precondition):
    """Something still has the device open, or is mapped to it."""


class NotRoot(DmsetupFailed, Denied):
    """Device-mapper is for root."""


class DeviceMapperMissing(DmsetupFailed, Unavailable):
    """This kernel has no device-mapper, or its module is not loaded."""


class DmsetupTimedOut(DmsetupFailed, Unavailable):
    """dmsetup was still running at the time limit."""


class DmsetupMissing(DmsetupFailed, Unavailable):
    """The tool is not installed."""


@dataclass(frozen=True, slots=True)
class Versions:
    """Of the library, and of the kernel's driver."""

    library: str
    driver: str


_CAUSES: tuple[tuple[str, type[DmsetupFailed], str], ...] = (
    (r"Permission denied|Operation not permitted", NotRoot, "run as root"),
    (
        r"Failure to communicate with kernel|[Ii]s device-mapper driver missing",
        DeviceMapperMissing,
        "load the module dm-mod, or use a kernel that has it",
    ),
    (r"does not exist|not found|No such device or address", DeviceMissing, ""),
    (r"Device or resource busy", DeviceBusy, "see what holds it: dmsetup info, lsblk, fuser"),
)


class Dmsetup:
    """The tool, with one runner and one time limit for every call.

    Every method raises a :class:`DmsetupFailed` of the kind that fits.
    """

    def __init__(
        self,
        runner: Runner = run,
        *,
        program: str = "dmsetup",
        timeout: float = TIME_LIMIT,
        udev_running: Callable[[], bool] = UDEV_CONTROL.exists,
        looks: Looks | None = None,
    ) -> None:
        self._runner = runner
        self._program = program
        self._timeout = timeout
        self._udev_running = udev_running
        self._looks = looks

    def version(self) -> Versions:
        """Library and driver; the first call to make, to know whether device-mapper is there."""
        words = dict(
            line.split(":", 1) for line in self._call("version").stdout.splitlines() if ":" in line
        )
        return Versions(
            words.get("Library version", "").strip(), words.get("Driver version", "").strip()
        )

    def check(self) -> None:
        """See that there is a device-mapper, and the tool.

        :raises DeviceMapperMissing, DmsetupMissing, NotRoot: it cannot be used.
        """
        with suppress(OSError):
            self._seeing().open()
            if shutil.which(self._program):
                return
        self.version()

    def targets(self) -> dict[str, str]:
        """The targets that the kernel has now, with their versions; more may load on use."""
        lines = (line.split() for line in self._call("targets").stdout.splitlines())
        return {words[0]: words[1].removeprefix("v") for words in lines if len(words) == 2}

    def create(self, name: DmName, uuid: DmUuid, table: Table, *, readonly: bool = False) -> None:
        """Make a device, load its table and let I/O through; nothing is left when it fails."""
        options = ["--readonly"] if readonly else []
        try:
            self._call("create", name, "--uuid", uuid, *options, stdin=table.text())
        except DeviceBusy as error:
            if re.search(r"create ioctl|already exists", error.stderr):
                raise DeviceExists(error.argv, error.code, error.stderr) from error
            raise

    def load(self, name: DmName, table: Table, *, readonly: bool = False) -> None:
        """Put a table in the inactive slot, in place of one that may be there."""
        options = ["--readonly"] if readonly else []
        self._call("load", name, *options, stdin=table.text())

    def clear(self, name: DmName) -> None:
        """Empty the inactive slot."""
        self._call("clear", name)

    def suspend(self, name: DmName, *, noflush: bool = False, nolockfs: bool = False) -> None:
        """Hold back all I/O, once what is under way is done and a filesystem on it is frozen."""
        self._call("suspend", "--noudevsync", *_suspending(noflush, nolockfs), name)

    def resume(self, name: DmName, *, noflush: bool = False, nolockfs: bool = False) -> None:
        """Swap in the inactive table if there is one, and let I/O through.

        A device that is not suspended is for the swap: in one call of the kernel.
        """
        self._call("resume", "--noudevsync", *_suspending(noflush, nolockfs), name)

    def remove(self, name: DmName, *, retry: bool = True) -> None:
        """Remove a device; ``retry`` waits up to 5 s for somebody's short look at it to end."""
        self._call("remove", *(["--retry"] if retry else []), name)

    def message(self, name: DmName, sector: int, text: str) -> str:
        """Send a target a message; its answer, often nothing."""
        return self._call("message", name, str(sector), text).stdout.strip()

    def table(self, name: DmName, *, inactive: bool = False) -> Table | None:
        """The live (or the inactive) table; None when that slot, or the device, is not there."""
        try:
            text = self._seeing().table(name, inactive=inactive)
        except OSError:
            text = self._look("table", *(["--inactive"] if inactive else []), name)
        return Table.parse(text) if text and text.strip() else None

    def status(self, name: DmName) -> tuple[StatusLine, ...]:
        """Every live target's status. :raises DeviceMissing: there is no such device."""
        with suppress(OSError):
            found = self._seeing().status(name)
            if found is not None:
                return found
        return parse_status(self._call("status", "--noflush", name).stdout)

    def info(self, name: DmName) -> DeviceInfo | None:
        """The device's state; None when there is none."""
        with suppress(OSError):
            return self._seeing().info(name)
        text = self._look("info", *_COLUMNS, name)
        found = parse_info(_rows(text or ""))
        return found[0] if found else None

    def list(self, prefix: str = UUID_PREFIX) -> list[DeviceInfo]:
        """Every device whose UUID begins with ``prefix``, by name."""
        try:
            found = self._seeing().every()
        except OSError:
            text = self._call("info", *_COLUMNS, "--sort", "name").stdout
            found = list(parse_info(_rows(text)))
        return [info for info in found if info.uuid.startswith(prefix)]

    def _seeing(self) -> Looks:
        """:raises OSError: there is nothing but the tool."""
        if self._looks is None:
            raise OSError(errno.EOPNOTSUPP, "not given")
        return self._looks

    def _look(self, *arguments: str) -> str | None:
        try:
            return self._call(*arguments).stdout
        except DeviceMissing:
            return None

    def _call(self, *arguments: str, stdin: str = "") -> Completed:
        argv = (self._program, *arguments)
        try:
            done = self._runner(argv, stdin=stdin, timeout=self._timeout, env=self._environment())
        except TimedOut as error:
            raise DmsetupTimedOut(
                argv,
                -1,
                f"still running after {self._timeout:g} s {error.stderr}".strip(),
                "a disk below may hang, or udevd: see dmsetup info and udevadm settle",
            ) from error
        except FileNotFoundError as error:
            raise DmsetupMissing(
                argv, -1, f"{self._program} is not installed", "install the package dmsetup"
            ) from error
        if done.code != 0:
            raise _failure(argv, done)
        return done

    def _environment(self) -> Mapping[str, str]:
        env = {**os.environ, "LC_ALL": "C"}
        if not self._udev_running():
            env["DM_DISABLE_UDEV"] = "1"
        return env


_COLUMNS = ("--columns", "--noheadings", "--separator", SEPARATOR, "-o", ",".join(INFO_FIELDS))


def _rows(text: str) -> str:
    # Where there is no device at all dmsetup prints a sentence instead of rows.
    return "\n".join(line for line in text.splitlines() if SEPARATOR in line)


def _suspending(noflush: bool, nolockfs: bool) -> list[str]:
    return [*(["--noflush"] if noflush else []), *(["--nolockfs"] if nolockfs else [])]


def _failure(argv: tuple[str, ...], done: Completed) -> DmsetupFailed:
    for pattern, error, hint in _CAUSES:
        if re.search(pattern, done.stderr):
            return error(argv, done.code, done.stderr, hint)
    return DmsetupFailed(argv, done.code, done.stderr, "the kernel's log (dmesg) may say why")
