"""The programs that frazil calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from control.doctor.findings import Finding, Level, ok
from control.doctor.patient import Patient
from control.doctor.programs import found

AREA = "tools"
ALWAYS = {"dmsetup": "dmsetup", "losetup": "mount", "blkid": "util-linux", "mount": "mount"}
LVM = {"lvs": "lvm2"}


def check_tools(patient: Patient, where: Callable[[str], str | None] = found) -> Iterator[Finding]:
    """Each tool that this configuration needs, and the package that has it."""
    needed = dict(ALWAYS)
    if "lvm" in (patient.config.pool.kind, patient.config.replica.kind):
        needed |= LVM
    missing = {tool: package for tool, package in needed.items() if where(tool) is None}
    for tool, package in missing.items():
        yield Finding(AREA, Level.PROBLEM, f"{tool} is not installed", f"apt install {package}")
    if not missing:
        yield ok(AREA, ", ".join(needed))
