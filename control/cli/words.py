"""Messages in words: times, generations, mirrors and cycles as people read them."""

from __future__ import annotations

import time
from datetime import UTC

from google.protobuf.timestamp_pb2 import Timestamp

from control.units_text import human_duration, human_rate, human_size
from proto.frazil.v1 import control_pb2 as pb
from proto.frazil.v1 import replica_pb2 as rpb

NONE = "-"


def seconds(stamp: Timestamp) -> float:
    """``stamp`` as seconds since the epoch."""
    return float(stamp.seconds) + stamp.nanos / 1e9


def when(stamp: Timestamp) -> str:
    """Local time to the second: ``2026-03-01 12:00:00``."""
    return stamp.ToDatetime(tzinfo=UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def age(stamp: Timestamp, now: float | None = None) -> str:
    """``34 s ago``; a time to come, as clocks differ between hosts, counts as now."""
    passed = (time.time() if now is None else now) - seconds(stamp)
    return f"{human_duration(max(passed, 0.0))} ago"


def generation(message: rpb.Generation) -> str:
    """``7, frozen 2026-03-01 12:00:00, 5f2c…``; - for none."""
    if not message.number:
        return NONE
    parts = [str(message.number)]
    if message.HasField("frozen_at"):
        parts.append(f"frozen {when(message.frozen_at)}")
    if message.uuid:
        parts.append(message.uuid)
    return ", ".join(parts)


def number(message: rpb.Generation) -> str:
    """The generation's number; - for none."""
    return str(message.number) if message.number else NONE


def span(message: pb.Span) -> str:
    """As ``volume create`` takes it: ``/dev/vdb,offset=1048576,length=4194304``."""
    text = message.path
    if message.offset_bytes:
        text += f",offset={message.offset_bytes}"
    if message.length_bytes:
        text += f",length={message.length_bytes}"
    return text


def lag(mirror: pb.Mirror) -> str:
    """How old the replica's newest instant is; - while it has none."""
    return human_duration(mirror.lag_ms / 1000) if mirror.committed.number else NONE


def rate(bytes_per_second: int) -> str:
    """A limit; 0 is none."""
    return human_rate(bytes_per_second) if bytes_per_second else "no limit"


def cadence(mirror: pb.Mirror) -> str:
    """When the next cycle starts."""
    if mirror.on_demand:
        return "when asked (sync-now)"
    if mirror.schedule:
        return f'by schedule "{mirror.schedule}"'
    if mirror.rpo_ms:
        return f"as an RPO of {human_duration(mirror.rpo_ms / 1000)} asks"
    if mirror.interval_ms:
        return f"every {human_duration(mirror.interval_ms / 1000)}"
    return "at once after the last"


def source(mirror: pb.Mirror) -> str:
    """What is mirrored: a volume, or a group and how many volumes it has."""
    if not mirror.group:
        return mirror.volume
    count = len(mirror.members)
    return f"{mirror.group} ({count} volume{'' if count == 1 else 's'})"


def policy(group: pb.Group) -> str:
    """When the next cycle may start, as ``group create`` takes it: ``quorum=2``."""
    return f"quorum={group.quorum}" if group.policy == "quorum" else group.policy or NONE


def pause(microseconds: int) -> str:
    """How long the heads stood still."""
    return human_duration(microseconds / 1e6) if microseconds else NONE


CYCLE_HEADER = ("GEN", "KIND", "FROZEN", "PAUSE", "CHANGED", "SENT", "COPY", "LAG", "")
CYCLE_RIGHT = "GEN PAUSE CHANGED SENT COPY LAG"


def cycle_row(cycle: pb.Cycle) -> tuple[str, ...]:
    """One cycle as a row under :data:`CYCLE_HEADER`; 80 columns hold it."""
    frozen_at = cycle.generation.frozen_at
    return (
        number(cycle.generation),
        cycle.kind,
        when(frozen_at)[11:] if cycle.generation.HasField("frozen_at") else NONE,
        pause(cycle.freeze_pause_us),
        human_size(cycle.changed_bytes),
        human_size(cycle.sent_bytes),
        human_duration(cycle.copy_ms / 1000),
        human_duration(cycle.lag_ms / 1000) if cycle.state == "committed" else NONE,
        remark(cycle),
    )


def remark(cycle: pb.Cycle) -> str:
    """What is worth saying beside the numbers; that a cycle is committed is not."""
    words = [cycle.state] if cycle.state != "committed" else []
    if cycle.verified not in ("", "unverified"):
        words.append(cycle.verified)
    if cycle.resumed:
        words.append(f"resumed {cycle.resumed}x")
    return ", ".join(words)


def standing(mirror: pb.Mirror) -> str:
    """State, and phase where there is one: ``running, copying``."""
    if mirror.phase and mirror.phase != "idle":
        return f"{mirror.state}, {mirror.phase}"
    return mirror.state
