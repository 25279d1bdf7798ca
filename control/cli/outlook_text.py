"""Write patterns and forecasts as text."""

from __future__ import annotations

from control.cli.live_trace import histogram
from control.units_text import human_duration, human_rate, human_size
from dm_tables.units import Bytes
from proto.frazil.v1 import control_pb2 as pb


def chunk(one: pb.Volume) -> str:
    """The next layer's chunk size and why; chosen or set."""
    if one.chunk_reason:
        return f"{'auto, ' if one.chunk_auto else ''}{one.chunk_reason}"
    return human_size(Bytes(one.chunk_bytes)) + (" (auto)" if one.chunk_auto else "")


def dirty(room: pb.RoomForecast) -> str:
    """How fast the live auxiliary volume fills."""
    now, average = (
        human_rate(int(rate))
        for rate in (room.dirty_bytes_per_second, room.average_bytes_per_second)
    )
    return f"{now} now, {average} on average"


def filling(room: pb.RoomForecast) -> str:
    """When room will be short; empty when that will not be."""
    parts = []
    if room.HasField("layer_full_seconds"):
        parts.append(f"the live layer in {human_duration(room.layer_full_seconds)}, then grown")
    if room.HasField("pool_full_seconds"):
        parts.append(f"the pool in {human_duration(room.pool_full_seconds)}")
    return "; ".join(parts)


def coming(forecast: pb.CycleForecast) -> str:
    """The next cycle."""
    parts = [human_size(Bytes(forecast.bytes))]
    if forecast.HasField("freeze_seconds"):
        parts.append(f"frozen in {human_duration(forecast.freeze_seconds)}")
    if forecast.HasField("commit_seconds"):
        parts.append(f"next commit in {human_duration(forecast.commit_seconds)}")
    if forecast.HasField("lag_seconds"):
        parts.append(f"lag up to {human_duration(forecast.lag_seconds)}")
    if forecast.falling_behind:
        parts.append("falling behind: more is written than is copied")
    return ", ".join(parts)


def pattern(seen: pb.WritePattern) -> str:
    """Two histograms; empty when nothing was traced."""
    if not seen.writes:
        return ""
    head = (
        f"{seen.writes} writes of {human_size(Bytes(seen.bytes))} in the running cycle"
        f" and {seen.cycles} before it"
    )
    parts = [head]
    parts += histogram("SIZE", list(seen.sizes))
    parts += histogram("ALIGNED TO", list(seen.alignments))
    return "\n\n".join(parts)
