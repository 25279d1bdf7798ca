"""``python -m vagrant.vms``: what stands behind ``make e2e-vagrant`` and ``vagrant up``."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

from vagrant.box.disk import box
from vagrant.lab.errors import LabError
from vagrant.vms import daemons, packages
from vagrant.vms.driver import driver
from vagrant.vms.install import install, prepare
from vagrant.vms.machine import MachineFailed
from vagrant.vms.phases import Phases, say
from vagrant.vms.vagrantfile import Vagrant


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m vagrant.vms", description=__doc__)
    parser.epilog = "What e2e and test do not know is for pytest."
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("e2e", help="everything: box, machines, tests, and away with it")
    commands.add_parser("up", help="box, daemons and bare machines, which stay")
    commands.add_parser("test", help="the tests, on machines that are up")
    commands.add_parser("down", help="away with machines and daemons, also after a crash")
    commands.add_parser("install", help="frazil on machines that a plain vagrant up has started")
    return parser


def end_to_end(arguments: Sequence[str], phases: Phases) -> int:
    """Build, start, test, destroy, also when something fails. :return: pytest's exit code."""
    with ExitStack() as stack:
        stack.callback(down, phases)
        up(phases)
        return test(arguments, phases)


def up(phases: Phases) -> None:
    """Box, daemons and machines. :raises LabError: one of them does not come up."""
    with phases.phase("box"):
        folder = box()
    with phases.phase("driver"):
        kind = driver(folder)
        say(f"machines run under {'KVM' if kind == 'kvm' else 'emulation (TCG)'}")
    vagrant = Vagrant(kind, daemons.entrance())
    with phases.phase("daemons"):
        daemons.start(vagrant.home, kvm=kind == "kvm")
        vagrant.destroy()
    with phases.phase("import of the box"):
        vagrant.add_box(folder / "frazil.box")
    with phases.phase("vagrant up"):
        vagrant.up()
    _driver_file(vagrant).write_text(kind)


def test(arguments: Sequence[str], phases: Phases) -> int:
    """Build the package, and test it on the machines. :return: pytest's exit code."""
    vagrant = Vagrant("", daemons.entrance())
    if not _driver_file(vagrant).exists() or not daemons.there():
        raise LabError("no machines are up: python -m vagrant.vms up")
    with tempfile.TemporaryDirectory(prefix="frazil-packages-") as folder:
        with phases.phase("package"):
            package = packages.build(Path(folder))
            newer = packages.newer(package)
        environment = {
            **os.environ,
            "FRAZIL_E2E_DRIVER": _driver_file(vagrant).read_text(),
            "FRAZIL_E2E_PREFIX": " ".join(vagrant.prefix),
            "FRAZIL_E2E_PACKAGE": str(package),
            "FRAZIL_E2E_NEWER": str(newer),
        }
        argv = [sys.executable, "-m", "pytest", "-v", "--durations=0", "-p", "no:cacheprovider"]
        with phases.phase("tests"):
            done = subprocess.run([*argv, *arguments], env=environment, check=False)
    return done.returncode


def down(phases: Phases) -> None:
    """Away with machines and daemons; nothing happens where there are none."""
    vagrant = Vagrant("qemu", daemons.entrance())
    with phases.phase("destroy"):
        _driver_file(vagrant).unlink(missing_ok=True)
        if daemons.there():
            vagrant.destroy()
        daemons.stop()


def _driver_file(vagrant: Vagrant) -> Path:
    """Where it stands what the machines that are up run under."""
    return vagrant.home / "driver"


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


def _give_up(number: int, _frame: FrameType | None) -> None:
    """Clean up at a first signal, undisturbed by another."""
    for other in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(other, signal.SIG_IGN)
    say(f"{signal.Signals(number).name}: cleaning up")
    sys.exit(128 + number)


def main(argv: Sequence[str] | None = None) -> int:
    """:return: the exit code."""
    parser = _parser()
    options, for_pytest = parser.parse_known_args(argv)
    if for_pytest and options.command not in ("e2e", "test"):
        parser.error(f"unrecognized arguments: {' '.join(for_pytest)}")
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, _give_up)
    phases = Phases()
    try:
        match options.command:
            case "install":
                return install_now()
            case "up":
                up(phases)
            case "test":
                return test(for_pytest, phases)
            case "down":
                down(phases)
            case _:
                return end_to_end(for_pytest, phases)
    except (LabError, MachineFailed) as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        if phases.done:
            print(phases.summary(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
