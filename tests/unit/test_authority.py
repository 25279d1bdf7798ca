"""The authority's rules, its client, and what the daemon's thread makes of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trustme

from control.authority import keeper as keeping
from control.authority import rules
from control.authority.authority import NO_AUTHORITY, Authority
from control.authority.choose import open_authority
from control.authority.claims import claim_of, promoting_key, source_claims
from control.authority.errors import (
    AuthorityDamaged,
    AuthorityDenied,
    AuthorityUnavailable,
    NotTheStamped,
    OwnedElsewhere,
)
from control.authority.etcd import EtcdAuthority
from control.authority.gateway import Gateway, Put
from control.authority.keeper import Keeper
from control.authority.ledger import Ledger
from control.authority.ownership import Claim, Owner, Stamp, Standing, digest_of, read_owner
from control.authority.post import Post
from control.config import AuthoritySection, Config, ConfigError, read
from control.events import Events
from control.fence import OVERRIDDEN, Fenced, check, is_fenced, unfence
from control.journal import Journal
from control.records import VolumeRecord, VolumeState
from control.units_text import Seconds
from dm_tables.errors import Kind, Precondition
from dm_tables.units import Bytes
from tests.etcd_tools import FakeEtcd, free_port, served

ETCD = AuthoritySection(kind="etcd", endpoints=("http://127.0.0.1:2379",), ttl=Seconds(30.0))
CLAIM = Claim("data", ("uuid-data",), Stamp(3, "g3"), {"g2": 2, "g3": 3})


def owner(host: str, number: int = 3, *, released: bool = False) -> Owner:
    return Owner(host, f"{host}.example", Stamp(number, f"g{number}"), 0.0, released)


# Rules.


@pytest.mark.parametrize(
    ("standing", "allowed"),
    [
        (Standing(), True),
        (Standing(owner("me"), 1, 1, owner("me"), 1), True),
        (Standing(last=owner("me")), True),
        (Standing(last=owner("other", 3, released=True)), True),
        (Standing(last=owner("other", 2, released=True)), True),
        (Standing(last=owner("other", 4, released=True)), False),
        (Standing(last=owner("other")), False),
        (Standing(owner("other"), 1, 1, owner("other"), 1), False),
    ],
)
def test_who_gets_a_head(standing: Standing, allowed: bool) -> None:
    found = rules.refused_head(standing, "me", CLAIM, "data")
    assert (found is None) == allowed
    if found is not None:
        assert isinstance(found, Fenced)
        assert "other.example" in found.what


@pytest.mark.parametrize(
    ("standing", "refused"),
    [
        (Standing(), NotTheStamped),
        (Standing(last=owner("other")), None),
        (Standing(last=owner("other", 2)), None),
        (Standing(last=owner("other", 4)), NotTheStamped),
        (Standing(owner("other"), 1, 1, owner("other"), 1), OwnedElsewhere),
    ],
)
def test_who_is_promoted(standing: Standing, refused: type[Precondition] | None) -> None:
    found = rules.refused_promotion(standing, "me", CLAIM)
    assert type(found) is (refused or type(None))
    itself = rules.promotes_itself(standing, "me", CLAIM)
    assert itself == (refused is None)


@pytest.mark.parametrize("last", [owner("me"), owner("other", released=True), None])
def test_what_is_given_up_on_purpose_is_taken_by_nobody_unasked(last: Owner | None) -> None:
    assert not rules.promotes_itself(Standing(last=last), "me", CLAIM)


def test_the_order_of_volumes_does_not_matter() -> None:
    assert digest_of(["a", "b"]) == digest_of(["b", "a"]) != digest_of(["a"])
    assert read_owner("k", owner("other").text()) == owner("other")
    with pytest.raises(AuthorityDamaged, match="/frazil/x"):
        read_owner("/frazil/x", "{}")


# The client.


def test_endpoints_are_tried_in_turn_and_the_one_that_answers_is_kept() -> None:
    etcd = FakeEtcd()
    with served(etcd) as endpoint:
        post = Post([f"http://127.0.0.1:{free_port()}", endpoint], 10.0)
        gateway = Gateway(post)
        assert gateway.change({"/x/a": 0}, [Put("/x/a", "1")])
        assert [one.value for one in gateway.below("/x/")] == ["1"]
        assert post._endpoints[0] == endpoint
    with pytest.raises(AuthorityUnavailable) as caught:
        gateway.below("/x/")
    assert caught.value.kind is Kind.UNAVAILABLE


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (503, b'{"error":"no leader","code":14}', AuthorityUnavailable),
        (200, b"<html>", AuthorityUnavailable),
        (403, b'{"error":"permission denied","code":7}', AuthorityDenied),
        (200, b'{"error":{"grpc_code":16,"message":"who are you"}}', AuthorityDenied),
    ],
)
def test_answers_that_are_none(status: int, body: bytes, error: type[Exception]) -> None:
    with served(FakeEtcd(), status, body) as endpoint, pytest.raises(error):
        Gateway(Post([endpoint], 10.0)).grant(30)


def test_a_server_must_be_trusted(tmp_path: Path) -> None:
    import ssl

    server, other = trustme.CA(), trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.issue_cert("127.0.0.1").configure_cert(context)
    with served(FakeEtcd(), tls=context) as endpoint:
        for name, authority in (("good", server), ("bad", other)):
            authority.cert_pem.write_to_path(tmp_path / name)
        assert Gateway(Post([endpoint], 10.0, ca=tmp_path / "good")).grant(30)
        with pytest.raises(AuthorityDenied, match="not trusted"):
            Gateway(Post([endpoint], 10.0, ca=tmp_path / "bad")).grant(30)
        with pytest.raises(AuthorityDenied, match="cannot be used"):
            Gateway(Post([endpoint], 10.0, ca=tmp_path / "none")).grant(30)


# The configuration.


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("auto_promote = true", 'authority.auto_promote: means nothing (it needs kind = "etcd")'),
        ('kind = "etcd"', 'authority.endpoints: is missing (kind = "etcd" needs it)'),
        ('kind = "zookeeper"', "authority.kind: 'zookeeper' is no choice here"),
        (
            'kind = "etcd"\nendpoints = ["http://10.0.0.5:2379"]',
            'authority.endpoints[0]: "http://10.0.0.5:2379" can be reached from other hosts',
        ),
        (
            'kind = "etcd"\nendpoints = ["https://a:1", "etcd.example:2379"]',
            'authority.endpoints[1]: "etcd.example:2379" is no endpoint',
        ),
        ('kind = "etcd"\nendpoints = ["https://a:1/v3"]', "authority.endpoints[0]"),
        (
            'kind = "etcd"\nendpoints = ["https://a:1"]\ncert = "/c.pem"',
            "authority.key: is missing (cert needs it)",
        ),
        ('ttl = "1s"', "authority.ttl: 1s is out of bounds (from 5s to 1h)"),
        ('ttl = "5500ms"\nkind = "etcd"\nendpoints = ["https://a:1"]', "authority.ttl"),
        ('prefix = "frazil"', "authority.prefix"),
    ],
)
def test_configurations_that_cannot_be_meant(text: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(f"[authority]\n{text}\n", Path("/some.toml"))
    assert told in str(caught.value)


def test_a_configuration_that_can() -> None:
    text = '[authority]\nkind = "etcd"\nendpoints = ["https://a:1", "http://127.0.0.1:2379"]\n'
    assert read(text).authority.ttl == Seconds(30.0)


# The daemon's side.


class World:
    """An etcd, and one host with a volume ``data`` whose head may be there, and in use."""

    def __init__(self, path: Path) -> None:
        self.etcd = FakeEtcd()
        self.journal = Journal(path / "journal.db")
        self.events = Events(path / "events.db")
        record = VolumeRecord("data", "uuid-data", (), Bytes(4096), Bytes(0), VolumeState.ACTIVE, 0)
        self.journal.add_volume(record)
        self.head = self.in_use = False
        self.removed: list[str] = []
        self.promoted: list[str] = []
        self.ledger = self.ledger_of(self.journal.host_uuid)
        self.authority: Authority = EtcdAuthority(self.ledger, ETCD, self.journal, self.events)

    def ledger_of(self, me: str) -> Ledger:
        now = lambda: self.etcd.now  # noqa: E731
        return Ledger(Gateway(self.etcd), "/frazil", me, name=me, ttl=30, clock=now, now=now)

    @property
    def volume(self) -> Any:
        head = SimpleNamespace(exists=lambda: self.head, remove=lambda: self.removed.append("data"))
        return SimpleNamespace(
            name="data",
            uuid="uuid-data",
            record=self.journal.volume("data"),
            context=SimpleNamespace(
                journal=self.journal, events=self.events, authority=self.authority
            ),
            stack=SimpleNamespace(head=head),
            tables=threading.RLock(),
            check_idle=self.check_idle,
        )

    def check_idle(self) -> None:
        if self.in_use:
            raise Precondition("it is in use")

    def keeper(self) -> Keeper:
        context = SimpleNamespace(journal=self.journal, events=self.events)
        host = SimpleNamespace(context=context, volumes=lambda: [self.volume])
        roles = SimpleNamespace(take_over_unasked=self.promoted.append)
        settings = AuthoritySection(kind="etcd", endpoints=ETCD.endpoints, auto_promote=True)
        replicas = SimpleNamespace(store=None)
        return Keeper(
            self.ledger,
            threading.RLock(),
            settings,
            cast(Any, host),
            cast(Any, replicas),
            roles=cast(Any, roles),
        )

    def kinds(self) -> list[str]:
        return [one.kind for one in self.events.since(0)]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Its replicas are what ``replica_groups`` is made to say: none."""
    monkeypatch.setattr(keeping, "replica_groups", lambda _: [])
    made = World(tmp_path)
    yield made
    made.events.close()
    made.journal.close()


def other_takes(world: World) -> Ledger:
    other = world.ledger_of("other")
    other.take(claim_of(world.journal, "data"), lambda _: None)
    return other


def test_by_default_nobody_is_asked(world: World) -> None:
    assert open_authority(Config(), world.journal, world.events) is NO_AUTHORITY
    world.authority = NO_AUTHORITY
    check(world.volume)
    assert world.etcd.paths == []


def test_a_head_is_given_to_the_owner_only(world: World) -> None:
    check(world.volume)
    assert world.ledger.owning("uuid-data")
    world.etcd.now += 40
    other_takes(world)
    with pytest.raises(Fenced, match="other owns it since 1970-01-01 00:00:40 UTC"):
        check(world.volume)
    world.etcd.now += 40
    with pytest.raises(Fenced, match="did not release it"):
        check(world.volume)


def test_silence_is_tried_again_and_force_overrides(world: World) -> None:
    world.etcd.down = True
    for _ in range(2):
        with pytest.raises(AuthorityUnavailable):
            check(world.volume)
        unfence(world.volume, force=False)
    unfence(world.volume, force=True)
    check(world.volume)
    world.etcd.down = False
    world.keeper().beat()
    assert world.ledger.owning("uuid-data")
    assert world.volume.record.fenced == ""


def test_what_was_forced_and_is_owned_by_now_is_lost_again(world: World) -> None:
    other_takes(world)
    world.head = True
    keeper = world.keeper()
    keeper.beat()
    assert is_fenced(world.volume)
    unfence(world.volume, force=True)
    keeper.beat()
    assert not is_fenced(world.volume), "it is known"
    world.etcd.now += 40
    keeper.beat()
    assert world.ledger.owning("uuid-data")
    world.etcd.now += 40
    other_takes(world)
    keeper.beat()
    assert is_fenced(world.volume)


def test_a_lost_lease_leaves_a_head_in_use_alone(world: World) -> None:
    check(world.volume)
    world.head = world.in_use = True
    keeper = world.keeper()
    world.etcd.down = True
    keeper.beat()
    assert "cannot be renewed" in keeper.problems["data"]
    world.etcd.now += 40
    keeper.beat()
    keeper.beat()
    assert "has ended" in keeper.problems["data"]
    world.etcd.down = False
    other_takes(world)
    keeper.beat()
    assert "other owns it" in keeper.problems["data"]
    assert world.removed == []
    assert world.kinds().count("AuthorityUnavailable") == 2
    assert {"authority-lost", "fenced"} <= set(world.kinds())


def test_a_damaged_key_is_told_and_the_others_are_kept(world: World) -> None:
    check(world.volume)
    world.head = True
    key = f"/frazil/groups/{claim_of(world.journal, 'data').key}/last"
    world.etcd.keys[key]["value"] = "e30="
    keeper = world.keeper()
    keeper.beat()
    assert keeper.problems["data"].startswith(f"{key} at the authority holds no owner")
    assert world.kinds() == ["AuthorityDamaged"]


def test_an_idle_head_of_another_host_goes(world: World) -> None:
    check(world.volume)
    world.head = True
    world.etcd.now += 40
    other_takes(world)
    world.keeper().beat()
    assert world.removed == ["data"]


def test_a_lapsed_lease_is_taken_again(world: World) -> None:
    check(world.volume)
    world.head = True
    world.etcd.now += 40
    keeper = world.keeper()
    keeper.beat()
    assert world.ledger.owning("uuid-data")
    assert keeper.problems == {}
    assert world.kinds() == ["authority-lapsed"]
    assert world.ledger.standing(claim_of(world.journal, "data").key).last.since == 0.0  # type: ignore[union-attr]


def test_force_without_an_answer_is_remembered(world: World) -> None:
    world.etcd.down = True
    claim = claim_of(world.journal, "data")
    with pytest.raises(AuthorityUnavailable):
        world.authority.promoting(claim, force=False)
    world.authority.promoting(claim, force=True)
    check(world.volume)
    assert world.volume.record.fenced == OVERRIDDEN
    world.authority.released(claim)
    assert world.kinds() == ["AuthorityUnavailable"] * 2


def test_what_is_no_group_any_more_is_released(world: World) -> None:
    check(world.volume)
    key = claim_of(world.journal, "data").key
    world.journal.remove_volume("data")
    world.keeper().beat()
    standing = world.ledger.standing(key)
    assert standing.owner is None
    assert standing.last is not None
    assert standing.last.released


def test_what_is_being_promoted_stays_owned(world: World) -> None:
    claim = Claim("db", ("uuid-data", "uuid-log"), Stamp(3, "g3"), {"g3": 3})
    world.authority.promoting(claim, force=True)
    note = '{"names": ["data", "log"], "group": "db", "uuids": ["uuid-data", "uuid-log"]}'
    world.journal.set_note("promoting", note)
    assert promoting_key(world.journal) == claim.key == claim_of(world.journal, "data").key
    assert source_claims(world.journal) == []
    world.etcd.now += 20
    world.keeper().beat()
    world.etcd.now += 20
    assert world.ledger.owning("uuid-log")


def test_a_replica_takes_over_once_the_lease_has_ended(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = Claim("db", ("u1", "u2"), Stamp(3, "g3"), {"g2": 2, "g3": 3})
    behind = Claim("behind", ("u3",), Stamp(2, "h2"), {"h2": 2})
    monkeypatch.setattr(keeping, "replica_groups", lambda _: [there, behind])
    source = world.ledger_of("source")
    source.take(there, lambda _: None)
    source.take(Claim("behind", ("u3",), Stamp(3, "h3"), {"h2": 2, "h3": 3}), lambda _: None)
    keeper = world.keeper()
    world.etcd.now += 20
    keeper.beat()
    assert world.promoted == []
    world.etcd.now += 20
    keeper.beat()
    assert world.promoted == ["db"]
    assert world.kinds() == ["auto-promoted"]


def test_a_released_group_stays_where_it_is(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "replica_groups", lambda _: [CLAIM])
    source = world.ledger_of("source")
    source.take(CLAIM, lambda _: None)
    source.release(CLAIM)
    world.etcd.now += 40
    world.keeper().beat()
    assert world.promoted == []
