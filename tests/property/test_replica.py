"""A replica, whatever is sent to it and wherever it dies, is one instant: a whole generation.

The model is a list of images. A machine of random steps drives a replica on plain files against
it; and scenarios die at every single effect, with a volatile cache under the stores.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from control.blocks import Extent
from control.merge import Base
from control.replica.receive import Pace
from control.store.direct import DirectFile
from control.wire.errors import BadStream, BaseMismatch, DataLoss, GenerationNotFound
from dm_tables.errors import Corrupt
from dm_tables.units import Bytes
from proto.frazil.v1 import replica_pb2
from tests.replica_tools import MEMORY, Replica, messages, patched, resume, say, whole
from tests.volatile import Died, VolatileDisk

CHUNK = 4096
CHUNKS = 24
SIZE = CHUNK * (CHUNKS - 1) + 512
EVERY_RUN = Pace(bytes=1)

contents = st.sampled_from(["zero", "text", "noise"])
changes = st.dictionaries(st.integers(0, CHUNKS - 1), contents, max_size=8)
Requests = list[replica_pb2.ReceiveRequest]


def content(kind: str, seed: int) -> bytes:
    """A chunk's bytes, never the same for two seeds but for zeroes."""
    if kind == "zero":
        return bytes(CHUNK)
    if kind == "text":
        return (b"%08d" % seed) * (CHUNK // 8)
    return random.Random(seed).randbytes(CHUNK)


@dataclass
class Model:
    """The source's history: generation ``n`` is ``images[n]``, and how it is sent."""

    images: dict[int, bytes] = field(default_factory=lambda: {0: bytes(SIZE)})
    seed: int = 0

    @property
    def newest(self) -> int:
        return max(self.images)

    def freeze(self, changed: dict[int, str]) -> None:
        """The next generation."""
        made = {}
        for number, kind in changed.items():
            self.seed += 1
            made[number] = content(kind, self.seed)
        self.images[self.newest + 1] = patched(self.images[self.newest], CHUNK, made)

    def whole(self, number: int) -> Requests:
        """The whole of a generation."""
        return messages(number, whole(self.images[number], CHUNK))

    def delta(self, number: int, base: int, chunk: int = CHUNK) -> Requests:
        """What changed from one generation to another."""
        new, old = self.images[number], self.images[base]
        extents = [
            Extent(Bytes(at), Bytes(min(chunk, SIZE - at)))
            for at in range(0, SIZE, chunk)
            if new[at : at + chunk] != old[at : at + chunk]
        ]
        return messages(number, whole(new, chunk, extents), base=base)


def check(replica: Replica, model: Model) -> None:
    """Every generation that the replica shows is the model's; it shows at least its newest."""
    newest = replica.newest()
    if newest == 0:
        return
    assert replica.image() == model.images[newest]
    for number in range(1, newest):
        try:
            shown = replica.image(number)
        except GenerationNotFound:
            continue
        assert shown == model.images[number]


def check_objects(replica: Replica) -> None:
    """The pool holds what the journal names, and nothing else."""
    journal = replica.store.journal
    named = {name for name, _ in journal.garbage()}
    for volume in journal.volumes():
        named |= {volume.base_object} if volume.base_object else set()
        named |= {layer.object_name for layer in journal.layers(volume.name)}
        incoming = journal.incoming(volume.name)
        named |= {incoming.object_name} if incoming is not None else set()
    assert set(replica.pool.list()) <= named


class ReplicaMachine(RuleBasedStateMachine):
    """Freezes, copies whole and broken, merges, restarts."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(dir=MEMORY))
        self.replica = Replica(self.directory, EVERY_RUN)
        self.model = Model()
        self.begun: Requests = []

    @initialize(changed=changes)
    def first(self, changed: dict[int, str]) -> None:
        self.model.freeze(changed)

    @rule(changed=changes)
    def freeze(self, changed: dict[int, str]) -> None:
        self.model.freeze(changed)

    @precondition(lambda self: self.replica.newest() < self.model.newest)
    @rule()
    def send_whole(self) -> None:
        say(self.replica, self.model.whole(self.model.newest))
        assert self.replica.newest() == self.model.newest
        self.begun = []

    @precondition(lambda self: 0 < self.replica.newest() < self.model.newest)
    @rule(chunk=st.sampled_from([4096, 8192, 16384]))
    def send_delta(self, chunk: int) -> None:
        base = self.replica.newest()
        say(self.replica, self.model.delta(self.model.newest, base, chunk))
        assert self.replica.newest() == self.model.newest
        self.begun = []

    @precondition(lambda self: 0 < self.replica.newest() < self.model.newest)
    @rule(share=st.floats(0, 1), as_whole=st.booleans())
    def begin(self, share: float, as_whole: bool) -> None:
        newest = self.model.newest
        sent = (
            self.model.whole(newest)
            if as_whole
            else self.model.delta(newest, self.replica.newest())
        )
        with pytest.raises(BadStream):
            say(self.replica, sent[: 1 + int(share * (len(sent) - 2))])
        self.begun = sent

    @precondition(lambda self: self.begun)
    @rule()
    def go_on(self) -> None:
        resume(self.replica, self.begun)
        self.begun = []
        assert self.replica.newest() > 0

    @precondition(lambda self: self.replica.newest() > 1)
    @rule()
    def send_what_does_not_fit(self) -> None:
        before = self.replica.newest()
        with pytest.raises(BaseMismatch):
            say(self.replica, self.model.delta(before - 1, before - 1))
        assert self.replica.newest() == before

    @rule()
    def merge(self) -> None:
        self.replica.merger.merge_next()

    @rule()
    def restart(self) -> None:
        self.replica = self.replica.reopened()

    @invariant()
    def one_instant(self) -> None:
        check(self.replica, self.model)
        check_objects(self.replica)

    def teardown(self) -> None:
        self.replica.store.close()
        shutil.rmtree(self.directory)


ReplicaMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=20)
TestReplicaMachine = ReplicaMachine.TestCase


# Death at every step.


@dataclass
class Scenario:
    """Some generations brought to a replica one after the other, with merges between."""

    model: Model
    wholes: frozenset[int] = frozenset({1})

    def sent(self, number: int) -> Requests:
        if number in self.wholes:
            return self.model.whole(number)
        return self.model.delta(number, number - 1)

    def run(self, replica: Replica, first: int = 1) -> None:
        """From generation ``first`` on to the end."""
        for number in range(first, self.model.newest + 1):
            resume(replica, self.sent(number))
            if number % 2:
                while replica.merger.merge_next():
                    pass


def scenario(wholes: frozenset[int] = frozenset({1})) -> Scenario:
    model = Model()
    model.freeze(dict.fromkeys(range(0, CHUNKS, 2), "noise"))
    model.freeze({3: "noise", 4: "zero", CHUNKS - 1: "noise"})
    model.freeze({0: "text", 3: "text", 7: "noise", 4: "zero"})
    model.freeze({5: "noise", 7: "zero", CHUNKS - 1: "text"})
    return Scenario(model, wholes)


def effects_of(made: Scenario, directory: Path) -> int:
    """How many effects the scenario has when nothing dies."""
    disk = VolatileDisk()
    with disk.inserted():
        made.run(Replica(directory, EVERY_RUN))
    return disk.effects


def die_and_go_on(made: Scenario, directory: Path, at: int, seed: int) -> None:
    """Die after ``at`` effects, lose the cache, start again: nothing is mixed, and all arrives.

    :raises AssertionError: the replica shows what no generation is.
    """
    disk = VolatileDisk(left=at)
    with disk.inserted():
        replica = Replica(directory, EVERY_RUN)
        with suppress(Died):
            made.run(replica)
    replica.store.journal._db._db.close()
    disk.cut_power(random.Random(seed))
    replica = Replica(directory, EVERY_RUN)
    check(replica, made.model)
    check_objects(replica)
    newest = replica.newest()
    made.run(replica, newest + 1)
    while replica.merger.merge_next():
        pass
    assert replica.newest() == made.model.newest
    check(replica, made.model)
    assert len(replica.pool.list()) == 1
    replica.store.close()


SCENARIOS = [scenario(), scenario(frozenset({1, 3}))]


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> list[int]:
    """How many effects each scenario has."""
    return [effects_of(made, tmp_path_factory.mktemp("counted")) for made in SCENARIOS]


@settings(max_examples=150)
@given(data=st.data())
def test_death_at_any_effect(counted: list[int], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(SCENARIOS) - 1))
    at = data.draw(st.integers(30, counted[index] - 1))
    seed = data.draw(st.integers(0, 1 << 32))
    with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
        die_and_go_on(SCENARIOS[index], Path(directory), at, seed)


def found_by_death(counted: int) -> bool:
    """Whether dying here and there shows a generation that is none, or one that is lost."""
    for at in range(40, counted, 5):
        for seed in range(2):
            with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
                try:
                    die_and_go_on(SCENARIOS[0], Path(directory), at, seed)
                except (AssertionError, Corrupt):
                    return True
    return False


def test_a_replica_that_does_not_flush_is_found(
    counted: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control: the deaths above find a commit before its bytes are durable."""
    monkeypatch.setattr(DirectFile, "fsync", lambda self: None)
    assert found_by_death(counted[0])


def test_a_merge_that_lets_go_too_early_is_found(
    counted: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control for merges: the layer is let go before the base is flushed."""
    monkeypatch.setattr(Base, "fsync", lambda self: None)
    assert found_by_death(counted[0])


# What the machine must notice.


def test_one_chunk_left_out_is_noticed(tmp_path: Path) -> None:
    made = scenario()
    replica = Replica(tmp_path, EVERY_RUN)
    resume(replica, made.sent(1))
    sent = made.sent(2)
    short = [sent[0], *sent[1:-2], sent[-1]]
    with pytest.raises((DataLoss, BadStream)):
        say(replica, short)
    assert replica.newest() == 1


def test_a_delta_on_the_wrong_generation_would_be_noticed(tmp_path: Path) -> None:
    """Were it applied against its manifest, the image would differ: the check can fail."""
    made = scenario()
    replica = Replica(tmp_path, EVERY_RUN)
    for number in (1, 2):
        resume(replica, made.sent(number))
    lie = made.model.delta(4, 3)
    newest = replica.store.standing("data").newest
    assert newest is not None
    lie[0].manifest.base_uuid = newest.generation.uuid
    say(replica, lie)
    with pytest.raises(AssertionError):
        check(replica, made.model)
