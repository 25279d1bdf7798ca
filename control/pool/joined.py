"""A pool that also reaches the objects of another one, under a prefix.

A promoted volume's layers stay where the replica put them, and a demoted one's where the source
did: each side opens what the other made by a name such as ``replica/data.layer7``.
"""

from __future__ import annotations

from control.pool.pool import Pool, PoolObject
from dm_tables.units import Bytes

REPLICA = "replica/"
SOURCE = "source/"


class JoinedPool:
    """As ``own`` in all; names that begin with ``prefix`` are ``other``'s. See :class:`Pool`."""

    def __init__(self, own: Pool, other: Pool, prefix: str) -> None:
        self._own = own
        self._other = other
        self._prefix = prefix

    def _of(self, name: str) -> tuple[Pool, str]:
        if name.startswith(self._prefix):
            return self._other, name.removeprefix(self._prefix)
        return self._own, name

    @property
    def kind(self) -> str:
        """That of the own pool, as all that is not about one object."""
        return self._own.kind

    @property
    def location(self) -> str:
        """See :class:`Pool`."""
        return self._own.location

    @property
    def granularity(self) -> Bytes:
        """See :class:`Pool`."""
        return self._own.granularity

    def check(self) -> None:
        """See :class:`Pool`."""
        self._own.check()

    def create(self, name: str, size: Bytes, *, sparse: bool = False) -> PoolObject:
        """A new object, always in the own pool."""
        return self._own.create(name, size, sparse=sparse)

    def open(self, name: str) -> PoolObject:
        """An object of either."""
        pool, own_name = self._of(name)
        return pool.open(own_name)

    def list(self) -> tuple[str, ...]:
        """The objects of both."""
        return (*self._own.list(), *(self._prefix + name for name in self._other.list()))

    def remove(self, name: str) -> None:
        """Delete an object of either."""
        pool, own_name = self._of(name)
        pool.remove(own_name)

    def size(self) -> Bytes:
        """See :class:`Pool`."""
        return self._own.size()

    def used(self) -> Bytes:
        """See :class:`Pool`."""
        return self._own.used()

    def taken(self) -> dict[str, int]:
        """See :class:`Pool`."""
        return self._own.taken()

    def free(self) -> Bytes:
        """See :class:`Pool`."""
        return self._own.free()


def handed(name: str, own: str, other: str) -> str:
    """What the other side calls an object of this one.

    :param own: the prefix of this side's objects there. :param other: of that side's here.
    """
    return name.removeprefix(other) if name.startswith(other) else own + name
