"""libvirt's daemons: the host's own where systemd runs them, else ones of our own.

Without systemd they run in a network namespace of their own, where libvirt's networks lead
nowhere and disturb nobody's; vagrant and ssh must then run there too.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vagrant.lab.errors import LabError
from vagrant.vms.phases import say

NAMESPACE = "frazil-vms"
INSIDE = ("ip", "netns", "exec", NAMESPACE)
SOCKETS = {
    "virtlogd": Path("/run/libvirt/virtlogd-sock"),
    "libvirtd": Path("/run/libvirt/libvirt-sock"),
}
START_SECONDS = 90.0
END_SECONDS = 30.0


def has_systemd() -> bool:
    """Whether the host runs libvirt by itself."""
    return Path("/run/systemd/system").is_dir()


@contextmanager
def libvirt(logs: Path) -> Iterator[tuple[str, ...]]:
    """libvirt, as long as the context lasts; gives what goes before every command.

    :param logs: a folder for what the daemons say.
    :raises LabError: they do not come up, or others run here already.
    """
    if has_systemd():
        yield ()
        return
    if os.geteuid() != 0:
        raise LabError("starting libvirt's daemons needs root: use sudo")
    if running := [name for name in SOCKETS if _runs(name)]:
        raise LabError(
            f"{' and '.join(running)} run here already, in a network that is not ours: stop them"
        )
    started: list[subprocess.Popen[bytes]] = []
    _call("ip", "netns", "delete", NAMESPACE, check=False)
    _call("ip", "netns", "add", NAMESPACE)
    try:
        _call(*INSIDE, "ip", "link", "set", "lo", "up")
        for name in SOCKETS:
            started.append(_start(name, logs / f"{name}.log"))
        yield INSIDE
    finally:
        for process in reversed(started):
            _end(process)
        _end_dnsmasq()
        _call("ip", "netns", "delete", NAMESPACE, check=False)


def _start(name: str, log: Path) -> subprocess.Popen[bytes]:
    SOCKETS[name].parent.mkdir(parents=True, exist_ok=True)
    SOCKETS[name].unlink(missing_ok=True)
    program = shutil.which(name, path="/usr/sbin:/sbin:/usr/bin:/bin")
    if program is None:
        raise LabError(f"{name} is not installed: see vagrant/box/apt-packages.txt")
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*INSIDE, program],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    deadline = time.monotonic() + START_SECONDS
    while not SOCKETS[name].exists():
        if process.poll() is not None or time.monotonic() > deadline:
            _end(process)
            raise LabError(f"{name} does not come up:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.2)
    return process


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _runs(name: str) -> bool:
    """Whether the daemon of that name is alive, by the file where it writes its number."""
    try:
        pid = int(Path(f"/run/{name}.pid").read_text())
        return Path(f"/proc/{pid}/comm").read_text().strip() == name
    except (OSError, ValueError):
        return False


def _end_dnsmasq() -> None:
    """What libvirt started for its networks outlives it: end what runs in our namespace."""
    pids = subprocess.run(
        ["ip", "netns", "pids", NAMESPACE], capture_output=True, text=True, check=False
    ).stdout.split()
    for pid in map(int, pids):
        if pid == os.getpid():
            continue
        try:
            name = Path(f"/proc/{pid}/comm").read_text().strip()
            os.kill(pid, signal.SIGTERM)
        except OSError:
            continue
        say(f"ended {name} ({pid}), which was left")


def _call(*argv: str, check: bool = True) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise LabError(f"{' '.join(argv)}: {done.stderr.strip()}")
