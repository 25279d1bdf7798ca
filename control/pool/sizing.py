"""How large an auxiliary volume is made, when it grows, and when there is no room left.

Arithmetic only. An auxiliary volume with *full room*, for every chunk of the volume, can never
overflow; smaller ones are watched and grow ahead of their writer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from control.config import PoolSection
from control.pool.errors import PoolFull
from control.store.layout import is_treacherous, room_for
from control.units_text import Seconds
from dm_tables.units import MIB, Bytes, chunks_covering

SMALLEST_START = Bytes(64 * MIB)
"""A new auxiliary volume has at least this much, or full room when that is less."""


@dataclass(frozen=True, slots=True)
class Fill:
    """How full a live auxiliary volume is: its metadata counts as used.

    ``growth`` is how fast ``used`` has risen of late, in bytes a second; ``expected`` how fast it
    may rise again, by which it grows, but nothing is given up.
    """

    used: Bytes
    size: Bytes
    growth: float
    expected: float = 0.0

    @property
    def coming(self) -> float:
        """The growth to be prepared for."""
        return max(self.growth, self.expected)


class Action(Enum):
    """What to do about a live auxiliary volume's room."""

    KEEP = "keep"
    GROW = "grow"
    SACRIFICE = "sacrifice"


@dataclass(frozen=True, slots=True)
class RoomPlan:
    """``to`` is the new size where the action is GROW, else the size it has.

    ``full_in`` is the time until it overflows at its present growth; None when it never does.
    """

    action: Action
    to: Bytes
    full_in: Seconds | None


def full_room(volume: Bytes, chunk: Bytes, *, granularity: Bytes = Bytes(MIB)) -> Bytes:
    """The size at which an auxiliary volume of a volume of so many bytes cannot overflow."""
    chunks = room_for(chunks_covering(volume, chunk), chunk)
    return safe_size(Bytes(chunks * chunk), chunk, granularity=granularity)


def safe_size(size: Bytes, chunk: Bytes, *, granularity: Bytes = Bytes(MIB)) -> Bytes:
    """The smallest safe size, of whole ``granularity``, that is at least ``size``.

    Not safe is a COW device that ends exactly at the last data chunk of an area: the kernel
    zeroes the next area ahead, and runs off the end (:func:`is_treacherous`).
    """
    safe = -(-size // granularity) * granularity
    while is_treacherous(safe // chunk, chunk):
        safe += granularity
    return Bytes(safe)


def least_size(
    volume: Bytes, chunk: Bytes, policy: PoolSection, *, granularity: Bytes = Bytes(MIB)
) -> Bytes:
    """What a new auxiliary volume can do with: full room, 64 MiB, or less as configured."""
    start = SMALLEST_START if policy.initial is None else min(SMALLEST_START, policy.initial)
    full = full_room(volume, chunk, granularity=granularity)
    return min(full, safe_size(start, chunk, granularity=granularity))


def initial_size(
    volume: Bytes,
    chunk: Bytes,
    free: Bytes,
    policy: PoolSection,
    *,
    granularity: Bytes = Bytes(MIB),
    expected: Bytes = Bytes(0),
) -> Bytes:
    """The size of a new auxiliary volume for a volume of ``volume`` bytes.

    What the configuration says; without that, or where it is more than is free, full room when
    that is at most a quarter of what is free, else that quarter, and never under 64 MiB. It may
    take the pool's reserve, which is for this. Where more is expected it is made that large, up to
    half of what is free.

    :param expected: what it is going to hold, by a forecast.
    :raises PoolFull: there is not even that.
    """
    full = full_room(volume, chunk, granularity=granularity)
    least = least_size(volume, chunk, policy, granularity=granularity)
    quarter = min(full, safe_size(Bytes(free // 4), chunk, granularity=granularity))
    size = max(least, quarter) if quarter <= free else least
    if policy.initial is not None:
        wanted = min(full, safe_size(policy.initial, chunk, granularity=granularity))
        size = wanted if wanted <= free else min(wanted, size)
    ahead = safe_size(Bytes(min(expected, free // 2)), chunk, granularity=granularity)
    size = max(size, min(full, ahead))
    if size > free:
        raise PoolFull("of auxiliary volumes", "a new one", size, free)
    return size


def when_full(fill: Fill) -> Seconds | None:
    """When it overflows at its present growth; None: never."""
    left = fill.size - fill.used
    if left <= 0:
        return Seconds(0.0)
    return Seconds(left / fill.growth) if fill.growth > 0 else None


def next_size(
    fill: Fill,
    volume: Bytes,
    chunk: Bytes,
    free: Bytes,
    policy: PoolSection,
    *,
    granularity: Bytes = Bytes(MIB),
) -> Bytes | None:
    """The size to grow to, at most full room; None when there is no room to grow.

    Twice the size, or what the writes of the configured horizon need when that is more. Of the
    free room it takes at most half, unless the writes of the horizon need it all: other
    auxiliary volumes may have to grow too.
    """
    full = full_room(volume, chunk, granularity=granularity)
    ahead = fill.used + round(fill.coming * policy.horizon)
    step = max(fill.size, 2 * ahead - fill.size)
    needed = max(0, ahead - fill.size + granularity)
    step = min(step, max(free // 2, needed), free)
    target = min(full, safe_size(Bytes(fill.size + step), chunk, granularity=granularity))
    while target > fill.size + free or is_treacherous(target // chunk, chunk):
        target = Bytes(target - granularity)
    return target if target > fill.size else None


def plan_room(
    fill: Fill,
    volume: Bytes,
    chunk: Bytes,
    free: Bytes,
    policy: PoolSection,
    *,
    granularity: Bytes = Bytes(MIB),
) -> RoomPlan:
    """What to do now about a live auxiliary volume; to be asked again about every second.

    It grows when it is as full as ``grow_at`` says, or may overflow within the horizon. Where
    it must and cannot, the mirror is given up for the application as soon as it is as full as
    ``sacrifice_at`` says, or will overflow within half the horizon.

    Growing leaves the pool's reserve, and half of what the volume has, free: there must be room
    for a next auxiliary volume, onto which the head can move while this one is merged.
    """
    if fill.size >= full_room(volume, chunk, granularity=granularity):
        return RoomPlan(Action.KEEP, fill.size, None)
    full_in = when_full(fill)
    soon = _within(when_full(replace(fill, growth=fill.coming)), policy.horizon)
    if not soon and not _at(fill, policy.grow_at):
        return RoomPlan(Action.KEEP, fill.size, full_in)
    spare = Bytes(max(0, free - max(policy.reserve, fill.size // 2)))
    to = next_size(fill, volume, chunk, spare, policy, granularity=granularity)
    if to is not None:
        return RoomPlan(Action.GROW, to, full_in)
    lost = _at(fill, policy.sacrifice_at) or _within(full_in, policy.horizon / 2)
    return RoomPlan(Action.SACRIFICE if lost else Action.KEEP, fill.size, full_in)


def _at(fill: Fill, share: float) -> bool:
    return fill.used >= share * fill.size


def _within(full_in: Seconds | None, seconds: float) -> bool:
    return full_in is not None and full_in < seconds
