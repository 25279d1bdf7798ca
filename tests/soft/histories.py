"""Random histories of a source, its group and its replicas, without a kernel."""

from __future__ import annotations

import random

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from control.records import MirrorState, Policy
from control.replica.admission import read_manifest
from control.wire.errors import BaseMismatch
from dm_tables.units import SECTOR
from proto.frazil.v1 import replica_pb2
from tests.histories.model import demand
from tests.histories.rules import as_rule
from tests.histories.source import DEATHS, MIRRORS, NAMES, REPLICAS, STEPS, SourceHistory
from tests.histories.steps import YES_OR_NO
from tests.replica_tools import generation
from tests.soft.world import GROUP, QUORUM, World

SIZES = {"a": 64 * 4096, "b": 21 * 4096 + 3 * SECTOR, "c": 16 * 4096}


class Histories(SourceHistory, RuleBasedStateMachine):
    """The shared steps, and what only a world without threads can be told."""

    world: World

    def __init__(self) -> None:
        super().__init__()
        self.chance = random.Random(0)
        self._begun = False
        self._steps = 0

    @initialize(
        members=st.integers(1, 3),
        keep=st.sampled_from([0, 2]),
        policy=st.sampled_from(list(Policy)),
        two=st.booleans(),
    )
    def begin(self, members: int, keep: int, policy: Policy, two: bool) -> None:
        """Some blocks hold something, others nothing."""
        begins = {name: bytearray(SIZES[name]) for name in NAMES}
        for name in NAMES:
            for _ in range(4):
                at = self.chance.randrange(SIZES[name] // 4096) * 4096
                begins[name][at : at + 4096] = self.chance.randbytes(4096)
        contents = {name: bytes(data) for name, data in begins.items()}
        self.world = World(contents, NAMES[:members], REPLICAS, keep_layers=keep, policy=policy)
        self._begun = True
        self.world.add_mirror("m1", "r1")
        if two:
            self.world.add_mirror("m2", "r2")

    def teardown(self) -> None:
        """Leave nothing."""
        if self._begun:
            self.world.close()

    write = as_rule(SourceHistory.write, STEPS["write"])
    freeze = as_rule(SourceHistory.freeze, STEPS["freeze"])
    copy = as_rule(SourceHistory.copy, STEPS["copy"])
    copy_badly = as_rule(SourceHistory.copy_badly, STEPS["copy_badly"])
    merge = as_rule(SourceHistory.merge, STEPS["merge"])
    merge_there = as_rule(SourceHistory.merge_there, STEPS["merge_there"])
    direct = as_rule(SourceHistory.direct, STEPS["direct"])
    add_or_remove_mirror = as_rule(SourceHistory.add_or_remove_mirror, {"mirror": MIRRORS})
    join_or_leave = as_rule(SourceHistory.join_or_leave, STEPS["join_or_leave"])
    restart = as_rule(SourceHistory.restart, STEPS["restart"])
    restart_there = as_rule(SourceHistory.restart_there, STEPS["restart_there"])
    settle = precondition(lambda self: self._steps > 15)(as_rule(SourceHistory.settle, {}))

    @rule()
    def conduct(self) -> None:
        """The conductor never freezes before the mirrors that it waits for have committed."""
        group = self.world.roster.conductor(GROUP).group
        newest = group.newest()
        running = [
            worker
            for worker in self.world.roster.workers_in(GROUP)
            if worker.record.state is MirrorState.RUNNING
        ]
        behind = [
            worker.mirror
            for worker in running
            if newest is not None and worker.committed_number < newest.number
        ]
        policy = group.record.policy
        waits = bool(behind) and (
            policy is Policy.LOCKSTEP
            or (policy is Policy.QUORUM and len(running) - len(behind) < QUORUM)
        )
        frozen = self.world.conduct()
        demand(not (frozen and waits), f"frozen before {behind} had the newest")

    @rule(
        volume=st.sampled_from(NAMES),
        how=st.sampled_from(["frozen", "moved", "folded", "untracked"]),
        dies=st.sampled_from(DEATHS),
        power=st.sampled_from(YES_OR_NO),
    )
    def sacrifice(self, volume: str, how: str, dies: int | None, power: bool) -> None:
        """There is no room."""
        if self.world.source.volume(volume).layers:
            self.world.sacrifice(volume, how, dies=dies, power=power)

    @rule(volume=st.sampled_from(NAMES), pick=st.integers(0, 9))
    def read(self, volume: str, pick: int) -> None:
        """Somebody begins to read an image, and takes his time."""
        self.world.readers.begin(self.world.source.volume(volume), pick)

    @rule()
    def end_reading(self) -> None:
        """All who read end."""
        self.world.readers.end()

    @rule(replica=st.sampled_from(REPLICAS), volume=st.sampled_from(NAMES))
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

    @invariant()
    def right(self) -> None:
        """Every head, every image and every replica is what the model says."""
        if self._begun:
            self._steps += 1
            self.world.check()
