"""Metrics: what Prometheus reads from a host."""

from __future__ import annotations

import dataclasses
import socket
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from control.config import ConfigError, read
from control.metrics import CannotServe, CycleTotals, Exporter, MetricsServer
from control.records import CycleKind, CycleRecord
from dm_tables.errors import NotFound
from proto.frazil.v1 import control_pb2 as pb
from proto.frazil.v1 import replica_pb2
from tests.unit.cli_messages import NOON, host, mirror, replica, volume

DONE = CycleRecord(
    "data-b", "u", 3, 1.0, CycleKind.DELTA, "committed",
    changed_bytes=100, sent_bytes=60, copy_seconds=2.0,
)  # fmt: skip


class Fake:
    """A host that stands still until a test moves it."""

    def __init__(self) -> None:
        self.journal = [DONE]
        self.volume = volume()
        self.volume.room.average_bytes_per_second = 5.5
        self.volume.room.pool_full_seconds = 90.0
        self.mirror = mirror("data-b")
        self.mirror.forecast.bytes = 1 << 20
        self.mirror.forecast.lag_seconds = 7.5

    def pool(self) -> pb.Pool:
        return host().pool

    def volumes(self) -> list[pb.Volume]:
        return [self.volume]

    def mirrors(self) -> list[pb.Mirror]:
        return [self.mirror]

    def replicas(self) -> list[replica_pb2.ReplicaVolume]:
        return [replica("kept"), replica_pb2.ReplicaVolume(name="empty")]

    def cycles(self, mirror: str) -> list[CycleRecord]:
        return self.journal

    def written(self, volume: str) -> tuple[int, int]:
        return 11, 45056


def samples(registry: CollectorRegistry) -> dict[tuple[str, str], float]:
    """Every sample by name and its labels' values."""
    return {
        (one.name, ",".join(one.labels.values())): one.value
        for family in registry.collect()
        for one in family.samples
    }


def registered(source: Fake, now: float) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Exporter(source, lambda: now))
    return registry


def test_both_ends_tell_the_age_of_the_last_consistent_point() -> None:
    source = Fake()
    frozen = source.mirror.committed.frozen_at.ToNanoseconds() / 1e9
    found = samples(registered(source, frozen + 12.5))
    assert found["frazil_mirror_consistent_age_seconds", "data-b,data"] == pytest.approx(12.5)
    kept = replica("kept").newest.frozen_at.ToNanoseconds() / 1e9
    age = found["frazil_replica_consistent_age_seconds", "kept"]
    assert age == pytest.approx(frozen + 12.5 - kept)
    assert ("frazil_replica_consistent_age_seconds", "empty") not in found
    assert found["frazil_replica_generation", "empty"] == 0


def test_a_clock_that_is_behind_gives_no_negative_age() -> None:
    assert (
        samples(registered(Fake(), NOON - 1000))[
            "frazil_mirror_consistent_age_seconds", "data-b,data"
        ]
        == 0
    )


def test_forecasts_that_there_are_and_those_that_are_not() -> None:
    found = samples(registered(Fake(), NOON))
    assert found["frazil_pool_full_seconds", "data"] == 90
    assert ("frazil_layer_full_seconds", "data") not in found
    assert found["frazil_mirror_next_cycle_bytes", "data-b,data"] == 1 << 20
    assert found["frazil_mirror_next_lag_seconds", "data-b,data"] == 7.5
    assert found["frazil_volume_dirty_rate_bytes", "data"] == 5.5
    assert found["frazil_layer_used_bytes", "data"] == 1 << 20
    assert found["frazil_volume_written_bytes_total", "data"] == 45056


def test_a_part_that_fails_takes_no_other_with_it(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Fake):
        def pool(self) -> pb.Pool:
            raise NotFound("the pool's disk is gone")

    found = samples(registered(Broken(), NOON))
    assert ("frazil_pool_free_bytes", "") not in found
    assert ("frazil_replica_consistent_age_seconds", "kept") in found
    assert "the pool's disk is gone" in caplog.text


def test_names_follow_the_conventions() -> None:
    for family in registered(Fake(), NOON).collect():
        assert family.name.startswith("frazil_")
        assert family.documentation
        for sample in family.samples:
            assert (family.type == "counter") == sample.name.endswith("_total")


def test_totals_count_new_cycles_once_and_never_fall() -> None:
    totals = CycleTotals()
    totals.add("m", [DONE])
    assert totals.of("m", "cycles") == 0
    fourth = dataclasses.replace(DONE, generation_number=4)
    running = dataclasses.replace(DONE, generation_number=5, state="copying")
    for _ in range(2):
        totals.add("m", [running, fourth, DONE])
    assert [totals.of("m", f) for f in ("cycles", "changed_bytes", "sent_bytes")] == [1, 100, 60]
    totals.add("m", [])
    totals.add("m", [dataclasses.replace(DONE, generation_number=1)])
    assert totals.of("m", "cycles") == 2


def test_it_is_served_as_prometheus_reads_it() -> None:
    server = MetricsServer(Fake(), "127.0.0.1:0")
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=10) as reply:
            text = reply.read().decode()
    finally:
        server.stop()
    families = {one.name: one for one in text_string_to_metric_families(text)}
    assert families["frazil_volume_writes"].type == "counter"
    assert families["frazil_volume_size_bytes"].samples[0].labels == {"volume": "data"}
    with pytest.raises(OSError):
        urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=2)


def test_an_address_that_is_taken_is_said() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(CannotServe, match=address):
            MetricsServer(Fake(), address)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('[metrics]\naddress = "10.0.0.1:9420"', "metrics.address"),
        ('[volume]\nchunk_size = "48KiB"', "volume.chunk_size"),
        ('[volume]\nchunk_size = "2MiB"', "volume.chunk_size"),
        ('[volume]\nchunk_size = "2KiB"', "volume.chunk_size"),
    ],
)
def test_what_the_configuration_cannot_mean(text: str, key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        read(text, Path("/some/where.toml"))


def test_what_it_can_mean() -> None:
    found: Any = read(
        '[volume]\nchunk_size = "4KiB"\n[metrics]\naddress = "[::1]:9420"', Path("/x.toml")
    )
    assert (found.volume.chunk_size, found.metrics.address) == (4096, "[::1]:9420")
    assert read('[volume]\nchunk_size = "auto"', Path("/x.toml")).volume.chunk_size is None
