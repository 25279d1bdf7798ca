"""A pool that is an LVM volume group: each object is a linear logical volume.

Objects carry a tag, so that they are told apart from what else the group holds, and are not
activated at boot by anybody but frazil: their content is a piece of a stack.
"""

from __future__ import annotations

import json
import re
import threading
from dataclasses import dataclass
from pathlib import Path

from control.pool.errors import (
    BadObjectName,
    LvmFailed,
    ObjectBusy,
    PoolFull,
    PoolObjectExists,
    PoolObjectMissing,
    PoolUnsuitable,
)
from control.pool.pool import check_name, check_size
from control.pool.tools import Tool
from dm_tables.running import Runner, run
from dm_tables.units import Bytes

TAG = "frazil"
_PACKAGE = "lvm2"
# Suspended devices are skipped, not waited for: a freeze may be under way.
_CONFIG = ("--config", "devices { ignore_suspended_devices=1 }")
_NO_ROOM = ("insufficient free space", "Insufficient suitable allocatable extents")
_IN_USE = ("in use", "is used by", "contains a filesystem in use")
# lvm(8), "VALID NAMES": what it keeps for itself.
_RESERVED = re.compile(
    "_(cdata|cmeta|corig|imeta|iorig|mimage|mlog|pmspare|rimage|rmeta|tdata|tmeta|vdata|vorigin)"
)
_Rows = list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class _Volume:
    size: int
    active: bool


@dataclass(frozen=True, slots=True)
class LvmObject:
    """An object that is a logical volume. Its content, when new, may be anything."""

    pool: LvmPool
    name: str

    @property
    def path(self) -> Path:
        """The block device."""
        return Path("/dev") / self.pool.group / self.pool.volume_name(self.name)

    def size(self) -> Bytes:
        """See :meth:`PoolObject.size`."""
        return Bytes(self.pool.volume(self.name).size)

    def attach(self) -> str:
        """See :meth:`PoolObject.attach`."""
        if not self.pool.volume(self.name).active:
            self.pool.call("lvchange", "--activate", "y", self._full_name)
        return str(self.path)

    def attached(self) -> str | None:
        """See :meth:`PoolObject.attached`."""
        volume = self.pool.volumes().get(self.name)
        return str(self.path) if volume is not None and volume.active else None

    def detach(self) -> None:
        """See :meth:`PoolObject.detach`."""
        if self.attached():
            self._call_unless_used("lvchange", "--activate", "n", self._full_name)

    def grow(self, size: Bytes, *, sparse: bool = False) -> Bytes:
        """See :meth:`PoolObject.grow`; never sparse."""
        check_size(self.name, size)
        with self.pool.lock:
            before, after = self.size(), self.pool.rounded(size)
            if after <= before:
                return before
            self.pool.take(self.name, after - before)
            self.pool.allocate(self.name, after - before, "lvextend", f"{size}b", self._full_name)
            return Bytes(after)

    def delete(self) -> None:
        """See :meth:`PoolObject.delete`."""
        if self.name in self.pool.volumes():
            self._call_unless_used("lvremove", "--force", "--yes", self._full_name)

    @property
    def _full_name(self) -> str:
        return f"{self.pool.group}/{self.pool.volume_name(self.name)}"

    def _call_unless_used(self, *command: str) -> None:
        try:
            self.pool.call(*command)
        except LvmFailed as error:
            if any(word in error.stderr for word in _IN_USE):
                raise ObjectBusy(self.path, []) from error
            raise


