"""Vagrant, called with everything of it in the cache: the tree and the home stay as they are."""

from __future__ import annotations

import os
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from vagrant.lab.cache import cache_dir
from vagrant.lab.errors import LabError
from vagrant.vms.machine import Machine
from vagrant.vms.phases import say

FOLDER = Path(__file__).resolve().parents[1]
NAMES = ("local", "remote")
BOX = "frazil-e2e"
PREFIX = "frazil-e2e_"
"""What a box and machines of ours are called in libvirt, and nobody else's."""


@dataclass(frozen=True)
class Vagrant:
    """The two machines of the Vagrantfile.

    :ivar driver: ``kvm`` or ``qemu``.
    :ivar prefix: what goes before every command: how to enter the machines' network.
    :ivar apart: keep what is vagrant's own in the cache, not where its user has it.
    """

    driver: str
    prefix: tuple[str, ...] = ()
    apart: bool = True

    @property
    def home(self) -> Path:
        """Where vagrant keeps boxes, machines and ssh's connections."""
        path = cache_dir().parent / "vms"
        path.mkdir(parents=True, exist_ok=True)
        return path

    def environment(self) -> dict[str, str]:
        """What vagrant is told."""
        places = {
            "VAGRANT_HOME": str(self.home / "home"),
            "VAGRANT_DOTFILE_PATH": str(self.home / "machines"),
            "FRAZIL_BOX": BOX,
            "FRAZIL_VM_PREFIX": PREFIX,
        }
        return {
            **os.environ,
            **(places if self.apart else {}),
            "VAGRANT_DEFAULT_PROVIDER": "libvirt",
            "VAGRANT_CWD": str(FOLDER),
            "FRAZIL_VM_DRIVER": self.driver,
            "FRAZIL_INSTALL": "no",
        }

    def call(self, *arguments: str, check: bool = True, quiet: bool = False) -> str:
        """Run vagrant; what it prints goes to the log too.

        :raises LabError: ``check`` is set, and it failed.
        """
        command = f"vagrant {' '.join(arguments)}"
        said = ""
        with (self.home / "vagrant.log").open("a", buffering=1) as log:
            log.write(f"$ {command}\n")
            with subprocess.Popen(
                [*self.prefix, "vagrant", *arguments],
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            ) as process:
                assert process.stdout is not None
                try:
                    for line in process.stdout:
                        said += line
                        log.write(f"{time.strftime('%H:%M:%S')} {line}")
                except BaseException:
                    process.kill()
                    raise
        if check and process.returncode != 0:
            raise LabError(f"{command} failed:\n{said[-4000:]}")
        if not quiet and not check and process.returncode != 0:
            say(f"{command}: exit code {process.returncode}")
        return said

    def add_box(self, box: Path) -> None:
        """Let the Vagrantfile find the box."""
        self.call("box", "add", "--force", "--name", BOX, str(box))

    def up(self, *names: str) -> None:
        """Start machines that do not run; make those that there are not."""
        self.call("up", *names)

    def halt(self, name: str, *, force: bool = False) -> None:
        """Switch a machine off, orderly or by its plug."""
        self.call("halt", *(["--force"] if force else []), name)

    def machines(self) -> dict[str, Machine]:
        """The machines that run, by name, over plain ssh."""
        config = self.home / "ssh_config"
        text = self.call("ssh-config", *NAMES, quiet=True)
        config.write_text(text[text.index("Host ") :])
        return {name: Machine(name, config, self.prefix) for name in NAMES}

    def destroy(self) -> None:
        """Away with machines and box, and with what a run that was killed left in libvirt."""
        self.call("destroy", "--force", check=False)
        self.call("box", "remove", "--all", "--force", BOX, check=False, quiet=True)
        for domain in self._ours("list --all --name"):
            self._virsh("destroy", domain)
            self._virsh("undefine", domain)
        for volume in self._ours("vol-list default"):
            self._virsh("vol-delete", "--pool", "default", volume)

    def detach(self, name: str, serial: str) -> str:
        """Let a disk of a machine be away from its next start on.

        :return: what libvirt wants to plug it in again.
        :raises LabError: there is none of that serial, or it cannot be unplugged.
        """
        domain = self._virsh("dumpxml", "--inactive", f"{PREFIX}{name}", check=True)
        for disk in re.findall(r"<disk .*?</disk>", domain, re.DOTALL):
            if f"<serial>{serial}</serial>" in disk:
                self._device("detach-device", name, disk, "--config")
                return str(disk)
        raise LabError(f"{name} has no disk with the serial {serial}")

    def attach(self, name: str, disk: str) -> None:
        """Plug a disk in that :meth:`detach` gave, now and for good.

        :raises LabError: it cannot be.
        """
        self._device("attach-device", name, disk, "--persistent")

    def is_off(self, name: str) -> bool:
        """Whether a machine has switched itself off."""
        return self._virsh("domstate", f"{PREFIX}{name}").strip() == "shut off"

    def switch_on(self, name: str) -> None:
        """Start a machine that is off, with nothing but libvirt. :raises LabError: it cannot be."""
        self._virsh("start", f"{PREFIX}{name}", check=True)

    def _device(self, action: str, name: str, described: str, how: str) -> None:
        file = self.home / "device.xml"
        file.write_text(described)
        self._virsh(action, f"{PREFIX}{name}", str(file), how, check=True)

    def _ours(self, listing: str) -> list[str]:
        """The first words of what virsh lists that begin with the name of our box."""
        words = [line.split()[:1] for line in self._virsh(*listing.split()).splitlines()]
        return [word[0] for word in words if word and word[0].startswith(BOX)]

    def _virsh(self, *arguments: str, check: bool = False) -> str:
        argv = [*self.prefix, "virsh", "--connect", "qemu:///system", *arguments]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if check and done.returncode != 0:
            raise LabError(f"virsh {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout
