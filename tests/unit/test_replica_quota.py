"""Quotas: what a client's replica volumes may take in all, and what happens beyond it."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_DNS, uuid5

import pytest

from control.blocks import Extent
from control.config import read
from control.replica.access import LOOPBACK
from control.replica.describe import describe
from control.replica.quota import allocated_bytes, quota_of
from control.replica.receive import Pace
from control.wire.errors import QuotaExceeded, ReplicaFull
from control.wire.send import send
from dm_tables.errors import Kind
from dm_tables.units import GIB, MIB, Bytes
from tests.replica_tools import (
    Replica,
    Rule,
    manifest,
    messages,
    noise,
    patched,
    resume,
    say,
    whole,
)

CHUNK = 65536
IMAGE = noise(2 * MIB)
QUOTA = Bytes(5 * MIB)


@pytest.fixture
def replica(tmp_path: Path) -> Replica:
    """A client that may have 5 MiB, and another one that may have anything."""
    rules = (Rule(quota=QUOTA), Rule("other"))
    return Replica(tmp_path / "replica", Pace(bytes=CHUNK), rules)


def of(name: str) -> dict[str, Any]:
    return {"volume": name, "volume_uuid": str(uuid5(NAMESPACE_DNS, name))}


def bring(replica: Replica, name: str, image: bytes, number: int = 1, base: int = 0) -> None:
    delta = whole(image, CHUNK)
    with replica.stub() as stub:
        send(stub, manifest(number, delta, base=base, **of(name)), delta)


def test_within_it_nothing_is_refused(replica: Replica) -> None:
    bring(replica, "a", IMAGE)
    bring(replica, "b", IMAGE)
    assert replica.image(name="b") == IMAGE


def test_beyond_it_nothing_more_comes(replica: Replica) -> None:
    bring(replica, "a", IMAGE)
    bring(replica, "b", IMAGE)
    with pytest.raises(QuotaExceeded) as caught:
        bring(replica, "c", IMAGE)
    assert isinstance(caught.value, ReplicaFull)
    assert caught.value.kind is Kind.EXHAUSTED
    used = sum(allocated_bytes(replica.store, name) for name in "abc")
    assert used > QUOTA
    assert f"{LOOPBACK} has a quota of {QUOTA} bytes here and uses" in caught.value.what
    assert f"generation 1 of c, which needs up to {len(IMAGE)}" in caught.value.what
    assert "[[replica.allow]]" in caught.value.hint
    # What is there stays, and what has come is gone on with when there is room.
    assert replica.image(name="a") == IMAGE
    replica.store.remove("a")
    sent = messages(1, whole(IMAGE, CHUNK), **of("c"))
    assert resume(replica, sent)[0].ready.next_ordinal > 0
    assert replica.image(name="c") == IMAGE


def test_layers_count_until_they_are_merged(replica: Replica) -> None:
    bring(replica, "a", IMAGE)
    for number in (2, 3):
        with pytest.raises(QuotaExceeded) if number == 3 else nullcontext():
            bring(replica, "a", noise(len(IMAGE)), number, number - 1)
    while replica.merger.merge_next():
        pass
    bring(replica, "a", IMAGE, 3, 2)
    assert replica.image(name="a") == IMAGE


def test_another_client_is_not_charged(replica: Replica) -> None:
    bring(replica, "a", IMAGE)
    bring(replica, "b", IMAGE)
    say(replica, messages(1, whole(noise(8 * MIB), CHUNK), **of("c")), "other")
    assert replica.newest("c") == 1


def test_zeroes_take_nothing(replica: Replica) -> None:
    sparse = noise(CHUNK) + bytes(64 * MIB)
    bring(replica, "a", sparse)
    delta = whole(patched(sparse, CHUNK, {}), CHUNK, [Extent(Bytes(CHUNK), Bytes(64 * MIB))])
    with replica.stub() as stub:
        send(stub, manifest(2, delta, base=1, **of("a")), delta)
    assert replica.newest("a") == 2


def test_what_a_volume_takes_is_told(replica: Replica) -> None:
    sparse = noise(MIB) + bytes(64 * MIB)
    bring(replica, "a", sparse)
    said = describe(replica.store, "a").allocated_bytes
    assert MIB <= said < 2 * MIB
    changed = patched(sparse, CHUNK, {3: noise(CHUNK)})
    delta = whole(changed, CHUNK, [Extent(Bytes(3 * CHUNK), Bytes(CHUNK))])
    with replica.stub() as stub:
        send(stub, manifest(2, delta, base=1, **of("a")), delta)
    assert said + CHUNK <= describe(replica.store, "a").allocated_bytes < said + 4 * CHUNK
    assert sum(replica.pool.taken().values()) == describe(replica.store, "a").allocated_bytes


def test_what_goes_counts_while_it_is_read(replica: Replica) -> None:
    bring(replica, "a", IMAGE)
    with replica.store.reading("a", 1):
        say(replica, messages(2, whole(noise(len(IMAGE)), CHUNK), **of("a")))
        assert allocated_bytes(replica.store, "a") >= 2 * len(IMAGE)
    assert allocated_bytes(replica.store, "a") < 2 * len(IMAGE)


@pytest.mark.parametrize(
    ("quotas", "found"), [((), None), ((None,), None), ((7, None, 5), 5), ((7,), 7)]
)
def test_the_smallest_counts(quotas: tuple[int | None, ...], found: int | None) -> None:
    rules = [Rule("a", quota=None if one is None else Bytes(one)) for one in quotas]
    assert quota_of([*rules, Rule("b", quota=Bytes(1))], "a") == found


def test_it_is_configured() -> None:
    found = read(
        'version = 1\n[[replica.allow]]\nidentity = "a"\nquota = "100GiB"\n'
        '[[replica.allow]]\nidentity = "b"\n'
    )
    assert [rule.quota for rule in found.replica.allow] == [100 * GIB, None]
