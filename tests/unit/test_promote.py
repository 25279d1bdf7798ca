"""A replica's layers as a source has them."""

from __future__ import annotations

from pathlib import Path

from control.pool.joined import REPLICA, SOURCE, handed
from control.promote import generation_of, stack_of
from control.records import LayerState
from control.replica.handover import HandedOver
from control.replica.records import CommittedRecord, Generation, LayerRecord, VolumeRecord
from control.spans import Span
from dm_tables.units import Bytes

SIZE = Bytes(1 << 20)


def committed(number: int, size: int = SIZE) -> CommittedRecord:
    made = Generation(number, f"uuid-{number}", f"uuid-{number - 1}", number * 10**9)
    return CommittedRecord("data", made, 0, Bytes(0), b"", 0, Bytes(size))


def given(base: int, *numbers: int, merging: bool = False) -> HandedOver:
    volume = VolumeRecord("data", "u", "source", SIZE, "data.base1", base)
    layers = tuple(
        LayerRecord("data", number, f"data.layer{number}", Bytes(4096), 1, merging and not place)
        for place, number in enumerate(numbers)
    )
    history = tuple(
        committed(number) for number in sorted((base, *numbers), reverse=True) if number
    )
    return HandedOver(volume, (Span(Path("/base"), Bytes(0), SIZE),), layers, history)


def test_layers_keep_their_order_and_generations_their_images() -> None:
    layers, images = stack_of(given(5, 6, 9, 12))
    assert [layer.sequence for layer in layers] == [6, 7, 10]
    assert {layer.state for layer in layers} == {LayerState.FROZEN}
    assert images == {5: 5, 6: 6, 9: 7, 12: 10}
    assert layers[0].object_name == "replica/data.layer6"


def test_a_base_that_is_half_merged_is_no_image() -> None:
    _, images = stack_of(given(5, 6, merging=True))
    assert images == {6: 6}
    assert generation_of("data", committed(5), images).layer == -1
    assert generation_of("data", committed(6), images).layer == 6


def test_all_merged_leaves_the_base_alone() -> None:
    layers, images = stack_of(given(7))
    assert (layers, images) == ([], {7: 7})


def test_a_seed_has_room_below_its_first_generation() -> None:
    layers, images = stack_of(given(0, 1))
    assert [layer.sequence for layer in layers] == [1]
    assert images == {1: 1}


def test_objects_are_called_so_that_either_side_finds_them() -> None:
    assert handed("data.7", SOURCE, REPLICA) == "source/data.7"
    assert handed("replica/data.layer7", SOURCE, REPLICA) == "data.layer7"
    assert handed(handed("x.1", SOURCE, REPLICA), REPLICA, SOURCE) == "x.1"
