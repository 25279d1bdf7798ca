"""Whether a generation may be received: decided from values alone, before anything is written.

A delta fits only its own base; a name belongs to one volume and one identity for good; a
replica never goes backwards. Whatever does not fit is refused with a type that says why.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from uuid import UUID

from control.replica.records import (
    ROLE_PROMOTED,
    ROLE_SEED,
    CommittedRecord,
    Generation,
    IncomingRecord,
    VolumeRecord,
)
from control.wire.errors import (
    BadManifest,
    BaseMismatch,
    MirrorLoop,
    OnOwnDevice,
    ReplicaPromoted,
    SizeMismatch,
    SplitBrain,
    VolumeNameTaken,
    WrittenByAnother,
)
from control.wire.frames import is_chunk_size
from control.wire.peers import Me
from dm_tables.names import volume_name
from dm_tables.units import SECTOR, Bytes, chunks_covering
from proto.frazil.v1 import replica_pb2

LARGEST_NUMBER = (1 << 63) - 1

WHOLE = "frazil mirror start MIRROR --whole"
COMPARE = f"{WHOLE} compares by digests, and sends what differs"


class Verdict(Enum):
    """What to do with a manifest."""

    ALREADY = auto()
    """The generation is committed."""
    STAGED = auto()
    """All of it is here, and waits for the commit of its group."""
    RESUME = auto()
    """Part of this generation is here: go on."""
    BEGIN = auto()
    """Start it, without what may be left of another one."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A manifest that could be meant. ``chunks`` counts a delta's; 0 in a whole copy.

    ``staged``: its group commits it. ``host_uuid`` is the sender's; empty: it does not say.
    """

    volume: str
    volume_uuid: str
    generation: Generation
    base_uuid: str
    size: Bytes
    chunk: Bytes
    chunks: int
    staged: bool = False
    host_uuid: str = ""

    @property
    def whole(self) -> bool:
        """Whether it is a whole copy."""
        return not self.base_uuid


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a replica volume stands; all None for a name that nothing has.

    ``diverged`` numbers what it keeps that no other host has; 0 for nothing.
    """

    volume: VolumeRecord | None = None
    newest: CommittedRecord | None = None
    incoming: IncomingRecord | None = None
    diverged: int = 0


@dataclass(frozen=True, slots=True)
class Source:
    """A volume of this host's own: its name, and the generations that it made, newest first."""

    name: str
    generations: tuple[Generation, ...] = ()


def read_manifest(manifest: replica_pb2.Manifest) -> Wanted:
    """``manifest``, checked by itself. :raises BadManifest, BadName: it cannot be meant."""
    volume_name(manifest.volume)
    size, chunk = manifest.size_bytes, manifest.chunk_bytes
    if not size or size % SECTOR or size > LARGEST_NUMBER:
        raise BadManifest(f"a volume cannot have {size} bytes")
    if not is_chunk_size(chunk):
        raise BadManifest(f"chunks cannot have {chunk} bytes")
    if manifest.chunks > chunks_covering(Bytes(size), Bytes(chunk)):
        raise BadManifest(f"{manifest.chunks} chunks are more than the volume has")
    if not manifest.base_uuid and manifest.chunks:
        raise BadManifest("a whole copy does not say how many chunks will come")
    return Wanted(
        volume=manifest.volume,
        volume_uuid=_uuid("volume", manifest.volume_uuid),
        generation=_generation(manifest.generation),
        base_uuid=_uuid("base", manifest.base_uuid) if manifest.base_uuid else "",
        size=Bytes(size),
        chunk=Bytes(chunk),
        chunks=manifest.chunks,
        staged=manifest.staged,
        host_uuid=_uuid("host", manifest.host_uuid) if manifest.host_uuid else "",
    )


