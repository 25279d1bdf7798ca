"""The source's plug is pulled in mid-cycle: the replica holds one instant, the source goes on."""

from __future__ import annotations

from tests.e2e_vagrant.hosts import COPY, MIRROR, Hosts
from vagrant.cluster.cycles import Cycle


def test_halt_by_force(hosts: Hosts) -> None:
    writer = hosts.writer()
    hosts.goes_on(hosts.mirror().committed)
    hosts.local.run(f"frazil mirror set {MIRROR} --rate 10KB/s")
    seen: dict[int, Cycle] = {}

    def midway() -> Cycle | None:
        now = hosts.mirror()
        seen.update({one.generation: one for one in now.recent})
        return now.midway(0.5)

    torn = hosts.until("the middle of a copy", midway)
    hosts.unplug("local")
    remote = hosts.remote
    try:
        newest = hosts.json(remote, "replica", "show", "data")["newest"]["number"]
        assert newest < torn.generation, "the plug was pulled too late"
        remote.run(f"frazil replica mount data {COPY}")
        device = remote.out(f"findmnt -no SOURCE {COPY}")
        remote.run(f"e2fsck -f -n {device}")
        found = writer.found_at(remote, COPY)
        remote.run("frazil replica unmount data")
    finally:
        hosts.plug_in("local")

    assert writer.faults(found, seen[newest].window) == []
    assert len(found["found"]) > 5
    assert writer.faults(found, torn.window), "the control: it is no other instant"
    assert writer.faults(writer.found_at(hosts.local, "/srv/data")) == []

    hosts.local.run(f"frazil mirror set {MIRROR} --rate none")
    now = hosts.goes_on(torn.generation)
    assert {one.kind for one in now.recent if one.generation > 1} == {"delta"}
    for machine in (hosts.local, remote):
        assert hosts.failed_units(machine) == []
