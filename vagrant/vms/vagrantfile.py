"""Vagrant, called with everything of it in the cache: the tree and the home stay as they are."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from vagrant.lab.cache import cache_dir
from vagrant.lab.errors import LabError
from vagrant.vms.machine import Machine
from vagrant.vms.phases import say

FOLDER = Path(__file__).resolve().parents[1]
NAMES = ("local", "remote")


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
        argv = [*self.prefix, "vagrant", *arguments]
        done = subprocess.run(
            argv,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        with (self.home / "vagrant.log").open("a") as log:
            log.write(f"$ vagrant {' '.join(arguments)}\n{done.stdout}\n")
        if check and done.returncode != 0:
            raise LabError(f"vagrant {' '.join(arguments)} failed:\n{done.stdout[-4000:]}")
        if not quiet and not check and done.returncode != 0:
            say(f"vagrant {' '.join(arguments)}: exit code {done.returncode}")
        return done.stdout

    def add_box(self, box: Path) -> None:
        """Let the Vagrantfile find the box."""
        self.call("box", "add", "--force", "--name", "frazil", str(box))

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
        """Away with machines, box and the volumes that it left in libvirt's pool."""
        self.call("destroy", "--force", check=False)
        self.call("box", "remove", "--all", "--force", "frazil", check=False, quiet=True)
        self._virsh_each("vol-list default", "vol-delete --pool default", "frazil-VAGRANTSLASH-")
        self._virsh_each("vol-list default", "vol-delete --pool default", "frazil_vagrant_box")

    def _virsh_each(self, listing: str, removal: str, prefix: str) -> None:
        listed = self._virsh(*listing.split())
        for line in listed.splitlines():
            name = (line.split() or [""])[0]
            if name.startswith(prefix):
                self._virsh(*removal.split(), name)

    def _virsh(self, *arguments: str) -> str:
        argv = [*self.prefix, "virsh", "--connect", "qemu:///system", *arguments]
        return subprocess.run(argv, capture_output=True, text=True, check=False).stdout
