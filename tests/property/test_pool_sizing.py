"""Sizes that auxiliary volumes are made and grown to, against what must hold of every one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from control.config import PoolSection
from control.pool.errors import PoolFull
from control.pool.sizing import Action, Fill, full_room, initial_size, plan_room, safe_size
from control.store.layout import is_treacherous
from dm_tables.units import GIB, KIB, MIB, SECTOR, Bytes

CHUNKS = st.sampled_from([Bytes(4 * KIB << shift) for shift in range(9)])
GRANULARITIES = st.sampled_from([Bytes(MIB), Bytes(4 * MIB), Bytes(32 * MIB)])
VOLUMES = st.integers(1, 64 * GIB // SECTOR).map(lambda n: Bytes(n * SECTOR))
FREE = st.integers(0, 200 * GIB).map(Bytes)
POLICY = PoolSection()


def must_hold(size: Bytes, chunk: Bytes, granularity: Bytes) -> None:
    """Every size that is ever given to an auxiliary volume."""
    assert size % granularity == 0
    assert size % chunk == 0
    assert not is_treacherous(size // chunk, chunk)


@given(st.integers(1, 64 * GIB).map(Bytes), CHUNKS, GRANULARITIES)
def test_a_safe_size_is_at_least_what_was_asked(size: Bytes, chunk: Bytes, unit: Bytes) -> None:
    safe = safe_size(size, chunk, granularity=unit)
    must_hold(safe, chunk, unit)
    assert size <= safe < size + 3 * unit


@given(VOLUMES, CHUNKS, FREE, GRANULARITIES, st.integers(0, 1 << 45).map(Bytes))
def test_a_new_one_fits_and_is_no_larger_than_it_can_need(
    volume: Bytes, chunk: Bytes, free: Bytes, unit: Bytes, expected: Bytes
) -> None:
    try:
        size = initial_size(volume, chunk, free, POLICY, granularity=unit, expected=expected)
    except PoolFull:
        assert free < safe_size(Bytes(64 * MIB), chunk, granularity=unit)
        return
    must_hold(size, chunk, unit)
    assert size <= free
    assert size <= full_room(volume, chunk, granularity=unit)


@given(
    VOLUMES,
    CHUNKS,
    FREE,
    GRANULARITIES,
    st.integers(1, 2048),
    st.floats(0, 1),
    st.floats(0, 1e10),
)
def test_growing_never_leaves_what_is_safe_and_free(
    volume: Bytes,
    chunk: Bytes,
    free: Bytes,
    unit: Bytes,
    units: int,
    share: float,
    growth: float,
) -> None:
    size = safe_size(Bytes(units * unit), chunk, granularity=unit)
    fill = Fill(Bytes(int(size * share)), size, growth)
    plan = plan_room(fill, volume, chunk, free, POLICY, granularity=unit)
    if plan.action is not Action.GROW:
        assert plan.to == size
        return
    must_hold(plan.to, chunk, unit)
    assert size < plan.to <= size + free - POLICY.reserve
    assert plan.to <= full_room(volume, chunk, granularity=unit)


@given(VOLUMES, CHUNKS, GRANULARITIES, st.floats(0, 2e8))
def test_with_room_in_the_pool_a_steady_writer_never_overflows(
    volume: Bytes, chunk: Bytes, unit: Bytes, growth: float
) -> None:
    """Asked once a second, room always comes before it is needed."""
    size = safe_size(Bytes(64 * MIB), chunk, granularity=unit)
    full = full_room(volume, chunk, granularity=unit)
    used = 0
    for _ in range(60):
        fill = Fill(Bytes(used), size, growth)
        size = plan_room(fill, volume, chunk, Bytes(1 << 50), POLICY, granularity=unit).to
        used = min(int(used + growth), full)
        assert used <= size
