"""The trace in a running frazil: what it survives, what ends it; no image depends on it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from tests.pair import MIB, PATIENT, Pair, Volume, Writer, running_pair
from tests.traced_mirror import (
    INSIDE,
    SOCKET,
    arrived,
    journaled,
    live,
    trace_of,
    tracer,
    until_ready,
    why_untraced,
)
from vagrant.cluster import HostSettings

pytestmark = [pytest.mark.guest, pytest.mark.timeout(1800)]

BLOCK = 4096
SIZE = 24 * MIB


@pytest.fixture(scope="module")
def traced() -> Iterator[Pair]:
    with running_pair(source=HostSettings(trace=True, extra=PATIENT)) as pair:
        yield pair


@pytest.fixture(scope="module")
def volume(traced: Pair) -> Volume:
    """A volume with a mirror, whose live layer is traced."""
    made = traced.volume("data", SIZE)
    until_ready(traced)
    made.mirror()
    made.sync()
    return made


@pytest.fixture(scope="module")
def writer(volume: Volume) -> Iterator[Writer]:
    made = volume.writer(seed=5)
    yield made
    made.quit()


def test_a_traced_layer_arrives(volume: Volume, writer: Writer) -> None:
    layer = live(volume)
    assert trace_of(layer) == ("traced", "")
    writer.write(20)
    arrived(volume, writer)
    assert why_untraced(volume, layer["sequence"]) == ""


def test_a_daemon_that_is_killed_loses_nothing_of_the_trace(volume: Volume, writer: Writer) -> None:
    source, replica = volume.pair.source, volume.pair.replica
    epoch, layer = tracer(volume.pair)["epoch"], live(volume)["sequence"]
    before = volume.now().recent[-1].window
    writer.write(12)
    source.kill()
    writer.write(12)
    source.start()
    writer.write(12)
    assert tracer(volume.pair)["epoch"] == epoch
    since = [before.begin_ns, before.end_ns]
    places = writer.ask("places", chunk=BLOCK, since=since, until=None)
    # Nobody to copy to: the frozen layer stays, and what was traced of it.
    replica.kill()
    source.frazil("mirror", "sync-now", volume.name)
    source.until(
        "the trace is journaled",
        lambda: journaled(volume, layer)["state"] not in ("", "watched"),
    )
    found = journaled(volume, layer)
    assert (found["state"], found["why"]) == ("traced", "")
    assert set(places["certain"]) <= set(found["blocks"]) <= set(places["possible"])
    assert len(places["certain"]) > 30
    source.kill()
    source.start()
    assert journaled(volume, layer) == found
    replica.start()
    arrived(volume, writer)
    assert why_untraced(volume, layer) == ""


def test_a_tracer_that_is_killed_leaves_its_layer_untraced_and_the_next_one_not(
    volume: Volume, writer: Writer
) -> None:
    pair, layer = volume.pair, live(volume)["sequence"]
    writer.write(8)
    epoch = tracer(pair)["epoch"]
    pid = pair.source.guest.call(f"{INSIDE}:tracer_pid", SOCKET)
    pair.source.guest.run(["kill", "-9", str(pid)])
    pair.source.until("it is said", lambda: live(volume)["trace"] == "untraced")
    writer.write(8)
    arrived(volume, writer)
    assert "copied by whole chunks" in why_untraced(volume, layer)
    # The layer made at that freeze had no tracer either, and asked for a new one.
    until_ready(pair)
    assert tracer(pair)["epoch"] != epoch
    arrived(volume, writer)
    assert trace_of(live(volume)) == ("traced", "")
    writer.write(8)
    arrived(volume, writer)


def test_tracing_switched_off_in_mid_cycle(volume: Volume, writer: Writer) -> None:
    source, layer = volume.pair.source, live(volume)["sequence"]
    settings = source.settings
    writer.write(8)
    source.kill()
    source.settings = dataclasses.replace(settings, trace=False)
    source.configure()
    source.start()
    writer.write(8)
    assert trace_of(live(volume)) == ("untraced", "tracing is switched off")
    arrived(volume, writer)
    assert "tracing is switched off" in why_untraced(volume, layer)
    writer.write(8)
    arrived(volume, writer)
    source.kill()
    source.settings = settings
    source.configure()
    source.start()
    until_ready(volume.pair)


def test_live_readings_follow_the_writes(volume: Volume) -> None:
    volume.sync()
    assert trace_of(live(volume)) == ("traced", "")
    words = f"dd if=/dev/urandom of={volume.head} bs=4096 count=23 seek=4 oflag=direct conv=notrunc"
    volume.pair.source.guest.run(f"{words} status=none")
    found = volume.pair.source.json("freeze-table", volume.name, "--live", "--count", "1")
    assert (found["blocks"], found["chunks"], found["writes"]) == (23, 2, 23)
    assert found["trace"] == "traced"
