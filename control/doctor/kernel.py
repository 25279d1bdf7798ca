"""The kernel: device-mapper, its targets, loop devices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from control.doctor.findings import Finding, Level, ok
from control.doctor.patient import Patient
from control.doctor.programs import run_quietly
from dm_tables.dmsetup import Dmsetup
from dm_tables.errors import FrazilError

AREA = "kernel"
TARGETS = {"linear": "dm-mod", "snapshot": "dm-snapshot"}
"""Targets that frazil stands on, and the modules that have them."""

Loadable = Callable[[str], bool]


def loadable(module: str) -> bool:
    """Whether this kernel has a module, loaded, built in or to be loaded."""
    return run_quietly(["modprobe", "--dry-run", "--quiet", module])


def check_kernel(
    patient: Patient, dmsetup: Dmsetup | None = None, has: Loadable = loadable
) -> Iterator[Finding]:
    """Device-mapper and its targets; loop devices where files are used."""
    tool = dmsetup or Dmsetup()
    try:
        version = tool.version().driver
        targets = tool.targets()
    except FrazilError as error:
        yield Finding(AREA, Level.PROBLEM, error.what, error.hint)
    else:
        yield ok(AREA, f"device-mapper {version}")
        yield from judge_targets(targets, has)
    if "files" in (patient.config.pool.kind, patient.config.replica.kind):
        yield judge_loops(patient.at("/dev/loop-control").exists(), has)


def judge_targets(targets: Mapping[str, str], has: Loadable) -> Iterator[Finding]:
    """Each target: there now, or to be loaded on first use, or missing."""
    for target, module in TARGETS.items():
        if target in targets:
            yield ok(AREA, f"target {target} {targets[target]}")
        elif has(module):
            yield ok(AREA, f"target {target}: the module {module} is loaded on first use")
        else:
            yield Finding(
                AREA,
                Level.PROBLEM,
                f"this kernel has no {target} target of device-mapper",
                f"install a kernel with the module {module}, such as Debian's linux-image-amd64",
            )


def judge_loops(there: bool, has: Loadable) -> Finding:
    """Loop devices, which a pool of files is used through."""
    if there or has("loop"):
        return ok(AREA, "loop devices")
    return Finding(
        AREA,
        Level.PROBLEM,
        "this kernel has no loop devices, which files of a pool are used through",
        'install a kernel with the module loop, or set kind = "lvm" in [pool] and [replica]',
    )
