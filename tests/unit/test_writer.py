"""A replica's writer changes: by its administrator, or with a planned switch."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast
from unittest import mock

import msgspec
import pytest

from control.records import CycleKind, MirrorRecord, MirrorState
from control.replica.access import Client
from control.replica.receive import Receiver
from control.replica.writer import NotAWriter, written_together
from control.role_calls import RoleCalls
from control.switch import WhichIdentity
from control.wire.errors import (
    PeerUnreachable,
    ReplicaBusy,
    ReplicaNotFound,
    ReplicaPromoted,
    ReplicaRefused,
)
from dm_tables.errors import FrazilError, Precondition, Usage
from proto.frazil.v1 import control_pb2 as pb
from tests.replica_tools import Rule
from tests.soft.sites import Site, Sites
from tests.soft.world import GROUP

CHUNK = 4096
SIZES = {"a": 256 * CHUNK, "b": 128 * CHUNK + 512}


@contextmanager
def calls_as(name: str) -> Iterator[None]:
    """Whoever calls has this name, as if its certificate said so."""
    with mock.patch("control.replica.service.client_of", lambda _: Client((name,))):
        yield


def allow(site: Site, *rules: Rule) -> None:
    """The host's [[replica.allow]]."""
    config = site.soft.config
    section = msgspec.structs.replace(config.replica, allow=rules)
    site.stop()
    site.soft.config = msgspec.structs.replace(config, replica=section)
    site.start(power=False)


def mirrored(name: str, site: Site) -> MirrorRecord:
    """A mirror of the group to a site."""
    return MirrorRecord(
        name, GROUP, site.address, "{volume}", MirrorState.RUNNING, 0, 0, False, True, False
    )


@pytest.fixture
def sites() -> Iterator[Sites]:
    """A group at the first site, which the second has a generation of."""
    chance = random.Random(1)
    made = Sites({name: chance.randbytes(size) for name, size in SIZES.items()})
    try:
        allow(made.other, Rule("east"), Rule("west"))
        cycle(made, 1)
        yield made
    finally:
        made.close()


@pytest.fixture
def far(sites: Sites) -> Iterator[Site]:
    """A third host, to which the first one mirrors the group too: a fan-out."""
    made = sites.site("far")
    try:
        allow(made, Rule("east"), Rule("west"))
        sites.host.roster.create_mirror(mirrored("far", made))
        cycle(sites, 2)
        yield made
    finally:
        made.stop()


def cycle(sites: Sites, seed: int, *, only: str = "") -> None:
    """Write, freeze, and copy, as the first host. :param only: the one mirror that copies."""
    for name in SIZES:
        sites.write(name, seed * CHUNK, random.Random(seed).randbytes(CHUNK))
    sites.freeze()
    with calls_as("east"):
        for mirror in [only] if only else sites.leader.mirrors * 2:
            assert sites.leader.soft.step(mirror) is None


def writers(site: Site) -> set[str]:
    return {volume.identity for volume in site.side.store.journal.volumes()}


def same(sites: Sites, site: Site) -> int:
    """The generation that a site has of all volumes, each of which shows what it must."""
    numbers = set()
    for name, model in sites.models.items():
        newest = site.newest(name)
        right = site.image(name) == model.images[newest.generation.uuid]
        assert right, name
        numbers.add(newest.generation.number)
    (number,) = numbers
    return int(number)


def lead_to(sites: Sites, site: Site) -> FrazilError | None:
    """The promoted second host mirrors to the third. :return: why it failed."""
    leader = sites.leader.soft
    if leader.journal.mirror("on") is None:
        leader.host.roster.create_mirror(mirrored("on", site))
    with calls_as("west"):
        return leader.step("on") or leader.step("on")


def kinds(sites: Sites) -> set[CycleKind]:
    return {one.kind for one in sites.leader.soft.journal.cycles("on")}


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("behind", [0, 1, 3])
def test_the_other_replica_goes_on_from_the_new_source(
    sites: Sites, far: Site, behind: int, merged: bool
) -> None:
    """A to B and C; A dies, B is promoted, and C gets from B what it lacks."""
    for seed in range(3, 3 + behind):
        cycle(sites, seed, only="there")
    assert same(sites, far) == 2
    while merged and sites.other.side.merger.merge_next():
        pass
    sites.fail_over()
    refused = lead_to(sites, far)
    assert isinstance(refused, ReplicaRefused), refused
    assert writers(far) == {"east"}
    assert far.side.set_writer(GROUP, "west") == list(SIZES)
    sites.write("a", 40 * CHUNK, bytes(CHUNK))
    sites.freeze()
    assert lead_to(sites, far) is None
    assert same(sites, far) == sites.leader.soft.journal.generations("a")[0].number
    assert CycleKind.WHOLE not in kinds(sites)
    for name in SIZES:
        came = far.newest(name).length
        most = (behind + 1) * CHUNK
        assert came <= most, f"{name}: {came}"
    sites.check(both=False)


def test_without_it_the_replica_there_would_be_copied_whole_again(sites: Sites, far: Site) -> None:
    """The control of what is measured above: a replica that has nothing gets everything."""
    sites.fail_over()
    for name in SIZES:
        far.side.remove(name)
    assert lead_to(sites, far) is None
    assert CycleKind.WHOLE in kinds(sites)
    assert far.newest("a").length == SIZES["a"]


def test_the_old_source_may_not_write_it_any_more(sites: Sites, far: Site) -> None:
    far.side.set_writer(GROUP, "west")
    sites.freeze()
    with calls_as("east"):
        refused = sites.leader.soft.step("far")
    assert isinstance(refused, ReplicaRefused)
    assert "written by west, not by east" in refused.what
    assert same(sites, far) == 2


