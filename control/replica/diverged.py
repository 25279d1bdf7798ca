"""What a demoted source had that no other host has: kept as an image of its own.

Its layers stand on the generation that both sides have. As long as it is kept, that generation is
not merged past.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from control.replica.records import Chain, ChainLayer, Generation
from control.replica.retention import Rule
from control.wire.errors import ReplicaHeld
from dm_tables.errors import Precondition
from dm_tables.units import Bytes

if TYPE_CHECKING:
    from control.replica.store import ReplicaStore


BRANCHES: Final = 1_000_000_000
"""What diverged after generation N is numbered N above this: no source comes that far.

The other side goes on from N, so any number near it may be the next one that comes from there.
"""


@dataclass(frozen=True, slots=True)
class Diverged:
    """A branch: its generation, the common one that it stands on, and the layers between."""

    generation: Generation
    common: int
    layers: tuple[ChainLayer, ...]


class StillDiverged(Precondition):
    """What no other host has would be lost."""


def keep(store: ReplicaStore, name: str, common: int, layers: Sequence[ChainLayer]) -> None:
    """Keep layers over generation ``common``. Repeating it is harmless."""
    with store.lock, store.journal.transaction():
        if of(store, name) is not None:
            return
        parent = next(
            (one for one in store.journal.history(name) if one.generation.number == common), None
        )
        store.journal.points.save_diverged(
            name,
            Generation(
                BRANCHES + common,
                str(uuid4()),
                parent.generation.uuid if parent is not None else "",
                store.now(),
            ),
            common,
            json.dumps([[layer.object_name, layer.chunk] for layer in layers]),
        )
        store.journal.points.pin(name, common, Rule.DIVERGED)


def of(store: ReplicaStore, name: str) -> Diverged | None:
    """A volume's, if it has one."""
    row = store.journal.points.diverged(name)
    if row is None:
        return None
    generation, common, text = row
    layers = tuple(ChainLayer(made, Bytes(chunk)) for made, chunk in json.loads(text))
    return Diverged(generation, common, layers)


def chain_of(store: ReplicaStore, name: str, number: int, uuid: str) -> Chain | None:
    """The image of what diverged, if that is what is asked for."""
    found = of(store, name)
    if found is None or (not number and not uuid):
        return None
    if number not in (0, found.generation.number) or uuid not in ("", found.generation.uuid):
        return None
    below = store.chain(name, found.common)
    return replace(below, generation=found.generation, layers=(*below.layers, *found.layers))


def check_none_diverged(store: ReplicaStore, name: str) -> None:
    """:raises StillDiverged: a promote would go past what it stands on."""
    found = of(store, name)
    if found is not None:
        raise StillDiverged(
            f"{name} keeps what no other host has, as generation {found.generation.number}, "
            "and as a source it would not",
            f"look at it with frazil replica mount {name} --generation "
            f"{found.generation.number}, then give it up: frazil replica keep {name} "
            "--drop-diverged",
        )


def drop(store: ReplicaStore, name: str) -> None:
    """Give it up; nothing to do when there is none. :raises ReplicaHeld: a device shows it."""
    with store.lock, store.journal.transaction():
        found = of(store, name)
        if found is None:
            return
        if found.generation.number in store.held_numbers(name):
            raise ReplicaHeld(
                f"generation {found.generation.number} of {name} is in use",
                f"frazil replica unmount {name}",
            )
        forget(store, name)
    store.settle()


def forget(store: ReplicaStore, name: str) -> None:
    """Let its objects go, inside a transaction."""
    found = of(store, name)
    if found is not None:
        for layer in found.layers:
            store.journal.add_garbage(name, layer.object_name)
        store.journal.points.remove_diverged(name)
        store.journal.points.unpin(name, found.common, Rule.DIVERGED)
