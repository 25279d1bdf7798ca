"""What a process and its threads do, by the kernel's own trace: system calls, page faults."""

from __future__ import annotations

import re
from pathlib import Path
from types import TracebackType

TRACEFS = Path("/sys/kernel/tracing")
INSTANCE = TRACEFS / "instances/frazil-test"

CALLS = {
    0: "read", 1: "write", 3: "close", 9: "mmap", 11: "munmap", 12: "brk", 16: "ioctl",
    44: "sendto", 45: "recvfrom", 56: "clone", 57: "fork", 58: "vfork", 59: "execve",
    74: "fsync", 144: "sched_setscheduler", 202: "futex", 228: "clock_gettime",
    257: "openat", 435: "clone3",
}  # fmt: skip
"""The names of x86-64's system calls that matter here."""

_EVENT = re.compile(r"(sys_enter|page_fault_user): (?:NR (\d+) \((\w+), (\w+))?")


class Trace:
    """Records while it is entered; ``events`` afterwards."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.events: list[str] = []

    def __enter__(self) -> Trace:
        INSTANCE.mkdir()
        # Its threads too, which are made while this records.
        (INSTANCE / "options/event-fork").write_text("1")
        (INSTANCE / "set_event_pid").write_text(str(self._pid))
        for event in ("raw_syscalls/sys_enter", "exceptions/page_fault_user"):
            (INSTANCE / "events" / event / "enable").write_text("1")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        (INSTANCE / "tracing_on").write_text("0")
        text = (INSTANCE / "trace").read_text()
        self.events = [_named(match) for match in _EVENT.finditer(text)]
        (INSTANCE / "events/enable").write_text("0")
        INSTANCE.rmdir()


def _named(match: re.Match[str]) -> str:
    if match[1] == "page_fault_user":
        return "page fault"
    name = CALLS.get(int(match[2]), match[2])
    return f"ioctl {match[4]}" if name == "ioctl" else name
