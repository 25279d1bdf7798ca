"""What every pool can do, whatever it is made of."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Protocol

from control.pool.errors import BadObjectName, BadObjectSize
from dm_tables.units import SECTOR, Bytes

LONGEST_NAME = 100
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


class PoolObject(Protocol):
    """A named piece of a pool: the room of one auxiliary volume, or a replica's base."""

    @property
    def name(self) -> str:
        """Its name in the pool."""

    @property
    def path(self) -> Path:
        """Where its bytes can be read and written: a file, or a block device."""

    def size(self) -> Bytes:
        """Its size now. :raises PoolObjectMissing: it is gone."""

    def attach(self) -> str:
        """Its block device, made if need be; the whole size can be used when this returns.

        :raises PoolObjectMissing: it is gone.
        :raises LoopFailed: no loop device could be made.
        :raises ObjectBusy: a loop device of it is just going away.
        """

    def attached(self) -> str | None:
        """Its block device, where there is one."""

    def detach(self) -> None:
        """Give the block device up; nothing to do when there is none.

        :raises ObjectBusy: a device stands on it.
        """

    def grow(self, size: Bytes, *, sparse: bool = False) -> Bytes:
        """Make it ``size`` bytes, live: a snapshot on it finds the new room by itself.

        The new bytes are allocated first, and the size changes in one step, so a kernel never
        sees one in between (see :func:`control.pool.sizing.safe_size`). Never shrinks.

        :param sparse: as for :meth:`Pool.create`; not for what a snapshot stands on.
        :return: the size it has now, at least ``size``.
        :raises PoolFull: no room; the object is as it was.
        """

    def delete(self) -> None:
        """Detach it and give its room back; nothing to do when it is gone.

        :raises ObjectBusy: a device stands on it.
        """


class Pool(Protocol):
    """A place that objects are made in. Safe to use from several threads."""

    @property
    def kind(self) -> str:
        """``files`` or ``lvm``."""

    @property
    def location(self) -> str:
        """The directory, or the volume group."""

    @property
    def granularity(self) -> Bytes:
        """Sizes that are multiples of this are given exactly; others may be rounded up."""

    def check(self) -> None:
        """See whether the pool can work here, and make what can be made.

        :raises ToolMissing: a tool is not installed.
        :raises PoolUnsuitable: the place cannot hold a pool.
        """

    def create(self, name: str, size: Bytes, *, sparse: bool = False) -> PoolObject:
        """A new object whose every byte has its room; its content may be anything with LVM.

        :param sparse: allocate on writing only, where the pool can; reads as zeroes then.
        :raises PoolFull: no room; nothing is left behind.
        :raises PoolObjectExists: the name is taken.
        """

    def open(self, name: str) -> PoolObject:
        """An object that is there, with :attr:`PoolObject.path` ready to be opened.

        :raises PoolObjectMissing: there is none of that name.
        """

    def list(self) -> tuple[str, ...]:
        """The names of all objects, sorted."""

    def remove(self, name: str) -> None:
        """As :meth:`PoolObject.delete`, by name."""

    def size(self) -> Bytes:
        """What the pool's objects may take in all; they take more if the limit was lowered."""

    def used(self) -> Bytes:
        """What they take now."""

    def taken(self) -> dict[str, int]:
        """What each of them takes now, in bytes, by name; one look for all."""

    def free(self) -> Bytes:
        """What is left for them."""


def check_name(name: str) -> None:
    """:raises BadObjectName: no object can have this name."""
    if not _NAME.fullmatch(name):
        raise BadObjectName(name, "letters, digits and . _ + - only, a letter or a digit first")
    if len(name) > LONGEST_NAME:
        raise BadObjectName(name, f"longer than {LONGEST_NAME} characters")


def check_size(name: str, size: int) -> None:
    """:raises BadObjectSize: the size is not a positive count of whole sectors."""
    if size <= 0 or size % SECTOR:
        raise BadObjectSize(name, size)
