"""Cost follows change, not size: 4 TiB of volume costs a cycle what 4 GiB does.

Times are measured and printed, by ``tests.bench.scale``; what is asserted here does not depend
on the machine.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.bench.scale import CHANGED, CHUNK, SIZES, measure
from tests.pair import MIB, Pair

pytestmark = pytest.mark.guest


def test_a_thousand_times_the_size_costs_the_same(
    pair: Pair, record_property: Callable[[str, object], None]
) -> None:
    small, large = (measure(pair, name, size) for name, size in SIZES.items())
    record_property("time_ratio", large.seconds / small.seconds)
    print(small, large, sep="\n")
    assert small.chunks == large.chunks == CHANGED
    # Random 4 KiB in each chunk, the rest zeroes that compress away.
    assert large.sent < CHANGED * CHUNK
    assert large.sent < small.sent * 1.1
    for there, here in (
        (large.source_rss, small.source_rss),
        (large.replica_rss, small.replica_rss),
    ):
        assert there < here + 16 * MIB
