"""How a live mirror's volume is written: seen in views, figures and forecasts, and followed.

What frazil says of the writes is compared with the writer's own log.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.pair import MIB, PATIENT, Pair, Volume, Writer, digest, running_pair
from tests.traced_mirror import arrived, live, trace_of, until_ready
from tests.workload.judge import Window
from vagrant.cluster import HostSettings

pytestmark = [pytest.mark.guest, pytest.mark.timeout(1800)]

SIZE = 64 * MIB
BLOCK = 4096
FIRST_CHUNK = 64 << 10
FIRST_ROOM = 8 * MIB
LARGE = 128 << 10
PORT = 9420
SETTINGS = f"""{PATIENT}
[metrics]
address = "127.0.0.1:{PORT}"
[pool]
initial = "8MiB"
grow_at = 0.8
sacrifice_at = 0.9
"""
SHORT, LONG = 'horizon = "1s"\n', 'horizon = "10m"\n'
"""How far ahead room is made: for nothing that a test writes, and for everything."""

FEW = 40
"""Small writes that fill a third of a new auxiliary volume, in chunks of 64 KiB."""

STREAMED = 20
"""Writes of a stream in a cycle: evidence enough with those of three more."""

BEFORE = 16
"""Small writes of the first cycle, from which it is known how fast a copy is."""


@dataclass(frozen=True)
class Mirrored:
    """The one volume of these tests."""

    pair: Pair
    volume: Volume
    writer: Writer
    since: Window
    """When the layer on which the tests begin became the live one."""

    def shown(self) -> dict[str, Any]:
        """``frazil volume show``."""
        found: dict[str, Any] = self.pair.source.json("volume", "show", self.volume.name)
        return found

    def status(self) -> dict[str, Any]:
        """``frazil mirror status``."""
        found: dict[str, Any] = self.pair.source.json("mirror", "status", self.volume.name)
        return found["mirrors"][0]  # type: ignore[no-any-return]

    def metrics(self) -> dict[str, float]:
        """What Prometheus would read of this volume, by the metrics' names."""
        get = f"from urllib.request import urlopen as u; print(u('http://127.0.0.1:{PORT}/metrics')"
        text = self.pair.source.guest.run(["python3", "-c", f"{get}.read().decode())"]).text
        samples = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return {name.split("{")[0]: float(value) for name, value in samples}

    def written(self) -> tuple[int, int]:
        """(writes, bytes) by the writer's log."""
        log = self.writer.ask("status")
        assert log["failed"] == ""
        return log["writes"], log["bytes"]

    def until_written(self, more: int) -> None:
        """Wait for so many writes more."""
        enough = self.written()[0] + more
        self.pair.source.until("it is written", lambda: self.written()[0] >= enough)

    def places(self, chunk: int, since: Window, until: Window | None) -> dict[str, list[int]]:
        """The chunks that were written between two freezes, by the writer's log."""
        since_ns = [since.begin_ns, since.end_ns]
        until_ns = [until.begin_ns, until.end_ns] if until else None
        asked = self.writer.ask("places", chunk=chunk, since=since_ns, until=until_ns)
        found: dict[str, list[int]] = asked
        return found

    def restart(self, extra: str) -> None:
        """The daemon with another configuration."""
        source = self.pair.source
        source.kill()
        source.settings = dataclasses.replace(source.settings, extra=extra)
        source.configure()
        source.start()


@pytest.fixture(scope="module")
def mirrored() -> Iterator[Mirrored]:
    """A mirror with an hour between its freezes; its live layer is traced, and nothing written."""
    with running_pair(source=HostSettings(trace=True, extra=SETTINGS + SHORT)) as pair:
        volume = pair.volume("live", SIZE, chunk=None)
        until_ready(pair)
        volume.mirror("--interval", "1h")
        volume.sync()
        writer = volume.writer(seed=11)
        writer.write(BEFORE, "small")
        cycle = volume.sync()
        layer = live(volume)
        assert trace_of(layer) == ("traced", "")
        assert (layer["chunk_bytes"], layer["size_bytes"]) == (FIRST_CHUNK, FIRST_ROOM)
        yield Mirrored(pair, volume, writer, cycle.window)
        writer.quit()


def test_room_is_forecast(mirrored: Mirrored) -> None:
    mirrored.writer.write(FEW, "small", pause=0.1)
    source = mirrored.pair.source
    room = source.until(
        "the layer was looked at",
        lambda: (found := mirrored.shown()["room"])["average_bytes_per_second"] and found,
    )
    layer, figures = live(mirrored.volume), mirrored.metrics()
    assert layer["chunks"] == len(mirrored.places(FIRST_CHUNK, mirrored.since, None)["certain"])
    assert layer["chunks"] * FIRST_CHUNK < layer["used_bytes"] < FIRST_ROOM / 2
    assert 0 < room["layer_full_seconds"] < room["pool_full_seconds"]
    assert figures["frazil_layer_used_bytes"] == layer["used_bytes"]
    assert figures["frazil_layer_chunk_bytes"] == FIRST_CHUNK
    assert figures["frazil_layer_full_seconds"] > 0
    assert figures["frazil_pool_full_seconds"] > figures["frazil_layer_full_seconds"]
    assert "the live layer in" in source.frazil("volume", "show", mirrored.volume.name).out


