"""What comes if writes go on as they do."""

from __future__ import annotations

import dataclasses

import pytest

from control.config import PoolSection
from control.forecast import CycleNow, expected_room, fills_in, forecast_cycle, throughput
from control.history import CycleWrites
from control.pattern import CHUNKS, Pattern
from control.pool.sizing import Action, Fill, full_room, initial_size, plan_room
from control.rates import AVERAGE_SECONDS, Growth, Rates, advance
from control.records import CycleKind, CycleRecord
from dm_tables.units import GIB, KIB, MIB, Bytes

CHUNK = Bytes(64 * KIB)
NOW = CycleNow(
    changed=10 * MIB,
    growth=1.0 * MIB,
    volume=Bytes(GIB),
    copying=0,
    throughput=10.0 * MIB,
    due=20.0,
    age=5.0,
)


def test_a_cycle_grows_until_it_is_due() -> None:
    found = forecast_cycle(NOW)
    assert (found.size, found.freeze_in) == (30 * MIB, 20.0)
    assert found.commit_in == 23.0
    assert found.lag == 28.0
    assert not found.falling_behind


def test_a_running_copy_holds_the_next_freeze_back() -> None:
    found = forecast_cycle(dataclasses.replace(NOW, copying=500 * MIB))
    assert found.freeze_in == found.commit_in == 50.0
    assert (found.size, found.lag) == (60 * MIB, 55.0)


def test_no_cycle_exceeds_the_volume() -> None:
    assert forecast_cycle(dataclasses.replace(NOW, due=1e9)).size == GIB


def test_what_is_not_known_is_not_foretold() -> None:
    found = forecast_cycle(dataclasses.replace(NOW, due=None, age=None))
    assert (found.size, found.freeze_in, found.commit_in, found.lag) == (10 * MIB, None, None, None)
    unmeasured = forecast_cycle(dataclasses.replace(NOW, throughput=0.0))
    assert unmeasured.freeze_in == 20.0
    assert unmeasured.commit_in is None


def test_writing_faster_than_copying_is_falling_behind() -> None:
    assert forecast_cycle(dataclasses.replace(NOW, growth=11.0 * MIB)).falling_behind
    assert not forecast_cycle(dataclasses.replace(NOW, throughput=0.0)).falling_behind


def test_room_fills_at_its_rate_or_never() -> None:
    assert fills_in(100, 10.0) == 10.0
    assert fills_in(0, 0.0) == 0.0
    assert fills_in(100, 0.0) is None


def test_a_resting_writer_is_expected_to_write_on() -> None:
    seen = advance(None, 1, 0, 0.0)
    for second in range(1, 61):
        seen = advance(seen, 1, second * MIB, float(second))
    assert seen.growth.now == MIB
    assert 0.8 * MIB < seen.growth.average < MIB
    resting = advance(seen, 1, seen.used, 61.0)
    assert resting.growth.now == 0
    assert resting.growth.expected > 0.8 * MIB
    long_after = advance(resting, 1, seen.used, 61.0 + 10 * AVERAGE_SECONDS)
    assert long_after.growth.expected < 0.001 * MIB


def test_a_new_layer_does_not_count_as_shrinking() -> None:
    seen = advance(advance(None, 1, 0, 0.0), 1, 30 * MIB, 30.0)
    fresh = advance(seen, 2, MIB, 31.0)
    assert fresh.growth == Growth(0.0, seen.growth.average)
    assert advance(fresh, 2, 2 * MIB, 31.0) == fresh


def test_rates_add_up() -> None:
    rates = Rates()
    for volume in ("a", "b"):
        rates.look(volume, 1, 0, 0.0)
        rates.look(volume, 1, 10, 1.0)
    assert rates.total().now == 20
    rates.forget("a")
    assert rates.total().now == 10
    assert rates.growth("a") == Growth()


def test_it_grows_before_the_forecast_says_and_gives_nothing_up_for_it() -> None:
    policy = PoolSection(reserve=Bytes(0))
    volume, size = Bytes(100 * GIB), Bytes(GIB)
    quiet = Fill(Bytes(300 * MIB), size, 0.0)
    assert plan_room(quiet, volume, CHUNK, Bytes(10 * GIB), policy).action is Action.KEEP
    burst = dataclasses.replace(quiet, expected=100.0 * MIB)
    assert plan_room(burst, volume, CHUNK, Bytes(10 * GIB), policy).action is Action.GROW
    assert plan_room(burst, volume, CHUNK, Bytes(0), policy).action is Action.KEEP
    now = dataclasses.replace(quiet, growth=100.0 * MIB)
    assert plan_room(now, volume, CHUNK, Bytes(0), policy).action is Action.SACRIFICE


def cycle(chunk: int, stored: int, touched: int, *, traced: bool = True) -> CycleWrites:
    pattern = Pattern(blocks=touched, touched=(touched,) * len(CHUNKS))
    return CycleWrites(1, 0.0, 1.0, Bytes(chunk), traced, stored, pattern, ())


@pytest.mark.parametrize(
    ("cycles", "chunks"),
    [
        ([], 0),
        ([cycle(4 * KIB, 999, 1600), cycle(4 * KIB, 5, 20)], 1600),
        ([cycle(64 * KIB, 1000, 0, traced=False)], 1000),
        ([cycle(MIB, 10, 0, traced=False)], 160),
        ([cycle(4 * KIB, 70, 0, traced=False)], 70),
    ],
)
def test_a_layer_is_expected_to_hold_what_the_largest_of_late_did(
    cycles: list[CycleWrites], chunks: int
) -> None:
    room = expected_room(cycles, CHUNK)
    assert 1.25 * chunks * CHUNK <= room <= 1.25 * (chunks + 3) * CHUNK * bool(chunks)


def test_a_new_one_is_made_as_large_as_expected_up_to_half_of_what_is_free() -> None:
    policy = PoolSection(initial=Bytes(64 * MIB), reserve=Bytes(0))
    volume, free = Bytes(100 * GIB), Bytes(8 * GIB)
    plain = initial_size(volume, CHUNK, free, policy)
    assert plain < 70 * MIB
    assert initial_size(volume, CHUNK, free, policy, expected=Bytes(MIB)) == plain
    assert GIB <= initial_size(volume, CHUNK, free, policy, expected=Bytes(GIB)) < GIB + 3 * MIB
    most = initial_size(volume, CHUNK, free, policy, expected=Bytes(50 * GIB))
    assert 4 * GIB <= most < 4 * GIB + 3 * MIB
    small = Bytes(32 * MIB)
    full = full_room(small, CHUNK)
    assert initial_size(small, CHUNK, free, policy, expected=Bytes(GIB)) == full


def test_throughput_is_that_of_committed_copies() -> None:
    done = CycleRecord(
        "m", "u", 1, 0.0, CycleKind.DELTA, "committed", changed_bytes=100, copy_seconds=4.0
    )
    running = dataclasses.replace(done, state="copying", changed_bytes=10**9)
    assert throughput([done, running]) == 25.0
    assert throughput([running]) == 0.0
