"""What a cycle sends, what may be merged and when to freeze: decided from values (figure 8).

A generation is the image of the layer device that it names; auxiliary volume ``s`` holds what
changed since the layer device below it was frozen. So what brings a replica from one generation
to a newer one are the layers above the one's device, up to the other's.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from control.records import (
    CycleKind,
    GenerationRecord,
    LayerRecord,
    LayerState,
    Policy,
    StandingRecord,
)

NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class DeltaPlan:
    """What brings a replica to a generation.

    ``layers`` are the sequences whose chunks are needed: one for a delta, any number for a
    catch-up, every layer of the image for a whole copy. ``base_uuid`` is the generation that
    the replica must stand on; empty for a whole copy.
    """

    kind: CycleKind
    generation: GenerationRecord
    base_uuid: str
    layers: tuple[int, ...]


def plan_delta(
    standing: StandingRecord,
    generation: GenerationRecord,
    layers: Sequence[LayerRecord],
    *,
    follows: bool = True,
) -> DeltaPlan:
    """What to send so that the replica that stands at ``standing`` has ``generation``.

    Layers merged before their time are in the standing's ``lacking`` set; together with the
    layers that are still there it is everything since the committed generation.

    :param follows: False where that is not so, see :meth:`control.mirrored.Frozen.follows`.
    """
    there = [layer.sequence for layer in layers if layer.sequence <= generation.layer]
    if not standing.committed_uuid or standing.lacking_all or not follows:
        return DeltaPlan(CycleKind.WHOLE, generation, "", tuple(there))
    since = tuple(sequence for sequence in there if sequence > standing.committed_layer)
    single = len(since) == 1 and not standing.lacking
    kind = CycleKind.DELTA if single else CycleKind.CATCH_UP
    return DeltaPlan(kind, generation, standing.committed_uuid, since)


def mergeable(
    layers: Sequence[LayerRecord],
    standings: Sequence[StandingRecord],
    held: Collection[int],
) -> LayerRecord | None:
    """The lowest layer, if it may be merged into the spans now.

    It may when it is frozen, every replica has committed what its changes lead to (claim 13:
    after completion of copy), and no image below it is held.

    :param held: sequences of layer devices whose images something uses.
    """
    lowest = min(layers, key=lambda layer: layer.sequence, default=None)
    if lowest is None or lowest.state not in (LayerState.FROZEN, LayerState.MERGED):
        return None
    if any(standing.committed_layer < lowest.sequence for standing in standings):
        return None
    if any(layer < lowest.sequence for layer in held):
        return None
    return lowest


def lacks(standing: StandingRecord, layer: LayerRecord) -> bool:
    """Whether a replica still needs a layer's chunks, so that merging must remember them."""
    return bool(standing.committed_uuid) and standing.committed_layer < layer.sequence


@dataclass(frozen=True, slots=True)
class Readiness:
    """A running mirror, as its group's next freeze sees it.

    ``pending``: it has not committed the newest instant that it is to have. ``due_in`` seconds
    its next cycle may start; ``counts``: others wait for it.
    """

    pending: bool
    due_in: float
    counts: bool = True


def freeze_in(policy: Policy, quorum: int, mirrors: Sequence[Readiness]) -> float:
    """Seconds until the group's next freeze (claim 18; Table 2, row II).

    :return: :data:`NEVER` while nobody is due, or those that must commit first have not.
    """
    waiting = [mirror for mirror in mirrors if not mirror.pending]
    soonest = min((mirror.due_in for mirror in waiting), default=NEVER)
    counting = [mirror for mirror in mirrors if mirror.counts]
    behind = [mirror for mirror in counting if mirror.pending and mirror.due_in <= 0]
    if policy is Policy.LOCKSTEP and behind:
        return NEVER
    if policy is Policy.QUORUM:
        wanted = min(quorum, len(counting))
        if len(counting) - len(behind) < wanted:
            return NEVER
    return soonest


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is kept for a replica that does not come along; 0 for no limit.

    So many layers, so many bytes in them, layers frozen so many seconds ago. Past a limit, the
    layers are merged and what the replica lacks of them is remembered as a set.
    """

    layers: int = 8
    size: int = 0
    age: float = 0.0


def outgrown(
    limits: Limits,
    standing: StandingRecord,
    layers: Sequence[tuple[LayerRecord, int]],
    frozen_at: dict[int, float],
    now: float,
) -> bool:
    """Whether more is kept for a replica than the limits say.

    :param layers: with the bytes that each takes.
    :param frozen_at: when the image of a layer device was frozen, by its sequence.
    """
    kept = [
        (layer, size)
        for layer, size in layers
        if layer.state is LayerState.FROZEN and layer.sequence > standing.committed_layer
    ]
    if limits.layers and len(kept) > limits.layers:
        return True
    if limits.size and sum(size for _, size in kept) > limits.size:
        return True
    oldest = min((frozen_at.get(layer.sequence, now) for layer, _ in kept), default=now)
    return bool(limits.age) and now - oldest > limits.age
