"""Hours of the week: nothing is open before it opens, whatever the hours and the clock."""

from __future__ import annotations

from datetime import datetime

from hypothesis import given
from hypothesis import strategies as st

from control.hours import parse_hours
from tests.clocks import CENTRAL

TIMES = st.integers(0, 24 * 60 - 1)


@given(
    day=st.sampled_from(["Mon", "Thu", "Sat-Mon", "Wed-Fri"]),
    begin=TIMES,
    length=st.integers(1, 24 * 60 - 1),
    minute=st.integers(0, 53 * 7 * 24 * 60),
)
def test_nothing_is_open_before_it_opens(day: str, begin: int, length: int, minute: int) -> None:
    end = (begin + length) % (24 * 60)
    text = f"{day} {begin // 60:02}:{begin % 60:02}-{end // 60:02}:{end % 60:02}"
    hours = parse_hours(text)
    when = datetime.fromtimestamp(1_760_000_000 // 60 * 60 + minute * 60, CENTRAL)
    opens = hours.next_open(when)
    assert hours.open_at(opens)
    seconds = int(opens.timestamp() - when.timestamp())
    assert 0 <= seconds <= 8 * 86400
    for step in range(0, seconds, 60 * 7):
        assert not hours.open_at(datetime.fromtimestamp(when.timestamp() + step, CENTRAL))
    if seconds:
        assert not hours.open_at(datetime.fromtimestamp(opens.timestamp() - 60, CENTRAL))
