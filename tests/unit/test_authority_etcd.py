"""A real etcd: what the fake takes for granted, and the same ownership on it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from control import pki
from control.authority import rules
from control.authority.errors import AuthorityDenied, AuthorityUnavailable, OwnedElsewhere
from control.authority.gateway import Delete, Gateway, Put
from control.authority.ledger import Ledger
from control.authority.ownership import Claim, Stamp
from control.authority.post import Post, about_certificate
from tests.etcd_tools import free_port, real_etcd

CLAIM = Claim("db", ("u1", "u2"), Stamp(3, "g3"), {"g2": 2, "g3": 3})


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """One server for the module."""
    with real_etcd() as found:
        yield found


@pytest.fixture
def gateway(endpoint: str) -> Gateway:
    """Its client; the first endpoint is dead."""
    return Gateway(Post([f"http://127.0.0.1:{free_port()}", endpoint], 10.0))


def test_keys_leases_and_transactions(gateway: Gateway) -> None:
    lease = gateway.grant(60)
    assert gateway.change({"/a/x": 0}, [Put("/a/x", "one", lease), Put("/a/y", "two")])
    assert not gateway.change({"/a/x": 0}, [Put("/a/x", "again")])
    x, y = gateway.below("/a/")
    assert (x.key, x.value, x.lease) == ("/a/x", "one", lease)
    assert (y.key, y.value, y.lease, y.revision) == ("/a/y", "two", 0, x.revision)
    assert gateway.keep_alive(lease) == 60
    gateway.revoke(lease)
    assert [one.key for one in gateway.below("/a/")] == ["/a/y"]
    assert gateway.keep_alive(lease) == 0
    gateway.revoke(lease)
    assert not gateway.change({"/a/x": 0}, [Put("/a/x", "late", lease)])
    assert gateway.change({"/a/x": 0, "/a/y": y.revision}, [Delete("/a/y")])
    assert gateway.below("/a/") == []


def test_a_lease_ends_by_itself(gateway: Gateway) -> None:
    lease = gateway.grant(1)
    assert gateway.change({"/b/x": 0}, [Put("/b/x", "one", lease)])
    deadline = time.monotonic() + 60
    while gateway.below("/b/"):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert gateway.keep_alive(lease) == 0


def test_one_owner_until_it_releases(gateway: Gateway) -> None:
    here = Ledger(gateway, "/c", "h1", name="here", ttl=60)
    there = Ledger(gateway, "/c", "h2", name="there", ttl=60)
    here.take(CLAIM, lambda seen: rules.refused_head(seen, "h1", CLAIM, "data"))
    with pytest.raises(OwnedElsewhere, match="here owns db since"):
        there.take(CLAIM, lambda seen: rules.refused_promotion(seen, "h2", CLAIM))
    newer = Claim("db", CLAIM.volumes, Stamp(4, "g4"), {**CLAIM.known, "g4": 4})
    assert here.keep(newer)
    assert here.standing(CLAIM.key).owner == here.standing(CLAIM.key).last
    here.release(newer)
    there.take(newer, lambda seen: rules.refused_promotion(seen, "h2", newer))
    assert there.owns(CLAIM.key)
    assert not here.keep(newer)


def test_nothing_answers() -> None:
    gateway = Gateway(Post([f"http://127.0.0.1:{free_port()}"], 5.0))
    with pytest.raises(AuthorityUnavailable, match="does not answer"):
        gateway.below("/a/")


def test_a_cluster_that_asks_for_certificates(tmp_path: Path) -> None:
    pki.init(tmp_path / "ca")
    server, here = (
        pki.issue(name, others, directory=tmp_path / "ca")
        for name, others in (("etcd", ("127.0.0.1",)), ("here", ()))
    )
    with real_etcd(server) as endpoint:
        known = Gateway(Post([endpoint], 10.0, ca=here.ca, cert=here.cert, key=here.key))
        assert known.change({"/d/x": 0}, [Put("/d/x", "one")])
        assert [one.value for one in known.below("/d/")] == ["one"]
        unknown = Gateway(Post([endpoint], 10.0, ca=here.ca))
        # The alert that says why is lost where the connection is closed before it is read.
        with pytest.raises((AuthorityDenied, AuthorityUnavailable)):
            unknown.below("/d/")
        assert [one.value for one in known.below("/d/")] == ["one"], "others are answered still"


@pytest.mark.parametrize(
    ("alert", "about"),
    [
        ("SSLV3_ALERT_BAD_CERTIFICATE", True),
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", True),
        ("TLSV1_ALERT_UNKNOWN_CA", True),
        ("TLSV1_ALERT_PROTOCOL_VERSION", False),
        ("CERTIFICATE_VERIFY_FAILED", False),
        ("", False),
    ],
)
def test_an_alert_about_our_certificate_is_told_from_others(alert: str, about: bool) -> None:
    assert about_certificate(alert) is about
