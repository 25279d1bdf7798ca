"""Recovery points under random histories and deaths: every kept generation is there, whole.

The model is a list of images and the rules of retention applied to all that ever was kept. A
machine of random steps drives a replica that merges, squashes and holds; scenarios die at every
single effect of a squash, with a volatile cache under the stores.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from contextlib import suppress
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from control.replica.points import view_of
from control.replica.records import Chain
from control.replica.retention import HOUR, Instant, Retention, kept_by
from control.store.direct import DirectFile
from control.store.squash import Overlay
from control.wire.errors import GenerationNotFound, KeepsPoints
from dm_tables.errors import Corrupt
from tests.property.test_replica import CHUNKS, EVERY_RUN, Model, Requests, changes
from tests.replica_tools import MEMORY, Replica, say
from tests.volatile import Died, VolatileDisk

START = 1_700_000_000 * 10**9
few = st.integers(0, 3)
retentions = st.builds(Retention, few, few, few, few)


class Timed(Model):
    """A source's history with times."""

    def __init__(self) -> None:
        super().__init__()
        self.times = {0: START}

    def freeze_at(self, hours: float, changed: dict[int, str]) -> None:
        """The next generation, some hours after the one before."""
        before = self.times[self.newest]
        self.freeze(changed)
        self.times[self.newest] = before + int(hours * HOUR)

    def sent(self, base: int, chunk: int = 4096) -> Requests:
        """The newest generation as it is sent; ``base`` 0: whole."""
        said = self.delta(self.newest, base, chunk) if base else self.whole(self.newest)
        at = self.times[self.newest]
        said[0].manifest.generation.frozen_at.FromNanoseconds(at)
        return said


def shown(replica: Replica, model: Model) -> set[int]:
    """The generations that can be shown, each compared with the model."""
    found = set()
    for number in range(1, replica.newest() + 1):
        try:
            same = replica.image(number) == model.images[number]
        except GenerationNotFound:
            continue
        assert same
        found.add(number)
    return found


