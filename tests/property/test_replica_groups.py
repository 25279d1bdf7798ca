"""A group at a replica, wherever it dies: no member is ever new while another is old.

Three volumes are changed together, and every member's image tells its number: what is visible
can be compared without asking the journal. Death comes at every single effect.
"""

from __future__ import annotations

import random
import shutil
import tempfile
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from control.blocks import Extent
from control.replica.groups import GroupCommit, commit_group
from control.replica.receive import Pace
from control.replica.store import ReplicaStore
from control.wire.errors import BadStream, NotStaged
from dm_tables.units import Bytes
from proto.frazil.v1 import replica_pb2
from tests.replica_tools import MEMORY, Replica, generation, messages, patched, resume, whole
from tests.volatile import Died, VolatileDisk

NAMES = ("a", "b", "c")
CHUNK = 4096
SIZE = CHUNK * 5 + 512
LAST = 4
EVERY_RUN = Pace(bytes=1)


def image(name: str, number: int) -> bytes:
    """A member's image; what the last generation did not change stays."""
    made = bytes(SIZE)
    for n in range(1, number + 1):
        stamp = f"{name}{n:08d}".encode()
        chunk = (stamp * CHUNK)[:CHUNK]
        made = patched(made, CHUNK, {0: chunk, n % 5: chunk, 5: chunk})
    return made


def sent(name: str, number: int, base: int) -> list[replica_pb2.ReceiveRequest]:
    """A member's generation on an older one, or as a whole; staged unless it is the first."""
    new = image(name, number)
    fields: dict[str, Any] = {
        "volume": name,
        "volume_uuid": str(uuid.uuid5(uuid.NAMESPACE_DNS, name)),
    }
    if not base:
        return messages(number, whole(new, CHUNK), **fields, staged=number > 1)
    old = image(name, base)
    extents = [
        Extent(Bytes(at), Bytes(min(CHUNK, SIZE - at)))
        for at in range(0, SIZE, CHUNK)
        if new[at : at + CHUNK] != old[at : at + CHUNK]
    ]
    return messages(number, whole(new, CHUNK, extents), base=base, **fields, staged=True)


def members(number: int) -> dict[str, str]:
    return dict.fromkeys(NAMES, generation(number).uuid)


def shown(replica: Replica) -> set[int]:
    """The generations that the members' images show."""
    found = set()
    for name in NAMES:
        seen = replica.image(name=name)
        matching = [n for n in range(1, LAST + 40) if image_known(name, n) == seen]
        assert matching, f"{name} shows what no generation is"
        found.add(matching[0])
    return found


_IMAGES: dict[tuple[str, int], bytes] = {}


def image_known(name: str, number: int) -> bytes:
    if (name, number) not in _IMAGES:
        _IMAGES[name, number] = image(name, number)
    return _IMAGES[name, number]


# Random steps.


class GroupMachine(RuleBasedStateMachine):
    """Members are sent in any order, in part or whole, and committed too early and in time."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(dir=MEMORY))
        self.replica = Replica(self.directory, EVERY_RUN)
        self.committed = 1
        self.next = 2
        self.staged: set[str] = set()

    @initialize()
    def first(self) -> None:
        for name in NAMES:
            resume(self.replica, sent(name, 1, 0))

    @precondition(lambda self: self.next < LAST + 30)
    @rule()
    def freeze(self) -> None:
        """A newer instant; what was staged of the older one is not committed any more."""
        self.next += 1
        self.staged.clear()

    @rule(name=st.sampled_from(NAMES), as_whole=st.booleans())
    def send(self, name: str, as_whole: bool) -> None:
        if self.next > self.committed:
            resume(self.replica, sent(name, self.next, 0 if as_whole else self.committed))
            self.staged.add(name)

    @rule(name=st.sampled_from(NAMES), cut=st.integers(1, 2))
    def send_a_part(self, name: str, cut: int) -> None:
        if self.next > self.committed and name not in self.staged:
            with suppress(BadStream):
                resume(self.replica, sent(name, self.next, self.committed)[:cut])

    @rule()
    def commit(self) -> None:
        if self.next == self.committed:
            self.replica.receiver.commit("shop", members(self.next))
        elif self.staged == set(NAMES):
            self.replica.receiver.commit("shop", members(self.next))
            self.committed = self.next
            self.next += 1
            self.staged.clear()
        else:
            with pytest.raises(NotStaged):
                self.replica.receiver.commit("shop", members(self.next))

    @rule()
    def merge(self) -> None:
        self.replica.merger.merge_next()

    @rule()
    def restart(self) -> None:
        self.replica = self.replica.reopened()

    @invariant()
    def one_instant(self) -> None:
        if self.replica.newest("c"):
            assert shown(self.replica) == {self.committed}

    def teardown(self) -> None:
        self.replica.store.close()
        shutil.rmtree(self.directory)


GroupMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=25)
TestGroupMachine = GroupMachine.TestCase


# Death at every step.


@dataclass
class Cycles:
    """The cycles that follow the first copies."""

    replica: Replica

    def run(self) -> None:
        """To the last generation, from wherever the replica stands."""
        newest = min(self.replica.newest(name) for name in NAMES)
        for number in range(newest + 1, LAST + 1):
            for name in NAMES:
                resume(self.replica, sent(name, number, number - 1))
            self.replica.receiver.commit("shop", members(number))
            while self.replica.merger.merge_next():
                pass


def begun(directory: Path) -> Replica:
    """A replica that has every member's first copy."""
    replica = Replica(directory, EVERY_RUN)
    for name in NAMES:
        resume(replica, sent(name, 1, 0))
    return replica


def effects_of(directory: Path) -> int:
    """How many effects the cycles have when nothing dies."""
    replica = begun(directory)
    disk = VolatileDisk()
    with disk.inserted():
        Cycles(replica).run()
    return disk.effects


def die_and_go_on(directory: Path, at: int, seed: int) -> None:
    """Die after ``at`` effects and lose the cache: one instant is shown, and all arrives.

    :raises AssertionError: two members show different instants.
    """
    replica = begun(directory)
    disk = VolatileDisk(left=at)
    with disk.inserted(), suppress(Died):
        Cycles(replica).run()
    replica.store.journal._db._db.close()
    disk.cut_power(random.Random(seed))
    replica = Replica(directory, EVERY_RUN)
    assert len(shown(replica)) == 1
    Cycles(replica).run()
    assert shown(replica) == {LAST}
    replica.store.close()


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> int:
    return effects_of(tmp_path_factory.mktemp("counted"))


@settings(max_examples=100)
@given(data=st.data())
def test_death_at_any_effect(counted: int, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, counted - 1))
    seed = data.draw(st.integers(0, 1 << 32))
    with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
        die_and_go_on(Path(directory), at, seed)


def found_by_death(counted: int) -> bool:
    """Whether dying here and there shows two instants."""
    for at in range(0, counted, 3):
        with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
            try:
                die_and_go_on(Path(directory), at, at)
            except AssertionError:
                return True
    return False


def test_members_committed_one_by_one_are_found(
    counted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control: without the one transaction a death shows two instants."""

    def one_by_one(store: ReplicaStore, group: str, named: Mapping[str, str]) -> GroupCommit:
        done = [commit_group(store, group, {name: uuid}) for name, uuid in named.items()]
        return GroupCommit(done[0].generation, tuple(name for one in done for name in one.fresh))

    monkeypatch.setattr("control.replica.receive.commit_group", one_by_one)
    assert found_by_death(counted)
