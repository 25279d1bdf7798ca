"""Volumes, mirrors and events as messages."""

from __future__ import annotations

import time
from collections.abc import Mapping

from control.chunk_size import DEFAULT_CHUNK
from control.conductor import Conductor
from control.events import Event
from control.frozen import generation_message
from control.live_trace import trace_word
from control.mirror import MirrorWorker
from control.outlook import cycle_forecast, forecast_message, pattern_message, room_message
from control.pool.pool import Pool
from control.records import (
    CycleRecord,
    GenerationRecord,
    LayerRecord,
    LayerState,
    StandingRecord,
    VolumeRecord,
    VolumeState,
)
from control.spans import Span
from control.verify import Verification
from control.volume import Volume
from dm_tables.errors import FrazilError, Kind
from dm_tables.names import NAME_PREFIX
from dm_tables.status import Usage
from dm_tables.units import bytes_to_sectors, sectors_to_bytes
from proto.frazil.v1 import control_pb2, replica_pb2

MAPPER = "/dev/mapper"
RECENT_CYCLES = 50


def span_message(span: Span) -> control_pb2.Span:
    """A span."""
    return control_pb2.Span(path=str(span.path), offset_bytes=span.offset, length_bytes=span.length)


def planned_message(record: VolumeRecord) -> control_pb2.Volume:
    """A volume as it would be made."""
    return control_pb2.Volume(
        name=record.name,
        uuid=record.uuid,
        spans=[span_message(span) for span in record.spans],
        size_bytes=record.size,
        chunk_bytes=record.chunk or DEFAULT_CHUNK,
        chunk_auto=not record.chunk,
        head_path=f"{MAPPER}/{NAME_PREFIX}{record.name}",
        state="planned",
    )


def pool_message(pool: Pool) -> control_pb2.Pool:
    """The pool of auxiliary volumes."""
    return control_pb2.Pool(
        kind=pool.kind,
        location=pool.location,
        size_bytes=pool.size(),
        free_bytes=pool.free(),
        used_bytes=pool.used(),
    )


def volume_message(volume: Volume, mirrors: list[str]) -> control_pb2.Volume:
    """A volume with its layers, as journal and kernel have it."""
    record = volume.record
    message = planned_message(record)
    message.state = _volume_state(volume, record)
    message.problem = volume.problem
    message.mirrors.extend(mirrors)
    choice = volume.next_chunk()
    message.chunk_bytes, message.chunk_reason = choice.chunk, str(choice)
    message.pattern.CopyFrom(pattern_message(volume))
    generations = {g.layer: g for g in volume.context.journal.generations(volume.name)}
    for layer in volume.context.journal.layers(volume.name):
        part = _layer_message(volume, layer)
        made = generations.get(layer.sequence)
        if made is not None and made.frozen_at is not None:
            part.generation.CopyFrom(generation_message(made))
        message.layers.append(part)
        if layer.state is LayerState.LIVE and part.size_bytes:
            room = room_message(volume, part.used_bytes, part.size_bytes)
            message.room.CopyFrom(room)
    for newest in volume.images()[:1]:
        message.newest.CopyFrom(generation_message(newest))
    return message


def _volume_state(volume: Volume, record: VolumeRecord) -> str:
    if record.state is not VolumeState.ACTIVE:
        return record.state.value
    if volume.stalled:
        return "stalled"
    try:
        there = volume.stack.head.exists()
    except FrazilError:
        there = False
    if not there:
        return "inactive"
    return "failed" if volume.problem else "active"


def _layer_message(volume: Volume, layer: LayerRecord) -> control_pb2.AuxiliaryVolume:
    message = control_pb2.AuxiliaryVolume(
        sequence=layer.sequence, state=layer.state.value, chunk_bytes=layer.chunk
    )
    if layer.state in (LayerState.LIVE, LayerState.FROZEN):
        view = volume.context.tracing.view(layer)
        message.trace, message.untraced_reason = trace_word(view), view.why
    message.chunk_reason = volume.context.history.why(volume.uuid, layer.sequence)
    try:
        stored = volume.context.pool.open(layer.object_name)
        message.path = str(stored.path)
        message.size_bytes = stored.size()
        status = volume.layer_status(layer)
    except FrazilError:
        return message
    if isinstance(status, Usage):
        message.used_bytes = sectors_to_bytes(status.allocated)
        message.chunks = status.exceptions(bytes_to_sectors(layer.chunk))
    elif layer.state is LayerState.LIVE:
        message.state = type(status).__name__.lower()
    return message


