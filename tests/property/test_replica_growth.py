"""A volume that grows, at a replica that dies at any effect: never a size without its bytes."""

from __future__ import annotations

import random
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control.blocks import Extent
from control.replica.receive import Pace
from control.replica.records import VolumeRecord
from control.replica.store import ReplicaStore
from control.wire.errors import GenerationNotFound
from dm_tables.units import Bytes
from proto.frazil.v1 import replica_pb2
from tests.replica_tools import MEMORY, Replica, messages, resume, whole
from tests.volatile import Died, VolatileDisk

CHUNK = 4096
EVERY_RUN = Pace(bytes=1)
IMAGES = {1: random.Random(1).randbytes(CHUNK * 3 + 512)}
_SIZES = {2: CHUNK * 3 + 512, 3: CHUNK * 7, 4: CHUNK * 20 + 1536, 5: CHUNK * 40}
for _number, _size in _SIZES.items():
    _made = bytearray(IMAGES[_number - 1].ljust(_size, b"\0"))
    for _at in (0, CHUNK * _number, _size - 512):
        _made[_at : _at + 512] = random.Random(_number).randbytes(512)
    IMAGES[_number] = bytes(_made)
LAST = max(IMAGES)


def sent(number: int, chunk: int) -> list[replica_pb2.ReceiveRequest]:
    """A generation as it travels."""
    new = IMAGES[number]
    if number == 1:
        return messages(1, whole(new, chunk))
    old = IMAGES[number - 1].ljust(len(new), b"\0")
    extents = [
        Extent(Bytes(at), Bytes(min(chunk, len(new) - at)))
        for at in range(0, len(new), chunk)
        if new[at : at + chunk] != old[at : at + chunk]
    ]
    return messages(number, whole(new, chunk, extents), base=number - 1)


def run(replica: Replica, chunk: int) -> None:
    """To the last generation, from wherever it stands."""
    for number in range(replica.newest() + 1, LAST + 1):
        resume(replica, sent(number, chunk))
        if number % 2:
            while replica.merger.merge_next():
                pass


def check(replica: Replica) -> None:
    """Every generation that is shown is whole, with its own size."""
    newest = replica.newest()
    for number in range(1, newest + 1):
        try:
            seen = replica.image(number)
        except GenerationNotFound:
            assert number < newest
            continue
        same = seen == IMAGES[number]
        assert same
    if newest:
        assert replica.store.volume("data").size == len(IMAGES[newest])


def effects_of(directory: Path, chunk: int) -> int:
    disk = VolatileDisk()
    with disk.inserted():
        run(Replica(directory, EVERY_RUN), chunk)
    return disk.effects


def die_and_go_on(directory: Path, at: int, seed: int, chunk: int) -> None:
    """Die after ``at`` effects, lose the cache, and go on. :raises AssertionError: it shows."""
    disk = VolatileDisk(left=at)
    with disk.inserted():
        replica = Replica(directory, EVERY_RUN)
        with suppress(Died):
            run(replica, chunk)
    replica.store.journal._db._db.close()
    disk.cut_power(random.Random(seed))
    replica = Replica(directory, EVERY_RUN)
    check(replica)
    run(replica, chunk)
    check(replica)
    while replica.merger.merge_next():
        pass
    check(replica)
    assert replica.newest() == LAST
    replica.store.close()


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> dict[int, int]:
    found = {}
    for chunk in (4096, 16384):
        found[chunk] = effects_of(tmp_path_factory.mktemp("counted"), chunk)
    return found


@settings(max_examples=80)
@given(data=st.data())
def test_death_at_any_effect(counted: dict[int, int], data: st.DataObject) -> None:
    chunk = data.draw(st.sampled_from(sorted(counted)))
    at = data.draw(st.integers(30, counted[chunk] - 1))
    seed = data.draw(st.integers(0, 1 << 32))
    with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
        die_and_go_on(Path(directory), at, seed, chunk)


def test_a_size_that_changes_before_its_commit_is_found(
    counted: dict[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control: a death then shows a size that the generation does not have."""
    named = ReplicaStore.name_base

    def hasty(self: ReplicaStore, name: str) -> VolumeRecord:
        volume = named(self, name)
        incoming = self.journal.incoming(name)
        assert incoming is not None
        self.journal.save_volume(replace(volume, size=incoming.size))
        return volume

    monkeypatch.setattr(ReplicaStore, "name_base", hasty)
    assert found_by_death(counted[4096])


def found_by_death(counted: int) -> bool:
    """Whether dying here and there shows what is not whole."""
    for at in range(40, counted, 2):
        with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
            try:
                die_and_go_on(Path(directory), at, at, 4096)
            except AssertionError:
                return True
    return False
