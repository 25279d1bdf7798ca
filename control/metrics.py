"""Figures for Prometheus: pulled from what the services show, at each scrape."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from google.protobuf.timestamp_pb2 import Timestamp
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from control import VERSION
from control.addresses import parse_address
from control.records import CycleRecord
from dm_tables.errors import Unavailable
from proto.frazil.v1 import control_pb2 as pb
from proto.frazil.v1 import replica_pb2

log = logging.getLogger("frazil.metrics")

Samples = Iterable[tuple[tuple[str, ...], float]]


class CannotServe(Unavailable):
    """The address for metrics cannot be had."""


class Source(Protocol):
    """What there is to count; each call is a fresh look."""

    def pool(self) -> pb.Pool:
        """The pool."""

    def volumes(self) -> list[pb.Volume]:
        """Every volume."""

    def mirrors(self) -> list[pb.Mirror]:
        """Every mirror."""

    def replicas(self) -> list[replica_pb2.ReplicaVolume]:
        """Every replica volume."""

    def cycles(self, mirror: str) -> list[CycleRecord]:
        """A mirror's newest cycles."""

    def written(self, volume: str) -> tuple[int, int]:
        """(writes, bytes) of a volume's traced cycles since it was made."""


class Exporter(Collector):
    """Everything, at one moment."""

    def __init__(self, source: Source, clock: Callable[[], float] = time.time) -> None:
        self._source = source
        self._clock = clock
        self._totals = CycleTotals()

    def collect(self) -> Iterator[Metric]:
        """For the registry."""
        yield gauge("frazil_info", "This frazil.", "version", [((VERSION,), 1)])
        pool = self._source.pool()
        yield gauge("frazil_pool_size_bytes", "Room of the pool.", "", [((), pool.size_bytes)])
        yield gauge("frazil_pool_free_bytes", "Room left in it.", "", [((), pool.free_bytes)])
        yield from self._of_volumes(self._source.volumes())
        yield from self._of_mirrors(self._source.mirrors())
        yield from self._of_replicas(self._source.replicas())

    def _of_volumes(self, volumes: list[pb.Volume]) -> Iterator[Metric]:
        def each(value: Callable[[pb.Volume], float]) -> Samples:
            return [((one.name,), value(one)) for one in volumes]

        def live(value: Callable[[pb.AuxiliaryVolume], float]) -> Samples:
            return [
                ((one.name,), value(layer))
                for one in volumes
                for layer in one.layers
                if layer.state == "live"
            ]

        def forecast(name: str) -> Samples:
            found = [one for one in volumes if one.room.HasField(name)]
            return [((one.name,), getattr(one.room, name)) for one in found]

        label = "volume"
        yield gauge("frazil_volume_size_bytes", "Its size.", label, each(lambda v: v.size_bytes))
        active = each(lambda v: v.state == "active")
        yield gauge("frazil_volume_active", "1: its head is there and works.", label, active)
        layers = each(lambda v: len(v.layers))
        yield gauge("frazil_volume_layers", "Auxiliary volumes in its stack.", label, layers)
        rate = each(lambda v: v.room.average_bytes_per_second)
        name = "frazil_volume_dirty_rate_bytes"
        yield gauge(name, "By which the live layer fills in a second, on average.", label, rate)
        used = live(lambda one: one.used_bytes)
        yield gauge("frazil_layer_used_bytes", "Used of the live layer.", label, used)
        size = live(lambda one: one.size_bytes)
        yield gauge("frazil_layer_size_bytes", "Size of the live layer.", label, size)
        chunk = live(lambda one: one.chunk_bytes)
        yield gauge("frazil_layer_chunk_bytes", "Chunk size of the live layer.", label, chunk)
        full = forecast("layer_full_seconds")
        told = "Until the live layer is full at the present rate; absent: never."
        yield gauge("frazil_layer_full_seconds", told, label, full)
        told = "Until the pool is full at the present rate; absent: never."
        yield gauge("frazil_pool_full_seconds", told, label, forecast("pool_full_seconds"))
        totals = [(one.name, self._source.written(one.name)) for one in volumes]
        told = "Writes of traced, ended cycles."
        writes = [((name,), float(both[0])) for name, both in totals]
        yield counter("frazil_volume_writes_total", told, label, writes)
        told = "Bytes written in traced, ended cycles."
        written = [((name,), float(both[1])) for name, both in totals]
        yield counter("frazil_volume_written_bytes_total", told, label, written)

    def _of_mirrors(self, mirrors: list[pb.Mirror]) -> Iterator[Metric]:
        now = self._clock()

        def each(value: Callable[[pb.Mirror], float]) -> Samples:
            return [((one.name, one.volume), value(one)) for one in mirrors]

        def forecast(name: str) -> Samples:
            found = [one for one in mirrors if one.forecast.HasField(name)]
            return [((one.name, one.volume), getattr(one.forecast, name)) for one in found]

        label = "mirror volume"
        healthy = each(lambda m: m.health == "OK")
        yield gauge("frazil_mirror_healthy", "1: its health is OK.", label, healthy)
        running = each(lambda m: m.state == "running")
        yield gauge("frazil_mirror_running", "1: it was started.", label, running)
        ages = [
            ((one.name, one.volume), age(one.committed.frozen_at, now))
            for one in mirrors
            if one.committed.number
        ]
        told = "Age of the instant that the replica holds; absent: it holds none."
        yield gauge("frazil_mirror_consistent_age_seconds", told, label, ages)
        lacking = each(lambda m: m.lacking_bytes)
        told = "What the replica lacks and no layer holds."
        yield gauge("frazil_mirror_lacking_bytes", told, label, lacking)
        coming = [
            ((one.name, one.volume), float(one.forecast.bytes))
            for one in mirrors
            if one.HasField("forecast")
        ]
        yield gauge("frazil_mirror_next_cycle_bytes", "Forecast of its size.", label, coming)
        told = "Forecast of the age of the replica's instant right before the next commit."
        yield gauge("frazil_mirror_next_lag_seconds", told, label, forecast("lag_seconds"))
        pauses = [
            ((one.name, one.volume), one.recent[0].freeze_pause_us / 1e6)
            for one in mirrors
            if one.recent
        ]
        told = "How long the head stood still at the newest committed freeze."
        yield gauge("frazil_mirror_pause_seconds", told, label, pauses)
        for one in mirrors:
            self._totals.add(one.name, self._source.cycles(one.name))
        for name, told, field in TOTALS:
            samples = each(lambda m, field=field: self._totals.of(m.name, field))  # type: ignore[misc]
            yield counter(name, told, label, samples)

    def _of_replicas(self, replicas: list[replica_pb2.ReplicaVolume]) -> Iterator[Metric]:
        now = self._clock()
        ages = [
            ((one.name,), age(one.newest.frozen_at, now)) for one in replicas if one.newest.number
        ]
        told = "Age of the newest instant held here; absent: none is."
        yield gauge("frazil_replica_consistent_age_seconds", told, "volume", ages)
        numbers = [((one.name,), float(one.newest.number)) for one in replicas]
        yield gauge("frazil_replica_generation", "Newest held here; 0: none.", "volume", numbers)
        sizes = [((one.name,), float(one.size_bytes)) for one in replicas]
        yield gauge("frazil_replica_size_bytes", "Size of the volume.", "volume", sizes)


