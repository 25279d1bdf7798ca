"""A group that is mirrored on: at the third host, too, all of its volumes or none."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from control import sending
from control.mirror import MirrorWorker
from control.records import Origin
from control.wire.send import commit as wire_commit
from dm_tables.errors import Precondition, Unavailable, Usage
from tests.chain import CHUNK, SIZE, Model, Station, image_of, served, until
from tests.chain_hosts import middle, stack
from tests.replica_tools import Replica

__all__ = ["middle", "stack"]

FIRST = random.Random(8).randbytes(SIZE)
PAIR = ("a", "b")


def chunk(seed: int) -> bytes:
    return random.Random(seed).randbytes(CHUNK)


@pytest.fixture
def last(tmp_path: Path) -> Replica:
    (tmp_path / "last").mkdir()
    return Replica(tmp_path / "last")


@pytest.fixture
def peer(last: Replica, stack: ExitStack) -> str:
    return stack.enter_context(served(last))


@pytest.fixture
def source() -> Model:
    return Model(FIRST)


def onward(station: Station, peer: str) -> MirrorWorker:
    return station.mirror("on", "db", peer, Origin.REPLICA_GROUP)


def same(source: Model, last: Replica, number: int, names: Sequence[str] = PAIR) -> bool:
    """Whether the third host's newest images are those of a generation."""
    return all(
        last.newest(name) == number and image_of(last, name=name) == source.images[number][name]
        for name in names
    )


def test_a_group_travels_on_as_one(
    middle: Station, last: Replica, peer: str, source: Model
) -> None:
    source.commit(middle, 1, {}, PAIR, "db")
    onward(middle, peer)
    for number in (1, 2, 3):
        if number > 1:
            source.commit(middle, number, {number: chunk(number)}, PAIR, "db")
        middle.sync("on")
        assert same(source, last, number)
        newest = last.store.journal.newest_of("db")
        assert last.store.journal.members("db", newest) == list(PAIR)


def test_all_of_them_or_none(
    middle: Station, last: Replica, peer: str, source: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit does not come through: what has come of both volumes is not to be seen."""
    source.commit(middle, 1, {}, PAIR, "db")
    onward(middle, peer)
    middle.sync("on")
    source.commit(middle, 2, {2: chunk(2)}, PAIR, "db")

    def fails(*_: object, **__: object) -> Any:
        raise Unavailable("the connection broke")

    monkeypatch.setattr(sending, "commit", fails)
    with pytest.raises(Unavailable, match="broke"):
        middle.sync("on")
    assert same(source, last, 1)
    staged = [last.store.standing(name).incoming for name in PAIR]
    assert [one is not None and one.staged for one in staged] == [True, True]
    monkeypatch.setattr(sending, "commit", wire_commit)
    middle.sync("on")
    assert same(source, last, 2)


def test_what_is_not_complete_does_not_travel(
    middle: Station, last: Replica, peer: str, source: Model
) -> None:
    source.commit(middle, 1, {}, PAIR, "db")
    worker = onward(middle, peer)
    middle.sync("on")
    source.commit(middle, 2, {2: chunk(2)}, ("a",))
    assert worker.group.next_number == 1
    middle.sync("on")
    assert same(source, last, 1)
    assert middle.merge_all() == 0, "the third host lacks what only one of them has"
    source.commit(middle, 3, {3: chunk(3)}, PAIR, "db")
    middle.sync("on")
    assert same(source, last, 3)


def test_one_of_them_by_itself_is_refused(middle: Station, peer: str, source: Model) -> None:
    """Its images would be of other instants than the rest of the group."""
    source.commit(middle, 1, {}, PAIR, "db")
    with pytest.raises(Precondition, match="committed with group db"):
        middle.mirror("on", "a", peer)
    with pytest.raises(Usage, match="cannot all be one"):
        middle.mirror("on", "db", peer, Origin.REPLICA_GROUP, replica_volume="one")
    assert middle.roster.origin_of("", "db") is Origin.REPLICA_GROUP


def test_groups_of_one_name_from_two_hosts_are_not_mixed(
    middle: Station, peer: str, source: Model
) -> None:
    source.commit(middle, 1, {}, PAIR, "db")
    source.commit(middle, 2, {}, ("c", "d"), "db")
    for name in ("c", "d"):
        volume = middle.store.volume(name)
        middle.store.journal.save_volume(dataclasses.replace(volume, identity="elsewhere"))
    with pytest.raises(Precondition, match="by elsewhere and by loopback"):
        onward(middle, peer)


def test_members_join_and_leave(middle: Station, last: Replica, peer: str, source: Model) -> None:
    source.commit(middle, 1, {}, PAIR, "db")
    worker = onward(middle, peer)
    middle.sync("on")
    source.commit(middle, 2, {2: chunk(2)}, ("c",))
    three = (*PAIR, "c")
    source.commit(middle, 3, {3: chunk(3)}, three, "db")
    middle.sync("on")
    until(lambda: middle.journal.standing("on", "c").committed_number == 3)
    source.commit(middle, 4, {4: chunk(4)}, three, "db")
    middle.sync("on")
    assert same(source, last, 4, three)
    source.commit(middle, 5, {5: chunk(5)}, PAIR, "db")
    source.commit(middle, 6, {6: chunk(6)}, ("c",))
    middle.sync("on")
    assert [volume.name for volume in worker.group.volumes] == list(PAIR)
    assert same(source, last, 5)
    middle.merge_all()
    assert [middle.layers(name) for name in three] == [0, 0, 0]
    assert middle.journal.standing("on", "c").lacking_all, "should it come again, it comes whole"


def test_a_group_past_the_limits_catches_up_as_one(
    tmp_path: Path, stack: ExitStack, last: Replica, source: Model
) -> None:
    middle = Station(tmp_path / "limited", keep_layers=1)
    stack.callback(middle.close)
    source.commit(middle, 1, {}, PAIR, "db")
    with served(last) as peer:
        onward(middle, peer)
        middle.sync("on")
    for number in range(2, 6):
        source.commit(middle, number, {number: chunk(number)}, PAIR, "db")
        middle.merge_all()
    assert [middle.layers(name) for name in PAIR] == [1, 1]
    again = last.reopened()
    with served(again):
        middle.sync("on")
    assert same(source, again, 5)
