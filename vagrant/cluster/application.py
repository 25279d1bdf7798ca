"""The application on the source: it writes all the time, and keeps its log on another disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.workload.judge import Bounds, Window, bounds, judge_files, judge_newest
from tests.workload.oplog import Operation, operations, read_disk_log
from vagrant.lab import CommandFailed, Guest, GuestProcess

DEVICES: Final = "/dev/disk/by-id/virtio-"
LOG_BYTES: Final = 512 << 20


class Application:
    """SQLite transactions and checksummed files on a mounted filesystem of ``guest``.

    Their logs go straight to the raw disk ``log_disk`` (blank before), which the host reads
    as a file, also when the guest is gone.
    """

    def __init__(self, guest: Guest, mountpoint: str, log_disk: str = "d1") -> None:
        self._guest = guest
        self._mountpoint = mountpoint
        self._log_disk = log_disk
        self._writers: list[GuestProcess] = []

    def start(self, pause: float = 0.02) -> None:
        """Start both writers, each with ``pause`` seconds between two operations."""
        for number, module in enumerate(("sqlite_writer", "checksum_files")):
            directory = f"{self._mountpoint}/{_directory(module)}"
            log = f"{DEVICES}{self._log_disk}@{number * LOG_BYTES}+{LOG_BYTES}"
            command = ["python3", "-m", f"tests.workload.{module}", directory]
            command += ["--log", log, "--pause", str(pause)]
            self._writers.append(self._guest.spawn(command))

    def failure(self) -> str:
        """What a writer that ended by itself said; empty while both run."""
        for writer in self._writers:
            if writer.poll() is not None:
                return f"{' '.join(writer.argv)} ended: {writer.log()[-2000:]}"
        return ""

    def stop(self) -> None:
        """Let both end after the operation under way."""
        for writer in self._writers:
            writer.kill(15)
            writer.wait()
        self._writers.clear()

    def evidence(self) -> Evidence:
        """What both did, from their logs on the host."""
        disk = next(disk for disk in self._guest.disks if disk.serial == self._log_disk)
        sqlite = operations(read_disk_log(Path(disk.path), 0, LOG_BYTES))
        files = operations(read_disk_log(Path(disk.path), LOG_BYTES, LOG_BYTES))
        return Evidence(sqlite, files)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A replica's content, judged. ``faults`` is empty when everything is right."""

    newest: int
    allowed: Bounds
    files: int
    faults: list[str]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the application did, and was told was done."""

    sqlite: list[Operation]
    files: list[Operation]

    def judge(self, guest: Guest, mountpoint: str, window: Window) -> Verdict:
        """Check the filesystem mounted on ``guest``, frozen at the source in ``window``."""
        database = _check(guest, "sqlite", f"{mountpoint}/{_directory('sqlite_writer')}")
        files = _check(guest, "files", f"{mountpoint}/{_directory('checksum_files')}")
        allowed = bounds(self.sqlite, window)
        faults = [*database["faults"], *judge_newest(database["newest"], allowed)]
        faults += files["faults"]
        faults += judge_files(files["found"], self.files, bounds(self.files, window))
        return Verdict(database["newest"], allowed, len(files["found"]), faults)


def _directory(module: str) -> str:
    return {"sqlite_writer": "database", "checksum_files": "files"}[module]


def _check(guest: Guest, kind: str, directory: str) -> Any:
    """The findings of a checker in the guest."""
    command = ["python3", "-m", "tests.workload.check", kind, directory]
    try:
        return guest.json(command, check=False)
    except ValueError as error:
        raise CommandFailed(command, 1, b"", b"", f"no findings: {error}") from error
