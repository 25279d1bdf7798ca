"""The pools that a configuration asks for."""

from __future__ import annotations

from pathlib import Path

from control.config import Config
from control.pool.files import FilesPool
from control.pool.lvm import LvmPool
from control.pool.pool import Pool
from dm_tables.units import Bytes


def open_pool(config: Config) -> Pool:
    """The pool of this host's own auxiliary volumes."""
    return _pool(
        config.pool.volume_group, config.pool_directory, config.pool.limit, label="frazil-pool"
    )


def open_replica_pool(config: Config) -> Pool:
    """The pool that other hosts' volumes are kept in; of files, in ``objects/`` below its place."""
    group = None
    if config.replica.kind == "lvm":
        group = config.replica.volume_group or config.pool.volume_group
    return _pool(group, config.replica_directory / "objects", None, label="frazil-replica")


def _pool(group: str | None, directory: Path, limit: Bytes | None, *, label: str) -> Pool:
    return FilesPool(directory, limit) if group is None else LvmPool(group, limit, label=label)