def _generation(message: replica_pb2.Generation) -> Generation:
    if not 1 <= message.number <= LARGEST_NUMBER:
        raise BadManifest(f"{message.number} cannot number a generation")
    try:
        generation = Generation.of(message)
    except ValueError as error:
        raise BadManifest(f"the generation's freeze time is none: {error}") from None
    if not 0 <= generation.frozen_at <= LARGEST_NUMBER:
        raise BadManifest("the generation's freeze time is out of range")
    _uuid("generation", generation.uuid)
    if generation.parent_uuid:
        _uuid("parent", generation.parent_uuid)
    return generation


def _uuid(whose: str, text: str) -> str:
    try:
        UUID(text)
    except ValueError:
        raise BadManifest(f"the {whose} UUID {text[:64]!r} is none") from None
    return text


def judge(wanted: Wanted, standing: Standing, identity: str) -> Verdict:
    """What to do with ``wanted`` where the replica stands at ``standing``.

    :raises VolumeNameTaken: another volume has the name.
    :raises WrittenByAnother: another identity writes the volume.
    :raises ReplicaPromoted: it is a source now.
    :raises SizeMismatch: the volume is larger here.
    :raises BaseMismatch: it does not build on what is here.
    :raises OnOwnDevice: a whole copy, where the replica stands on a device of its own.
    """
    if standing.volume is not None:
        check_owner(standing.volume, wanted, identity)
        check_not_promoted(standing.volume, standing.newest)
        _check_size(standing.volume, wanted)
    if standing.newest is not None and standing.newest.generation.uuid == wanted.generation.uuid:
        return Verdict.ALREADY
    _check_base(wanted, standing)
    if standing.incoming is not None and _goes_on(wanted, standing.incoming):
        return Verdict.STAGED if standing.incoming.staged else Verdict.RESUME
    return Verdict.BEGIN


def check_owner(volume: VolumeRecord, wanted: Wanted, identity: str) -> None:
    """See that the name stands for the same volume of the same source.

    :raises VolumeNameTaken, WrittenByAnother: it does not.
    """
    if volume.volume_uuid not in ("", wanted.volume_uuid):
        raise VolumeNameTaken(
            f"{volume.name} is here the replica of volume {volume.volume_uuid}, "
            f"not of {wanted.volume_uuid}",
            "mirror to another name, or remove the replica that has this one",
        )
    if volume.identity != identity:
        raise written_by_another(volume.name, volume.identity, identity)


def written_by_another(volume: str, owner: str, identity: str) -> WrittenByAnother:
    """Whose replica it is, for ``identity``, who would write it or read it."""
    return WrittenByAnother(
        f"{volume} is written by {owner}, not by {identity}",
        "mirror to another name; or, if that is the source now, say so at the replica: "
        f"frazil replica set {volume} --identity {identity}",
    )


