"""What must hold between a configuration's keys."""

from __future__ import annotations

from control.addresses import parse_address
from control.config.authority import check_authority
from control.config.errors import BadValue
from control.config.sections import Config, MetricsSection, ReplicaSection, VolumeSection
from control.replica.retention import MOST_POINTS


def check(config: Config) -> None:
    """:raises BadValue: two keys contradict each other, or one needs another."""
    _check_listener(config)
    _check_storage(config)
    _check_replica(config.replica)
    _check_volume(config.volume)
    _check_metrics(config.metrics)
    check_authority(config.authority)
    if config.pool.sacrifice_at <= config.pool.grow_at:
        raise BadValue(
            "pool.sacrifice_at",
            f"{config.pool.sacrifice_at} is not above pool.grow_at, {config.pool.grow_at}",
            "an auxiliary volume is made larger first, and given up last",
        )
    if config.copy.retry_longest < config.copy.retry_first:
        raise BadValue("copy.retry_longest", "is shorter than copy.retry_first")


def _check_listener(config: Config) -> None:
    address = config.listen.address
    if address is None:
        return
    loopback = parse_address(address).is_loopback
    if config.listen.plaintext and not loopback:
        raise BadValue(
            "listen.plaintext",
            f"{address} can be reached from other hosts, and plaintext is for loopback only",
            "give ca, cert and key in [tls], and leave plaintext out",
        )
    if config.tls is None and not config.listen.plaintext:
        other = ", or set plaintext = true" if loopback else ""
        raise BadValue(
            "tls",
            f"is missing, and [listen] has the address {address}",
            f"give ca, cert and key in [tls]{other}",
        )


def _check_replica(replica: ReplicaSection) -> None:
    points = replica.keep_last + replica.keep_hourly + replica.keep_daily + replica.keep_weekly
    if points > MOST_POINTS:
        raise BadValue(
            "replica.keep_last",
            f"keeps {points} recovery points, together with the hourly, daily and weekly ones",
            f"{MOST_POINTS} in all are the most",
        )


def _check_volume(volume: VolumeSection) -> None:
    chunk = volume.chunk_size
    if chunk is not None and chunk & (chunk - 1):
        raise BadValue(
            "volume.chunk_size", f"{chunk} bytes are no power of two", "from 4KiB to 1MiB, or auto"
        )


def _check_metrics(metrics: MetricsSection) -> None:
    if metrics.address is not None and not parse_address(metrics.address).is_loopback:
        raise BadValue(
            "metrics.address",
            f"{metrics.address} can be reached from other hosts, and metrics are for this one only",
            "give an address on loopback, such as 127.0.0.1:9420, and put a proxy before it",
        )


def _check_storage(config: Config) -> None:
    pool, replica = config.pool, config.replica
    if pool.kind == "lvm" and pool.volume_group is None:
        raise BadValue("pool.volume_group", "is missing", 'kind = "lvm" needs it')
    if pool.kind == "files" and pool.volume_group is not None:
        raise BadValue("pool.volume_group", "means nothing", 'it needs kind = "lvm"')
    if pool.kind == "lvm" and pool.directory is not None:
        raise BadValue("pool.directory", "means nothing", 'it needs kind = "files"')
    if replica.kind == "lvm" and replica.volume_group is None and pool.volume_group is None:
        raise BadValue("replica.volume_group", "is missing", 'kind = "lvm" needs it')
    if replica.kind == "files" and replica.volume_group is not None:
        raise BadValue("replica.volume_group", "means nothing", 'it needs kind = "lvm"')