class LvmPool:
    """A volume group.

    :param label: begins the names of its logical volumes, and is their tag beside ``frazil``;
        two pools in one group differ in it.
    :param limit: the most that its volumes may take in all; None: what the group has.
    """

    def __init__(
        self,
        group: str,
        limit: Bytes | None = None,
        *,
        label: str = "frazil-pool",
        runner: Runner = run,
    ) -> None:
        self.group = group
        self.limit = limit
        self.label = label
        self.lock = threading.RLock()
        self._runner = runner
        self._extent: Bytes | None = None

    @property
    def kind(self) -> str:
        """See :attr:`Pool.kind`."""
        return "lvm"

    @property
    def location(self) -> str:
        """See :attr:`Pool.location`."""
        return self.group

    @property
    def granularity(self) -> Bytes:
        """The group's extent size."""
        if self._extent is None:
            self._extent = Bytes(self._group_number("vg_extent_size"))
        return self._extent

    def check(self) -> None:
        """See :meth:`Pool.check`."""
        try:
            self._group_number("vg_size")
        except LvmFailed as error:
            raise PoolUnsuitable(
                f"there is no volume group {self.group} to be used as a pool: {error.what}",
                f"make it with vgcreate {self.group} DEVICE, or name another one",
            ) from error

    def create(self, name: str, size: Bytes, *, sparse: bool = False) -> LvmObject:
        """See :meth:`Pool.create`; never sparse, and whole extents."""
        _check_lvm_name(name)
        check_size(name, size)
        with self.lock:
            if name in self.volumes():
                raise PoolObjectExists(self.location, name)
            wanted = self.rounded(size)
            self.take(name, wanted)
            options = ["--name", self.volume_name(name), "--type", "linear", "--yes"]
            options += ["--wipesignatures", "y", "--zero", "y", "--setautoactivation", "n"]
            options += ["--addtag", TAG, "--addtag", self.label]
            self.allocate(name, wanted, "lvcreate", f"{size}b", *options, self.group)
            return LvmObject(self, name)

    def open(self, name: str) -> LvmObject:
        """See :meth:`Pool.open`; activates it, so that there is a path to open."""
        check_name(name)
        there = LvmObject(self, name)
        there.attach()
        return there

    def list(self) -> tuple[str, ...]:
        """See :meth:`Pool.list`."""
        return tuple(sorted(self.volumes()))

    def remove(self, name: str) -> None:
        """See :meth:`Pool.remove`."""
        check_name(name)
        LvmObject(self, name).delete()

    def size(self) -> Bytes:
        """See :meth:`Pool.size`."""
        size = self.used() + self._group_number("vg_free")
        return Bytes(size if self.limit is None else min(size, self.limit))

    def used(self) -> Bytes:
        """See :meth:`Pool.used`."""
        return Bytes(sum(self.taken().values()))

    def taken(self) -> dict[str, int]:
        """See :meth:`Pool.taken`."""
        return {name: volume.size for name, volume in self.volumes().items()}

    def free(self) -> Bytes:
        """See :meth:`Pool.free`."""
        free = self._group_number("vg_free")
        if self.limit is not None:
            free = min(free, max(0, self.limit - self.used()))
        return Bytes(free)

    def volume_name(self, name: str) -> str:
        """The logical volume's name of an object."""
        return f"{self.label}-{name}"

    def volume(self, name: str) -> _Volume:
        """The logical volume of an object. :raises PoolObjectMissing: there is none."""
        volume = self.volumes().get(name)
        if volume is None:
            raise PoolObjectMissing(self.location, name)
        return volume

    def volumes(self) -> dict[str, _Volume]:
        """The logical volumes of this pool, by object name."""
        rows = self._report("lvs", "lv", "lv_name,lv_size,lv_active,lv_tags")
        mine = [row for row in rows if self.label in row["lv_tags"].split(",")]
        return {
            row["lv_name"].removeprefix(f"{self.label}-"): _Volume(
                int(row["lv_size"]), row["lv_active"] == "active"
            )
            for row in mine
        }

    def rounded(self, size: int) -> int:
        """``size`` in whole extents."""
        return -(-size // self.granularity) * self.granularity

    def take(self, name: str, wanted: int) -> None:
        """:raises PoolFull: ``wanted`` bytes more are over the limit.

        Whether the group has them, lvcreate and lvextend say: each call of LVM takes long, and
        a writer may be about to overflow.
        """
        if self.limit is not None and wanted > (free := self.free()):
            raise PoolFull(self.location, name, wanted, free)

    def allocate(self, name: str, wanted: int, command: str, size: str, *more: str) -> None:
        """Run a command that takes room. :raises PoolFull: the group has less than it said."""
        try:
            self.call(command, "--size", size, *more)
        except LvmFailed as error:
            if any(words in error.stderr for words in _NO_ROOM):
                raise PoolFull(self.location, name, wanted, self.free()) from error
            raise

    def call(self, command: str, *arguments: str) -> str:
        """Run a command of LVM. :return: what it wrote to standard output."""
        return Tool(command, _PACKAGE, LvmFailed, self._runner).call(*_CONFIG, *arguments)

    def _group_number(self, field: str) -> int:
        return int(self._report("vgs", "vg", field)[0][field])

    def _report(self, command: str, kind: str, fields: str) -> _Rows:
        options = ("--reportformat", "json", "--units", "b", "--nosuffix", "--options", fields)
        report = json.loads(self.call(command, *options, self.group))
        rows: _Rows = report["report"][0][kind]
        return rows


def _check_lvm_name(name: str) -> None:
    check_name(name)
    if match := _RESERVED.search(name):
        raise BadObjectName(name, f"LVM keeps {match[0]} for itself")
