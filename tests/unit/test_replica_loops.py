"""A volume does not become a replica of itself: what comes from this host by way of another."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from control.replica.admission import Source, check_loop, read_manifest
from control.replica.handover import hand_over
from control.replica.records import Generation
from control.replica.service import ReplicaService
from control.wire.errors import BadManifest, MirrorLoop, ReplicaPromoted, SplitBrain
from control.wire.send import send
from dm_tables.errors import Kind
from dm_tables.units import MIB
from tests.replica_tools import (
    ME,
    VOLUME_UUID,
    Replica,
    generation,
    manifest,
    messages,
    noise,
    say,
    whole,
)

CHUNK = 4096
IMAGE = noise(MIB)
OTHER = str(uuid.UUID(int=77))
SOURCE = Source("source", tuple(Generation.of(generation(number)) for number in (2, 1)))


@pytest.fixture
def replica(tmp_path: Path) -> Replica:
    """On a host that has the volume ``data`` itself."""
    made = Replica(tmp_path)
    made.service = ReplicaService(
        made.store,
        made.receiver,
        made.merger,
        ME,
        lambda: made.rules,
        source=lambda volume_uuid: SOURCE if volume_uuid == VOLUME_UUID else None,
    )
    return made


def bring(
    replica: Replica, host: str, volume_uuid: str = VOLUME_UUID, *, number: int = 1, base: int = 0
) -> None:
    delta = whole(IMAGE, CHUNK)
    with replica.stub() as stub:
        said = manifest(number, delta, base=base, host_uuid=host, volume_uuid=volume_uuid)
        send(stub, said, delta)


@pytest.mark.parametrize("host", [OTHER, ""])
def test_what_comes_back_is_refused(replica: Replica, host: str) -> None:
    with pytest.raises(MirrorLoop) as caught:
        bring(replica, host)
    assert caught.value.kind is Kind.PRECONDITION
    assert "data would be a replica of source, a volume of this host" in caught.value.what
    assert (host or "unknown") in caught.value.what
    assert replica.store.journal.volumes() == []


def test_a_mirror_within_one_host_is_none(replica: Replica) -> None:
    bring(replica, ME.host_uuid)
    assert replica.image() == IMAGE


def test_any_other_volume_comes(replica: Replica) -> None:
    bring(replica, OTHER, str(uuid.UUID(int=78)))
    assert replica.image() == IMAGE


def test_a_promoted_volume_is_refused_as_such(replica: Replica) -> None:
    """Its old source must hear what became of it; that it is a source here now is why."""
    say(replica, messages(1, whole(IMAGE, CHUNK)))
    hand_over(replica.store, "data")
    with pytest.raises(ReplicaPromoted):
        bring(replica, OTHER)


def test_a_host_that_is_none() -> None:
    said = manifest(1, whole(IMAGE, CHUNK), host_uuid="here")
    with pytest.raises(BadManifest, match="host UUID"):
        read_manifest(said)


@pytest.mark.parametrize(
    ("base", "parted"),
    [
        (1, "since generation 1 of 2023-11-14T22:13:21+00:00 it has generation 2 of "),
        (2, "since generation 2 of 2023-11-14T22:13:22+00:00 it has none, "),
        (0, "since one that is not known here it has generation 2 of "),
    ],
)
def test_what_this_host_never_made_is_no_loop(replica: Replica, base: int, parted: str) -> None:
    with pytest.raises(SplitBrain) as caught:
        bring(replica, OTHER, number=3, base=base)
    assert caught.value.kind is Kind.PRECONDITION
    assert f"as source, at {ME.host_name}, which was not demoted: {parted}" in caught.value.what
    assert caught.value.what.endswith("the sender generation 3 of 2023-11-14T22:13:23+00:00")
    assert replica.store.journal.volumes() == []


def test_only_a_source_of_it_is_in_question() -> None:
    wanted = read_manifest(manifest(1, whole(IMAGE, CHUNK), host_uuid=OTHER))
    check_loop(wanted, ME, None)
    for source in (Source("source"), SOURCE):
        with pytest.raises(MirrorLoop):
            check_loop(wanted, ME, source)
