"""Groups at the replica: staged by themselves, committed together, all of them or none."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from control.blocks import Extent
from control.replica.access import LOOPBACK
from control.replica.describe import describe
from control.replica.groups import read_commit
from control.replica.receive import Pace
from control.wire.channel import connect
from control.wire.errors import (
    BadCommit,
    BadStream,
    BaseMismatch,
    NotStaged,
    PeerUnreachable,
    ReplicaNotFound,
    ReplicaRefused,
)
from control.wire.send import commit, send
from dm_tables.errors import Kind
from dm_tables.names import BadName
from dm_tables.units import Bytes
from proto.frazil.v1 import replica_pb2
from proto.frazil.v1.replica_pb2_grpc import ReplicaStub
from tests.replica_tools import (
    Replica,
    Rule,
    generation,
    manifest,
    messages,
    noise,
    patched,
    resume,
    say,
    whole,
)

CHUNK = 4096
IMAGE = noise(CHUNK * 8)
NAMES = ("a", "b", "c")
CHANGED = {name: patched(IMAGE, CHUNK, {3: noise(CHUNK)}) for name in NAMES}
CHANGE = [Extent(Bytes(3 * CHUNK), Bytes(CHUNK))]


def of(name: str) -> dict[str, Any]:
    """What tells a member from the others."""
    return {"volume": name, "volume_uuid": str(uuid.uuid5(uuid.NAMESPACE_DNS, name))}


def members(number: int, *names: str) -> dict[str, str]:
    return dict.fromkeys(names or NAMES, generation(number).uuid)


def delta(name: str, number: int = 2, *, staged: bool = True) -> list[replica_pb2.ReceiveRequest]:
    made = whole(CHANGED[name], CHUNK, CHANGE)
    return messages(number, made, base=number - 1, staged=staged, **of(name))


def stage(replica: Replica, *names: str) -> None:
    for name in names:
        [*_, last] = say(replica, delta(name))
        assert last.staged.generation.uuid == generation(2).uuid


@pytest.fixture
def replica(tmp_path: Path) -> Replica:
    """Three volumes whose newest generation is 1."""
    made = Replica(tmp_path / "replica", Pace(bytes=1))
    for name in NAMES:
        say(made, messages(1, whole(IMAGE, CHUNK), **of(name)))
    return made


@pytest.fixture
def stub(replica: Replica) -> Iterator[ReplicaStub]:
    with replica.stub() as made:
        yield made


def newest(replica: Replica) -> list[int]:
    return [replica.newest(name) for name in NAMES]


def test_what_is_staged_is_not_seen(replica: Replica) -> None:
    stage(replica, *NAMES)
    assert newest(replica) == [1, 1, 1]
    for name in NAMES:
        assert replica.image(name=name) == IMAGE
        assert describe(replica.store, name).incoming.uuid == generation(2).uuid


def test_a_commit_makes_all_of_them_newest(replica: Replica) -> None:
    stage(replica, *NAMES)
    replica = replica.reopened()
    told: list[str] = []
    replica.receiver._committed = told.append
    reply = replica.receiver.commit("shop", members(2))
    assert not reply.already
    assert reply.generation.uuid == generation(2).uuid
    assert newest(replica) == [2, 2, 2]
    assert told == list(NAMES)
    for name in NAMES:
        assert replica.image(name=name) == CHANGED[name]
        assert replica.image(1, name) == IMAGE
        said = describe(replica.store, name)
        assert said.group == "shop"
        assert not said.HasField("incoming")
    assert replica.store.journal.members("shop", generation(2).uuid) == list(NAMES)


def test_a_lost_answer_is_asked_for_again(replica: Replica) -> None:
    stage(replica, *NAMES)
    replica.receiver.commit("shop", members(2))
    assert replica.receiver.commit("shop", members(2)).already
    assert newest(replica) == [2, 2, 2]


def test_only_who_is_named_is_committed(replica: Replica) -> None:
    stage(replica, *NAMES)
    replica.receiver.commit("shop", members(2, "a", "b"))
    assert newest(replica) == [2, 2, 1]
    # Nor is what the third has staged lost.
    assert not replica.receiver.commit("shop", members(2)).already
    assert newest(replica) == [2, 2, 2]


def test_a_member_that_was_copied_by_itself_joins(replica: Replica) -> None:
    stage(replica, "a", "b")
    say(replica, delta("c", staged=False))
    assert describe(replica.store, "c").group == ""
    replica.receiver.commit("shop", members(2))
    assert newest(replica) == [2, 2, 2]
    assert describe(replica.store, "c").group == "shop"
    assert replica.store.journal.members("shop", generation(2).uuid) == list(NAMES)


def test_one_that_has_not_come_keeps_all_back(replica: Replica) -> None:
    stage(replica, "a", "b")
    with pytest.raises(NotStaged, match="of c has come") as caught:
        replica.receiver.commit("shop", members(2))
    assert caught.value.kind is Kind.PRECONDITION
    assert newest(replica) == [1, 1, 1]
    stage(replica, "c")
    replica.receiver.commit("shop", members(2))
    assert newest(replica) == [2, 2, 2]


def test_one_that_has_come_in_part_keeps_all_back(replica: Replica) -> None:
    stage(replica, "a", "b")
    with pytest.raises(BadStream):
        say(replica, delta("c")[:-1])
    with pytest.raises(NotStaged, match="generation 2 of c has not come whole"):
        replica.receiver.commit("shop", members(2))
    assert newest(replica) == [1, 1, 1]


def test_one_that_has_another_generation_keeps_all_back(replica: Replica) -> None:
    stage(replica, *NAMES)
    made = whole(CHANGED["c"], CHUNK, CHANGE)
    say(replica, messages(3, made, base=1, staged=True, **of("c")))
    with pytest.raises(
        NotStaged, match=f"generation 3 .* of c is coming in, not {generation(2).uuid}"
    ):
        replica.receiver.commit("shop", members(2))
    assert newest(replica) == [1, 1, 1]


def test_one_that_moved_on_keeps_all_back(replica: Replica) -> None:
    say(replica, delta("c", staged=False))
    made = whole(IMAGE, CHUNK, CHANGE)
    say(replica, messages(3, made, base=2, **of("c")))
    stage(replica, "a", "b")
    with pytest.raises(BaseMismatch, match="c moved on from generation 2 to 3"):
        replica.receiver.commit("shop", members(2))
    assert newest(replica) == [1, 1, 3]


def test_one_whose_base_is_gone_keeps_all_back(replica: Replica) -> None:
    """The journal is not believed where a generation no longer fits: the check is made twice."""
    stage(replica, *NAMES)
    journal = replica.store.journal
    record = journal.incoming("c")
    assert record is not None
    journal.save_incoming(replace(record, base_uuid=generation(9).uuid))
    with pytest.raises(BaseMismatch, match="c moved on"):
        replica.receiver.commit("shop", members(2))
    assert newest(replica) == [1, 1, 1]


def test_one_that_is_unknown_keeps_all_back(replica: Replica) -> None:
    stage(replica, *NAMES)
    with pytest.raises(ReplicaNotFound, match="'d'"):
        replica.receiver.commit("shop", members(2, "a", "d"))
    assert newest(replica) == [1, 1, 1]


def test_another_generation_takes_the_place_of_what_is_staged(replica: Replica) -> None:
    stage(replica, "a")
    made = whole(CHANGED["b"], CHUNK, CHANGE)
    say(replica, messages(3, made, base=1, staged=True, **of("a")))
    assert len([name for name in replica.pool.list() if name.startswith("a.")]) == 2
    replica.receiver.commit("shop", members(3, "a"))
    assert replica.image(name="a") == CHANGED["b"]


def test_what_is_staged_is_answered_at_once(replica: Replica) -> None:
    stage(replica, "a")
    replica = replica.reopened()
    [reply] = resume(replica, delta("a"))
    assert reply.staged.generation.uuid == generation(2).uuid


def test_what_is_staged_and_lost_comes_again(replica: Replica) -> None:
    stage(replica, "a")
    record = replica.store.standing("a").incoming
    assert record is not None
    replica.pool.remove(record.object_name)
    replies = say(replica, delta("a"))
    assert replies[0].ready.next_ordinal == 0
    assert replies[-1].HasField("staged")
    replica.receiver.commit("", members(2, "a"))
    assert replica.image(name="a") == CHANGED["a"]


def test_what_is_staged_may_be_committed_by_itself_after_all(replica: Replica) -> None:
    stage(replica, "a")
    [reply] = say(replica, delta("a", staged=False))
    assert reply.committed.generation.uuid == generation(2).uuid
    assert newest(replica) == [2, 1, 1]
    assert replica.image(name="a") == CHANGED["a"]


def test_a_whole_copy_can_be_staged(replica: Replica) -> None:
    stage(replica, "a")
    other = noise(len(IMAGE))
    say(replica, messages(2, whole(other, CHUNK), staged=True, **of("b")))
    assert replica.image(name="b") == IMAGE
    replica.receiver.commit("shop", members(2, "a", "b"))
    assert replica.image(name="b") == other


def test_send_and_commit(replica: Replica, stub: ReplicaStub) -> None:
    for name in NAMES:
        made = whole(CHANGED[name], CHUNK, CHANGE)
        said = manifest(2, made, base=1, staged=True, **of(name))
        result = send(stub, said, made)
        assert result.staged
        assert not result.already
        assert result.chunks == 1
        result = send(stub, said, made)
        assert result.staged
        assert result.already
        assert result.plain == 0
    assert not commit(stub, "shop", members(2)).already
    assert commit(stub, "shop", members(2)).already
    assert newest(replica) == [2, 2, 2]
    result = send(stub, said, made)
    assert result.already
    assert not result.staged


def test_a_commit_that_fails_tells_which(replica: Replica, stub: ReplicaStub) -> None:
    stage(replica, "a", "b")
    with pytest.raises(NotStaged, match="of c has come") as caught:
        commit(stub, "shop", members(2))
    assert caught.value.hint == "send it first"
    assert newest(replica) == [1, 1, 1]


def test_staged_where_none_was_asked_for_is_out_of_order(replica: Replica) -> None:
    made = whole(CHANGED["a"], CHUNK, CHANGE)
    staged = replica_pb2.ReceiveReply(staged=replica_pb2.Staged())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(replica.receiver), "receive", lambda *_: iter([staged]))
        with replica.stub() as stub, pytest.raises(BadStream, match="out of order"):
            send(stub, manifest(2, made, base=1, **of("a")), made)


def test_a_replica_that_is_away_commits_nothing(tmp_path: Path) -> None:
    with (
        connect(f"unix:{tmp_path}/away.sock", None, True) as channel,
        pytest.raises(PeerUnreachable, match="b cannot be reached"),
    ):
        commit(ReplicaStub(channel), "shop", members(2), peer="b")


def test_every_member_must_be_allowed(replica: Replica, stub: ReplicaStub) -> None:
    stage(replica, *NAMES)
    replica.rules = (Rule(LOOPBACK, ("a", "b")),)
    with pytest.raises(ReplicaRefused, match="replica volume c"):
        commit(stub, "shop", members(2))
    assert newest(replica) == [1, 1, 1]


def test_every_member_must_be_written_by_who_commits(replica: Replica, stub: ReplicaStub) -> None:
    stage(replica, *NAMES)
    journal = replica.store.journal
    journal.save_volume(replace(replica.store.volume("c"), identity="other"))
    with pytest.raises(ReplicaRefused, match="c is written by other"):
        commit(stub, "shop", members(2))
    assert newest(replica) == [1, 1, 1]


def request(*pairs: tuple[str, int], group: str = "shop") -> replica_pb2.CommitRequest:
    made = replica_pb2.CommitRequest(group=group)
    for name, number in pairs:
        made.members.add(volume=name, generation_uuid=generation(number).uuid)
    return made


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (request(), "no member"),
        (request(("a", 2), ("a", 2)), "a is named twice"),
        (request(("a", 2), ("b", 3)), "not of one generation"),
    ],
)
def test_a_commit_that_names_no_instant(said: replica_pb2.CommitRequest, why: str) -> None:
    with pytest.raises(BadCommit, match=why):
        read_commit(said)


@pytest.mark.parametrize("said", [request(("../a", 2)), request(("a", 2), group="a b")])
def test_a_commit_of_no_name(said: replica_pb2.CommitRequest) -> None:
    with pytest.raises(BadName):
        read_commit(said)