def test_the_calls_of_the_control_service(sites: Sites) -> None:
    calls, context = RoleCalls(), cast(Any, None)
    calls.replicas = sites.other.side
    reply = calls.SetWriter(pb.SetWriterRequest(name=GROUP, identity="west"), context)
    assert [(one.name, one.source_identity) for one in reply.replicas] == [
        (name, "west") for name in SIZES
    ]
    calls.roles = mock.Mock()
    calls.roles.switch.return_value = ["head"]
    asked = pb.SwitchOverRequest(mirror="there", reverse_peer="here:1", identity="west")
    assert list(calls.SwitchOver(asked, context))[-1].finished
    calls.roles.switch.assert_called_once_with("there", "here:1", mock.ANY, identity="west")


def test_what_came_in_half_is_dropped(sites: Sites, far: Site) -> None:
    store = far.side.store
    sites.write("a", 0, bytes(9 * CHUNK))
    sites.freeze()
    stage(sites, far)
    assert all(store.journal.incoming(name) for name in SIZES)
    far.side.set_writer(GROUP, "east")
    assert all(store.journal.incoming(name) for name in SIZES)
    far.side.set_writer(GROUP, "west")
    assert not any(store.journal.incoming(name) for name in SIZES)
    assert same(sites, far) == 2


def stage(sites: Sites, site: Site) -> None:
    """All of a generation comes, and its commit does not."""
    broken = mock.patch.object(Receiver, "commit", side_effect=PeerUnreachable("it broke"))
    with calls_as("east"), broken:
        assert sites.leader.soft.step("far") is not None


@pytest.mark.parametrize(
    ("name", "identity", "error"),
    [
        ("nothing", "west", ReplicaNotFound),
        ("a", "west", Precondition),
        (GROUP, "", Usage),
        (GROUP, "wset", NotAWriter),
    ],
    ids=["unknown", "one of a group", "nobody", "a name nothing allows"],
)
def test_what_is_refused_changes_nothing(
    sites: Sites, name: str, identity: str, error: type[FrazilError]
) -> None:
    with pytest.raises(error):
        sites.other.side.set_writer(name, identity)
    assert writers(sites.other) == {"east"}


def test_while_a_copy_comes_in_it_is_refused(sites: Sites) -> None:
    side = sites.other.side
    with side._claims.claim("b", lambda: None), pytest.raises(ReplicaBusy, match="b is coming in"):
        side.set_writer(GROUP, "west")
    assert writers(sites.other) == {"east"}
    side.set_writer(GROUP, "west")
    assert writers(sites.other) == {"west"}


def test_what_was_promoted_has_no_writer(sites: Sites) -> None:
    sites.fail_over()
    with pytest.raises(ReplicaPromoted):
        sites.leader.side.set_writer(GROUP, "west")
    assert writers(sites.leader) == {"east"}


def test_who_left_the_group_is_a_volume_by_itself(sites: Sites) -> None:
    record = sites.host.roster.conductor(GROUP).group.record
    sites.host.roster.change_group(record, (), ("b",))
    sites.models.pop("b")
    sites.write("a", 0, bytes(CHUNK))
    sites.freeze()
    with calls_as("east"):
        assert sites.leader.soft.step("there") is None
    store = sites.other.side.store
    assert written_together(store, "b") == ["b"]
    with pytest.raises(ReplicaNotFound):
        written_together(store, GROUP)


def test_two_hosts_groups_of_one_name_are_changed_one_by_one(sites: Sites) -> None:
    store = sites.other.side.store
    store.journal.save_volume(dataclasses.replace(store.volume("b"), identity="west"))
    with pytest.raises(Precondition, match="by east and by west") as refused:
        written_together(store, GROUP)
    assert refused.value.hint == "name its replicas one by one"
    assert written_together(store, "a") == ["a"]


# A planned switch.


def switch(sites: Sites, peer: str, *, identity: str = "") -> None:
    """A switch with a peer that is reached by this address."""
    sites.leader.soft.journal.change_mirror("there", peer=peer, plaintext=False)
    sites.leader.roles.switch("there", "", lambda _: None, identity=identity)


@pytest.mark.parametrize("peer", ["192.0.2.7:7420", "[2001:db8::7]:7420", "west.example:7420"])
def test_a_name_that_could_not_write_here_is_refused_before_anything_changes(
    sites: Sites, peer: str
) -> None:
    allow(sites.leader, Rule("west"), Rule("west.example", ("other",)))
    generations = sites.leader.soft.journal.generations("a")
    with pytest.raises(WhichIdentity) as refused:
        switch(sites, peer)
    assert "--identity NAME" in refused.value.hint
    assert sites.leader.soft.journal.generations("a") == generations
    assert sites.leader.leads


@pytest.mark.parametrize(
    ("peer", "identity", "who"), [("192.0.2.7:7420", "west", "west"), ("west:7420", "", "west")]
)
def test_who_writes_it_after_a_switch(sites: Sites, peer: str, identity: str, who: str) -> None:
    allow(sites.leader, Rule("west", ("a", "b")))
    roles = sites.leader.roles
    with (
        mock.patch.object(roles, "_ask", return_value=["head"]) as ask,
        mock.patch.object(roles, "_sync"),
        mock.patch.object(roles.demoter, "demote") as demote,
    ):
        switch(sites, peer, identity=identity)
    assert ask.call_count == 2
    demote.assert_called_once_with(GROUP, who, force=False, mirror="there")


def test_within_the_host_it_is_loopback(sites: Sites) -> None:
    roles = sites.leader.roles
    switched = mock.patch.object(roles, "_ask", return_value=["head"])
    with switched, mock.patch.object(roles, "_sync"), calls_as("east"):
        roles.switch("there", "", lambda _: None)
    assert writers(sites.leader) == {"loopback"}
