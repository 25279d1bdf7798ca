"""A cascade on three hosts: what the second has committed is the third's, digest by digest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from dm_tables.errors import Kind
from tests.pair import MIB, PATIENT, SECTOR, Pair, Volume, digest
from vagrant.cluster import Certificates, FrazilHost, HostSettings, start_all
from vagrant.cluster.cycles import MirrorNow
from vagrant.cluster.watch import MirrorWatch
from vagrant.lab import Lab

pytestmark = pytest.mark.guest

SIZE = 16 * MIB + 3 * SECTOR
RATE = "1MB/s"
LITTLE = PATIENT + "keep_layers = 1\n"
"""What is appended belongs to [copy]."""


@dataclass(frozen=True, slots=True)
class Chain:
    """Three hosts; each mirrors to the next, and the last may mirror to the first."""

    pair: Pair
    last: FrazilHost

    @property
    def middle(self) -> FrazilHost:
        """The replica that is mirrored on."""
        return self.pair.replica

    def onward(self, name: str, of: tuple[str, ...], *options: str) -> None:
        """Mirror a replica, or a group of them, on to the last host."""
        given = ("--peer", self.last.peer, "--on-demand", *options, "--start")
        self.middle.frazil("mirror", "create", name, *of, *given)

    def sync(self, name: str) -> int:
        """Bring the newest instant on; its number."""
        words = ("mirror", "sync-now", name, "--wait")
        number: int = self.middle.json(*words, timeout=240.0)["generation"]["number"]
        return number

    def now(self, name: str) -> MirrorNow:
        """The mirror to the last host."""
        return MirrorNow.of(self.middle.json("mirror", "status", name)["mirrors"][0])

    def at_last(self, name: str, generation: int) -> str:
        """The digest of the last host's image, from the device that it offers."""
        number = ("--generation", str(generation))
        device = self.last.json("replica", "mount", name, *number)["device"]
        try:
            return digest(self.last.guest, device)
        finally:
            self.last.frazil("replica", "unmount", name, *number)


@pytest.fixture(scope="module")
def chain(request: pytest.FixtureRequest) -> Iterator[Chain]:
    """Source, middle and last, each with a running frazild."""
    settings = (
        HostSettings(peers=("last",), extra=PATIENT),
        HostSettings(peers=("source",), extra=LITTLE),
        HostSettings(peers=("middle",), extra=PATIENT),
    )
    with Lab() as lab:
        certificates = Certificates()
        guests = lab.start("source", "middle", "last")
        hosts = [
            FrazilHost(guest, certificates, chosen)
            for guest, chosen in zip(guests, settings, strict=True)
        ]
        start_all(hosts)
        yield Chain(Pair(lab, hosts[0], hosts[1]), hosts[2])
        if request.session.testsfailed:
            for host in hosts:
                print(f"--- frazild on {host.name}\n{host.log_tail(80)}")


def filled(volume: Volume) -> None:
    """Random bytes everywhere, so that a copy takes a while."""
    fill = f"dd if=/dev/urandom of={volume.head} bs=1M count={SIZE // MIB} oflag=direct"
    volume.pair.source.guest.run(f"{fill} status=none")


def test_every_generation_is_the_same_at_all_three(chain: Chain) -> None:
    volume = chain.pair.volume("data", SIZE)
    writer = volume.writer(seed=21)
    volume.mirror()
    for turn in range(3):
        writer.write(20)
        generation = volume.sync().generation
        frozen = volume.frozen_digest(generation)
        if not turn:
            chain.onward("onward", ("data",))
        assert chain.sync("onward") == generation
        assert chain.at_last("data", generation) == frozen
        assert volume.replica_digest(generation) == frozen
        there = [host.json("replica", "show", "data") for host in (chain.middle, chain.last)]
        assert there[0]["newest"] == there[1]["newest"], "number, UUID, parent, freeze time"
    writer.quit()


