"""Which layers of a source become one, so that the stack stays low for a slow replica."""

from __future__ import annotations

from control.records import LayerRecord, LayerState
from control.squashing import ENOUGH, pair_to_squash
from dm_tables.units import Bytes


def stack(height: int, size: int = 4096) -> list[LayerRecord]:
    """Layers 1 to ``height``, the last one live."""
    return [
        LayerRecord(
            "data",
            number,
            f"data.{number}",
            Bytes(4096),
            LayerState.LIVE if number == height else LayerState.FROZEN,
            Bytes(size),
        )
        for number in range(1, height + 1)
    ]


def pair(layers: list[LayerRecord], held: set[int], bases: set[int]) -> tuple[int, int] | None:
    found = pair_to_squash(layers, held, bases)
    return (found[0].sequence, found[1].sequence) if found is not None else None


def test_a_low_stack_is_left_alone() -> None:
    assert pair(stack(ENOUGH), set(), set()) is None


def test_the_oldest_two_become_one() -> None:
    assert pair(stack(ENOUGH + 1), set(), set()) == (1, 2)


def test_what_is_copied_and_what_it_needs_stays() -> None:
    assert pair(stack(9), {3}, set()) == (4, 5)
    assert pair(stack(9), {3, 5}, set()) == (6, 7)
    assert pair(stack(9), {7}, set()) is None, "only one frozen layer is above it"


def test_no_layer_reaches_across_what_a_replica_has() -> None:
    assert pair(stack(9), set(), {1, 2}) == (3, 4)


def test_layers_of_different_sizes_stay_apart() -> None:
    grown = [*stack(4, 4096)[:3], *stack(9, 8192)[3:]]
    assert pair(grown, {2}, set()) == (4, 5)