TOTALS = (
    ("frazil_mirror_cycles_total", "Committed since frazild was started.", "cycles"),
    ("frazil_mirror_changed_bytes_total", "Of these cycles, before encoding.", "changed_bytes"),
    ("frazil_mirror_sent_bytes_total", "Of these cycles, on the wire.", "sent_bytes"),
    ("frazil_mirror_copy_seconds_total", "Of these cycles, spent on copies.", "copy_seconds"),
)


class CycleTotals:
    """Sums over cycles as they end; the journal forgets old ones, a counter may not fall."""

    def __init__(self) -> None:
        self._newest: dict[str, int] = {}
        self._sums: dict[tuple[str, str], float] = {}

    def add(self, mirror: str, cycles: Iterable[CycleRecord]) -> None:
        """Add the committed ones that are new; at the first look there is nothing new."""
        done = [cycle for cycle in cycles if cycle.state == "committed"]
        newest = max((cycle.generation_number for cycle in done), default=0)
        before = self._newest.get(mirror, newest)
        for cycle in done:
            if cycle.generation_number > before:
                for field in ("changed_bytes", "sent_bytes", "copy_seconds"):
                    self._count(mirror, field, getattr(cycle, field))
                self._count(mirror, "cycles", 1)
        # A mirror made anew under its old name starts from 1 again.
        self._newest[mirror] = newest

    def _count(self, mirror: str, field: str, amount: float) -> None:
        self._sums[mirror, field] = self.of(mirror, field) + amount

    def of(self, mirror: str, field: str) -> float:
        """One sum."""
        return self._sums.get((mirror, field), 0.0)


def age(frozen_at: Timestamp, now: float) -> float:
    """Seconds since then; a time to come, as clocks differ between hosts, counts as now."""
    return max(0.0, now - frozen_at.ToNanoseconds() / 1e9)


def gauge(name: str, about: str, labels: str, samples: Samples) -> Metric:
    """A metric that may fall. ``labels``: their names, separated by blanks."""
    family = GaugeMetricFamily(name, about, labels=labels.split())
    for values, value in samples:
        family.add_metric(list(values), float(value))
    return family


def counter(name: str, about: str, labels: str, samples: Samples) -> Metric:
    """One that only rises."""
    family = CounterMetricFamily(name, about, labels=labels.split())
    for values, value in samples:
        family.add_metric(list(values), float(value))
    return family


class MetricsServer:
    """Serves ``/metrics`` over HTTP on loopback.

    :raises CannotServe: the address cannot be had.
    """

    def __init__(self, source: Source, address: str) -> None:
        where = parse_address(address)
        registry = CollectorRegistry(auto_describe=False)
        # Without describing itself, for that would need a look at everything.
        registry.register(Exporter(source))
        try:
            self._server, self._thread = start_http_server(where.port, where.host, registry)
        except OSError as error:
            raise CannotServe(
                f"metrics cannot be served at {address}: {error.strerror or error}",
                "see [metrics] in the configuration",
            ) from error
        self.port = int(self._server.server_port)

    def stop(self) -> None:
        """Let the address go."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
