"""The daemon goes and comes under load: not one I/O error, and mirroring goes on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e_vagrant.hosts import COPY, Hosts, Writer
from tests.workload.judge import Window
from vagrant.vms.install import at_once
from vagrant.vms.machine import Machine


@pytest.fixture(scope="module")
def writer(hosts: Hosts) -> Iterator[Writer]:
    """One that writes all through."""
    yield hosts.writer()


def test_restart(hosts: Hosts, writer: Writer) -> None:
    committed = hosts.goes_on(hosts.mirror().committed).committed
    hosts.local.run("systemctl restart frazild")
    writer.goes_on()
    hosts.goes_on(committed)


def test_kill_9(hosts: Hosts, writer: Writer) -> None:
    before = hosts.shown(hosts.local, "frazild", "MainPID", "NRestarts")
    committed = hosts.mirror().committed
    hosts.local.run(f"kill -9 {before['MainPID']}")
    hosts.until(
        "systemd starts it again",
        lambda: (
            (now := hosts.shown(hosts.local, "frazild", "ActiveState", "NRestarts"))["ActiveState"]
            == "active"
            and int(now["NRestarts"]) == int(before["NRestarts"]) + 1
        ),
    )
    writer.goes_on()
    hosts.goes_on(committed)


def test_upgrade(hosts: Hosts, writer: Writer) -> None:
    committed = hosts.mirror().committed
    package = hosts.newer.read_bytes()
    version = hosts.newer.name.split("_")[1]

    def upgrade(machine: Machine) -> None:
        assert hosts.json(machine, "host")["software"] != version
        machine.put(package, f"/root/{hosts.newer.name}")
        machine.run(f"cd /root && apt-get install --yes ./{hosts.newer.name}")
        assert hosts.json(machine, "host")["software"] == version

    at_once(upgrade, hosts.machines.values())
    writer.goes_on()
    hosts.goes_on(committed)


def test_the_replica_is_one_instant_of_all_that(hosts: Hosts, writer: Writer) -> None:
    hosts.sync()
    attached = hosts.json(hosts.remote, "replica", "mount", "data", COPY)
    try:
        found = writer.found_at(hosts.remote, COPY)
    finally:
        hosts.remote.run("frazil replica unmount data")
    number = attached["generation"]["number"]
    cycle = next(one for one in hosts.mirror().recent if one.generation == number)
    writer.stop()
    assert writer.faults(found, cycle.window) == []
    assert len(found["found"]) > 5
    # The negative control: it is no instant of before there was anything.
    assert writer.faults(found, Window(0, 1))


def test_no_cycle_copied_all(hosts: Hosts) -> None:
    kinds = [(one.generation, one.kind) for one in hosts.mirror().recent]
    assert {kind for number, kind in kinds if number > 1} == {"delta"}
    assert len(kinds) > 3
