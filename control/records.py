"""What the journal holds, as values: volumes, layers, generations, mirrors, cycles."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from control.spans import Span
from dm_tables.units import Bytes


class LayerState(StrEnum):
    """How far an auxiliary volume has come; only ever forward."""

    PREPARED = "prepared"
    """Being made for the next freeze; nothing was written through it yet."""
    LIVE = "live"
    """The head's writes go here."""
    FROZEN = "frozen"
    """Unchanging: a generation's delta."""
    MERGED = "merged"
    """Its chunks are all in the spans, on stable storage; what is left is to drop it."""


class VolumeState(StrEnum):
    """Whether a volume is being made, used, or taken apart."""

    CREATING = "creating"
    ACTIVE = "active"
    REMOVING = "removing"


class Promotion(NamedTuple):
    """From which generation a replica was made a source, and when; a later one is greater.

    ``taken_from`` is the identity that wrote it until then.
    """

    number: int
    since_ns: int
    taken_from: str = ""


class MirrorState(StrEnum):
    """What was asked of a mirror."""

    STOPPED = "stopped"
    RUNNING = "running"
    PAUSED = "paused"
    BREAKING = "breaking"
    """The running cycle ends first (figure 8, step 236)."""
    BROKEN = "broken"


class CycleKind(StrEnum):
    """What a cycle sends."""

    WHOLE = "whole"
    """The whole frozen image, without its zeroes and holes (figure 7, stage 7B)."""
    DELTA = "delta"
    """One frozen auxiliary volume (figure 7, stages 7C and 7E)."""
    CATCH_UP = "catch-up"
    """A set of chunks of the frozen image, after layers were merged before their time."""


@dataclass(frozen=True, slots=True)
class VolumeRecord:
    """A volume as it was made. ``chunk`` is its layers'; 0: chosen for each of them."""

    name: str
    uuid: str
    spans: tuple[Span, ...]
    size: Bytes
    chunk: Bytes
    state: VolumeState
    bottom: int
    """The sequence of the lowest layer device, which is the spans themselves."""
    fenced: str = ""
    """Why its head is not given to applications, where another host may have taken it over."""


@dataclass(frozen=True, slots=True)
class LayerRecord:
    """An auxiliary volume; ``object_name`` names it in the pool.

    ``sequence`` is that of the freeze that put it on the stack: it grows from layer to layer, not
    always by one. ``size`` is what it covers of a volume that has grown since; 0: all of it.
    """

    volume: str
    sequence: int
    object_name: str
    chunk: Bytes
    state: LayerState
    size: Bytes = Bytes(0)


class TraceState(StrEnum):
    """What is known of which blocks of a layer were written."""

    WATCHED = "watched"
    """Its trace was attached before its first write, and its blocks are still the tracer's."""
    TRACED = "traced"
    """It is frozen, and every block that was written is known."""
    UNTRACED = "untraced"
    """Some may not be known: it is copied by whole chunks."""


@dataclass(frozen=True, slots=True)
class TraceRecord:
    """A layer's trace. ``epoch`` and ``number`` name it at the tracer.

    ``blocks`` is the serialised :class:`control.blocks.BlockSet` of a traced layer; ``counters``
    is JSON, see :class:`bpf.layout.Counters`; ``since`` in seconds since the epoch, 0 for never.
    """

    volume: str
    sequence: int
    state: TraceState
    why: str = ""
    epoch: str = ""
    number: int = 0
    since: float = 0.0
    blocks: bytes = b""
    counters: str = ""


@dataclass(frozen=True, slots=True)
class GenerationRecord:
    """A volume's part of a frozen instant: the image of layer device ``layer``.

    All volumes that were frozen together share ``number`` and ``uuid``; ``members`` counts them.
    ``frozen_at`` is in seconds since the epoch; None while the freeze is only planned.
    """

    volume: str
    number: int
    uuid: str
    parent_uuid: str
    frozen_at: float | None
    layer: int
    members: int = 1
    pause_us: int = 0


class Origin(StrEnum):
    """What a mirror's ``group_name`` names."""

    GROUP = "group"
    """A group of this host's own volumes."""
    REPLICA = "replica"
    """A replica volume here, which is mirrored on."""
    REPLICA_GROUP = "replica-group"
    """The replica volumes here that another host's mirror commits together."""


class Policy(StrEnum):
    """When a group may be frozen again (claim 18; Table 2, row II)."""

    LOCKSTEP = "lockstep"
    """Every replica that counts has committed."""
    QUORUM = "quorum"
    """So many replicas have."""
    INDEPENDENT = "independent"
    """One has."""


@dataclass(frozen=True, slots=True)
class GroupRecord:
    """Volumes that are frozen at one instant (claims 5 and 29).

    ``implicit``: made for one volume by itself, under its name. ``before`` and ``after`` are
    programs with their arguments, run around the freeze within ``..._ms``; 0: as configured.
    """

    name: str
    implicit: bool
    consistency: str = ""
    """filesystem or crash; empty: as configured."""
    policy: Policy = Policy.LOCKSTEP
    quorum: int = 0
    before: tuple[str, ...] = ()
    before_ms: int = 0
    after: tuple[str, ...] = ()
    after_ms: int = 0
    fencing: str = "ask"


@dataclass(frozen=True, slots=True)
class MirrorRecord:
    """A mirror: where a group goes, and how often.

    ``replica_volume`` names the volumes there; ``{volume}`` in it stands for a volume's own name.
    """

    name: str
    group_name: str
    peer: str
    replica_volume: str
    state: MirrorState
    interval_ms: int
    rate_bytes: int
    on_demand: bool
    plaintext: bool
    verify: bool
    schedule: str = ""
    rpo_ms: int = 0
    window: str = ""
    origin: Origin = Origin.GROUP

    def replica_of(self, volume: str) -> str:
        """What a volume is called at the replica."""
        return self.replica_volume.replace("{volume}", volume)


@dataclass(frozen=True, slots=True)
class StandingRecord:
    """What the replica of a volume has, and what it lacks beyond the layers.

    ``committed_layer`` is the layer device whose image it has; nothing is committed while
    ``committed_uuid`` is empty.
    """

    mirror: str
    volume: str
    committed_uuid: str = ""
    committed_number: int = 0
    committed_layer: int = -1
    committed_frozen_at: float = 0.0
    lacking: bytes = b""
    """A serialised set of 4 KiB blocks."""
    lacking_all: bool = False
    """What it lacks is not known: only a whole copy helps."""
    base: str = ""
    """Of a volume that is mirrored on: the base here that the committed generation was over."""
    asked_whole: bool = False
    """Somebody asked for a whole copy: also onto a device of the replica's own."""


@dataclass(frozen=True, slots=True)
class CycleRecord:
    """One generation on its way to one replica. Times in seconds, sizes in bytes."""

    mirror: str
    generation_uuid: str
    generation_number: int
    frozen_at: float
    kind: CycleKind
    state: str
    pause_us: int = 0
    chunks: int = 0
    changed_bytes: int = 0
    sent_bytes: int = 0
    payload_bytes: int = 0
    copy_seconds: float = 0.0
    committed_at: float = 0.0
    verified: str = "unverified"
    resumed: int = 0
