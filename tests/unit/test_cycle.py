"""What a cycle sends, and what may be merged: decided from values alone."""

from __future__ import annotations

import dataclasses

from control.cycle import lacks, mergeable, plan_delta
from control.records import (
    CycleKind,
    GenerationRecord,
    LayerRecord,
    LayerState,
    MirrorRecord,
    MirrorState,
)
from dm_tables.units import Bytes

CHUNK = Bytes(65536)


def layer(sequence: int, state: LayerState = LayerState.FROZEN) -> LayerRecord:
    return LayerRecord("data", sequence, f"data.{sequence}", CHUNK, state)


def generation(number: int) -> GenerationRecord:
    return GenerationRecord("data", number, f"uuid-{number}", f"uuid-{number - 1}", 1.0)


def mirror(committed: int, lacking: bytes = b"", lacking_all: bool = False) -> MirrorRecord:
    record = MirrorRecord(
        "m", "data", "peer:1", "data", MirrorState.RUNNING, 0, 0, False, False, False
    )
    return dataclasses.replace(
        record,
        committed_uuid=f"uuid-{committed}" if committed else "",
        committed_number=committed,
        lacking=lacking,
        lacking_all=lacking_all,
    )


LIVE_4 = layer(4, LayerState.LIVE)


def test_the_first_cycle_is_a_whole_copy() -> None:
    plan = plan_delta(mirror(0), generation(1), [layer(1, LayerState.LIVE)])
    assert (plan.kind, plan.base_uuid, plan.layers) == (CycleKind.WHOLE, "", ())


def test_a_whole_copy_late_in_a_volumes_life_needs_every_layer_of_its_image() -> None:
    plan = plan_delta(mirror(0), generation(4), [layer(2), layer(3), LIVE_4])
    assert (plan.kind, plan.layers) == (CycleKind.WHOLE, (2, 3))


def test_the_next_cycle_sends_one_frozen_auxiliary_volume() -> None:
    plan = plan_delta(mirror(3), generation(4), [layer(3), LIVE_4])
    assert (plan.kind, plan.base_uuid, plan.layers) == (CycleKind.DELTA, "uuid-3", (3,))


def test_generations_that_were_passed_over_are_caught_up_with() -> None:
    plan = plan_delta(mirror(2), generation(4), [layer(2), layer(3), LIVE_4])
    assert (plan.kind, plan.base_uuid, plan.layers) == (CycleKind.CATCH_UP, "uuid-2", (2, 3))


def test_what_was_merged_before_its_time_makes_a_catch_up() -> None:
    plan = plan_delta(mirror(3, lacking=b"set"), generation(4), [layer(3), LIVE_4])
    assert plan.kind is CycleKind.CATCH_UP
    gone = plan_delta(mirror(2, lacking=b"set"), generation(4), [LIVE_4])
    assert (gone.kind, gone.layers) == (CycleKind.CATCH_UP, ())


def test_a_layer_already_committed_is_not_sent_again() -> None:
    plan = plan_delta(mirror(3), generation(4), [layer(2), layer(3), LIVE_4])
    assert plan.layers == (3,)


def test_unknown_lack_is_a_whole_copy() -> None:
    plan = plan_delta(mirror(3, lacking_all=True), generation(4), [layer(3), LIVE_4])
    assert (plan.kind, plan.base_uuid) == (CycleKind.WHOLE, "")


def test_merging_waits_for_every_replica_that_counts() -> None:
    layers = [layer(3), LIVE_4]
    assert mergeable(2, layers, [mirror(4)], []) == layers[0]
    assert mergeable(2, layers, [mirror(4), mirror(3)], []) is None
    assert mergeable(2, layers, [], []) == layers[0]


def test_merging_leaves_the_live_layer_and_held_images_alone() -> None:
    assert mergeable(3, [LIVE_4], [mirror(9)], []) is None
    assert mergeable(2, [layer(3), LIVE_4], [mirror(4)], [3]) is None
    assert mergeable(2, [layer(3), LIVE_4], [mirror(4)], [4]) is not None


def test_only_the_lowest_layer_is_merged() -> None:
    assert mergeable(2, [layer(4), layer(3)], [mirror(9)], []) == layer(3)
    assert mergeable(1, [layer(3), layer(4)], [mirror(9)], []) is None


def test_a_mirror_lacks_a_layer_until_it_committed_what_it_leads_to() -> None:
    assert lacks(mirror(3), layer(3))
    assert not lacks(mirror(4), layer(3))
    assert not lacks(mirror(0), layer(3)), "with nothing committed, a whole copy comes anyway"
