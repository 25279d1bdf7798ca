"""A volume does not become a replica of itself: what comes from this host by way of another."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from control.replica.admission import check_loop, read_manifest
from control.replica.handover import hand_over
from control.replica.service import ReplicaService
from control.wire.errors import BadManifest, MirrorLoop, ReplicaPromoted
from control.wire.send import send
from dm_tables.errors import Kind
from dm_tables.units import MIB
from tests.replica_tools import ME, VOLUME_UUID, Replica, manifest, messages, noise, say, whole

CHUNK = 4096
IMAGE = noise(MIB)
OTHER = str(uuid.UUID(int=77))


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
        sources=lambda: {VOLUME_UUID: "source"},
    )
    return made


def bring(replica: Replica, host: str, volume_uuid: str = VOLUME_UUID) -> None:
    delta = whole(IMAGE, CHUNK)
    with replica.stub() as stub:
        send(stub, manifest(1, delta, host_uuid=host, volume_uuid=volume_uuid), delta)


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


def test_without_sources_nothing_is_a_loop() -> None:
    wanted = read_manifest(manifest(1, whole(IMAGE, CHUNK), host_uuid=OTHER))
    check_loop(wanted, ME.host_uuid, {})
    with pytest.raises(MirrorLoop):
        check_loop(wanted, ME.host_uuid, {VOLUME_UUID: "source"})
