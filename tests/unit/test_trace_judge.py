"""The judge of traces under freezes calls right right, and each wrong wrong."""

from __future__ import annotations

import pytest

from tests.guest.inside.trace_freezes import Frozen, Written, judged

FREEZE = [Frozen(0.95, 1.0, 1.3)]
BEFORE, HELD, EITHER, BEHIND = (
    Written(1, 1, 0.0, 0.5),
    Written(2, 2, 1.1, 1.5),
    Written(3, 3, 0.9, 1.4),
    Written(4, 4, 2.0, 2.1),
)


@pytest.mark.parametrize(
    ("traced", "missing", "foreign"),
    [
        ([{1, 3}, {2, 4}], 0, 0),
        ([{1}, {2, 3, 4}], 0, 0),
        ([{1, 3}, {2, 3, 4}], 0, 0),
        ([{1, 2, 3}, {4}], 1, 1),
        ([{1, 3}, {4}], 1, 0),
        ([{1}, {2, 4}], 1, 0),
        ([{3}, {1, 2, 4}], 1, 1),
        ([{1, 3, 9}, {2, 4}], 0, 1),
    ],
)
def test_what_a_trace_may_and_must_have(traced: list[set[int]], missing: int, foreign: int) -> None:
    found = judged([BEFORE, HELD, EITHER, BEHIND], FREEZE, traced)
    assert (found["missing"], found["foreign"], found["held"]) == (missing, foreign, 1)
