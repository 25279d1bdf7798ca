"""``python -m vagrant.vms``: what stands behind ``make e2e-vagrant`` and ``vagrant up``."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from vagrant.box.disk import box
from vagrant.lab.errors import LabError
from vagrant.vms import packages
from vagrant.vms.daemons import libvirt
from vagrant.vms.driver import driver
from vagrant.vms.install import install, prepare
from vagrant.vms.machine import MachineFailed
from vagrant.vms.phases import Phases, say
from vagrant.vms.vagrantfile import Vagrant

TESTS = "tests/e2e_vagrant"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m vagrant.vms", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    tested = commands.add_parser("e2e", help="everything: box, machines, tests, and away with it")
    tested.add_argument("pytest", nargs="*", metavar="ARGUMENT", help="for pytest")
    commands.add_parser("install", help="frazil on machines that vagrant up has started")
    return parser


def end_to_end(arguments: Sequence[str], phases: Phases) -> int:
    """Build, start, test, destroy. :return: pytest's exit code."""
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="frazil-vms-")))
        with phases.phase("package"):
            package = packages.build(work)
            newer = packages.newer(package)
        with phases.phase("box"):
            folder = box()
        with phases.phase("driver"):
            kind = driver(folder)
            say(f"machines run under {'KVM' if kind == 'kvm' else 'emulation (TCG)'}")
        with phases.phase("daemons"):
            prefix = stack.enter_context(libvirt(work))
        vagrant = Vagrant(kind, prefix)
        vagrant.destroy()
        stack.callback(_destroy, vagrant, phases)
        with phases.phase("import of the box"):
            vagrant.add_box(folder / "frazil.box")
        with phases.phase("vagrant up"):
            vagrant.up()
        return _test(vagrant, package, newer, arguments, phases)


def _test(
    vagrant: Vagrant, package: Path, newer: Path, arguments: Sequence[str], phases: Phases
) -> int:
    environment = {
        **os.environ,
        "FRAZIL_E2E_DRIVER": vagrant.driver,
        "FRAZIL_E2E_PREFIX": " ".join(vagrant.prefix),
        "FRAZIL_E2E_PACKAGE": str(package),
        "FRAZIL_E2E_NEWER": str(newer),
    }
    argv = [sys.executable, "-m", "pytest", "-v", "--durations=0", "-p", "no:cacheprovider"]
    with phases.phase("tests"):
        done = subprocess.run([*argv, *(arguments or [TESTS])], env=environment, check=False)
    return done.returncode


def _destroy(vagrant: Vagrant, phases: Phases) -> None:
    with phases.phase("vagrant destroy"):
        vagrant.destroy()


def install_now() -> int:
    """What ``vagrant up`` ends with. :return: the exit code."""
    kind = os.environ.get("FRAZIL_VM_DRIVER", "kvm" if os.access("/dev/kvm", os.W_OK) else "qemu")
    machines = Vagrant(kind, apart=False).machines()
    if "frazil-data" in machines["local"].run("ls /dev/mapper", check=False).out:
        say("frazil is there already")
        return 0
    prepare(machines, packages.built())
    install(machines)
    print(machines["local"].out("frazil mirror status"))
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """:return: the exit code."""
    options = _parser().parse_args(argv)
    phases = Phases()
    try:
        if options.command == "install":
            return install_now()
        return end_to_end(options.pytest, phases)
    except (LabError, MachineFailed) as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        if phases.done:
            print(phases.summary(), flush=True)


if __name__ == "__main__":
    sys.exit(main())
