"""What a cycle sends, and what may be merged: decided from values alone."""

from __future__ import annotations

import dataclasses

from control.cycle import (
    NEVER,
    Limits,
    Readiness,
    freeze_in,
    lacks,
    mergeable,
    outgrown,
    plan_delta,
)
from control.records import (
    CycleKind,
    GenerationRecord,
    LayerRecord,
    LayerState,
    Policy,
    StandingRecord,
)
from dm_tables.units import Bytes

CHUNK = Bytes(65536)


def layer(sequence: int, state: LayerState = LayerState.FROZEN) -> LayerRecord:
    return LayerRecord("data", sequence, f"data.{sequence}", CHUNK, state)


def generation(number: int) -> GenerationRecord:
    return GenerationRecord("data", number, f"uuid-{number}", f"uuid-{number - 1}", 1.0, number - 1)


def standing(committed: int, lacking: bytes = b"", lacking_all: bool = False) -> StandingRecord:
    record = StandingRecord("m", "data", lacking=lacking, lacking_all=lacking_all)
    if not committed:
        return record
    return dataclasses.replace(
        record,
        committed_uuid=f"uuid-{committed}",
        committed_number=committed,
        committed_layer=committed - 1,
    )


LIVE_4 = layer(4, LayerState.LIVE)


def test_the_first_cycle_is_a_whole_copy() -> None:
    plan = plan_delta(standing(0), generation(1), [layer(1, LayerState.LIVE)])
    assert (plan.kind, plan.base_uuid, plan.layers) == (CycleKind.WHOLE, "", ())


def test_a_whole_copy_late_in_a_volumes_life_needs_every_layer_of_its_image() -> None:
    plan = plan_delta(standing(0), generation(4), [layer(2), layer(3), LIVE_4])
    assert (plan.kind, plan.layers) == (CycleKind.WHOLE, (2, 3))


def test_the_next_cycle_sends_one_frozen_auxiliary_volume() -> None:
    plan = plan_delta(standing(3), generation(4), [layer(3), LIVE_4])
    assert (plan.kind, plan.base_uuid, plan.layers) == (CycleKind.DELTA, "uuid-3", (3,))


def test_generations_that_were_passed_over_are_caught_up_with() -> None:
    plan = plan_delta(standing(2), generation(4), [layer(2), layer(3), LIVE_4])
    assert (plan.kind, plan.base_uuid, plan.layers) == (CycleKind.CATCH_UP, "uuid-2", (2, 3))


def test_what_was_merged_before_its_time_makes_a_catch_up() -> None:
    plan = plan_delta(standing(3, lacking=b"set"), generation(4), [layer(3), LIVE_4])
    assert plan.kind is CycleKind.CATCH_UP
    gone = plan_delta(standing(2, lacking=b"set"), generation(4), [LIVE_4])
    assert (gone.kind, gone.layers) == (CycleKind.CATCH_UP, ())


def test_a_layer_already_committed_is_not_sent_again() -> None:
    plan = plan_delta(standing(3), generation(4), [layer(2), layer(3), LIVE_4])
    assert plan.layers == (3,)


def test_unknown_lack_is_a_whole_copy() -> None:
    plan = plan_delta(standing(3, lacking_all=True), generation(4), [layer(3), LIVE_4])
    assert (plan.kind, plan.base_uuid) == (CycleKind.WHOLE, "")


def test_merging_waits_for_every_replica_that_counts() -> None:
    layers = [layer(3), LIVE_4]
    assert mergeable(layers, [standing(4)], []) == layers[0]
    assert mergeable(layers, [standing(4), standing(3)], []) is None
    assert mergeable(layers, [], []) == layers[0]


def test_merging_leaves_the_live_layer_and_held_images_alone() -> None:
    assert mergeable([LIVE_4], [standing(9)], []) is None
    assert mergeable([layer(3), LIVE_4], [standing(4)], [2]) is None
    assert mergeable([layer(3), LIVE_4], [standing(4)], [3]) is not None


def test_only_the_lowest_layer_is_merged() -> None:
    assert mergeable([layer(4), layer(3)], [standing(9)], []) == layer(3)


def test_a_mirror_lacks_a_layer_until_it_committed_what_it_leads_to() -> None:
    assert lacks(standing(3), layer(3))
    assert not lacks(standing(4), layer(3))
    assert not lacks(standing(0), layer(3)), "with nothing committed, a whole copy comes anyway"


def test_sequences_may_have_gaps() -> None:
    nine = dataclasses.replace(generation(12), layer=9)
    plan = plan_delta(standing(5), nine, [layer(4), layer(9), layer(12, LayerState.LIVE)])
    assert (plan.kind, plan.layers) == (CycleKind.DELTA, (9,))


def freeze(policy: Policy, *mirrors: Readiness, quorum: int = 0) -> float:
    return freeze_in(policy, quorum, mirrors)


READY, SOON = Readiness(pending=False, due_in=0), Readiness(pending=False, due_in=7)
BEHIND = Readiness(pending=True, due_in=0)
DOWN = Readiness(pending=True, due_in=0, counts=False)
LATER = Readiness(pending=True, due_in=1800)


def test_in_lockstep_the_slowest_replica_that_counts_is_waited_for() -> None:
    assert freeze(Policy.LOCKSTEP, READY, BEHIND) == NEVER
    assert freeze(Policy.LOCKSTEP, READY, READY) == 0
    assert freeze(Policy.LOCKSTEP, READY, DOWN) == 0
    assert freeze(Policy.LOCKSTEP, SOON, DOWN) == 7
    assert freeze(Policy.LOCKSTEP, READY, LATER) == 0, "it is not due itself"
    assert freeze(Policy.LOCKSTEP, DOWN) == NEVER, "nobody would take what is frozen"


def test_a_quorum_waits_for_so_many() -> None:
    assert freeze(Policy.QUORUM, READY, READY, BEHIND, quorum=2) == 0
    assert freeze(Policy.QUORUM, READY, BEHIND, BEHIND, quorum=2) == NEVER
    assert freeze(Policy.QUORUM, READY, DOWN, DOWN, quorum=2) == 0, "more do not count"
    assert freeze(Policy.QUORUM, READY, BEHIND, DOWN, quorum=2) == NEVER


def test_independent_replicas_hold_nobody_back() -> None:
    assert freeze(Policy.INDEPENDENT, READY, BEHIND) == 0
    assert freeze(Policy.INDEPENDENT, BEHIND) == NEVER


def test_what_is_kept_for_a_replica_has_limits() -> None:
    layers = [(layer(number), 100) for number in range(3, 8)] + [(layer(8, LayerState.LIVE), 100)]
    frozen = {number: 1000.0 + number for number in range(3, 8)}
    assert not outgrown(Limits(layers=5), standing(3), layers, frozen, 2000.0)
    assert outgrown(Limits(layers=4), standing(3), layers, frozen, 2000.0)
    assert not outgrown(Limits(layers=4), standing(4), layers, frozen, 2000.0)
    assert outgrown(Limits(0, size=499), standing(3), layers, frozen, 2000.0)
    assert not outgrown(Limits(0, size=500), standing(3), layers, frozen, 2000.0)
    assert outgrown(Limits(0, age=60.0), standing(3), layers, frozen, 1064.0)
    assert not outgrown(Limits(0, age=60.0), standing(3), layers, frozen, 1063.0)
    assert not outgrown(Limits(0), standing(3), layers, frozen, 1e9)