def cycle_message(cycle: CycleRecord) -> control_pb2.Cycle:
    """A cycle, running or past."""
    message = control_pb2.Cycle(
        kind=cycle.kind.value,
        state=cycle.state,
        freeze_pause_us=cycle.pause_us,
        chunks=cycle.chunks,
        changed_bytes=cycle.changed_bytes,
        sent_bytes=cycle.sent_bytes,
        payload_bytes=cycle.payload_bytes,
        copy_ms=int(cycle.copy_seconds * 1000),
        verified=cycle.verified,
        resumed=cycle.resumed,
    )
    message.generation.number = cycle.generation_number
    message.generation.uuid = cycle.generation_uuid
    message.generation.frozen_at.FromNanoseconds(int(cycle.frozen_at * 1e9))
    if cycle.committed_at:
        message.committed_at.FromNanoseconds(int(cycle.committed_at * 1e9))
        message.lag_ms = max(0, int((cycle.committed_at - cycle.frozen_at) * 1000))
        if cycle.copy_seconds > 0:
            message.bytes_per_second = int(cycle.changed_bytes / cycle.copy_seconds)
    return message


def mirror_message(worker: MirrorWorker) -> control_pb2.Mirror:
    """A mirror as it stands now."""
    record, now = worker.record, worker.now
    timing = worker.timing.of(record)
    lateness = worker.timing.lateness(record, worker.committed)
    message = control_pb2.Mirror(
        name=record.name,
        volume=record.group_name if worker.group.record.implicit else "",
        group="" if worker.group.record.implicit else record.group_name,
        peer=record.peer,
        replica_volume=record.replica_volume,
        state=record.state.value,
        phase=now.phase,
        interval_ms=record.interval_ms,
        rate_bytes=record.rate_bytes,
        on_demand=record.on_demand,
        plaintext=record.plaintext,
        verify=record.verify,
        health=_health(worker, lateness),
        problem=now.problem or worker.group.problem or lateness,
        schedule=record.schedule,
        rpo_ms=record.rpo_ms,
        window="" if timing.hours.always else timing.hours.text,
        counts=worker.counts,
    )
    for volume in worker.group.volumes:
        message.members.append(_member_message(worker, volume.name))
    message.lacking_bytes = sum(member.lacking_bytes for member in message.members)
    standing = worker.committed
    if standing is not None:
        message.committed.CopyFrom(_committed_message(standing))
        message.lag_ms = max(0, int((time.time() - standing.committed_frozen_at) * 1000))
    if now.next_attempt > time.time():
        message.next_attempt.FromNanoseconds(int(now.next_attempt * 1e9))
    if now.cycle is not None:
        message.current.CopyFrom(cycle_message(now.cycle))
        if now.progress is not None:
            message.current.done_bytes = now.progress.done
            message.current.total_bytes = now.progress.total
            message.current.sent_bytes = now.progress.sent
            message.current.bytes_per_second = int(now.progress.rate)
    coming = cycle_forecast(worker)
    if coming is not None:
        message.forecast.CopyFrom(forecast_message(coming))
    cycles = worker.context.journal.cycles(record.name, RECENT_CYCLES)
    message.recent.extend(cycle_message(c) for c in cycles if c.state == "committed")
    return message


def _member_message(worker: MirrorWorker, volume: str) -> control_pb2.MirrorMember:
    standing = worker.context.journal.standing(worker.mirror, volume)
    message = control_pb2.MirrorMember(
        volume=volume,
        replica_volume=worker.record.replica_of(volume),
        lacking_bytes=worker.lacking_bytes(standing),
        state="member" if standing.committed_uuid else "joining",
    )
    if standing.committed_uuid:
        message.committed.CopyFrom(_committed_message(standing))
    return message