class PointsMachine(RuleBasedStateMachine):
    """Freezes, copies, settles, holds, changes its mind about retention, restarts."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(dir=MEMORY))
        self.replica = Replica(self.directory, EVERY_RUN)
        self.model = Timed()
        self.retention = Retention()
        self.kept: list[Instant] = []
        self.held: dict[int, Chain] = {}

    @initialize(changed=changes, retention=retentions)
    def first(self, changed: dict[int, str], retention: Retention) -> None:
        self.model.freeze_at(1, changed)
        say(self.replica, self.model.sent(0))
        self.retain(retention)
        self.came()

    def came(self) -> None:
        """The newest is there; of the others stay those that the rules keep."""
        newest = self.model.newest
        self.kept.append(Instant(newest, self.model.times[newest]))
        self.forget()

    def forget(self) -> None:
        wanted = kept_by(self.kept, self.retention)
        self.kept = [one for one in self.kept if one.number in wanted]

    @rule(
        changed=changes,
        hours=st.sampled_from([0.2, 0.5, 1, 9, 24, 200]),
        chunk=st.sampled_from([4096, 8192, 16384]),
    )
    def cycle(self, changed: dict[int, str], hours: float, chunk: int) -> None:
        base = self.replica.newest()
        self.model.freeze_at(hours, changed)
        say(self.replica, self.model.sent(base, chunk))
        self.came()

    @precondition(lambda self: not self.held)
    @rule(changed=changes)
    def whole_copy(self, changed: dict[int, str]) -> None:
        """It takes everything else away, and so it is refused where something is kept."""
        self.model.freeze_at(1, changed)
        view = view_of(self.replica.store, self.replica.store.volume("data"))
        try:
            say(self.replica, self.model.sent(0))
        except KeepsPoints:
            assert len(view.kept) > 1
            return
        assert len(self.kept) <= 1, "recovery points went"
        self.kept = []
        self.came()

    @rule(retention=retentions)
    def retain(self, retention: Retention) -> None:
        self.replica.store.set_retention("data", retention)
        self.retention = retention
        self.forget()

    @rule(steps=st.integers(1, 4))
    def merge(self, steps: int) -> None:
        for _ in range(steps):
            self.replica.merger.merge_next()

    @rule()
    def settle(self) -> None:
        while self.replica.merger.merge_next():
            pass
        if not self.held:
            there = shown(self.replica, self.model)
            view = view_of(self.replica.store, self.replica.store.volume("data"))
            assert len(there - set(view.kept)) <= 8

    @rule(pick=st.integers(0, 100))
    def hold(self, pick: int) -> None:
        there = sorted(shown(self.replica, self.model))
        number = there[pick % len(there)]
        self.held[number] = self.replica.store.hold("data", number)

    @precondition(lambda self: self.held)
    @rule(pick=st.integers(0, 100))
    def release(self, pick: int) -> None:
        number = sorted(self.held)[pick % len(self.held)]
        self.replica.store.release("data", number)
        del self.held[number]

    @rule()
    def restart(self) -> None:
        self.replica = self.replica.reopened()

    @invariant()
    def what_is_kept_is_there(self) -> None:
        if not self.kept:
            return
        there = shown(self.replica, self.model)
        assert {one.number for one in self.kept} <= there
        assert set(self.held) <= there

    @invariant()
    def devices_share_one_stack(self) -> None:
        """Held images are known by places in a chain: each is the beginning of the next one."""
        chains = sorted(self.held.values(), key=lambda chain: len(chain.layers))
        objects = set(self.replica.pool.list())
        for lower, upper in pairwise(chains):
            assert upper.layers[: len(lower.layers)] == lower.layers
        for chain in chains:
            assert chain.objects <= objects

    def teardown(self) -> None:
        self.replica.store.close()
        shutil.rmtree(self.directory)


PointsMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=20)
TestPointsMachine = PointsMachine.TestCase


# Death at every step of a squash.


def prepared(directory: Path) -> tuple[Replica, Timed]:
    """A replica whose next step is a squash of two layers."""
    model = Timed()
    replica = Replica(directory, EVERY_RUN)
    dice = random.Random(5)
    for hours, chunk in ((1, 4096), (1, 8192), (0.2, 4096), (1, 16384)):
        chunks = dice.sample(range(CHUNKS), 9)
        kinds = dice.choices(["zero", "text", "noise"], k=9)
        model.freeze_at(hours, dict(zip(chunks, kinds, strict=True)))
        say(replica, model.sent(replica.newest(), chunk))
    replica.store.set_retention("data", Retention(hourly=5))
    return replica, model


def squash_and_die(directory: Path, at: int, seed: int) -> int:
    """Die after ``at`` effects, lose the cache, start again, and go on to the end.

    :return: the effects of the whole squash. :raises AssertionError: a generation is not there.
    """
    prepared(directory)[0].store.close()
    disk = VolatileDisk(left=at)
    with disk.inserted():
        replica = Replica(directory, EVERY_RUN)
        with suppress(Died):
            while replica.merger.merge_next():
                pass
    replica.store.journal._db._db.close()
    disk.cut_power(random.Random(seed))
    replica = Replica(directory, EVERY_RUN)
    model = prepared_model()
    there = shown(replica, model)
    assert there in ({1, 2, 3, 4}, {1, 3, 4})
    while replica.merger.merge_next():
        pass
    assert shown(replica, model) == {1, 3, 4}
    assert len(replica.pool.list()) == 3
    replica.store.close()
    return disk.effects


@cache
def prepared_model() -> Timed:
    """The model of :func:`prepared`, which is always the same."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as other:
        replica, model = prepared(Path(other))
        replica.store.close()
    return model


def dying(at: int, seed: int) -> int:
    with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
        return squash_and_die(Path(directory), at, seed)


@pytest.fixture(scope="module")
def counted() -> int:
    """How many effects a squash has."""
    return dying(10**6, 0)


@settings(max_examples=40)
@given(data=st.data())
def test_death_at_any_effect_of_a_squash(counted: int, data: st.DataObject) -> None:
    dying(data.draw(st.integers(0, counted - 1)), data.draw(st.integers(0, 1 << 32)))


def found_by_death(counted: int) -> bool:
    """Whether dying at each effect shows a generation that is none, or one that is lost."""
    for at in range(counted):
        try:
            dying(at, at)
        except (AssertionError, Corrupt):
            return True
    return False


def test_a_squash_that_does_not_flush_is_found(
    counted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control: the two layers are let go before the one is on the disk."""
    monkeypatch.setattr(DirectFile, "fsync", lambda self: None)
    assert found_by_death(counted)


def test_a_squash_that_keeps_the_wrong_one_is_found(
    counted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one: the upper layer's bytes are lost."""
    real = Overlay.__init__
    monkeypatch.setattr(Overlay, "__init__", lambda self, lower, upper: real(self, upper, lower))
    assert found_by_death(counted)
