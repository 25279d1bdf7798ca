"""With chunks of 1 MiB only the 4 KiB blocks that were written travel, and the images agree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.pair import MIB, PATIENT, Pair, Volume, running_pair
from vagrant.cluster import HostSettings
from vagrant.cluster.cycles import Cycle

pytestmark = pytest.mark.guest

SIZE = 96 * MIB
BLOCK = 4096
WRITES = 48


@pytest.fixture(scope="module")
def traced() -> Iterator[Volume]:
    """A volume with chunks of 1 MiB whose live layer is traced, its mirror one cycle on."""
    with running_pair(HostSettings(extra=PATIENT, trace=True)) as pair:
        volume = pair.volume("fine", SIZE, chunk=MIB)
        pair.source.until("the tracer is made", lambda: _tracer(pair), timeout=300, pause=2)
        assert _tracer(pair) == "ready"
        fill = f"dd if=/dev/urandom of={volume.head} bs=1M count={SIZE // MIB} oflag=direct"
        pair.source.guest.run(f"{fill} status=none")
        volume.mirror()
        volume.sync()
        yield volume


def _tracer(pair: Pair) -> str:
    """What became of the tracer; empty while it is being made."""
    state = str(pair.source.json("host")["tracer"]["state"])
    return "" if state in ("missing", "compiling") else state


def scattered(volume: Volume, seed: int) -> int:
    """Write 4 KiB into each of :data:`WRITES` chunks; the bytes written."""
    words = (volume.head, MIB, WRITES, seed)
    written = volume.pair.source.guest.call("tests.workload.scatter:scatter", *words, timeout=300.0)
    assert isinstance(written, int)
    return written


def layer(volume: Volume) -> dict[str, Any]:
    """The newest layer, as ``frazil volume show`` tells of it."""
    found: dict[str, Any] = volume.pair.source.json("volume", "show", volume.name)["layers"][-1]
    return found


def arrived(volume: Volume) -> Cycle:
    """One more generation, which the replica shows as the source does."""
    cycle = volume.sync()
    assert cycle.kind == "delta"
    assert volume.frozen_digest(cycle.generation) == volume.replica_digest(cycle.generation)
    return cycle


def test_what_was_written_is_what_is_sent(traced: Volume) -> None:
    assert layer(traced)["trace"] == "traced"
    written = scattered(traced, 1)
    cycle = arrived(traced)
    print(f"{cycle.sent} bytes were sent for {written} that were written")
    assert cycle.changed == written == WRITES * BLOCK
    assert written < cycle.sent <= 1.05 * written


def test_a_tracer_killed_in_mid_cycle_costs_bytes_only(traced: Volume) -> None:
    """The control too: without the trace the same writes cost 256 times as much."""
    scattered(traced, 2)
    assert layer(traced)["trace"] == "traced"
    traced.pair.source.guest.run("kill -9 $(pgrep -f '[b]pf.tracer')")
    written = scattered(traced, 3)
    cycle = arrived(traced)
    assert cycle.changed >= 256 * written
