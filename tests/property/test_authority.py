"""Whatever hosts do, and whatever requests come late or lose their answers: one owner at most."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.authority import rules
from control.authority.errors import AuthorityUnavailable
from control.authority.gateway import Delete, Gateway, Put
from control.authority.ledger import Ledger
from control.authority.ownership import Claim, Stamp
from dm_tables.errors import FrazilError
from tests.etcd_tools import FakeEtcd

VOLUMES = ("u1", "u2")
TTL = 30
HOSTS = 3


class Line:
    """A host's connection: slow, and now and then without an answer."""

    def __init__(self, etcd: FakeEtcd) -> None:
        self.etcd = etcd
        self.slow = 0.0
        self.lost = ""
        self.before_change: Callable[[], None] | None = None

    def __call__(self, path: str, message: Mapping[str, Any]) -> Mapping[str, Any]:
        meddle, self.before_change = (
            (self.before_change, None) if path == "/v3/kv/txn" else (None, self.before_change)
        )
        if meddle is not None:
            meddle()
        if self.lost == "request":
            raise AuthorityUnavailable("lost")
        self.etcd.now += self.slow
        answer = self.etcd(path, message)
        self.etcd.now += self.slow
        if self.lost == "answer":
            raise AuthorityUnavailable("lost")
        return answer


class Site:
    """One host: its ledger, its own clock, and the generation that it has."""

    def __init__(self, etcd: FakeEtcd, number: int, gateway: type[Gateway] = Gateway) -> None:
        self.me = f"host{number}"
        self.line = Line(etcd)
        self.generation = 1
        self.ledger = Ledger(
            gateway(self.line),
            "/frazil",
            self.me,
            name=self.me,
            ttl=TTL,
            clock=lambda: etcd.now + 1000.0 * number,
            now=lambda: etcd.now,
        )

    @property
    def claim(self) -> Claim:
        """What it brings."""
        known = {f"g{number}": number for number in range(1, self.generation + 1)}
        return Claim("db", VOLUMES, Stamp(self.generation, f"g{self.generation}"), known)

    def do(self, what: str) -> None:
        """One step; what is refused is refused."""
        claim = self.claim
        try:
            match what:
                case "activate":
                    refusal = rules.refused_head
                    self.ledger.take(claim, lambda seen: refusal(seen, self.me, claim, "data"))
                case "promote":
                    self.ledger.take(
                        claim, lambda seen: rules.refused_promotion(seen, self.me, claim)
                    )
                case "keep":
                    self.ledger.keep(claim)
                case "commit":
                    self.generation += 1
                    self.ledger.keep(self.claim)
                case "catch up":
                    self.generation += 1
                case "release":
                    self.ledger.release(claim)
        except FrazilError:
            pass


def owners(sites: list[Site]) -> list[str]:
    """The hosts that take themselves for the owner."""
    return [site.me for site in sites if site.ledger.owns(site.claim.key)]


def check(etcd: FakeEtcd, sites: list[Site]) -> None:
    """One owner at most, and etcd agrees."""
    found = owners(sites)
    assert len(found) <= 1
    if found:
        sites[0].line.slow, sites[0].line.lost = 0.0, ""
        owner = sites[0].ledger.standing(sites[0].claim.key).owner
        assert owner is not None
        assert owner.host_uuid == found[0]


DOINGS = ["activate", "promote", "keep", "commit", "catch up", "release"]
STEPS = st.tuples(
    st.integers(0, HOSTS - 1),
    st.sampled_from(DOINGS),
    st.sampled_from([0.0, 0.0, 3.0, 20.0]),
    st.sampled_from(["", "", "", "request", "answer"]),
    st.none() | st.tuples(st.integers(0, HOSTS - 1), st.sampled_from(DOINGS)),
    st.sampled_from([0.0, 1.0, 10.0, 40.0]),
)


@given(st.lists(STEPS, max_size=25))
def test_never_two_hosts_own_at_once(
    steps: list[tuple[int, str, float, str, tuple[int, str] | None, float]],
) -> None:
    etcd = FakeEtcd()
    sites = [Site(etcd, number) for number in range(HOSTS)]
    for host, what, slow, lost, meddler, pause in steps:
        line = sites[host].line
        line.slow, line.lost = slow, lost
        if meddler is not None and meddler[0] != host:
            other = sites[meddler[0]]
            other.line.slow, other.line.lost = 0.0, ""
            line.before_change = lambda other=other, doing=meddler[1]: other.do(doing)
        sites[host].do(what)
        line.before_change = None
        check(etcd, sites)
        etcd.now += pause
        check(etcd, sites)


class Blind(Gateway):
    """Writes whatever stands there: what compare-and-swap is for."""

    def change(self, unchanged: Mapping[str, int], steps: Any) -> bool:
        return super().change({}, steps)


class Late(Ledger):
    """Counts a lease from the answer on instead of from the request."""

    def _put(self, claim: Claim, standing: Any) -> bool:
        done = super()._put(claim, standing)
        held = self.held[claim.key]
        self.held[claim.key] = type(held)(claim, held.lease, self._clock() + TTL)
        return done


def race(gateway: type[Gateway]) -> list[str]:
    """Two hosts read that a group is free, and both take it."""
    etcd = FakeEtcd()
    sites = [Site(etcd, number, gateway) for number in range(2)]
    sites[0].line.before_change = lambda: sites[1].do("activate")
    sites[0].do("activate")
    return owners(sites)


def test_without_comparing_two_would_own() -> None:
    assert race(Blind) == ["host0", "host1"]
    assert race(Gateway) == ["host1"]


@pytest.mark.parametrize(("kind", "found"), [(Ledger, ["host1"]), (Late, ["host0", "host1"])])
def test_a_lease_counts_from_its_request(kind: type[Ledger], found: list[str]) -> None:
    etcd = FakeEtcd()
    sites = [Site(etcd, number) for number in range(2)]
    first = sites[0]
    first.ledger = kind(
        Gateway(first.line), "/frazil", first.me, name="x", ttl=TTL, clock=lambda: etcd.now
    )
    first.line.slow = 5.0
    first.do("activate")
    etcd.now += TTL - 4.0
    sites[1].do("promote")
    assert owners(sites) == found


def test_a_released_group_has_no_owner_key() -> None:
    etcd = FakeEtcd()
    gateway = Gateway(etcd)
    assert gateway.change({"/x": 0}, [Put("/x", "1")])
    assert gateway.change({"/x": 2}, [Delete("/x")])
    assert gateway.below("/x") == []
