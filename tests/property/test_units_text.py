"""What is written exactly reads back the same; nothing makes the parsers fail untyped."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.units_text import (
    Rate,
    Seconds,
    exact_duration,
    exact_rate,
    exact_size,
    parse_duration,
    parse_rate,
    parse_size,
)
from dm_tables.errors import Usage
from dm_tables.units import Bytes


@given(st.one_of(st.integers(0, 1 << 63), st.integers(0, 1 << 20).map(lambda n: n << 20)))
def test_sizes_and_rates_survive_their_text(value: int) -> None:
    assert parse_size(exact_size(Bytes(value))) == value
    assert parse_rate(exact_rate(Rate(value))) == value


@given(st.integers(0, 10**13))
def test_durations_survive_their_text(microseconds: int) -> None:
    seconds = Seconds(microseconds / 1_000_000)
    assert parse_duration(exact_duration(seconds)) == pytest.approx(seconds, abs=1e-6)


@given(st.text(alphabet="0123456789.-+ kKmMgGiIbBshdw/µ", max_size=12))
def test_any_text_is_a_value_or_a_typed_error(text: str) -> None:
    parsers: list[Callable[[str], float]] = [parse_size, parse_duration, parse_rate]
    for parse in parsers:
        try:
            assert parse(text) >= 0
        except Usage as error:
            assert text in error.what
