"""What a trace loses is noticed: the layer is untraced, and the images are the same."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from dm_tables.errors import Kind
from tests.pair import MIB, PATIENT, Pair, Volume, Writer, running_pair
from tests.traced_mirror import arrived, live, start_tracer, trace_of, tracer, why_untraced
from vagrant.cluster import HostSettings
from vagrant.lab import GuestProcess

pytestmark = [pytest.mark.guest, pytest.mark.timeout(1800)]

SIZE = 24 * MIB
REGIONS = 4
"""Of 2 MiB: a sixth of the volume."""

BROKEN = "tests.sabotage.tracer"


@pytest.fixture(scope="module")
def traced() -> Iterator[Pair]:
    with running_pair(source=HostSettings(trace=True, extra=PATIENT)) as pair:
        yield pair


@contextmanager
def tracing(pair: Pair, *words: str) -> Iterator[GuestProcess]:
    """A tracer of this test's own."""
    process = start_tracer(pair, *words)
    yield process
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def mirrored(traced: Pair) -> Iterator[tuple[Volume, Writer]]:
    """A mirrored volume, and its writer."""
    # So that the daemon does not start its own.
    with tracing(traced, "bpf.tracer"):
        volume = traced.volume("data", SIZE)
        volume.mirror()
        volume.sync()
    writer = volume.writer(seed=7)
    yield volume, writer
    writer.quit()


def new_layer(volume: Volume) -> int:
    """A layer that the tracer of now has."""
    volume.sync()
    layer = live(volume)
    assert trace_of(layer) == ("traced", "")
    return int(layer["sequence"])


def found_lossy(volume: Volume, layer: int, why: str) -> None:
    """The live layer is said to be untraced, and why."""
    shown = live(volume)
    assert (shown["sequence"], shown["trace"]) == (layer, "untraced")
    assert why in shown["untraced_reason"]


def test_a_full_map(mirrored: tuple[Volume, Writer]) -> None:
    volume, writer = mirrored
    with tracing(volume.pair, "bpf.tracer", "--regions", str(REGIONS)):
        layer = new_layer(volume)
        writer.write(16)
        found_lossy(volume, layer, "the map of blocks was full")
        arrived(volume, writer)
    assert "the map of blocks was full" in why_untraced(volume, layer)


def test_a_program_that_is_detached(mirrored: tuple[Volume, Writer]) -> None:
    volume, writer = mirrored
    with tracing(volume.pair, BROKEN, "detaches-on-signal", "--") as process:
        layer = new_layer(volume)
        writer.write(8)
        process.kill(signal.SIGUSR1)
        writer.write(8)
        found_lossy(volume, layer, "the program was detached")
        arrived(volume, writer)
        assert trace_of(live(volume))[0] == "untraced"
        assert tracer(volume.pair)["state"] == "failed"
    assert "the program was detached" in why_untraced(volume, layer)


def test_events_that_are_dropped(mirrored: tuple[Volume, Writer]) -> None:
    volume, writer = mirrored
    with tracing(volume.pair, BROKEN, "drops-odd-blocks", "--"):
        layer = new_layer(volume)
        writer.write(16)
        found_lossy(volume, layer, "the map was being changed")
        arrived(volume, writer)
    assert "the map was being changed" in why_untraced(volume, layer)


def test_without_the_check_of_losses_the_images_differ(mirrored: tuple[Volume, Writer]) -> None:
    """The negative control: each chunk has a traced block, so the store cannot tell either."""
    pair = mirrored[0].pair
    with tracing(pair, BROKEN, "drops-odd-blocks", "hides-losses", "--"):
        volume = pair.volume("control", SIZE, chunk=MIB, disk="d1")
        volume.mirror()
        layer = new_layer(volume)
        for at in (0, 4096):
            words = (volume.head, MIB, SIZE // MIB, 1, at)
            pair.source.guest.call("tests.workload.scatter:scatter", *words)
        assert trace_of(live(volume)) == ("traced", "")
        cycle = volume.sync()
        assert why_untraced(volume, layer) == ""
    frozen = volume.frozen_digest(cycle.generation)
    assert frozen != volume.replica_digest(cycle.generation)
    assert pair.source.frazil("verify", volume.name, check=False).code == Kind.CORRUPT
