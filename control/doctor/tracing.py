"""What the finer tracking of writes stands on: bcc, headers of the running kernel, tracefs."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

from control.doctor.findings import Finding, Level, ok
from control.doctor.patient import Patient

AREA = "tracing"
WITHOUT = "frazil works without it, and sends whole chunks"


def has_bcc() -> bool:
    """Whether Debian's bcc is there for this Python; the bcc on PyPI is another thing."""
    return importlib.util.find_spec("bcc") is not None


def check_tracing(
    patient: Patient, release: str | None = None, bcc: bool | None = None
) -> Iterator[Finding]:
    """Each part; what is missing costs bytes on the wire, never data."""
    release = release or os.uname().release
    findings = [
        judge_bcc(has_bcc() if bcc is None else bcc),
        judge_headers(patient.at(f"/lib/modules/{release}/build"), release),
        judge_tracefs(patient.at("/sys/kernel/tracing"), patient.at("/sys/kernel/debug/tracing")),
    ]
    yield from findings


def judge_bcc(there: bool) -> Finding:
    """The library."""
    if there:
        return ok(AREA, "bcc")
    return Finding(
        AREA, Level.WARNING, f"bcc is not installed: {WITHOUT}", "apt install python3-bpfcc"
    )


def judge_headers(build: Path, release: str) -> Finding:
    """The headers that bcc compiles against: of the kernel that runs, not of a newer one."""
    if (build / "include").exists() or (build / "Makefile").exists():
        return ok(AREA, f"headers of the running kernel, {release}")
    return Finding(
        AREA,
        Level.WARNING,
        f"the headers of the running kernel, {release}, are not installed: {WITHOUT}",
        f"apt install linux-headers-{release}; if there are none any more, boot the newest kernel",
    )


def judge_tracefs(*places: Path) -> Finding:
    """The kernel's tracepoints."""
    if any((place / "events" / "block").is_dir() for place in places):
        return ok(AREA, "tracepoints of the block layer")
    return Finding(
        AREA,
        Level.WARNING,
        f"the kernel's tracepoints are not to be seen: {WITHOUT}",
        f"mount -t tracefs tracefs {places[0]}",
    )