def check_not_promoted(volume: VolumeRecord, newest: CommittedRecord | None) -> None:
    """:raises ReplicaPromoted: the volume is a source of this host now."""
    if volume.role == ROLE_PROMOTED:
        since = datetime.fromtimestamp(volume.role_since // 10**9, UTC).isoformat()
        number = newest.generation.number if newest is not None else 0
        raise ReplicaPromoted(
            f"{volume.name} was promoted on {since} from generation {number}, and is a source now",
            "mirror from there to here, or say which side's changes are to be discarded",
        )


def check_loop(wanted: Wanted, me: Me, source: Source | None) -> None:
    """See that what another host sends is no volume of this one.

    :param me: this host. :param source: its own volume that is meant, if there is one; a mirror
        within one host is no loop.
    :raises MirrorLoop: a generation of this host's comes back to it.
    :raises SplitBrain: one comes that this host never made: the sender is a source too.
    """
    if source is None or wanted.host_uuid == me.host_uuid:
        return
    if source.generations and wanted.generation.uuid not in {g.uuid for g in source.generations}:
        raise SplitBrain(
            f"split brain: {wanted.volume} is a source at the sender and, as {source.name}, at "
            f"{me.host_name}, which was not demoted: {_parted(wanted, me, source)}",
            "give one side up: frazil mirror resolve MIRROR, at the sender, says how",
        )
    raise MirrorLoop(
        f"{wanted.volume} would be a replica of {source.name}, a volume of this host itself, "
        f"sent by host {wanted.host_uuid or 'unknown'}",
        "end the mirror that leads back here",
    )


def _parted(wanted: Wanted, me: Me, source: Source) -> str:
    """Which generation both sides have, and what each has since."""
    before = (wanted.base_uuid, wanted.generation.parent_uuid)
    common = next((one for one in source.generations if one.uuid in before), None)
    newest = source.generations[0]
    here = "none" if newest == common else _said(newest)
    since = f"since {_said(common)}" if common is not None else "since one that is not known here"
    return f"{since} it has {here}, and the sender {_said(wanted.generation)}"


def _said(generation: Generation) -> str:
    frozen = datetime.fromtimestamp(generation.frozen_at // 10**9, UTC).isoformat()
    return f"generation {generation.number} of {frozen}"


def _check_size(volume: VolumeRecord, wanted: Wanted) -> None:
    if volume.role == ROLE_SEED and wanted.size != volume.size:
        raise SizeMismatch(
            f"the seed {volume.name} has {volume.size} bytes, the source's volume {wanted.size}",
            "make a seed of as many bytes: a part of the device or file",
        )
    if wanted.size < volume.size:
        raise SizeMismatch(
            f"{volume.name} has {volume.size} bytes here, the source's volume only {wanted.size}",
            "a replica does not shrink: mirror to another name",
        )


def _check_base(wanted: Wanted, standing: Standing) -> None:
    volume, newest = standing.volume, standing.newest
    name, number = wanted.volume, wanted.generation.number
    if newest is not None and number <= newest.generation.number:
        raise BaseMismatch(
            f"{name} stands at generation {newest.generation.number} here and does not go back "
            f"to {number}",
            "the source was rolled back or made anew: mirror it to another name, or remove the "
            "replica here",
        )
    if number == standing.diverged:
        raise BaseMismatch(
            f"{name} keeps what no other host has as generation {number} here",
            f"look at it with frazil replica mount {name} --generation {number}, then give it up: "
            f"frazil replica keep {name} --drop-diverged",
        )
    if wanted.whole and volume is not None and volume.base_spans:
        raise OnOwnDevice(
            f"what the source has in common with {name} here, which stands on "
            f"{volume.base_spans[0].path}, is not known, and a whole copy would leave that device",
            f"at the source: {COMPARE}",
        )
    if newest is None and volume is not None and volume.role == ROLE_SEED:
        if wanted.base_uuid != volume.seed_uuid:
            raise BaseMismatch(
                f"{name} is a seed ({volume.seed_uuid}) here, "
                f"the delta builds on {wanted.base_uuid}",
                f"at the source: {COMPARE}",
            )
        return
    if wanted.base_uuid and newest is None:
        raise BaseMismatch(
            f"{name} has no generation here, the delta builds on {wanted.base_uuid}",
            f"have a whole copy sent, at the source: {WHOLE}",
        )
    if newest is None:
        return
    here = newest.generation
    if wanted.base_uuid and wanted.base_uuid != here.uuid:
        raise BaseMismatch(
            f"{name} stands at generation {here.number} ({here.uuid}) here, "
            f"the delta builds on {wanted.base_uuid}",
            "the replica has something else than the source takes for granted; at the source: "
            f"{WHOLE}",
        )


def _goes_on(wanted: Wanted, incoming: IncomingRecord) -> bool:
    return (
        incoming.generation.uuid == wanted.generation.uuid
        and incoming.base_uuid == wanted.base_uuid
        and incoming.chunk == wanted.chunk
        and incoming.expected == wanted.chunks
        and incoming.size == wanted.size
    )
