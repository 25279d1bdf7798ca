"""Pools: where auxiliary volumes, and the bytes of replicas, find their room."""

from control.pool.choose import open_pool, open_replica_pool
from control.pool.pool import Pool, PoolObject

__all__ = ["Pool", "PoolObject", "open_pool", "open_replica_pool"]
