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
from contextlib import suppress
from pathlib import Path

from vagrant.lab.errors import LabError

NAMESPACE = "frazil-vms"
PLACE = Path("/run/netns", NAMESPACE)
INSIDE = ("ip", "netns", "exec", NAMESPACE)
SOCKETS = {
    "virtlogd": Path("/run/libvirt/virtlogd-sock"),
    "libvirtd": Path("/run/libvirt/libvirt-sock"),
}
KVM = Path("/dev/kvm")
SETTINGS = Path("/etc/libvirt/qemu.conf")
START_SECONDS = 90.0
END_SECONDS = 30.0


def has_systemd() -> bool:
    """Whether the host runs libvirt by itself."""
    return Path("/run/systemd/system").is_dir()


def entrance() -> tuple[str, ...]:
    """What goes before every command that is to reach machines."""
    return () if has_systemd() else INSIDE


def there() -> bool:
    """Whether there is a libvirt to speak to."""
    return has_systemd() or bool(_pids())


def start(logs: Path, *, kvm: bool) -> None:
    """Start libvirt, where the host does not do that itself; what is left of ours ends first.

    :param logs: a folder for what the daemons say.
    :param kvm: without it they do not see /dev/kvm. One that root can use and libvirt's user
        cannot makes libvirt look anew at what QEMU can do, for seconds, at every question.
    :raises LabError: they do not come up, or others run here already.
    """
    if has_systemd():
        return
    if os.geteuid() != 0:
        raise LabError("starting libvirt's daemons needs root: use sudo")
    stop()
    if running := [name for name in SOCKETS if _runs(name)]:
        raise LabError(
            f"{' and '.join(running)} run here already, in a network that is not ours: stop them"
        )
    _call("ip", "netns", "add", NAMESPACE)
    _call(*INSIDE, "ip", "link", "set", "lo", "up")
    for name in SOCKETS:
        _start(name, logs / f"{name}.log", () if kvm or not KVM.exists() else _blind(logs))


def stop() -> None:
    """End all that runs in our network, and the network: daemons, and machines that are left."""
    if has_systemd() or not PLACE.exists():
        return
    _end_all(signal.SIGTERM, END_SECONDS)
    _end_all(signal.SIGKILL, END_SECONDS)
    _call("ip", "netns", "delete", NAMESPACE)


def _blind(folder: Path) -> tuple[str, ...]:
    """What runs a command that has nothing behind /dev/kvm; ``ip netns exec`` mounts for itself.

    QEMU then has no /dev of its own: libvirt cannot make one where something is mounted in it.
    """
    nothing, settings = folder / "no-kvm", folder / "qemu.conf"
    nothing.touch(mode=0o600)
    settings.write_text("namespaces = []\n")
    script = 'mount --bind "$1" "$2"; mount --bind "$3" "$4"; shift 4; exec "$@"'
    return ("sh", "-ec", script, "sh", *map(str, (nothing, KVM, settings, SETTINGS)))


def _start(name: str, log: Path, around: tuple[str, ...]) -> None:
    SOCKETS[name].parent.mkdir(parents=True, exist_ok=True)
    SOCKETS[name].unlink(missing_ok=True)
    program = shutil.which(name, path="/usr/sbin:/sbin:/usr/bin:/bin")
    if program is None:
        raise LabError(f"{name} is not installed: see vagrant/box/apt-packages.txt")
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*INSIDE, *around, program],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    deadline = time.monotonic() + START_SECONDS
    while not SOCKETS[name].exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise LabError(f"{name} does not come up:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.2)


def _pids() -> list[int]:
    """The processes in our network, but this one."""
    if not PLACE.exists():
        return []
    argv = ["ip", "netns", "pids", NAMESPACE]
    listed = subprocess.run(argv, capture_output=True, text=True, check=False).stdout
    return [pid for pid in map(int, listed.split()) if pid != os.getpid()]


def _end_all(number: signal.Signals, patience: float) -> None:
    deadline = time.monotonic() + patience
    for pid in _pids():
        with suppress(ProcessLookupError):
            os.kill(pid, number)
    while _pids() and time.monotonic() < deadline:
        time.sleep(0.2)


def _runs(name: str) -> bool:
    """Whether the daemon of that name is alive, by the file where it writes its number."""
    try:
        pid = int(Path(f"/run/{name}.pid").read_text())
        return Path(f"/proc/{pid}/comm").read_text().strip() == name
    except (OSError, ValueError):
        return False


def _call(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabError(f"{' '.join(argv)}: {done.stderr.strip()}")
