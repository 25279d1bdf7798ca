"""How large an auxiliary volume is made, when it grows, when there is no room left."""

from __future__ import annotations

import pytest

from control.config import PoolSection
from control.pool.errors import PoolFull
from control.pool.sizing import (
    Action,
    Fill,
    full_room,
    initial_size,
    next_size,
    plan_room,
    safe_size,
    when_full,
)
from control.store.layout import is_treacherous
from control.units_text import Seconds
from dm_tables.units import GIB, KIB, MIB, Bytes

CHUNK = Bytes(64 * KIB)
VOLUME = Bytes(100 * GIB)
POLICY = PoolSection(reserve=Bytes(0))


def treacherous_size(chunk: Bytes, granularity: int, least: int) -> Bytes:
    """The smallest treacherous size from ``least`` on, of whole ``granularity``."""
    size = -(-least // granularity) * granularity
    while not is_treacherous(size // chunk, chunk):
        size += granularity
    return Bytes(size)


def test_a_safe_size_is_left_alone_and_a_treacherous_one_is_not() -> None:
    bad = treacherous_size(Bytes(4 * KIB), MIB, 1)
    assert safe_size(Bytes(bad - MIB), Bytes(4 * KIB)) == bad - MIB
    assert safe_size(bad, Bytes(4 * KIB)) == bad + MIB
    assert safe_size(Bytes(bad - MIB + 1), Bytes(4 * KIB)) == bad + MIB


@pytest.mark.parametrize("chunk", [4 * KIB, 16 * KIB, 64 * KIB, MIB])
def test_full_room_holds_every_chunk_and_its_metadata(chunk: int) -> None:
    room = full_room(Bytes(GIB + 512), Bytes(chunk))
    chunks = GIB // chunk + 1
    areas = chunks // (chunk // 16) + 1
    assert room >= (1 + chunks + areas) * chunk
    assert room < (1 + chunks + areas) * chunk + 2 * MIB


def test_a_small_volume_starts_with_full_room() -> None:
    volume = Bytes(512 * MIB)
    size = initial_size(volume, CHUNK, Bytes(10 * GIB), POLICY)
    assert size == full_room(volume, CHUNK)


def test_a_large_volume_starts_with_a_quarter_of_what_is_free() -> None:
    size = initial_size(VOLUME, CHUNK, Bytes(10 * GIB), POLICY)
    assert 2.5 * GIB <= size <= 2.5 * GIB + 2 * MIB


def test_little_is_free_and_it_starts_with_the_least() -> None:
    assert initial_size(VOLUME, CHUNK, Bytes(100 * MIB), POLICY) == 64 * MIB


def test_less_is_free_than_the_least() -> None:
    with pytest.raises(PoolFull) as caught:
        initial_size(VOLUME, CHUNK, Bytes(63 * MIB), POLICY)
    assert (caught.value.wanted, caught.value.free) == (64 * MIB, 63 * MIB)


def test_a_tiny_volume_needs_no_more_than_its_own_room() -> None:
    assert initial_size(Bytes(8 * MIB), CHUNK, Bytes(20 * MIB), POLICY) == 9 * MIB


def test_the_reserve_is_for_a_new_one_and_never_for_growing() -> None:
    policy = PoolSection(reserve=Bytes(64 * MIB))
    assert initial_size(VOLUME, CHUNK, Bytes(64 * MIB), policy) == 64 * MIB
    full = Fill(Bytes(60 * MIB), Bytes(64 * MIB), 0)
    assert plan_room(full, VOLUME, CHUNK, Bytes(64 * MIB), policy).action is Action.SACRIFICE
    grown = plan_room(full, VOLUME, CHUNK, Bytes(80 * MIB), policy)
    assert (grown.action, grown.to) == (Action.GROW, 72 * MIB)


def test_growing_leaves_room_to_move_on_from_a_large_one() -> None:
    large = Fill(Bytes(900 * MIB), Bytes(1000 * MIB), 0)
    assert plan_room(large, VOLUME, CHUNK, Bytes(500 * MIB), POLICY).action is Action.SACRIFICE
    grown = plan_room(large, VOLUME, CHUNK, Bytes(600 * MIB), POLICY)
    assert (grown.action, grown.to) == (Action.GROW, 1050 * MIB)


def test_what_the_configuration_says_counts() -> None:
    policy = PoolSection(initial=Bytes(5 * MIB), reserve=Bytes(0))
    assert initial_size(VOLUME, CHUNK, Bytes(10 * GIB), policy) == 5 * MIB
    assert initial_size(Bytes(2 * MIB), CHUNK, Bytes(10 * GIB), policy) == 3 * MIB
    with pytest.raises(PoolFull):
        initial_size(VOLUME, CHUNK, Bytes(4 * MIB), policy)


@pytest.mark.parametrize(("free", "size"), [(2000, 1000), (900, 225), (100, 64)])
def test_what_is_configured_is_more_than_is_free_and_it_starts_with_less(
    free: int, size: int
) -> None:
    policy = PoolSection(initial=Bytes(1000 * MIB), reserve=Bytes(0))
    assert initial_size(VOLUME, CHUNK, Bytes(free * MIB), policy) == size * MIB


def test_when_full() -> None:
    assert when_full(Fill(Bytes(MIB), Bytes(3 * MIB), MIB)) == 2.0
    assert when_full(Fill(Bytes(MIB), Bytes(3 * MIB), 0)) is None
    assert when_full(Fill(Bytes(3 * MIB), Bytes(3 * MIB), 0)) == 0.0


def test_it_doubles() -> None:
    fill = Fill(Bytes(32 * MIB), Bytes(64 * MIB), 0)
    assert next_size(fill, VOLUME, CHUNK, Bytes(GIB), POLICY) == 128 * MIB


def test_it_grows_by_more_when_writes_are_fast() -> None:
    fill = Fill(Bytes(32 * MIB), Bytes(64 * MIB), 100.0 * MIB)
    size = next_size(fill, VOLUME, CHUNK, Bytes(100 * GIB), POLICY)
    assert size is not None
    assert size >= 2 * (32 + 30 * 100) * MIB


def test_it_takes_half_of_what_is_free_unless_it_needs_all() -> None:
    calm = Fill(Bytes(32 * MIB), Bytes(64 * MIB), 0)
    assert next_size(calm, VOLUME, CHUNK, Bytes(20 * MIB), POLICY) == 74 * MIB
    hurried = Fill(Bytes(60 * MIB), Bytes(64 * MIB), 10.0 * MIB)
    assert next_size(hurried, VOLUME, CHUNK, Bytes(20 * MIB), POLICY) == 84 * MIB


def test_it_never_grows_past_full_room() -> None:
    volume = Bytes(100 * MIB)
    fill = Fill(Bytes(60 * MIB), Bytes(64 * MIB), 1e9)
    assert next_size(fill, volume, CHUNK, Bytes(GIB), POLICY) == full_room(volume, CHUNK)


@pytest.mark.parametrize("free", [0, MIB - 1])
def test_there_is_no_room_to_grow(free: int) -> None:
    fill = Fill(Bytes(32 * MIB), Bytes(64 * MIB), 0)
    assert next_size(fill, VOLUME, CHUNK, Bytes(free), POLICY) is None


def test_what_is_free_ends_at_a_treacherous_size_so_it_stops_before() -> None:
    chunk = Bytes(4 * KIB)
    bad = treacherous_size(chunk, MIB, 64 * MIB)
    fill = Fill(Bytes(bad - 5 * MIB), Bytes(bad - 4 * MIB), 1e9)
    assert next_size(fill, VOLUME, chunk, Bytes(4 * MIB), POLICY) == bad - MIB


@pytest.mark.parametrize(
    ("used", "growth", "free", "action"),
    [
        (10, 0.0, 1000, Action.KEEP),
        (32, 0.0, 1000, Action.GROW),
        (10, 2.0, 1000, Action.GROW),
        (10, 1.7, 1000, Action.KEEP),
        (32, 0.0, 0, Action.KEEP),
        (52, 0.0, 0, Action.SACRIFICE),
        (32, 1.5, 0, Action.KEEP),
        (32, 2.5, 0, Action.SACRIFICE),
    ],
)
def test_what_to_do_about_room(used: int, growth: float, free: int, action: Action) -> None:
    fill = Fill(Bytes(used * MIB), Bytes(64 * MIB), growth * MIB)
    plan = plan_room(fill, VOLUME, CHUNK, Bytes(free * MIB), POLICY)
    assert plan.action is action
    assert (plan.to > fill.size) is (action is Action.GROW)
    assert plan.full_in == when_full(fill)


def test_full_room_never_needs_anything() -> None:
    volume = Bytes(8 * MIB)
    size = full_room(volume, CHUNK)
    plan = plan_room(Fill(size, size, 1e9), volume, CHUNK, Bytes(0), POLICY)
    assert (plan.action, plan.full_in) == (Action.KEEP, None)


def test_the_policy_is_the_configuration() -> None:
    fill = Fill(Bytes(10 * MIB), Bytes(64 * MIB), MIB)
    eager = PoolSection(grow_at=0.1)
    far = PoolSection(horizon=Seconds(120.0))
    for policy in (eager, far):
        assert plan_room(fill, VOLUME, CHUNK, Bytes(GIB), policy).action is Action.GROW
