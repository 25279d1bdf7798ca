"""A guest with a frazild: its configuration, its daemon's life and death, its command line."""

from __future__ import annotations

import itertools
import json
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

from vagrant.lab import Guest, GuestGone, GuestProcess, LabError

from .certificates import Certificates

PORT: Final = 7420
LOG: Final = "/var/lib/frazil/frazild.log"
SOCKET: Final = "/run/frazil/control.sock"
READY_LIMIT_S: Final = 240.0


class FrazilFailed(Exception):
    """frazil or frazild did what it must not do; the text has the daemon's last words."""


@dataclass(frozen=True, slots=True)
class HostSettings:
    """What a host's configuration says beyond its defaults.

    :param peers: identities that may write replicas here.
    :param extra: further TOML, tables included.
    :param trace: whether writes are traced: making the program takes a guest many seconds.
    """

    peers: tuple[str, ...] = ()
    listen: bool = True
    extra: str = ""
    trace: bool = False
    env: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Said:
    """What one command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def value(self) -> Any:
        """The JSON on its standard output."""
        return json.loads(self.out)


class FrazilHost:
    """frazil on one guest."""

    def __init__(self, guest: Guest, certificates: Certificates, settings: HostSettings) -> None:
        self.guest = guest
        self.settings = settings
        self._certificates = certificates
        self._daemon: GuestProcess | None = None

    @property
    def name(self) -> str:
        """The host's name, which is also its identity in its certificate."""
        return self.guest.name

    @property
    def peer(self) -> str:
        """The address under which mirrors reach this host."""
        return f"{self.guest.name}:{PORT}"

    def configure(self) -> None:
        """Write certificates and configuration; they outlive a power cut."""
        issued = self._certificates.issue(self.name, self.guest.address)
        for name, pem in (("ca.pem", issued.ca), ("host.pem", issued.cert)):
            self.guest.put(pem, f"/etc/frazil/{name}")
        self.guest.put(issued.key, "/etc/frazil/host.key", mode=0o600)
        self.guest.put(self._config().encode(), "/etc/frazil/config.toml")
        self.guest.run("sync /etc/frazil/* /etc/frazil")

    def _config(self) -> str:
        lines = ["version = 1", "[host]", f'name = "{self.name}"', "[tls]"]
        lines += ['ca = "/etc/frazil/ca.pem"', 'cert = "/etc/frazil/host.pem"']
        lines += ['key = "/etc/frazil/host.key"']
        if self.settings.listen:
            lines += ["[listen]", f'address = "0.0.0.0:{PORT}"']
        if not self.settings.trace:
            lines += ["[trace]", "enabled = false"]
        for peer in self.settings.peers:
            lines += ["[[replica.allow]]", f'identity = "{peer}"', 'volumes = ["*"]']
        return "\n".join([*lines, self.settings.extra, ""])

    # The daemon.

    def start(self, *program: str) -> None:
        """Start frazild, or another ``program`` in its place, and wait until it answers.

        :raises FrazilFailed: it ended, or did not answer in time.
        """
        self._daemon = self.guest.spawn(program or ["frazild"], log=LOG, env=self.settings.env)
        wait = (SOCKET, self._daemon.pid, READY_LIMIT_S)
        ready = "lab_inside.ready:listens"
        if not self.guest.call(ready, *wait, timeout=READY_LIMIT_S + 60):
            ended = self._daemon.poll() is not None
            what = "ended" if ended else "does not answer"
            raise FrazilFailed(f"{self.name}: frazild {what}\n{self.log_tail()}")

    def start_broken(self, *faults: str) -> None:
        """Start a frazild with ``faults`` put in place: see :mod:`tests.sabotage`."""
        self.start("frazild-broken", *faults)

    @property
    def daemon(self) -> GuestProcess:
        """The running daemon's process. :raises FrazilFailed: it was never started."""
        if self._daemon is None:
            raise FrazilFailed(f"{self.name}: frazild was not started")
        return self._daemon

    def kill(self) -> None:
        """kill -9: the daemon has no time for anything."""
        self.daemon.kill(signal.SIGKILL)
        self.daemon.wait()

    def stop(self) -> int:
        """SIGTERM, and wait; the exit code."""
        self.daemon.kill(signal.SIGTERM)
        return self.daemon.wait()

    def log_tail(self, lines: int = 40) -> str:
        """The daemon's last words, or why they cannot be had."""
        try:
            text = self.guest.get(LOG).decode("utf-8", "replace")
        except (GuestGone, LabError) as error:
            return f"(the log of {self.name} cannot be read: {error})"
        return "\n".join(text.splitlines()[-lines:])

    # The command line.

    def frazil(self, *words: str, check: bool = True, timeout: float = 400.0) -> Said:
        """Run ``frazil`` in the guest.

        :raises FrazilFailed: ``check`` is set and the exit code is not 0.
        """
        done = self.guest.run(["frazil", *words], check=False, timeout=timeout)
        said = Said(done.code, done.text, done.stderr.decode("utf-8", "replace").rstrip())
        if check and said.code != 0:
            raise FrazilFailed(
                f"{self.name}: frazil {' '.join(words)}: exit code {said.code}\n"
                f"{said.err or said.out}\n--- frazild\n{self.log_tail()}"
            )
        return said

    def json(self, *words: str, timeout: float = 400.0) -> Any:
        """Run ``frazil … --json``; what it printed. :raises FrazilFailed: see :meth:`frazil`."""
        return self.frazil(*words, "--json", timeout=timeout).value

    def until(
        self,
        what: str,
        ask: Callable[[], Any],
        *,
        timeout: float = 400.0,
        pause: float | None = None,
    ) -> Any:
        """Ask again and again until the answer is true; that answer.

        :param pause: seconds between two questions; without it they get rarer, for a command
            takes the guest's processor from what is waited for.

        :raises FrazilFailed: it is not so within ``timeout`` seconds; names ``what``.
        """
        deadline = time.monotonic() + timeout
        pauses = rarer() if pause is None else itertools.repeat(pause)
        while not (answer := ask()):
            if time.monotonic() > deadline:
                raise FrazilFailed(
                    f"{self.name}: not within {timeout:g} s: {what}\n--- frazild\n{self.log_tail()}"
                )
            time.sleep(next(pauses))
        return answer


def rarer() -> Iterator[float]:
    """Pauses of 0.2 to 1.5 seconds."""
    pause = 0.2
    while True:
        yield pause
        pause = min(1.5, 1.3 * pause)


def start_all(hosts: Sequence[FrazilHost]) -> None:
    """Configure and start all of them at once. :raises FrazilFailed: one did not start."""

    def start(host: FrazilHost) -> None:
        host.configure()
        host.start()

    with ThreadPoolExecutor(len(hosts)) as pool:
        list(pool.map(start, hosts))
