"""A stack that changes sides wherever its host dies: it is on one side, whole, or on the other."""

from __future__ import annotations

import random
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control.blocks import Extent
from control.image import StackImage
from control.replica.handover import HandedOver, hand_over, take_in
from control.replica.journal import ReplicaJournal
from control.replica.receive import Pace
from control.replica.records import ROLE_PROMOTED, LayerRecord
from control.wire.errors import GenerationNotFound
from dm_tables.units import Bytes
from tests.replica_tools import MEMORY, Replica, messages, patched, resume, whole
from tests.volatile import Died, VolatileDisk

CHUNK = 4096
CHUNKS = 12
SIZE = CHUNK * CHUNKS - 1024
EVERY_RUN = Pace(bytes=1)
LAST = 4
IMAGES = {1: random.Random(1).randbytes(SIZE)}
for _number in range(2, LAST + 1):
    _chance = random.Random(_number)
    _changes = {n: _chance.randbytes(CHUNK) for n in _chance.sample(range(CHUNKS), 6)}
    IMAGES[_number] = patched(IMAGES[_number - 1], CHUNK, _changes)


def begun(directory: Path) -> Replica:
    """A replica with a base and three layers."""
    replica = Replica(directory, EVERY_RUN)
    resume(replica, messages(1, whole(IMAGES[1], CHUNK)))
    for number in range(2, LAST + 1):
        new, old = IMAGES[number], IMAGES[number - 1]
        extents = [
            Extent(Bytes(at), Bytes(min(CHUNK, SIZE - at)))
            for at in range(0, SIZE, CHUNK)
            if new[at : at + CHUNK] != old[at : at + CHUNK]
        ]
        resume(replica, messages(number, whole(new, CHUNK, extents), base=number - 1))
    return replica


def there_and_back(replica: Replica, merges: int) -> None:
    """Some merges, over to a source, back again, and the rest of the merges."""
    for _ in range(merges):
        replica.merger.merge_next()
    given = hand_over(replica.store, "data")
    take_in(replica.store, given.volume, given.layers, given.history)
    while replica.merger.merge_next():
        pass


def check_given(replica: Replica, given: HandedOver) -> None:
    """Every generation that it says is there is whole, the newest among them."""
    assert given.images[-1] == LAST
    for number in given.images:
        layers: list[Any] = [
            (replica.pool.open(layer.object_name).path, layer.chunk)
            for layer in given.layers
            if layer.number <= number
        ]
        with StackImage(given.base, layers, given.volume.size) as image:
            seen = bytes(image.read(Bytes(0), Bytes(SIZE)))
        same = seen == IMAGES[number]
        assert same


def check(replica: Replica) -> None:
    """Every generation that is shown is whole, the newest among them."""
    for number in range(1, LAST + 1):
        try:
            seen = replica.image(number)
        except GenerationNotFound:
            assert number < LAST
            continue
        same = seen == IMAGES[number]
        assert same


def effects_of(directory: Path, merges: int) -> int:
    replica = begun(directory)
    disk = VolatileDisk()
    with disk.inserted():
        there_and_back(replica, merges)
    return disk.effects


def die_and_go_on(directory: Path, at: int, seed: int, merges: int) -> None:
    """Die after ``at`` effects and lose the cache; then go there and back, whatever was done.

    :raises AssertionError: a generation is not whole, or lost.
    """
    replica = begun(directory)
    disk = VolatileDisk(left=at)
    with disk.inserted(), suppress(Died):
        there_and_back(replica, merges)
    replica.store.journal._db._db.close()
    disk.cut_power(random.Random(seed))
    replica = Replica(directory, EVERY_RUN)
    if replica.store.volume("data").role != ROLE_PROMOTED:
        check(replica)
    given = hand_over(replica.store, "data")
    check_given(replica, given)
    take_in(replica.store, given.volume, given.layers, given.history)
    check(replica)
    while replica.merger.merge_next():
        check(replica)
    check(replica)
    assert len(replica.pool.list()) == 1
    replica.store.close()


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> list[int]:
    return [effects_of(tmp_path_factory.mktemp("counted"), merges) for merges in range(LAST)]


@settings(max_examples=80)
@given(data=st.data())
def test_death_at_any_effect(counted: list[int], data: st.DataObject) -> None:
    merges = data.draw(st.integers(0, LAST - 1))
    at = data.draw(st.integers(0, counted[merges] - 1))
    seed = data.draw(st.integers(0, 1 << 32))
    with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
        die_and_go_on(Path(directory), at, seed, merges)


def test_a_merge_that_is_forgotten_is_found(
    counted: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control: a base with a part of a layer in it is taken for a generation."""
    layers_of = ReplicaJournal.layers

    def forgetting(self: ReplicaJournal, volume: str) -> list[LayerRecord]:
        return [replace(layer, merging=False) for layer in layers_of(self, volume)]

    monkeypatch.setattr(ReplicaJournal, "layers", forgetting)
    assert found_by_death(counted[1])


def found_by_death(counted: int) -> bool:
    """Whether dying here and there shows a generation that is not whole."""
    for at in range(0, counted, 2):
        with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
            try:
                die_and_go_on(Path(directory), at, at, 1)
            except AssertionError:
                return True
    return False
