"""An etcd says who may be the source: a site is lost, and its replica takes over by itself.

etcd runs on a third guest, with TLS; its clock and its leases are real.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from dm_tables.errors import Kind
from tests.etcd_tools import ETCD
from tests.pair import digest
from tests.topology import SLOW, Member, Mirroring, Site, running
from vagrant.cluster import FrazilHost
from vagrant.lab import GuestProcess

pytestmark = [pytest.mark.guest, pytest.mark.timeout(1800)]

AUTHORITY = """
[authority]
kind = "etcd"
endpoints = ["https://witness:2379"]
ca = "/etc/frazil/ca.pem"
cert = "/etc/frazil/host.pem"
key = "/etc/frazil/host.key"
ttl = "15s"
"""
BY_ITSELF = f"{AUTHORITY}auto_promote = true\n"
ASK = """
import http.client, ssl
trust = ssl.create_default_context(cafile="/etc/frazil/ca.pem")
trust.load_cert_chain("/etc/frazil/host.pem", "/etc/frazil/host.key")
etcd = http.client.HTTPSConnection("witness", 2379, timeout=30, context=trust)
etcd.request("GET", "/health")
print(etcd.getresponse().status)
"""
HEAD = "/dev/mapper/frazil-data"


@dataclass(slots=True)
class Witness:
    """An etcd of one member, on a host that mirrors nothing."""

    host: FrazilHost
    process: GuestProcess | None = None

    def start(self) -> None:
        """As a service would; what it knew is in its directory."""
        words = [ETCD, "--data-dir", "/tmp/etcd", "--log-level", "error", "--unsafe-no-fsync"]
        words += ["--listen-client-urls", "https://0.0.0.0:2379"]
        words += ["--advertise-client-urls", "https://witness:2379"]
        words += ["--cert-file", "/etc/frazil/host.pem", "--key-file", "/etc/frazil/host.key"]
        words += ["--client-cert-auth", "--trusted-ca-file", "/etc/frazil/ca.pem"]
        self.process = self.host.guest.spawn(words, log="/tmp/etcd.log")
        self.host.until("etcd answers", self._answers)

    def _answers(self) -> bool:
        said = self.host.guest.run(["python3", "-c", ASK], check=False, timeout=60)
        return said.text.strip() == "200"

    def stop(self) -> None:
        """It is gone; nobody can ask."""
        assert self.process is not None
        self.process.kill(9)
        self.process.wait()


@dataclass(frozen=True, slots=True)
class Watched:
    """A volume with a replica that takes over by itself."""

    site: Site
    witness: Witness
    mirroring: Mirroring

    @property
    def member(self) -> Member:
        """The volume where it began."""
        return self.mirroring.members[0]


@pytest.fixture(scope="module")
def watched(request: pytest.FixtureRequest) -> Iterator[Watched]:
    extra = {"source": AUTHORITY, "replica": BY_ITSELF}
    with running("source", "replica", "witness", extra=extra) as site:
        witness = Witness(site["witness"])
        site["witness"].guest.put(ETCD, ETCD, mode=0o755)
        witness.start()
        member = site.member("source", "data", 0)
        mirroring = Mirroring.of_volume(member, site["replica"])
        mirroring.sync()
        yield Watched(site, witness, mirroring)
        site.last_words(request)


def problem(host: FrazilHost) -> str:
    """What is wrong with the volume, or its group, at a host."""
    group = str(host.json("group", "show", "data")["problem"])
    return group + str(host.json("volume", "show", "data")["problem"])


def is_source(host: FrazilHost) -> bool:
    """Whether applications have the volume's head there."""
    listed = [one["name"] for one in host.json("volume", "list")["volumes"]]
    return "data" in listed and host.guest.run(f"test -e {HEAD}", check=False).code == 0


def test_while_its_owner_lives_nobody_takes_over(watched: Watched) -> None:
    replica = watched.site["replica"]
    source = watched.site["source"]
    source.until("the group is owned", lambda: not problem(source))
    refused = replica.frazil("replica", "promote", "data", check=False)
    assert refused.code == Kind.PRECONDITION
    assert "source owns data since" in refused.err
    assert not is_source(replica)


def test_without_an_etcd_nobody_takes_over_and_mirroring_goes_on(watched: Watched) -> None:
    source, replica = watched.site["source"], watched.site["replica"]
    watched.witness.stop()
    refused = replica.frazil("replica", "promote", "data", check=False)
    assert refused.code == Kind.UNAVAILABLE
    source.until("its owner knows", lambda: problem(source))
    watched.member.write()
    watched.mirroring.sync()
    assert watched.member.at(replica) == watched.member.frozen()
    assert is_source(source)
    assert not is_source(replica)
    watched.witness.start()
    source.until("the group is owned again", lambda: not problem(source))


def test_a_lost_site_is_replaced_by_itself_and_taken_back(watched: Watched) -> None:
    source, replica = watched.site["source"], watched.site["replica"]
    watched.member.write()
    watched.mirroring.sync()
    committed = watched.member.frozen()
    watched.member.write()
    source.guest.power_cut()
    replica.until("it takes over", lambda: is_source(replica), timeout=SLOW)
    assert digest(replica.guest, HEAD) == committed

    source.guest.restart()
    source.start()
    assert not is_source(source), "its head is kept from applications"
    assert "is kept from applications" in problem(source)
    refused = source.frazil("volume", "activate", "data", check=False)
    assert refused.code == Kind.PRECONDITION
    assert not is_source(source)

    back = Mirroring("data.back", replica, source, [Member(replica, "data")])
    source.frazil("volume", "demote", "data", "--identity", "replica", "--force")
    back.members[0].write()
    replica.frazil("mirror", "set", back.name, "--peer", source.peer, "--on-demand")
    replica.frazil("mirror", "start", back.name)
    back.sync()
    assert back.members[0].at(source) == digest(replica.guest, HEAD)
    assert {one.kind for one in back.now().recent} == {"delta"}, "no whole copy"

    source.frazil("replica", "keep", "data", "--drop-diverged")
    replica.frazil("mirror", "switch", back.name, "--reverse", replica.peer, timeout=SLOW)
    source.until("it is the source again", lambda: is_source(source) and not problem(source))
    assert not is_source(replica)
    watched.member.write()
    again = Mirroring(back.name, source, replica, watched.mirroring.members)
    again.sync()
    assert watched.member.at(replica) == watched.member.frozen()