def _committed_message(standing: StandingRecord) -> replica_pb2.Generation:
    message = replica_pb2.Generation(number=standing.committed_number, uuid=standing.committed_uuid)
    message.frozen_at.FromNanoseconds(int(standing.committed_frozen_at * 1e9))
    return message


def group_message(conductor: Conductor, mirrors: list[str]) -> control_pb2.Group:
    """A group as it stands now."""
    group, record = conductor.group, conductor.group.record
    message = control_pb2.Group(
        name=record.name,
        volumes=[volume.name for volume in group.volumes],
        consistency=record.consistency or group.context.config.freeze.consistency,
        policy=record.policy.value,
        quorum=record.quorum,
        mirrors=mirrors,
        problem=conductor.problem or group.problem,
        implicit=record.implicit,
        fencing=record.fencing,
    )
    message.hooks.before.extend(record.before)
    message.hooks.before_ms = record.before_ms
    message.hooks.after.extend(record.after)
    message.hooks.after_ms = record.after_ms
    newest = group.newest()
    if newest is not None:
        message.newest.number, message.newest.uuid = newest.number, newest.uuid
        message.newest.frozen_at.FromNanoseconds(int(newest.frozen_at * 1e9))
        message.freeze_pause_us = newest.pause_us
    return message


def compared_message(
    compared: Mapping[str, tuple[GenerationRecord, Verification]],
) -> control_pb2.Progress:
    """What a comparison of a mirror's volumes came to; of several, differences name theirs.

    :param compared: of each volume at which generation, and what was found.
    """
    total = sum(found.compared for _, found in compared.values())
    message = control_pb2.Progress(phase="verifying", done=total, total=total)
    newest = max((made for made, _ in compared.values()), key=lambda made: made.number)
    message.generation.number, message.generation.uuid = newest.number, newest.uuid
    for volume, (made, found) in compared.items():
        one = message.compared.add(volume=volume)
        one.generation.number, one.generation.uuid = made.number, made.uuid
        path = volume if len(compared) > 1 else ""
        for extent in found.differences:
            message.differences.add(
                path=path, offset_bytes=extent.address, length_bytes=extent.length
            )
    differing = {volume: one for volume, one in compared.items() if one[1].blocks}
    one_instant = len({made.uuid for made, _ in compared.values()}) == 1
    at = _numbers(differing or compared, one_instant=one_instant)
    if differing:
        message.message = f"generation {at} differs in {len(message.differences)} places"
    elif any(found.carried for _, found in compared.values()):
        message.message = (
            "every block was the same at both ends at a generation since the comparison began, "
            f"the last of them at {at}"
        )
    else:
        message.message = f"generation {at} is the same at both ends"
    return message


def _numbers(
    compared: Mapping[str, tuple[GenerationRecord, Verification]], *, one_instant: bool
) -> str:
    """``42``; of volumes at several instants ``41 of data, 42 of log``."""
    if one_instant:
        return next(str(made.number) for made, _ in compared.values())
    return ", ".join(f"{made.number} of {volume}" for volume, (made, _) in compared.items())


def _health(worker: MirrorWorker, lateness: str) -> str:
    """ERROR where waiting will not help; DEGRADED where it is tried again."""
    if worker.now.problem:
        return "DEGRADED" if worker.now.kind in (Kind.UNAVAILABLE, Kind.EXHAUSTED) else "ERROR"
    if worker.group.problem or any(one.lacking_all or one.lacking for one in worker.standings):
        return "DEGRADED"
    newest = worker.context.journal.cycles(worker.mirror, 1)
    if newest and newest[0].verified == "differs":
        return "ERROR"
    return "DEGRADED" if lateness else "OK"


def event_message(event: Event) -> control_pb2.Event:
    """An event."""
    message = control_pb2.Event(
        sequence=event.sequence,
        level=event.level,
        subject=event.subject,
        kind=event.kind,
        message=event.message,
        fields=event.fields,
    )
    message.at.FromNanoseconds(int(event.at * 1e9))
    return message