def test_the_second_host_killed_in_the_middle_of_a_copy(chain: Chain) -> None:
    volume = chain.pair.volume("killed", SIZE, disk="d1")
    filled(volume)
    volume.mirror()
    generation = volume.sync().generation
    frozen = volume.frozen_digest(generation)
    chain.onward("goes-on", ("killed",), "--rate", RATE)
    watch = MirrorWatch(chain.middle, "goes-on")
    chain.middle.frazil("mirror", "sync-now", "goes-on")
    chain.middle.until("the copy is half done", lambda: watch.midway(0.9, 0.4), pause=0.1)
    watch.close()
    chain.middle.kill()
    chain.middle.start()
    chain.middle.frazil("mirror", "set", "goes-on", "--rate", "none")
    chain.middle.until("it is committed", lambda: chain.now("goes-on").committed == generation)
    (cycle,) = chain.now("goes-on").recent
    assert cycle.resumed > 0
    assert chain.at_last("killed", generation) == frozen


def test_a_third_host_that_is_away_catches_up(chain: Chain) -> None:
    volume = chain.pair.volume("away", SIZE, disk="d2")
    writer = volume.writer(seed=22)
    volume.mirror()
    volume.sync()
    chain.onward("late", ("away",))
    chain.sync("late")
    chain.pair.lab.partition(chain.middle.guest, chain.last.guest)
    for _ in range(5):
        writer.write(10)
        generation = volume.sync().generation
    frozen = volume.frozen_digest(generation)
    chain.middle.until(
        "layers are merged past the limit",
        lambda: len(chain.middle.json("replica", "show", "away")["layers"]) <= 2,
    )
    chain.pair.lab.heal()
    assert chain.sync("late") == generation
    assert chain.now("late").recent[-1].kind == "catch-up"
    assert chain.at_last("away", generation) == frozen
    writer.quit()


def test_a_group_and_a_loop(chain: Chain) -> None:
    volumes = [
        chain.pair.volume(f"part{place}", SIZE, disk="d3", offset=MIB + place * 32 * MIB)
        for place in range(2)
    ]
    source, names = chain.pair.source, [volume.name for volume in volumes]
    writers = [volume.writer(seed=30 + place) for place, volume in enumerate(volumes)]
    source.frazil("group", "create", "both", *names)
    to_middle = ("--peer", chain.middle.peer, "--on-demand", "--start")
    source.frazil("mirror", "create", "both", "--group", "both", *to_middle)
    for turn in range(2):
        for writer in writers:
            writer.write(10)
        reply = source.json("mirror", "sync-now", "both", "--wait", timeout=240.0)
        generation = reply["generation"]["number"]
        frozen = [volume.frozen_digest(generation) for volume in volumes]
        if not turn:
            chain.onward("both-on", ("--group", "both"))
        assert chain.sync("both-on") == generation
        assert [chain.at_last(name, generation) for name in names] == frozen
    for writer in writers:
        writer.quit()
    back = ("--peer", source.peer, "--on-demand", "--start")
    chain.last.frazil("mirror", "create", "back", "--group", "both", *back)
    said = chain.last.frazil("mirror", "sync-now", "back", "--wait", check=False)
    assert said.code == Kind.PRECONDITION
    assert "volume of this host itself" in said.err
    assert source.json("replica", "list")["replicas"] == []


def test_a_promoted_second_host_goes_on_mirroring_to_the_third(chain: Chain) -> None:
    """The source stays away: nothing may follow in this module."""
    volume = chain.pair.volume("lost", SIZE, disk="d1", offset=64 * MIB)
    writer = volume.writer(seed=40)
    volume.mirror()
    volume.sync()
    chain.onward("on-and-on", ("lost",))
    first = chain.sync("on-and-on")
    for _ in range(2):
        writer.write(10)
        frozen = volume.frozen_digest(volume.sync().generation)
    writer.quit()
    chain.pair.source.stop()

    middle = chain.middle
    middle.frazil("replica", "promote", "lost")
    assert digest(middle.guest, volume.head) == frozen
    (mirror,) = middle.json("mirror", "status", "on-and-on")["mirrors"]
    assert (mirror["volume"], mirror["problem"]) == ("lost", "")
    assert chain.now("on-and-on").committed == first
    for turn in range(2):
        middle.guest.call("tests.workload.spans:write", volume.head, 50 + turn, 4)
        generation = chain.sync("on-and-on")
        head = digest(middle.guest, volume.head)
        assert chain.at_last("lost", generation) == head != frozen
    kinds = [cycle.kind for cycle in chain.now("on-and-on").recent]
    assert kinds.count("whole") == 1, "the third host had most of it"
    assert kinds[-1] == "delta"
