"""A replica's stack changes sides: to a source of this host, and back (promote and demote).

Only rows move: base and layers stay where they are, so it takes no longer for a large volume.
Each way is one transaction of the replica's journal, and can be repeated: what was handed over is
remembered until the volume comes back or is removed, for a crash before the source has it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise

from control.replica.bases import base_of
from control.replica.journal import spans_of, spans_text
from control.replica.records import (
    ROLE_PROMOTED,
    ROLE_REPLICA,
    CommittedRecord,
    LayerRecord,
    VolumeRecord,
)
from control.replica.store import ReplicaStore
from control.spans import Span, size_of
from control.wire.errors import GenerationNotFound, NotAStack, ReplicaBusy, VolumeNameTaken
from dm_tables.names import volume_name
from dm_tables.units import Bytes


@dataclass(frozen=True, slots=True)
class HandedOver:
    """What a source needs of a replica: the volume as it was, its layers and its history.

    ``base`` is the base, with the pool's object that ``volume.base_object`` names as its last
    span, if any. ``layers`` are lowest first; one that is ``merging`` is the lowest, and some of
    it is in the base already, so that merging it goes on or begins anew. ``history`` is newest
    first.
    """

    volume: VolumeRecord
    base: tuple[Span, ...]
    layers: tuple[LayerRecord, ...]
    history: tuple[CommittedRecord, ...]

    @property
    def images(self) -> tuple[int, ...]:
        """The generations whose image is there, oldest first."""
        numbers = [layer.number for layer in self.layers]
        whole = not any(layer.merging for layer in self.layers) and self.volume.base_number
        return (self.volume.base_number, *numbers) if whole else tuple(numbers)


def hand_over(store: ReplicaStore, name: str) -> HandedOver:
    """Give a volume's base and layers away; what is left is a record that says so.

    What was coming in is dropped. Repeating it gives the same again, whatever became of it. The
    caller sees to it that nobody writes the volume, nor merges it.

    :raises ReplicaNotFound: there is none. :raises GenerationNotFound: nothing is committed.
    :raises ReplicaHeld: a device or a reader has a generation.
    :raises ReplicaBusy: a layer is being merged.
    """
    with store.lock, store.journal.transaction():
        volume = store.volume(name)
        history = tuple(store.journal.history(name))
        if volume.role == ROLE_PROMOTED:
            was, layers = _read(volume, store.journal.handed_over(name))
            return HandedOver(was, base_of(store.pool, was), layers, history)
        if not history:
            raise GenerationNotFound(
                f"{name} has no committed generation here, so there is nothing to promote"
            )
        store.check_removable(name)
        layers = tuple(store.journal.layers(name))
        if store.is_busy(layer.object_name for layer in layers):
            raise ReplicaBusy(f"a layer of {name} is being merged", "try again")
        given = HandedOver(volume, base_of(store.pool, volume), layers, history)
        store.discard_incoming(name)
        store.journal.remember_handed_over(name, _text(volume, layers))
        for layer in layers:
            store.journal.remove_layer(layer)
        store.journal.save_volume(
            replace(
                volume,
                base_object="",
                base_spans=(),
                base_number=history[0].generation.number,
                role=ROLE_PROMOTED,
                role_since=store.now(),
            )
        )
    store.settle()
    return given


def take_in(
    store: ReplicaStore,
    volume: VolumeRecord,
    layers: Sequence[LayerRecord],
    history: Sequence[CommittedRecord],
) -> VolumeRecord:
    """Make a replica of what was a source here, in the place of its record if there is one.

    Repeating it is harmless, also when generations have come since.

    :param volume: its base by ``base_spans``, ``base_object`` or both; ``base_number`` is the
        generation that the base is merged up to, 0 if it is none. Its role does not matter.
    :param layers: lowest first; each leads to its ``number``, the last to the newest generation.
    :param history: the generations that both sides have, at least the newest.
    :raises VolumeNameTaken: the name stands for something else.
    :raises NotAStack: the parts do not make up the newest generation. Nothing was changed.
    :raises ReplicaHeld: a device or a reader has a generation.
    """
    _check_stack(volume, layers, history)
    with store.lock, store.journal.transaction():
        there = store.journal.volume(volume.name)
        if there is not None:
            if there.volume_uuid != volume.volume_uuid:
                raise VolumeNameTaken(
                    f"{there.name} is here the replica of volume {there.volume_uuid}, not of "
                    f"{volume.volume_uuid}",
                    "remove the replica that has this name first",
                )
            if there.role != ROLE_PROMOTED:
                if _same_base(there, volume):
                    return there
                raise VolumeNameTaken(
                    f"{there.name} is a replica of this volume already, on another base",
                    "remove that replica first",
                )
            store.check_removable(volume.name)
            store.journal.forget_stack(volume.name)
        made = replace(volume, role=ROLE_REPLICA, role_since=store.now(), seed_uuid="")
        store.journal.save_volume(made)
        for layer in layers:
            store.journal.save_layer(replace(layer, volume=volume.name))
        for record in sorted(history, key=lambda one: one.generation.number):
            store.journal.add_committed(replace(record, volume=volume.name))
    store.settle()
    return made


def check_free(store: ReplicaStore, name: str, volume_uuid: str) -> None:
    """See that a source may become a replica of that name.

    :raises VolumeNameTaken: another has it, or one of the same volume that is no source's.
    """
    there = store.journal.volume(name)
    if there is None or (there.volume_uuid == volume_uuid and there.role == ROLE_PROMOTED):
        return
    raise VolumeNameTaken(
        f"there is a replica {name} here already, of "
        + ("this very volume" if there.volume_uuid == volume_uuid else "another volume"),
        f"if it can be spared, remove it first: frazil replica remove {name}",
    )


def _same_base(one: VolumeRecord, other: VolumeRecord) -> bool:
    """A base that grew since has the same beginning."""
    if one.base_spans or other.base_spans:
        return one.base_spans == other.base_spans
    return one.base_object == other.base_object


def _check_stack(
    volume: VolumeRecord, layers: Sequence[LayerRecord], history: Sequence[CommittedRecord]
) -> None:
    name = volume_name(volume.name)
    if not history:
        raise NotAStack(f"{name} has no generation that it could be a replica at")
    newest = max(record.generation.number for record in history)
    numbers = [volume.base_number, *(layer.number for layer in layers)]
    if any(low >= high for low, high in pairwise(numbers)):
        raise NotAStack(f"the layers of {name} are not in order: {numbers}")
    if numbers[-1] != newest:
        raise NotAStack(f"the stack of {name} leads to generation {numbers[-1]}, not {newest}")
    if any(layer.merging for layer in layers[1:]):
        raise NotAStack(f"a layer of {name} is being merged that is not the lowest")
    if not volume.base_object and size_of(volume.base_spans) < volume.size:
        raise NotAStack(
            f"the base of {name} has {size_of(volume.base_spans)} bytes, the volume {volume.size}"
        )


def _text(volume: VolumeRecord, layers: Sequence[LayerRecord]) -> str:
    kept = {
        "base_object": volume.base_object,
        "base_number": volume.base_number,
        "base_spans": spans_text(volume.base_spans),
        "role_since": volume.role_since,
        "layers": [asdict(layer) for layer in layers],
    }
    return json.dumps(kept)


def _read(volume: VolumeRecord, text: str) -> tuple[VolumeRecord, tuple[LayerRecord, ...]]:
    kept = json.loads(text)
    was = replace(
        volume,
        role=ROLE_REPLICA,
        role_since=kept["role_since"],
        base_object=kept["base_object"],
        base_number=kept["base_number"],
        base_spans=spans_of(kept["base_spans"]),
    )
    layers = [replace(LayerRecord(**one), chunk=Bytes(one["chunk"])) for one in kept["layers"]]
    return was, tuple(layers)
