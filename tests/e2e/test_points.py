"""The replica's side: recovery points, test heads, seeding, verify and what it repairs.

Digests are those of the source's frozen images, taken when each was the newest.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from control.comparing import key_of
from control.scrub_plan import Scrub
from dm_tables.errors import Kind
from tests.pair import digest
from tests.topology import SIZE, SLOW, SPANS, Member, Mirroring, Site, running
from vagrant.cluster import FrazilHost

pytestmark = [pytest.mark.guest, pytest.mark.timeout(1800)]

BLOCK = 4096
CHUNK = 64 << 10
KEPT = 3


@pytest.fixture(scope="module")
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """A source and a replica."""
    with running("source", "replica") as started:
        yield started
        started.last_words(request)


def generations(member: Member, replica: FrazilHost, kept_by: str = "") -> list[int]:
    """The recovery points, newest first; of all, or those that a rule keeps."""
    found = replica.json("replica", "points", member.name)["points"]
    return [
        int(point["generation"]["number"])
        for point in found
        if not kept_by or kept_by in point["kept_by"]
    ]


def only(member: Member, replica: FrazilHost, wanted: list[int]) -> None:
    """Wait until these recovery points are left."""
    replica.until(f"the points {wanted} are left", lambda: generations(member, replica) == wanted)


def test_each_point_shows_its_instant_and_the_policy_deletes_the_oldest(site: Site) -> None:
    replica = site["replica"]
    member = site.member("source", "points", 0)
    mirroring = Mirroring.of_volume(member, replica)
    mirroring.sync()
    replica.frazil("replica", "keep", member.name, "--last", str(KEPT))
    frozen: dict[int, str] = {}

    def cycle() -> int:
        member.write()
        generation = mirroring.sync()
        frozen[generation] = member.frozen()
        return generation

    while len(frozen) < KEPT + 2:
        cycle()
    wanted = sorted(frozen, reverse=True)[:KEPT]
    only(member, replica, wanted)
    assert generations(member, replica, "last") == wanted
    points = replica.json("replica", "points", member.name)["points"]
    stamps = [point["generation"]["frozen_at"] for point in points]
    assert stamps == sorted(stamps, reverse=True)
    assert all(point["bytes"] > 0 for point in points)
    assert {number: member.at(replica, number) for number in wanted} == {
        number: frozen[number] for number in wanted
    }
    assert len(set(frozen.values())) == len(frozen), "each instant is another"

    oldest = wanted[-1]
    said = replica.frazil(
        "replica", "mount", member.name, "--generation", str(oldest - 1), check=False
    )
    assert said.code == Kind.NOT_FOUND
    newest = cycle()
    only(member, replica, [newest, *wanted[:-1]])
    assert member.at(replica, wanted[-2]) == frozen[wanted[-2]]


def test_a_test_head_is_written_and_thrown_away_while_mirroring_goes_on(site: Site) -> None:
    replica = site["replica"]
    member = site.member("source", "tried", 1)
    mirroring = Mirroring.of_volume(member, replica)
    generation = mirroring.sync()
    was = member.frozen()
    number = ("--generation", str(generation))
    device = replica.json("replica", "test", member.name, *number)["device"]
    assert digest(replica.guest, device) == was
    replica.guest.call(f"{SPANS}:write", device, 1000, 8)
    written = digest(replica.guest, device)
    assert written != was

    for _ in range(2):
        member.write()
        mirroring.sync()
    assert member.at(replica) == member.frozen()
    assert digest(replica.guest, device) == written, "what is tried is not disturbed"
    assert member.at(replica, generation) == was, "nor is what it stands on"
    replica.frazil("replica", "test-end", member.name)
    assert replica.guest.run(["test", "-e", device], check=False).code != 0
    member.write()
    newest = mirroring.sync()
    only(member, replica, [newest])
    assert member.at(replica) == member.frozen()


def test_a_seed_costs_only_what_differs(site: Site) -> None:
    source, replica = site["source"], site["replica"]
    member = site.member("source", "seeded", 2)
    path, shipped = "/var/lib/frazil/shipped.img", [("/var/lib/frazil/shipped.img", 0, SIZE)]
    replica.guest.run(["truncate", "-s", str(SIZE), path])
    replica.guest.call(f"{SPANS}:fill", shipped, 77)
    source.guest.call(f"{SPANS}:fill", [(member.head, 0, SIZE)], 77)
    assert replica.guest.call(f"{SPANS}:digest", shipped) == digest(source.guest, member.head)
    for block in (3, 300, 1000):
        noise = f"dd if=/dev/urandom of={member.head} bs={BLOCK} count=1 seek={block}"
        source.guest.run(f"{noise} conv=notrunc,fsync status=none")
    replica.frazil("replica", "seed", member.name, path, "--identity", "source")
    mirroring = Mirroring.of_volume(member, replica)
    mirroring.sync()
    (cycle,) = mirroring.now().recent
    assert cycle.kind == "catch-up"
    assert cycle.changed == 3 * BLOCK
    assert cycle.sent < 8 * BLOCK
    assert member.at(replica) == member.frozen()
    member.write()
    mirroring.sync()
    assert member.at(replica) == member.frozen()


def spoil(replica: FrazilHost, path: str, at: int) -> None:
    """Change a few bytes of a file of the replica's."""
    replica.guest.call(f"{SPANS}:spoil", path, at)


