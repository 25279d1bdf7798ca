"""frazil on both machines, step by step as the README says, and the hosts it says it to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from vagrant.vms.machine import Machine
from vagrant.vms.phases import say
from vagrant.vms.readme import Step, read_steps

# What the README takes for granted: a filesystem in use, on a disk of its own.
APPLICATION = """
disk=/dev/disk/by-id/virtio-data
grep -q ' /srv/data ' /etc/fstab && exit 0
mkfs.ext4 -q -L application "$disk"
mkdir -p /srv/data
echo "$disk /srv/data ext4 defaults,nofail 0 2" >>/etc/fstab
systemctl daemon-reload
mount /srv/data
echo 'written before frazil' >/srv/data/first
sync
"""


def prepare(machines: Mapping[str, Machine], package: Path) -> None:
    """Hosts as an administrator has them: data on ``local``, the package on both."""
    machines["local"].run(APPLICATION)

    def bring(machine: Machine) -> None:
        machine.run("rm -f /root/frazil_*.deb")
        machine.put(package.read_bytes(), f"/root/{package.name}")

    at_once(bring, machines.values())


def install(
    machines: Mapping[str, Machine], after: Callable[[Step], None] = lambda _: None
) -> None:
    """Execute every step of the README where it says, as root in root's home.

    :param after: called after each step.
    """
    for step in read_steps():
        say(step.title)
        at_once(
            partial(Machine.run, script=f"cd /root\n{step.script}"),
            [machines[host] for host in step.hosts],
        )
        after(step)


def at_once(work: Callable[[Machine], object], machines: Iterable[Machine]) -> None:
    """The same on several machines side by side. :raises MachineFailed: on one of them."""
    with ThreadPoolExecutor() as workers:
        list(workers.map(work, machines))
