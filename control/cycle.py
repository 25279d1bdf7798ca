"""What a cycle sends and what may be merged: decided from values alone (figure 8).

Generation ``g`` is the image of layer device ``g - 1``; auxiliary volume ``s`` holds what
changed from generation ``s`` to generation ``s + 1``.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from control.records import CycleKind, GenerationRecord, LayerRecord, LayerState, MirrorRecord


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
    mirror: MirrorRecord, generation: GenerationRecord, layers: Sequence[LayerRecord]
) -> DeltaPlan:
    """What to send so that the replica of ``mirror`` has ``generation``.

    Layers merged before their time are in the mirror's ``lacking`` set; together with the layers
    that are still there it is everything since the committed generation.
    """
    image = generation.number - 1
    there = [layer.sequence for layer in layers if layer.sequence <= image]
    if not mirror.committed_uuid or mirror.lacking_all:
        return DeltaPlan(CycleKind.WHOLE, generation, "", tuple(there))
    since = tuple(sequence for sequence in there if sequence >= mirror.committed_number)
    follows = generation.number == mirror.committed_number + 1
    if follows and since == (image,) and not mirror.lacking:
        return DeltaPlan(CycleKind.DELTA, generation, mirror.committed_uuid, since)
    return DeltaPlan(CycleKind.CATCH_UP, generation, mirror.committed_uuid, since)


def mergeable(
    bottom: int,
    layers: Sequence[LayerRecord],
    mirrors: Sequence[MirrorRecord],
    held: Collection[int],
) -> LayerRecord | None:
    """The lowest layer, if it may be merged into the spans now.

    It may when it is frozen, every mirror has committed the generation that its changes lead to
    (claim 13: after completion of copy), and no held generation is older than that.
    """
    lowest = min(layers, key=lambda layer: layer.sequence, default=None)
    if lowest is None or lowest.state not in (LayerState.FROZEN, LayerState.MERGED):
        return None
    if lowest.sequence != bottom + 1:
        return None
    leads_to = lowest.sequence + 1
    if any(mirror.committed_number < leads_to for mirror in mirrors):
        return None
    if any(generation < leads_to for generation in held):
        return None
    return lowest


def lacks(mirror: MirrorRecord, layer: LayerRecord) -> bool:
    """Whether ``mirror`` still needs ``layer``'s chunks, so that merging must remember them."""
    return bool(mirror.committed_uuid) and mirror.committed_number <= layer.sequence
