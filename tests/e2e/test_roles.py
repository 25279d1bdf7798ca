"""Who is source changes sides and comes back: a site is lost, promoted, and taken back."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from dm_tables.errors import Kind
from tests.pair import DISK, MIB, PATIENT, Pair, digest, running_pair
from vagrant.cluster import FrazilHost, HostSettings

NAMES = ("a", "b")
SIZE = 8 * MIB


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    settings = HostSettings(peers=("source", "replica"), extra=PATIENT)
    # What comes first in "extra" belongs to the last peer's rule.
    yielding = HostSettings(peers=("replica", "source"), extra=f"discard = true\n{PATIENT}")
    with running_pair(settings, yielding) as made:
        for number, name in enumerate(NAMES):
            span = f"{DISK}d0,offset={(1 + 10 * number) * MIB},length={SIZE}"
            made.source.frazil("volume", "create", name, span)
        made.source.frazil("group", "create", "g", *NAMES)
        peer = made.replica.peer
        made.source.frazil(
            "mirror", "create", "m", "--group", "g", "--peer", peer, "--on-demand", "--start"
        )
        yield made


def write(host: FrazilHost, name: str, text: str, at: int = 0) -> None:
    """Write ``text`` at a MiB of a head, durably."""
    head = f"/dev/mapper/frazil-{name}"
    command = f"printf '%-4096s' '{text}' | dd of={head} bs=4096 seek={at * 256} conv=fsync,notrunc"
    host.guest.run(command)


def fill(host: FrazilHost, name: str) -> None:
    data = random.Random(name).randbytes(MIB)
    host.guest.put(data, "/tmp/fill")
    host.guest.run(f"dd if=/tmp/fill of=/dev/mapper/frazil-{name} bs=1M seek=2 conv=fsync,notrunc")


def heads(host: FrazilHost) -> list[str]:
    return [digest(host.guest, f"/dev/mapper/frazil-{name}") for name in NAMES]


def sync(host: FrazilHost, mirror: str) -> dict[str, object]:
    """One cycle; as the mirror tells of it."""
    found = host.json("mirror", "sync-now", mirror, "--wait", timeout=300)
    status = host.json("mirror", "status", mirror)["mirrors"][0]
    number = found["generation"]["number"]
    cycle = next(one for one in status["recent"] if one["generation"]["number"] == number)
    assert isinstance(cycle, dict)
    return cycle


def lose_the_site(pair: Pair) -> list[str]:
    """Cycles, then a power cut with writes that no other host has. :return: what was committed."""
    source = pair.source
    for name in NAMES:
        fill(source, name)
    sync(source, "m")
    write(source, "a", "committed", at=4)
    write(source, "b", "committed", at=5)
    kept = heads(source)
    assert sync(source, "m")["kind"] == "delta"
    write(source, "a", "on no other host", at=6)
    source.guest.power_cut()
    source.guest.restart()
    return kept


def give_up_what_diverged(source: FrazilHost) -> None:
    """The old source finds out, keeps its heads back, and becomes a replica."""
    source.start()

    def problem() -> str:
        status = source.json("mirror", "status", "m")["mirrors"][0]
        return str(status["problem"])

    source.until("the old source knows", lambda: "split brain" in problem())
    assert source.guest.run("test -e /dev/mapper/frazil-a", check=False).code != 0, "fenced"
    refused = source.frazil("volume", "demote", "g", "--identity", "replica", check=False)
    assert refused.code != 0
    assert "does not have them" in refused.err
    source.frazil("volume", "demote", "g", "--identity", "replica", "--force")
    assert "diverged" in str(source.json("replica", "points", "a")), "it is kept"


def test_a_lost_site_is_replaced_and_taken_back(pair: Pair) -> None:
    source, replica = pair.source, pair.replica
    kept = lose_the_site(pair)
    replica.frazil("replica", "promote", "g")
    assert heads(replica) == kept, "what was committed, and nothing else"
    write(replica, "a", "written over there", at=3)
    give_up_what_diverged(source)

    replica.frazil("mirror", "set", "g.back", "--peer", source.peer)
    replica.frazil("mirror", "start", "g.back")
    cycle = sync(replica, "g.back")
    assert cycle["kind"] == "delta", "no full copy"
    assert int(str(cycle["sent_bytes"])) < MIB
    assert replica_digests(source) == heads(replica)

    switch = ("mirror", "switch", "g.back", "--reverse", replica.peer)
    refused = replica.frazil(*switch, check=False)
    assert "keeps what no other host has" in refused.err
    assert heads(replica), "and nothing was changed"
    for name in NAMES:
        source.frazil("replica", "keep", name, "--drop-diverged")
    replica.frazil(*switch, timeout=300)
    assert source.json("volume", "show", "a")["state"] == "active"
    write(source, "b", "roles as before", at=1)
    assert sync(source, "g.back")["kind"] == "delta"
    assert replica_digests(replica) == heads(source)


def replica_digests(host: FrazilHost) -> list[str]:
    """Of the group's newest instant."""
    shown = host.json("replica", "mount", "g")
    assert [one["name"] for one in shown["members"]] == list(NAMES)
    found = [digest(host.guest, one["device"]) for one in shown["members"]]
    host.frazil("replica", "unmount", "g")
    return found


def test_a_split_brain_is_ended_from_the_side_that_goes_on(pair: Pair) -> None:
    """Roles are as at the beginning; the replica is promoted although its source lives."""
    source, replica = pair.source, pair.replica
    mirror = source.json("mirror", "status")["mirrors"][0]["name"]
    sync(source, mirror)
    replica.frazil("replica", "promote", "g")
    write(replica, "a", "written over there", at=6)
    given_up = heads(replica)
    write(source, "a", "written here", at=6)
    ours = heads(source)

    words = ("mirror", "sync-now", mirror, "--wait", "--timeout", "30s")
    assert source.frazil(*words, check=False).code != 0
    resolve = ("mirror", "resolve", mirror)
    said = source.frazil(*resolve, check=False)
    assert said.code == Kind.USAGE
    assert "split brain" in said.err
    assert heads(replica) == given_up, "nothing was changed"

    source.frazil(*resolve, "--discard", "remote", "--force")
    assert heads(source) == ours, "the head is there again"
    points = replica.json("replica", "points", "a")["points"]
    kept = [one["generation"]["number"] for one in points if "diverged" in one["kept_by"]]
    assert len(kept) == 2, "what diverged, and what it stands on"
    shown = replica.json("replica", "mount", "a", "--generation", str(max(kept)))
    assert digest(replica.guest, shown["device"]) == given_up[NAMES.index("a")]
    replica.frazil("replica", "unmount", "a")
    write(source, "b", "and it goes on", at=6)
    assert sync(source, mirror)["kind"] == "delta"
    assert replica_digests(replica) == heads(source)