def base_of(replica: FrazilHost, name: str) -> str:
    """The file that the replica's base is."""
    return str(replica.json("replica", "show", name)["base_path"])


def verify(mirroring: Mirroring, *options: str) -> tuple[int, list[tuple[int, int]]]:
    """The exit code of ``verify``, and what it names: offsets and lengths."""
    said = mirroring.source.frazil("verify", mirroring.name, *options, "--json", check=False)
    found: list[dict[str, Any]] = said.value["differences"]
    return said.code, [(one["offset_bytes"], one["length_bytes"]) for one in found]


def repaired(mirroring: Mirroring) -> None:
    """The next cycle sends what differs, and not more."""
    mirroring.sync()
    cycle = mirroring.now().recent[-1]
    assert cycle.kind == "catch-up"
    assert cycle.sent < 8 * BLOCK
    assert verify(mirroring) == (Kind.OK, [])
    (member,) = mirroring.members
    assert member.at(mirroring.replica) == member.frozen()


def test_verify_names_the_block_that_rots_and_the_next_cycle_repairs_it(site: Site) -> None:
    replica = site["replica"]
    member = site.member("source", "rots", 3)
    mirroring = Mirroring.of_volume(member, replica)
    mirroring.sync()
    assert verify(mirroring) == (Kind.OK, [])
    block = 2 * CHUNK + 5 * BLOCK
    spoil(replica, base_of(replica, member.name), block + 100)
    assert member.at(replica) != member.frozen()
    assert verify(mirroring) == (Kind.CORRUPT, [(block, BLOCK)])
    assert verify(mirroring, "--repair") == (Kind.CORRUPT, [(block, BLOCK)])
    repaired(mirroring)

    # In a layer that is not merged: the third chunk of its file is the first with content.
    replica.frazil("replica", "keep", member.name, "--last", "2")
    chunk = f"dd if=/dev/urandom of={member.head} bs={CHUNK} count=1 seek=9 conv=notrunc,fsync"
    site["source"].guest.run(chunk)
    mirroring.sync()
    layer = replica.json("replica", "show", member.name)["layers"][-1]
    spoil(replica, layer["path"], 2 * int(layer["chunk_bytes"]) + 3 * BLOCK)
    block = 9 * CHUNK + 3 * BLOCK
    assert verify(mirroring, "--repair") == (Kind.CORRUPT, [(block, BLOCK)])
    repaired(mirroring)


def test_a_scrub_finds_what_rots_and_has_it_repaired(site: Site) -> None:
    source, replica = site["source"], site["replica"]
    member = site.member("source", "scrubbed", 3, slot=2)
    mirroring = Mirroring.of_volume(member, replica)
    mirroring.sync()
    block = CHUNK + 7 * BLOCK
    spoil(replica, base_of(replica, member.name), block + 8)

    def told() -> bool:
        lines = source.frazil("events", "--level", "error", "--json").out.splitlines()
        mine = [one for one in map(json.loads, lines) if one["subject"] == mirroring.name]
        return any(one["kind"] == "differs" and f"byte {block}" in one["message"] for one in mine)

    assert not told()
    source.stop()
    # The last pass was long ago.
    due = Scrub(since=1.0).text().encode()
    source.guest.put(due, f"/var/lib/frazil/scrub/{key_of(mirroring.name, member.name)}.json")
    source.start()
    source.until("it is found", told, timeout=SLOW)
    source.until("it is asked for", lambda: mirroring.status()["lacking_bytes"] == BLOCK)
    repaired(mirroring)