def test_a_layer_grows_before_the_forecast_says_that_it_is_full(mirrored: Mirrored) -> None:
    """The control comes first: by how full it is alone, it does not grow."""
    assert live(mirrored.volume)["size_bytes"] == FIRST_ROOM
    mirrored.restart(SETTINGS + LONG)
    for _ in range(FEW // 2):
        mirrored.writer.write(2, "small")
        if live(mirrored.volume)["size_bytes"] > FIRST_ROOM:
            break
    assert live(mirrored.volume)["size_bytes"] > FIRST_ROOM
    assert live(mirrored.volume)["used_bytes"] < FIRST_ROOM * 0.8
    assert trace_of(live(mirrored.volume)) == ("traced", "")
    assert " grown: " in mirrored.pair.source.frazil("events").out


def test_views_and_forecasts_of_a_writer_at_work(mirrored: Mirrored) -> None:
    source, name = mirrored.pair.source, mirrored.volume.name
    mirrored.writer.ask("start", pause=0.02, pattern="small")
    before = mirrored.written()[0] - BEFORE
    out = source.frazil("freeze-table", name, "--live", "--count", "2", "--json").out
    after = mirrored.written()[0] - BEFORE
    first, second = map(json.loads, out.splitlines())
    # One may be under way.
    assert before - 1 <= first["writes"] <= second["writes"] <= after
    assert second["writes_per_second"] > 0
    assert second["bytes"] == second["writes"] * BLOCK
    assert second["chunks"] <= second["blocks"] <= second["writes"]
    assert second["sizes"][3] == second["writes"]

    coming = mirrored.status()["forecast"]
    assert first["chunks"] * FIRST_CHUNK < coming["bytes"] <= SIZE
    assert 0 < coming["freeze_seconds"] <= 3600
    assert coming["freeze_seconds"] <= coming["commit_seconds"] <= coming["lag_seconds"]
    figures = mirrored.metrics()
    assert figures["frazil_volume_dirty_rate_bytes"] > 0
    assert 0 < figures["frazil_mirror_next_cycle_bytes"] <= SIZE
    assert figures["frazil_mirror_next_lag_seconds"] > 0
    assert figures["frazil_mirror_consistent_age_seconds"] > 0
    assert (figures["frazil_mirror_healthy"], figures["frazil_mirror_running"]) == (1, 1)
    told = source.frazil("mirror", "status", name).out
    assert "lag up to" in told
    assert "next commit in" in told


def test_small_random_writes_get_small_chunks(mirrored: Mirrored) -> None:
    """Its writer goes on meanwhile."""
    for _ in range(5):
        mirrored.volume.sync()
        if live(mirrored.volume)["chunk_bytes"] == BLOCK:
            break
    layer = live(mirrored.volume)
    assert layer["chunk_bytes"] == BLOCK
    assert layer["chunk_reason"].startswith("4 KiB: ")
    assert "most of 4.0 KiB" in layer["chunk_reason"]
    mirrored.writer.ask("stop")


def test_every_write_was_counted_to_its_cycle(mirrored: Mirrored) -> None:
    cycle = arrived(mirrored.volume, mirrored.writer)
    writes, size = mirrored.written()
    source = mirrored.pair.source
    source.until(
        "the history has it",
        lambda: mirrored.metrics()["frazil_volume_writes_total"] >= writes,
    )
    figures = mirrored.metrics()
    assert figures["frazil_volume_writes_total"] == writes
    assert figures["frazil_volume_written_bytes_total"] == size
    rows = [row for row in source.json("heatmap", mirrored.volume.name)["rows"] if row["frozen"]]
    assert sum(row["writes"] for row in rows) == writes
    windows = {past.generation: past.window for past in mirrored.volume.now().recent}
    for row in rows:
        assert row["traced"]
        assert sum(row["counts"]) == row["blocks"]
        sequence = row["sequence"]
        places = mirrored.places(BLOCK, windows[sequence], windows[sequence + 1])
        assert len(places["certain"]) <= row["blocks"] <= len(places["possible"])
    assert rows[-1]["sequence"] + 1 == cycle.generation


def test_a_stream_gets_large_chunks_on_top_of_small_ones(mirrored: Mirrored) -> None:
    pair, volume, source = mirrored.pair, mirrored.volume, mirrored.pair.source
    mirrored.writer.ask("start", pause=0.05, pattern="streamed")
    for _ in range(7):
        mirrored.until_written(STREAMED)
        volume.sync()
        source.until("the history has it", lambda: _is_recorded(mirrored))
        if mirrored.shown()["chunk_bytes"] >= LARGE:
            break
    # While nobody takes it, the frozen layer stays where it is.
    before = live(volume)
    pair.replica.kill()
    source.frazil("mirror", "sync-now", volume.name)
    source.until("it is frozen", lambda: live(volume)["sequence"] > before["sequence"])
    source.until("others are merged", lambda: len(mirrored.shown()["layers"]) == 2)
    shown = mirrored.shown()
    frozen, top = shown["layers"]
    assert (frozen["state"], frozen["chunk_bytes"]) == ("frozen", before["chunk_bytes"])
    assert frozen["chunk_bytes"] < LARGE <= top["chunk_bytes"]
    said = f"layer {top['sequence']} has chunks of {top['chunk_reason']}"
    assert said in source.frazil("volume", "show", volume.name).out
    assert f"chunks of {shown['chunk_reason']}" in source.frazil("status").out
    mirrored.writer.ask("stop")
    assert digest(source.guest, volume.head) == mirrored.writer.digest()
    pair.replica.start()
    arrived(volume, mirrored.writer)
    mirrored.writer.write(8)
    arrived(volume, mirrored.writer)


def _is_recorded(mirrored: Mirrored) -> bool:
    """Whether the history has the newest frozen layer."""
    rows = mirrored.pair.source.json("heatmap", mirrored.volume.name)["rows"]
    return bool(rows[-2]["sequence"] + 1 == live(mirrored.volume)["sequence"])
