"""The trace in a running frazil: what it survives, what ends it; no image depends on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.pair import MIB, PATIENT, Pair, Volume, running_pair
from vagrant.cluster import HostSettings

pytestmark = pytest.mark.guest

INSIDE = "tests.guest.inside.tracing"
BLOCK = 4096
SIZE = 24 * MIB


@pytest.fixture(scope="module")
def traced() -> Iterator[Pair]:
    with running_pair(source=HostSettings(trace=True, extra=PATIENT)) as pair:
        yield pair


def until(what: Callable[[], bool], limit: float = 240.0) -> None:
    """Wait for something."""
    end = time.monotonic() + limit
    while not what():
        assert time.monotonic() < end, what
        time.sleep(0.3)


def tracer(pair: Pair) -> dict[str, Any]:
    found: dict[str, Any] = pair.source.json("host")["tracer"]
    return found


def live(volume: Volume) -> dict[str, Any]:
    """The live layer."""
    shown = volume.pair.source.json("volume", "show", volume.name)
    return next(layer for layer in shown["layers"] if layer["state"] == "live")


def mirrored(pair: Pair, name: str, disk: str, chunk: int = 65536) -> Volume:
    """A volume whose live layer is traced."""
    volume = pair.volume(name, SIZE, chunk=chunk, disk=disk)
    until(lambda: tracer(pair)["state"] == "ready")
    volume.mirror()
    volume.sync()
    assert (live(volume)["trace"], live(volume)["untraced_reason"]) == ("traced", "")
    return volume


def test_a_daemon_that_is_killed_loses_nothing_of_the_trace(traced: Pair) -> None:
    volume = mirrored(traced, "killed", "d0")
    epoch = tracer(traced)["epoch"]
    layer = live(volume)["sequence"]
    writer = volume.writer(seed=5)
    writer.write(12)
    traced.source.kill()
    writer.write(12)
    traced.source.start()
    writer.write(12)
    assert tracer(traced)["epoch"] == epoch
    places = writer.ask("places", chunk=BLOCK, since=None, until=None)
    # Nobody to copy to: the frozen layer stays, and what was traced of it.
    traced.replica.kill()
    traced.source.frazil("mirror", "sync-now", volume.name)
    until(lambda: journaled(volume, layer)["state"] not in ("", "watched"))
    found = journaled(volume, layer)
    assert (found["state"], found["why"]) == ("traced", "")
    assert set(places["certain"]) <= set(found["blocks"]) <= set(places["possible"])
    assert len(places["certain"]) > 30
    traced.source.kill()
    traced.source.start()
    assert journaled(volume, layer) == found
    traced.replica.start()
    cycle = volume.sync()
    assert volume.replica_digest(cycle.generation) == volume.frozen_digest(cycle.generation)
    writer.quit()


def test_a_tracer_that_is_killed_leaves_its_layer_untraced_and_the_next_one_not(
    traced: Pair,
) -> None:
    volume = mirrored(traced, "orphan", "d1")
    writer = volume.writer(seed=6)
    writer.write(8)
    epoch = tracer(traced)["epoch"]
    pid = traced.source.guest.call(f"{INSIDE}:tracer_pid", "/run/frazil/tracer.sock")
    traced.source.guest.run(["kill", "-9", str(pid)])
    until(lambda: live(volume)["trace"] == "untraced", 10)
    writer.write(8)
    cycle = volume.sync()
    assert volume.replica_digest(cycle.generation) == volume.frozen_digest(cycle.generation)
    events = traced.source.frazil("events", "--level", "warning").out
    assert "is untraced, and copied by whole chunks" in events
    # The layer made at that freeze had no tracer either, and asked for a new one.
    until(lambda: tracer(traced)["state"] == "ready")
    assert tracer(traced)["epoch"] != epoch
    volume.sync()
    assert live(volume)["trace"] == "traced"
    writer.write(4)
    cycle = volume.sync()
    assert volume.replica_digest(cycle.generation) == volume.frozen_digest(cycle.generation)
    writer.quit()


def test_live_readings_follow_the_writes(traced: Pair) -> None:
    volume = mirrored(traced, "live", "d2", chunk=MIB)
    words = f"dd if=/dev/urandom of={volume.head} bs=4096 count=23 seek=7 oflag=direct conv=notrunc"
    traced.source.guest.run(f"{words} status=none")
    found = traced.source.json("freeze-table", volume.name, "--live", "--count", "1")
    assert (found["blocks"], found["chunks"], found["writes"]) == (23, 1, 23)
    assert found["trace"] == "traced"


def journaled(volume: Volume, layer: int) -> dict[str, Any]:
    found: dict[str, Any] = volume.pair.source.guest.call(f"{INSIDE}:journaled", volume.name, layer)
    return found
