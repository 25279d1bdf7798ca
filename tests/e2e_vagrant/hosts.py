"""Both machines as an administrator sees them, and a writer whose log is the oracle."""

from __future__ import annotations

import io
import json
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from tests.workload.judge import EVERYTHING, Window, bounds, judge_files
from tests.workload.oplog import RECORD_BYTES, Mark, Operation, operations
from vagrant.cluster.cycles import MirrorNow
from vagrant.vms.machine import Machine, MachineFailed
from vagrant.vms.phases import say
from vagrant.vms.vagrantfile import Vagrant

REPOSITORY: Final = Path(__file__).resolve().parents[2]
WORKLOAD: Final = "/srv/workload"
LOG_DISK: Final = "/dev/disk/by-id/virtio-log"
LOG_BYTES: Final = 16 << 20
HEAD: Final = "/dev/mapper/frazil-data"
MIRROR: Final = "data-remote"
COPY: Final = "/mnt/data"
Answer = TypeVar("Answer")


@dataclass
class Hosts:
    """``local`` is the source, ``remote`` the replica."""

    vagrant: Vagrant
    package: Path
    newer: Path
    machines: dict[str, Machine] = field(init=False)
    after_installing: list[str] = field(default_factory=list)
    _runs: int = 0

    def __post_init__(self) -> None:
        self.machines = self.vagrant.machines()

    @property
    def local(self) -> Machine:
        """The source."""
        return self.machines["local"]

    @property
    def remote(self) -> Machine:
        """The replica."""
        return self.machines["remote"]

    def are_installed(self) -> bool:
        """Whether the tests ran on these machines before, which were kept."""
        return self.local.run(f"test -b {HEAD}", check=False).code == 0

    def prepare_writers(self) -> None:
        """Bring the workload to both machines."""
        self._runs = len(self.local.out("ls /srv/data | grep ^run- || true").split())
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            for path in sorted((REPOSITORY / "tests/workload").glob("*.py")):
                tar.add(path, f"tests/workload/{path.name}")
            tar.add(REPOSITORY / "tests/__init__.py", "tests/__init__.py")
        for machine in self.machines.values():
            machine.run(f"mkdir -p {WORKLOAD} && tar -xC {WORKLOAD}", stdin=packed.getvalue())

    # What frazil says.

    def json(self, machine: Machine, *words: str, timeout: float = 900.0) -> Any:
        """What a frazil command prints with --json."""
        return json.loads(machine.out(f"frazil {' '.join(words)} --json", timeout=timeout))

    def mirror(self) -> MirrorNow:
        """The mirror now."""
        return MirrorNow.of(self.json(self.local, "mirror", "status", MIRROR)["mirrors"][0])

    def sync(self) -> int:
        """Freeze now, and wait for the commit. :return: the generation's number."""
        said = self.json(self.local, "mirror", "sync-now", MIRROR, "--wait", timeout=1800)
        return int(said["generation"]["number"])

    def goes_on(self, after: int, limit: float = 900.0) -> MirrorNow:
        """Wait for a generation later than ``after`` to be committed; nobody is asked for it."""
        return self.until("a later generation", lambda: _later(self.mirror(), after), limit)

    def until(self, what: str, ask: Callable[[], Answer | None], limit: float = 900.0) -> Answer:
        """Ask until the answer is true; an answer that cannot be had counts as none."""
        deadline = time.monotonic() + limit
        last = ""
        while True:
            try:
                if answer := ask():
                    return answer
            except (MachineFailed, ValueError, KeyError) as error:
                last = str(error)
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {limit:g} s: {what}\n{last}\n{self.standing()}")
            time.sleep(1.0)

    # What systemd says.

    def shown(self, machine: Machine, unit: str, *names: str) -> dict[str, str]:
        """Properties of a unit."""
        wanted = " ".join(f"-p {name}" for name in names)
        lines = machine.out(f"systemctl show {wanted} {unit}").splitlines()
        return dict(line.split("=", 1) for line in lines)

    def status_text(self, machine: Machine) -> str:
        """The status line of frazild."""
        return self.shown(machine, "frazild", "StatusText")["StatusText"]

    def failed_units(self, machine: Machine) -> list[str]:
        """Units of ours that systemd calls failed."""
        listed = machine.out("systemctl --failed --plain --no-legend")
        return [line for line in listed.splitlines() if "frazil" in line or "srv-data" in line]

    def traces_of_running(self, name: str) -> str:
        """What runs, is enabled or is mapped of frazil's on a machine: nothing, it is hoped."""
        return self.machines[name].out(
            "systemctl is-enabled frazild frazil-activate | grep -v disabled || true;"
            "systemctl is-active frazild frazil-activate | grep -v inactive || true;"
            "dmsetup ls 2>/dev/null | grep frazil || true"
        )

    def standing(self) -> str:
        """How both machines stand, for whoever looks into a failure."""
        parts = []
        for machine in self.machines.values():
            asked = (
                "systemctl status --no-pager -n 25 frazild frazil-activate; dmsetup table; df -h /"
            )
            try:
                said = machine.run(f"({asked}) 2>&1", check=False, timeout=60)
                parts.append(f"--- {machine.name}\n{said.out}")
            except MachineFailed as error:
                parts.append(f"--- {error}")
        return "\n".join(parts)

    def keep_logs(self) -> None:
        """The journals of both, beside vagrant's own log."""
        for machine in self.machines.values():
            try:
                text = machine.run("journalctl --no-pager -o short-monotonic -n 3000", check=False)
                (self.vagrant.home / f"journal-{machine.name}.log").write_text(text.out)
            except MachineFailed as error:
                say(str(error))

    # Power.

    def unplug(self, name: str) -> None:
        """``vagrant halt --force``: no time for anything."""
        self.machines[name].hang_up()
        self.vagrant.halt(name, force=True)

    def plug_in(self, name: str) -> None:
        """``vagrant up`` of a machine that was off."""
        self.vagrant.up("--no-provision", name)
        self.machines = self.vagrant.machines()
        self.machines[name].wait_up()

    def power_cycle(self, name: str) -> None:
        """An orderly end, power off, and on again; returns when it is up."""
        machine = self.machines[name]
        before = machine.boot_id()
        say(f"{name}: off and on")
        machine.run("systemd-run --on-active=1 systemctl poweroff", check=False)
        machine.hang_up()
        self.until(f"{name} is off", lambda: self.vagrant.is_off(name))
        self.vagrant.switch_on(name)
        machine.wait_up(other_than=before)

    @contextmanager
    def without_disk(self, name: str, serial: str) -> Iterator[Callable[[], None]]:
        """Start a machine without one of its disks; gives what plugs it in again.

        That happens at the latest at the end; a reboot does not bring it back.
        """
        there = False

        def back() -> None:
            nonlocal there
            if not there:
                self.vagrant.attach(name, disk)
                there = True

        disk = self.vagrant.detach(name, serial)
        try:
            self.power_cycle(name)
            yield back
        finally:
            back()

    # The writer.

    def writer(self) -> Writer:
        """Start a new one, in a directory and with a log of its own."""
        self._runs += 1
        return Writer(self, self._runs)


