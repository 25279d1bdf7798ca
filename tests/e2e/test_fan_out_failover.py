"""A source with two replicas is lost: one is promoted and leads the other one on, and the old
source comes back as a third. Nothing is copied whole."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.pair import MIB
from tests.topology import SLOW, Member, Mirroring, Site, running
from vagrant.cluster import FrazilHost

pytestmark = [pytest.mark.guest, pytest.mark.timeout(1800)]

GROUP, NAMES = "db", ("data", "log")


@pytest.fixture(scope="module")
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """Three hosts, of which each may write replicas at each."""
    with running("here", "near", "far") as started:
        yield started
        started.last_words(request)


def heads_at(host: FrazilHost) -> list[Member]:
    """The group's members, as a host has them that was promoted."""
    return [Member(host, name, iter(range(1 << 20, 1 << 30))) for name in NAMES]


def show_the_same(leading: Mirroring) -> None:
    """Every replica is its volume's frozen image, and only the first copy of all was whole."""
    for member in leading.members:
        assert member.at(leading.replica) == member.frozen()
    assert {cycle.kind for cycle in leading.now().recent} <= {"delta", "catch-up"}
    assert all(cycle.sent < MIB for cycle in leading.now().recent)


def given_out(host: FrazilHost) -> bool:
    """Whether a head is there."""
    return host.guest.run("ls /dev/mapper/frazil-data", check=False).code == 0


def test_one_replica_takes_over_and_leads_the_other(site: Site) -> None:
    here, near, far = (site[name] for name in ("here", "near", "far"))
    members = [site.member("here", name, disk) for disk, name in enumerate(NAMES)]
    here.frazil("group", "create", GROUP, *NAMES, "--policy", "independent")
    to_near, to_far = (Mirroring.of_group(GROUP, members, host) for host in (near, far))
    to_far.sync()
    for _ in range(2):
        to_near.sync()
        for member in members:
            member.write(2)
    committed = to_near.sync()
    assert to_far.committed() < committed
    kept = [member.frozen() for member in members]
    members[0].touch()
    here.guest.power_cut()

    near.frazil("replica", "promote", GROUP)
    leading = heads_at(near)
    for member in leading:
        member.write(2)
    refused = Mirroring.of_group(GROUP, leading, far).ask("20s")
    assert refused.code != 0
    assert "frazil replica set" in refused.err
    far.frazil("replica", "set", GROUP, "--identity", "near")
    onward = Mirroring(f"{GROUP}-to-far", near, far, leading)
    onward.sync()
    show_the_same(onward)

    here.guest.restart()
    here.start()
    assert not given_out(here), "another host took over"
    lost = here.frazil("volume", "demote", GROUP, "--identity", "near", check=False)
    assert lost.code != 0
    assert "near:7420 does not have them" in lost.err
    here.frazil("volume", "demote", GROUP, "--identity", "near", "--force")
    for member, digest in zip(heads_at(near), kept, strict=True):
        assert member.at(here) == digest, "the generation that the promoted one went on from"
    back = Mirroring.of_group(GROUP, leading, here)
    for member in leading:
        member.write(2)
    back.sync()
    show_the_same(back)
    near.until("both are led on", lambda: back.committed() > committed, timeout=SLOW)
    onward.sync()
    show_the_same(onward)
