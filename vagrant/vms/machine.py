"""One VM over ssh: commands as root, files, power."""

from __future__ import annotations

import shlex
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vagrant.vms.phases import say

SSH_TIMEOUT = 20
OPTIONS = (
    "BatchMode=yes",
    "ControlMaster=auto",
    "ControlPersist=600",
    f"ConnectTimeout={SSH_TIMEOUT}",
    "ServerAliveInterval=10",
    "ServerAliveCountMax=6",
    "LogLevel=ERROR",
)


class MachineFailed(Exception):
    """A command on a machine did not do what it should; the text has what it said."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


class Machine:
    """A VM by the name that ``ssh_config`` has for it.

    :param prefix: what goes before every command here: how to enter the VMs' network.
    """

    def __init__(self, name: str, ssh_config: Path, prefix: tuple[str, ...] = ()) -> None:
        self.name = name
        self._config = ssh_config
        self._prefix = prefix

    def _ssh(self, program: str, *arguments: str) -> list[str]:
        control = self._config.parent / f"ssh-{self.name}-%C"
        options = [f"-o{option}" for option in (*OPTIONS, f"ControlPath={control}")]
        return [*self._prefix, program, "-F", str(self._config), *options, *arguments]

    def run(
        self, script: str, *, check: bool = True, timeout: float = 900.0, stdin: bytes = b""
    ) -> Said:
        """Run a shell script as root, ended by its first failure.

        :raises MachineFailed: ``check`` is set and the exit code is not 0, or time ran out.
        """
        argv = self._ssh("ssh", self.name, f"sudo -H sh -ec {shlex.quote(script)}")
        try:
            done = subprocess.run(
                argv, input=stdin, capture_output=True, timeout=timeout, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise MachineFailed(
                f"{self.name}: still running after {timeout:g} s: {script}"
            ) from error
        out, err = (text.decode("utf-8", "replace") for text in (done.stdout, done.stderr))
        if check and done.returncode != 0:
            raise MachineFailed(
                f"{self.name}: exit code {done.returncode} from: {script}\n{out}{err}"
            )
        return Said(done.returncode, out, err)

    def out(self, script: str, *, timeout: float = 900.0) -> str:
        """What a script that ends well prints."""
        return self.run(script, timeout=timeout).out.strip()

    def bytes_of(self, script: str, *, timeout: float = 900.0) -> bytes:
        """What a script prints, as it is; packed on its way."""
        packed = f"{{ {script}; }} | gzip -1"
        argv = self._ssh("ssh", self.name, f"sudo -H sh -ec {shlex.quote(packed)}")
        import gzip

        done = subprocess.run(argv, capture_output=True, timeout=timeout, check=False)
        if done.returncode != 0:
            raise MachineFailed(f"{self.name}: {script}: {done.stderr.decode('utf-8', 'replace')}")
        return gzip.decompress(done.stdout)

    def put(self, content: bytes, path: str) -> None:
        """Write a file."""
        self.run(f"cat >{shlex.quote(path)}", stdin=content)

    def answers(self) -> bool:
        """Whether it can be reached and lets one in."""
        try:
            return self.run("true", check=False, timeout=SSH_TIMEOUT * 2).code == 0
        except MachineFailed:
            return False

    def hang_up(self) -> None:
        """Close the shared connection, which a machine that went away would leave hanging."""
        subprocess.run(self._ssh("ssh", "-O", "exit", self.name), capture_output=True, check=False)

    def boot_id(self) -> str:
        """Another one after every boot."""
        return self.out("cat /proc/sys/kernel/random/boot_id")

    def wait_up(self, limit: float = 1800.0, other_than: str = "") -> None:
        """Wait until it answers, in another boot than the one named, and has come up whole.

        :raises MachineFailed: not within ``limit`` seconds.
        """
        deadline = time.monotonic() + limit
        while True:
            # It may answer for the last time.
            with suppress(MachineFailed):
                if self.answers() and self.boot_id() != other_than:
                    break
            self.hang_up()
            if time.monotonic() > deadline:
                raise MachineFailed(f"{self.name} does not answer after {limit:g} s")
            time.sleep(2)
        self.run("systemctl is-system-running --wait || true", timeout=limit)

    def reboot(self) -> None:
        """An orderly reboot; returns when it is up again."""
        before = self.boot_id()
        say(f"{self.name}: reboot")
        self.run("systemd-run --on-active=1 systemctl reboot", check=False)
        self.hang_up()
        self.wait_up(other_than=before)
