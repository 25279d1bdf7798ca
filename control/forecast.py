"""What comes if writes go on as they do: the next cycle's size, the lag, and room that ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from control.history import CycleWrites
from control.records import CycleRecord
from control.store.layout import room_for
from control.units_text import Seconds
from dm_tables.units import Bytes

SPARE = 1.25
"""A new auxiliary volume is made larger by this than the largest of late was full."""

CYCLES = 8


@dataclass(frozen=True, slots=True)
class CycleNow:
    """A mirror's cycle at this moment; times in seconds.

    :ivar changed: bytes that the live layer holds. :ivar growth: bytes a second by which that
        grows. :ivar volume: bytes of the volume, which no cycle exceeds.
    :ivar copying: bytes of the running copy that are still to be sent; 0 without one.
    :ivar throughput: bytes a second of the running or the newest copies; 0 if none is known.
    :ivar due: until the next freeze at the earliest; None: only when asked.
    :ivar age: of the replica's newest instant; None while it has none.
    """

    changed: int
    growth: float
    volume: Bytes
    copying: int
    throughput: float
    due: float | None
    age: float | None


@dataclass(frozen=True, slots=True)
class CycleForecast:
    """The cycle that comes next.

    :ivar size: bytes. :ivar freeze_in: seconds; None: not known. :ivar commit_in: until the next
        commit. :ivar lag: the age of the replica's newest instant right before that commit.
    :ivar falling_behind: more is written than is copied.
    """

    size: Bytes
    freeze_in: Seconds | None
    commit_in: Seconds | None
    lag: Seconds | None
    falling_behind: bool


def forecast_cycle(now: CycleNow) -> CycleForecast:
    """The next cycle, frozen as soon as it is due and the running copy is through.

    The next commit is that of the running copy, where there is one, else the next cycle's own.
    """
    falling = bool(now.throughput) and now.growth >= now.throughput
    copy_in = _seconds(now.copying, now.throughput)
    freeze_in = None
    if copy_in is not None and now.due is not None:
        freeze_in = Seconds(max(copy_in, now.due))
    size = min(float(now.volume), now.changed + now.growth * (freeze_in or 0.0))
    commit_in = copy_in if now.copying else None
    if not now.copying and freeze_in is not None:
        own = _seconds(round(size), now.throughput)
        commit_in = None if own is None else Seconds(freeze_in + own)
    lag = None
    if now.age is not None and commit_in is not None:
        lag = Seconds(now.age + commit_in)
    return CycleForecast(Bytes(round(size)), freeze_in, commit_in, lag, falling)


def throughput(cycles: Sequence[CycleRecord]) -> float:
    """Changed bytes that copies brought over in a second; 0 if none did."""
    done = [cycle for cycle in cycles if cycle.state == "committed" and cycle.copy_seconds > 0]
    seconds = sum(cycle.copy_seconds for cycle in done)
    return sum(cycle.changed_bytes for cycle in done) / seconds if seconds else 0.0


def _seconds(size: int, throughput: float) -> Seconds | None:
    if not size:
        return Seconds(0.0)
    return Seconds(size / throughput) if throughput > 0 else None


def fills_in(left: int, growth: float) -> Seconds | None:
    """Seconds until ``left`` bytes are used; None: never."""
    if left <= 0:
        return Seconds(0.0)
    return Seconds(left / growth) if growth > 0 else None


def expected_room(cycles: Sequence[CycleWrites], chunk: Bytes) -> Bytes:
    """What an auxiliary volume of such chunks will hold, by the largest of the newest cycles.

    Of an untraced one only the chunks of its own size are known: in others they are as many
    bytes, or, in larger ones, as many chunks at worst.
    """
    most = max((_chunks(cycle, chunk) for cycle in cycles[-CYCLES:]), default=0)
    return Bytes(round(SPARE * room_for(most, chunk) * chunk)) if most else Bytes(0)


def _chunks(cycle: CycleWrites, chunk: Bytes) -> int:
    if cycle.traced:
        return cycle.pattern.chunks(chunk)
    return cycle.stored * max(1, cycle.chunk // chunk)
