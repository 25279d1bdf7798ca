"""The template with frazil's code in it, imported once: clones begin where a command would.

Importing takes an emulated processor most of the time that a daemon needs to start.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from .build import call
from .cache import built, key_of
from .errors import LabError
from .progress import step
from .qemu import CODE_DISK, DATA_DISKS, STATE_DISK, Disk, Machine, Process
from .template import Template, console, make_disk, reach, save

# What frazil and frazild import, some of it late.
MODULES = (
    "control.cli.api",
    "control.cli.app",
    "control.config.reading:shape",
    "control.daemon",
    "cryptography.hazmat.backends.openssl",
    "grpc._channel",
    "grpc._interceptor",
    "grpc._server",
)
IMPORT_LIMIT_S = 240.0


def stocked(template: Template, code: Path) -> Template:
    """The template with the code on a disk mounted and imported; made where the code is new.

    :param code: see :func:`vagrant.lab.bundle.code_disk`; named after its contents.
    :raises LabError: the code cannot be imported.
    """
    key = key_of(template.folder.name, code.name, MODULES)
    folder = built("stocked", key, lambda work: _build(work, template, code))
    return replace(template, folder=folder)


def _build(work: Path, template: Template, code: Path) -> None:
    copy = ["cp", "--sparse=always", "--reflink=auto", str(template.ram), str(work / "ram")]
    call(copy, work / "log")
    kinds = (*DATA_DISKS, STATE_DISK)
    disks = [make_disk(serial, work, template.boot, "raw", "unsafe") for serial in kinds]
    machine = Machine(
        template.image,
        template.initramfs,
        template.accel,
        work,
        (*disks, Disk(CODE_DISK, code, readonly=True)),
        ram=work / "ram",
        shared=True,
        incoming=True,
    )
    with step("importing frazil in the template", 12 if template.accel == "tcg" else 3):
        process = Process(machine.argv(), work)
        try:
            _import(process, template, work)
        except (LabError, OSError) as error:
            raise LabError(f"frazil cannot be imported: {error}{console(work)}") from error
        finally:
            process.kill()
    for name in ("qmp", "command", "shell", *(disk.path.name for disk in disks)):
        (work / name).unlink(missing_ok=True)


def _import(process: Process, template: Template, work: Path) -> None:
    qmp, channel = reach(process, work)
    qmp.capability("x-ignore-shared")
    qmp.execute("migrate-incoming", uri=template.state)
    qmp.wait_loaded(IMPORT_LIMIT_S)
    qmp.execute("cont")
    channel.ask("code", timeout=IMPORT_LIMIT_S)
    channel.ask("warm", timeout=IMPORT_LIMIT_S, modules=MODULES)
    save(qmp, channel, work)
