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
from dm_tables.errors import FrazilError, Unavailable
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
        """For the registry. What cannot be had now is left out, the rest is there."""
        yield gauge("frazil_info", "This frazil.", "version", [((VERSION,), 1)])
        for part in (self._of_pool, self._of_volumes, self._of_mirrors, self._of_replicas):
            try:
                yield from part()
            except FrazilError as error:
                log.warning("some metrics are left out: %s", error)

    def _of_pool(self) -> Iterator[Metric]:
        pool = self._source.pool()
        yield gauge("frazil_pool_size_bytes", "Room of the pool.", "", [((), pool.size_bytes)])
        yield gauge("frazil_pool_free_bytes", "Room left in it.", "", [((), pool.free_bytes)])

    def _of_volumes(self) -> Iterator[Metric]:
        volumes = self._source.volumes()

        def each(value: Callable[[pb.Volume], float]) -> Samples:
            return [((one.name,), value(one)) for one in volumes]

        label = "volume"
        yield gauge("frazil_volume_size_bytes", "Its size.", label, each(lambda v: v.size_bytes))
        active = each(lambda v: v.state == "active")
        yield gauge("frazil_volume_active", "1: its head is there and works.", label, active)
        layers = each(lambda v: len(v.layers))
        yield gauge("frazil_volume_layers", "Auxiliary volumes in its stack.", label, layers)
        rate = each(lambda v: v.room.average_bytes_per_second)
        name = "frazil_volume_dirty_rate_bytes"
        yield gauge(name, "By which the live layer fills in a second, on average.", label, rate)
        written = {one.name: self._source.written(one.name) for one in volumes}
        told = "Writes of traced, ended cycles."
        yield counter("frazil_volume_writes_total", told, label, each(lambda v: written[v.name][0]))
        told, size = "Bytes of these writes.", each(lambda v: written[v.name][1])
        yield counter("frazil_volume_written_bytes_total", told, label, size)
        yield from _of_live_layers(volumes)

    def _of_mirrors(self) -> Iterator[Metric]:
        now, mirrors = self._clock(), self._source.mirrors()

        def each(
            value: Callable[[pb.Mirror], float], has: Callable[[pb.Mirror], object] = lambda _: True
        ) -> Samples:
            return [((one.name, one.volume), value(one)) for one in mirrors if has(one)]

        label = "mirror volume"
        healthy = each(lambda m: m.health == "OK")
        yield gauge("frazil_mirror_healthy", "1: its health is OK.", label, healthy)
        running = each(lambda m: m.state == "running")
        yield gauge("frazil_mirror_running", "1: it was started.", label, running)
        ages = each(lambda m: age(m.committed.frozen_at, now), lambda m: m.committed.number)
        told = "Age of the instant that the replica holds; absent: it holds none."
        yield gauge("frazil_mirror_consistent_age_seconds", told, label, ages)
        told = "What the replica lacks and no layer holds."
        lacking = each(lambda m: m.lacking_bytes)
        yield gauge("frazil_mirror_lacking_bytes", told, label, lacking)
        coming = each(lambda m: m.forecast.bytes, lambda m: m.HasField("forecast"))
        yield gauge("frazil_mirror_next_cycle_bytes", "Forecast of its size.", label, coming)
        told = "Forecast of the age of the replica's instant right before the next commit."
        lag = each(lambda m: m.forecast.lag_seconds, lambda m: m.forecast.HasField("lag_seconds"))
        yield gauge("frazil_mirror_next_lag_seconds", told, label, lag)
        told = "How long the head stood still at the newest committed freeze."
        pauses = each(lambda m: m.recent[0].freeze_pause_us / 1e6, lambda m: m.recent)
        yield gauge("frazil_mirror_pause_seconds", told, label, pauses)
        yield from self._of_cycles(mirrors)

    def _of_cycles(self, mirrors: list[pb.Mirror]) -> Iterator[Metric]:
        for one in mirrors:
            self._totals.add(one.name, self._source.cycles(one.name))
        for name, told, field in TOTALS:
            sums = [((one.name, one.volume), self._totals.of(one.name, field)) for one in mirrors]
            yield counter(name, told, "mirror volume", sums)

    def _of_replicas(self) -> Iterator[Metric]:
        now, replicas = self._clock(), self._source.replicas()
        ages = [
            ((one.name,), age(one.newest.frozen_at, now)) for one in replicas if one.newest.number
        ]
        told = "Age of the newest instant held here; absent: none is."
        yield gauge("frazil_replica_consistent_age_seconds", told, "volume", ages)
        numbers = [((one.name,), float(one.newest.number)) for one in replicas]
        yield gauge("frazil_replica_generation", "Newest held here; 0: none.", "volume", numbers)
        sizes = [((one.name,), float(one.size_bytes)) for one in replicas]
        yield gauge("frazil_replica_size_bytes", "Size of the volume.", "volume", sizes)


def _of_live_layers(volumes: list[pb.Volume]) -> Iterator[Metric]:
    def each(value: Callable[[pb.AuxiliaryVolume], float]) -> Samples:
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
    used = each(lambda layer: layer.used_bytes)
    yield gauge("frazil_layer_used_bytes", "Used of the live layer.", label, used)
    size = each(lambda layer: layer.size_bytes)
    yield gauge("frazil_layer_size_bytes", "Size of the live layer.", label, size)
    chunk = each(lambda layer: layer.chunk_bytes)
    yield gauge("frazil_layer_chunk_bytes", "Chunk size of the live layer.", label, chunk)
    told = "Until the live layer is full at the present rate; absent: never."
    yield gauge("frazil_layer_full_seconds", told, label, forecast("layer_full_seconds"))
    told = "Until the pool is full at the present rate; absent: never."
    yield gauge("frazil_pool_full_seconds", told, label, forecast("pool_full_seconds"))


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