class Writer:
    """An application on the mounted head of ``local``, as a service of systemd."""

    def __init__(self, hosts: Hosts, run: int) -> None:
        self._hosts = hosts
        self._unit = f"writer-{run}"
        self._directory = f"run-{run}"
        self._offset = run * LOG_BYTES
        log = f"{LOG_DISK}@{self._offset}+{LOG_BYTES}"
        hosts.local.run(
            f"dd if=/dev/zero of={LOG_DISK} bs=1M count={LOG_BYTES >> 20} "
            f"seek={self._offset >> 20} oflag=direct conv=fsync,notrunc status=none;"
            f"systemd-run --quiet --unit={self._unit} --property=WorkingDirectory={WORKLOAD} "
            f"python3 -m tests.workload.checksum_files /srv/data/{self._directory} "
            f"--log {log} --pause 0.1 --names 40"
        )
        hosts.until("the writer writes", lambda: self.written() > 3)

    def written(self) -> int:
        """How many operations were begun."""
        count = self._hosts.local.out(
            f"cd {WORKLOAD} && python3 -c 'from pathlib import Path;"
            f"from tests.workload.oplog import read_disk_log as r;"
            f'print(r(Path("{LOG_DISK}"), {self._offset}, {LOG_BYTES})[-1].number)\' || echo 0'
        )
        return int(count)

    def failure(self) -> str:
        """What ended it, if anything did: an I/O error ends it."""
        shown = self._hosts.shown(self._hosts.local, self._unit, "ActiveState", "Result")
        if shown["ActiveState"] == "active":
            return ""
        said = self._hosts.local.out(f"journalctl --no-pager -n 20 -u {self._unit}")
        return f"{shown}\n{said}"

    def goes_on(self) -> None:
        """See that it writes still."""
        assert self.failure() == ""
        before = self.written()
        self._hosts.until("the writer goes on", lambda: self.written() > before)

    def stop(self) -> None:
        """Let it end after the operation under way."""
        assert self.failure() == ""
        self._hosts.local.run(f"systemctl stop {self._unit}; sync")

    def log(self) -> list[Operation]:
        """What it did, from the disk that its log is on."""
        script = (
            f"dd if={LOG_DISK} bs=1M skip={self._offset >> 20} count={LOG_BYTES >> 20} status=none"
        )
        data = self._hosts.local.bytes_of(script)
        marks = []
        for start in range(0, len(data), RECORD_BYTES):
            line = data[start : start + RECORD_BYTES].rstrip(b"\0")
            if not line:
                break
            marks.append(Mark.decode(line))
        return operations(marks)

    def found_at(self, machine: Machine, mountpoint: str) -> Mapping[str, Any]:
        """What a filesystem holds of it, checked file by file."""
        said = machine.run(
            f"cd {WORKLOAD} && python3 -m tests.workload.check files "
            f"{mountpoint}/{self._directory}",
            check=False,
        )
        found: Mapping[str, Any] = json.loads(said.out)
        return found

    def faults(self, found: Mapping[str, Any], window: Window = EVERYTHING) -> list[str]:
        """What is wrong with what was found, for an instant within ``window``."""
        log = self.log()
        wrong: list[str] = list(found["faults"])
        return wrong + judge_files(found["found"], log, bounds(log, window))


def _later(now: MirrorNow, after: int) -> MirrorNow | None:
    return now if now.committed > after else None
