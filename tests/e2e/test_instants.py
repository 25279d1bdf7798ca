"""The cross-volume oracle at the replicas: every generation of a group is of one instant.

A writer stamps eight volumes in turn, without an end, while the group is frozen and mirrored to two
hosts; each generation is judged at both, from the devices that frazil shows there.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from tests.topology import Member, Mirroring, Site, running

INSIDE = "tests.guest.inside.instants"
STAMPS = "tests.workload.stamps"
VOLUMES = 8
PAUSE_S = 0.05
"""Between two stamps: a guest's one processor has the daemon to run as well."""

FREEZES = int(os.environ.get("FRAZIL_FREEZES", "6"))
BROKEN_FREEZES = 3
LIMIT = 1800.0 + 60.0 * FREEZES

pytestmark = [pytest.mark.guest, pytest.mark.timeout(LIMIT)]


@dataclass(frozen=True, slots=True)
class Stamped:
    """A group with two replicas, and a writer that goes on."""

    site: Site
    members: list[Member]
    mirrorings: list[Mirroring]

    def cycle(self) -> list[dict[str, Any]]:
        """Freeze and mirror; what is found of it at each replica."""
        mirrors = [one.name for one in self.mirrorings]
        self.site["source"].guest.call(f"{INSIDE}:cycle", mirrors, timeout=LIMIT)
        with ThreadPoolExecutor(len(self.mirrorings)) as pool:
            return list(pool.map(self._judged_at, self.mirrorings))

    def _judged_at(self, mirroring: Mirroring) -> dict[str, Any]:
        names = [member.name for member in self.members]
        guest = mirroring.replica.guest
        found: dict[str, Any] = guest.call(f"{INSIDE}:judge_newest", names, timeout=LIMIT)
        return found


@pytest.fixture(scope="module")
def stamped(request: pytest.FixtureRequest) -> Iterator[Stamped]:
    with running("source", "near", "far") as site:
        source = site["source"]
        members = [site.member("source", f"s-{n}x", n % 4, n // 4) for n in range(VOLUMES)]
        for member in members:
            source.guest.run(f"dd if=/dev/zero of={member.head} bs=1M count=4 oflag=direct")
        source.frazil("group", "create", "stamped", *(member.name for member in members))
        mirrorings = [
            Mirroring.of_group("stamped", members, site[name]) for name in ("near", "far")
        ]
        for one in mirrorings:
            one.sync()
        heads = [member.head for member in members]
        words = ["python3", "-m", STAMPS, *heads, "--pause", str(PAUSE_S)]
        writer = source.guest.spawn(words)
        yield Stamped(site, members, mirrorings)
        writer.kill(15)
        site.last_words(request)


def test_every_generation_is_one_instant_at_every_replica(stamped: Stamped) -> None:
    began = time.monotonic()
    newest: dict[int, int] = {}
    images = between = 0
    while len(newest) < FREEZES:
        for found in stamped.cycle():
            assert found["faults"] == [], found
            newest[found["generation"]] = found["newest"][-1]
            images += 1
            between += found["newest"][0] != found["newest"][-1]
    assert len(set(newest.values())) == len(newest), "the writer went on between any two"
    # Some instants fall between two volumes' writes, or nothing was put to the test.
    assert between > 0
    print(
        f"\n{len(newest)} freezes, {between} of {images} images between two volumes' writes, "
        f"{time.monotonic() - began:.0f} s"
    )


def test_negative_control_members_frozen_one_after_another(stamped: Stamped) -> None:
    source = stamped.site["source"]
    source.kill()
    source.start_broken("members-one-by-one")
    for _ in range(BROKEN_FREEZES):
        for found in stamped.cycle():
            assert any("was not yet on" in fault for fault in found["faults"])
