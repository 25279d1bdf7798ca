"""Live layers that nobody writes to, and that take more of the pool than a new one would."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from control.context import Context
from control.records import LayerState
from control.volume import Volume, room_of_layer
from dm_tables.errors import FrazilError
from dm_tables.status import Usage
from dm_tables.units import Bytes


@dataclass(frozen=True, slots=True)
class Resting:
    """What folding a live layer gives, and what has to be merged for it with the head waiting."""

    volume: Volume
    gain: int
    cost: int


def is_short(context: Context, volumes: Sequence[Volume]) -> bool:
    """Whether a freeze of one of the volumes found no room, and there is not enough of it yet."""
    wanted = _wanted(context, volumes)
    return bool(wanted) and context.pool.free() < wanted


def _wanted(context: Context, volumes: Sequence[Volume]) -> int:
    """What the freezes that found no room lack most; nothing is done for one that never can."""
    found = [volume.wanted_room for volume in volumes if volume.wanted_room]
    size = context.pool.size() if found else 0
    return max((wanted for wanted in found if wanted <= size), default=0)


def resting(context: Context, volumes: Sequence[Volume]) -> list[Volume]:
    """The volumes whose live layers may be folded so that a freeze has its room, best first.

    That is the one with the least to be merged, if it is enough, else the one that gives most.
    None, if all of them together do not give enough, or something is merged first.
    """
    mirrors = {mirror.name for mirror in context.journal.mirrors()}
    if any(volume.next_merge(spare=mirrors) is not None for volume in volumes):
        return []
    lacking = _wanted(context, volumes) - _left(context)
    found = [one for volume in volumes if (one := _found(context, volume)) is not None]
    if sum(one.gain for one in found) < lacking:
        return []
    found.sort(key=lambda one: (one.gain < lacking, one.cost if one.gain >= lacking else -one.gain))
    return [one.volume for one in found]


def _left(context: Context) -> int:
    """What is free; negative where more is taken than is allowed."""
    return context.pool.size() - context.pool.used()


def _found(context: Context, volume: Volume) -> Resting | None:
    """What folding gives; None: it gives nothing, or somebody writes to it, or needs it as it is.

    Nor is anything folded whose head would find no room for the next layer: it would go on
    untracked.
    """
    layers = volume.layers
    if [layer.state for layer in layers] != [LayerState.LIVE] or volume.held_layers():
        return None
    (live,), policy, growth = layers, context.config.pool, context.rates.growth(volume.name)
    if volume.stalled or not volume.stack.head.exists():
        return None
    if growth.now or growth.average * policy.horizon >= context.pool.granularity:
        return None
    taken = context.pool.taken().get(live.object_name, 0)
    free, chunk = Bytes(_left(context) + taken), volume.next_chunk().chunk
    try:
        status = volume.layer_status(live)
        gain = taken - room_of_layer(context, volume.uuid, volume.size, chunk, free)
    except FrazilError:
        return None
    if gain <= 0 or not isinstance(status, Usage):
        return None
    return Resting(volume, gain, status.allocated)
