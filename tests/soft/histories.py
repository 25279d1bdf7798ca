"""Random histories of a source, its group and its replicas, judged after each step."""

from __future__ import annotations

import random
from contextlib import suppress

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from control.records import MirrorState, Policy
from control.replica.admission import read_manifest
from control.wire.errors import BaseMismatch
from dm_tables.errors import Precondition
from dm_tables.units import KIB, SECTOR, Bytes
from proto.frazil.v1 import replica_pb2
from tests.replica_tools import generation
from tests.soft.world import GROUP, World, demand

NAMES = ("a", "b", "c")
SIZES = {"a": 64 * 4096, "b": 21 * 4096 + 3 * SECTOR, "c": 16 * 4096}
SPARE = "c"
"""The volume that may begin outside the group."""

places = st.integers(0, 99)
deaths = st.one_of(st.none(), st.integers(0, 24))
contents = st.sampled_from(["noise", "text", "zero", "same"])
mirrors = st.sampled_from(["m1", "m2"])
volumes = st.sampled_from(NAMES)
replicas = st.sampled_from(["r1", "r2"])
faults = st.one_of(
    st.tuples(st.just("cut"), volumes, st.integers(0, 6)),
    st.tuples(st.just("answer"), volumes, st.just(0)),
    st.tuples(st.sampled_from(["before", "after"]), st.just(""), st.integers(0, 1)),
)


