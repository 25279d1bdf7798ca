"""Both machines boot again: heads are there before their mounts, and mirroring goes on."""

from __future__ import annotations

from tests.e2e_vagrant.hosts import HEAD, Hosts


def test_reboot_of_both(hosts: Hosts) -> None:
    writer = hosts.writer()
    committed = hosts.goes_on(hosts.mirror().committed).committed
    hosts.remote.reboot()
    writer.goes_on()
    committed = hosts.goes_on(committed, 600).committed
    hosts.local.reboot()

    local = hosts.local
    assert local.out("findmnt -no SOURCE /srv/data") == HEAD
    stamp = "ActiveEnterTimestampMonotonic"
    heads = int(hosts.shown(local, "frazil-activate", stamp)[stamp])
    mounted = int(hosts.shown(local, "srv-data.mount", stamp)[stamp])
    others = int(hosts.shown(local, "local-fs-pre.target", stamp)[stamp])
    daemon = int(hosts.shown(local, "frazild", stamp)[stamp])
    assert 0 < heads <= others <= mounted < daemon
    assert writer.faults(writer.found_at(local, "/srv/data")) == []

    later = hosts.writer()
    now = hosts.goes_on(committed, 600)
    later.stop()
    assert {one.kind for one in now.recent if one.generation > 1} == {"delta"}
    for machine in (local, hosts.remote):
        assert hosts.failed_units(machine) == []
    # The negative control: a failed unit of ours would be seen.
    local.run("systemd-run --quiet --unit=frazil-control false; sleep 2", check=False)
    assert hosts.failed_units(local) != []
    local.run("systemctl reset-failed frazil-control", check=False)