class Histories(RuleBasedStateMachine):
    """A group of two or three volumes, no to two mirrors, and whatever may befall them."""

    world: World

    def __init__(self) -> None:
        super().__init__()
        self._chance = random.Random(0)
        self._begun = False
        self._steps = 0

    @initialize(
        members=st.integers(1, 3),
        keep=st.sampled_from([0, 2]),
        policy=st.sampled_from([Policy.LOCKSTEP, Policy.INDEPENDENT]),
        two=st.booleans(),
    )
    def begin(self, members: int, keep: int, policy: Policy, two: bool) -> None:
        """Some blocks hold something, others nothing."""
        begins = {name: bytearray(SIZES[name]) for name in NAMES}
        for name in NAMES:
            for _ in range(4):
                at = self._chance.randrange(SIZES[name] // 4096) * 4096
                begins[name][at : at + 4096] = self._chance.randbytes(4096)
        contents = {name: bytes(data) for name, data in begins.items()}
        self.world = World(contents, NAMES[:members], ["r1", "r2"], keep_layers=keep, policy=policy)
        self._begun = True
        self.world.add_mirror("m1", "r1")
        if two:
            self.world.add_mirror("m2", "r2")

    def teardown(self) -> None:
        """Leave nothing."""
        if self._begun:
            self.world.close()

    # The source.

    @rule(volume=volumes, place=places, sectors=st.integers(1, 40), content=contents)
    def write(self, volume: str, place: int, sectors: int, content: str) -> None:
        """Somewhere, from a sector to some blocks."""
        size = SIZES[volume]
        at = size // SECTOR * place // 100 * SECTOR
        length = min(sectors * SECTOR, size - at)
        self.world.write(volume, at, self._content(volume, at, length, content))

    def _content(self, volume: str, at: int, length: int, kind: str) -> bytes:
        if kind == "same":
            return bytes(self.world.models[volume].head[at : at + length])
        if kind == "zero":
            return bytes(length)
        noise = self._chance.randbytes(length)
        return noise if kind == "noise" else noise[:8] * (length // 8)

    @rule(chunk=st.sampled_from([4, 8, 16]), dies=deaths, power=st.booleans())
    def freeze(self, chunk: int, dies: int | None, power: bool) -> None:
        """With writers that do not wait for it, and now and then a death."""
        self.world.mapper.chunk = Bytes(chunk * KIB)
        with self.world.mortal(dies, power=power):
            self.world.freeze(racing=self._race)

    def _race(self, running: list[str]) -> None:
        for volume in running:
            at = self._chance.randrange(SIZES[volume] // SECTOR) * SECTOR
            self.world.write(volume, at, self._chance.randbytes(SECTOR))

    @rule()
    def conduct(self) -> None:
        """The conductor never freezes before the mirrors that it waits for have committed."""
        group = self.world.roster.conductor(GROUP).group
        newest = group.newest()
        behind = [
            worker.mirror
            for worker in self.world.roster.workers_in(GROUP)
            if worker.record.state is MirrorState.RUNNING
            and newest is not None
            and worker.committed_number < newest.number
        ]
        frozen = self.world.conduct()
        lockstep = group.record.policy is Policy.LOCKSTEP
        demand(not (frozen and lockstep and behind), f"frozen before {behind} had the newest")

    @rule(volume=volumes, dies=deaths, power=st.booleans())
    def merge(self, volume: str, dies: int | None, power: bool) -> None:
        """The source's merger takes a step."""
        with self.world.mortal(dies, power=power):
            self.world.merge(volume)

    @rule(
        volume=volumes,
        how=st.sampled_from(["frozen", "moved", "folded", "untracked"]),
        dies=deaths,
        power=st.booleans(),
    )
    def sacrifice(self, volume: str, how: str, dies: int | None, power: bool) -> None:
        """There is no room."""
        if self.world.source.volume(volume).layers:
            self.world.sacrifice(volume, how, dies=dies, power=power)

    @rule(power=st.booleans())
    def restart(self, power: bool) -> None:
        """The daemon, or the whole host."""
        self.world.restart(power=power)

    # Copies.

    @rule(mirror=mirrors)
    def copy(self, mirror: str) -> None:
        """A mirror takes a step, and nothing is in its way."""
        if mirror in self.world.mirrors:
            error = self.world.source.step(mirror)
            demand(error is None, f"{mirror} fails: {error}")

    @rule(mirror=mirrors, fault=faults, dies=deaths, power=st.booleans())
    def copy_badly(
        self, mirror: str, fault: tuple[str, str, int], dies: int | None, power: bool
    ) -> None:
        """The connection breaks in the middle, or the source dies."""
        if mirror not in self.world.mirrors:
            return
        kind, volume, number = fault
        places = self.world.replica_of(mirror).faults
        if kind == "cut":
            places.cut[volume] = number
        elif kind == "answer":
            places.answer.add(volume)
        else:
            places.commit, places.skip = kind, number
        with self.world.mortal(dies, power=power):
            self.world.source.step(mirror)
        places.clear()

    @rule(mirror=mirrors, do=st.sampled_from(["pause", "break", "break now", "resume"]))
    def direct(self, mirror: str, do: str) -> None:
        """An operator's word."""
        states = {"pause": MirrorState.PAUSED, "resume": MirrorState.RUNNING}
        if mirror in self.world.mirrors:
            state = states.get(do, MirrorState.BREAKING)
            self.world.roster.set_mirror_state(mirror, state, now=do.endswith("now"))

    # Members and replicas.

    @rule(mirror=mirrors)
    def add_or_remove_mirror(self, mirror: str) -> None:
        """m1 goes to r1, m2 to r2."""
        if mirror in self.world.mirrors:
            self.world.remove_mirror(mirror)
        else:
            self.world.add_mirror(mirror, f"r{mirror[1:]}")

    @rule(volume=volumes)
    def join_or_leave(self, volume: str) -> None:
        """The last one cannot leave."""
        if volume not in self.world.members():
            self.world.change_members(add=[volume])
        else:
            with suppress(Precondition):
                self.world.change_members(remove=[volume])

    # The replicas.

    @rule(replica=replicas)
    def merge_there(self, replica: str) -> None:
        """A replica's merger takes a step."""
        self.world.replicas[replica].merge()

    @rule(replica=replicas)
    def restart_there(self, replica: str) -> None:
        """A replica's daemon is started anew."""
        self.world.replicas[replica].restart()

    @rule(replica=replicas, volume=volumes)
    def send_on_another_base(self, replica: str, volume: str) -> None:
        """What does not build on the newest generation is refused."""
        there = self.world.replicas[replica]
        if volume not in there.volumes():
            return
        wanted = read_manifest(self._stray(there.replica.store.volume(volume).volume_uuid, volume))
        refused = False
        try:
            list(there.replica.receiver.receive("loopback", wanted, iter(()), lambda: None))
        except BaseMismatch:
            refused = True
        demand(refused, f"{replica} took a delta of {volume} on another base")

    def _stray(self, uuid: str, volume: str) -> replica_pb2.Manifest:
        return replica_pb2.Manifest(
            volume=volume,
            volume_uuid=uuid,
            generation=generation(999),
            base_uuid=generation(998).uuid,
            size_bytes=SIZES[volume],
            chunk_bytes=4096,
            chunks=1,
            logical_block_bytes=512,
        )

    # What must be so.

    @precondition(lambda self: self._steps > 15)
    @rule()
    def settle(self) -> None:
        """Once nothing fails any more, everything arrives."""
        self.world.settle()

    @invariant()
    def right(self) -> None:
        """Every head, every image and every replica is what the model says."""
        if self._begun:
            self._steps += 1
            self.world.check()
