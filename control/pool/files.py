"""A pool that is a directory of preallocated files, used through loop devices."""

from __future__ import annotations

import os
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path

from control.pool.allocation import NoRoom, set_size, sync_directory
from control.pool.errors import (
    PoolFull,
    PoolObjectExists,
    PoolObjectMissing,
    PoolUnsuitable,
    ToolMissing,
)
from control.pool.loops import LOSETUP, attach_loop, detach_loop, find_loop, refresh_loop
from control.pool.pool import check_name, check_size
from control.pool.tools import Tool
from dm_tables.units import MIB, Bytes

_BLOCK = 512
"""The unit of st_blocks."""

_UNFINISHED = ".new"


@dataclass(frozen=True, slots=True)
class FileObject:
    """An object that is a file."""

    pool: FilesPool
    name: str

    @property
    def path(self) -> Path:
        """The file."""
        return self.pool.directory / self.name

    def size(self) -> Bytes:
        """See :meth:`PoolObject.size`."""
        try:
            return Bytes(self.path.stat().st_size)
        except FileNotFoundError:
            raise PoolObjectMissing(self.pool.location, self.name) from None

    def attach(self) -> str:
        """See :meth:`PoolObject.attach`."""
        return attach_loop(self._existing(), self.pool.losetup)

    def attached(self) -> str | None:
        """See :meth:`PoolObject.attached`."""
        return find_loop(self.path, self.pool.losetup) if self.path.exists() else None

    def detach(self) -> None:
        """See :meth:`PoolObject.detach`."""
        if self.path.exists():
            detach_loop(self.path, self.pool.losetup)

    def grow(self, size: Bytes, *, sparse: bool = False) -> Bytes:
        """See :meth:`PoolObject.grow`."""
        check_size(self.name, size)
        with self.pool.lock:
            wanted = size - self.size()
            if wanted > 0:
                if not sparse:
                    self.pool.take(self.name, wanted)
                descriptor = os.open(self.path, os.O_RDWR)
                try:
                    self.pool.set_size(descriptor, self.name, size, sparse=sparse)
                finally:
                    os.close(descriptor)
            # A crash may have come between the file's new size and the loop device's.
            refresh_loop(self.path, self.pool.losetup)
            return self.size()

    def delete(self) -> None:
        """See :meth:`PoolObject.delete`."""
        self.detach()
        self.path.unlink(missing_ok=True)
        if self.pool.directory.is_dir():
            sync_directory(self.pool.directory)

    def _existing(self) -> Path:
        if not self.path.is_file():
            raise PoolObjectMissing(self.pool.location, self.name)
        return self.path


class FilesPool:
    """A directory of preallocated files.

    :param limit: the most that its files may take in all; None: what the filesystem has.
    """

    def __init__(
        self, directory: Path, limit: Bytes | None = None, *, losetup: Tool = LOSETUP
    ) -> None:
        self.directory = directory
        self.limit = limit
        self.losetup = losetup
        self.lock = threading.RLock()

    @property
    def kind(self) -> str:
        """See :attr:`Pool.kind`."""
        return "files"

    @property
    def location(self) -> str:
        """See :attr:`Pool.location`."""
        return str(self.directory)

    @property
    def granularity(self) -> Bytes:
        """A file can have any size; whole MiB are whole chunks, whatever the chunk."""
        return Bytes(MIB)

    def check(self) -> None:
        """See :meth:`Pool.check`; sweeps away what a crash left half made."""
        if shutil.which(self.losetup.program) is None:
            raise ToolMissing(self.losetup.program, self.losetup.package)
        self._make_directory()
        for path in self.directory.glob(f".*{_UNFINISHED}"):
            path.unlink(missing_ok=True)
        probe = self.directory / f".probe{_UNFINISHED}"
        try:
            descriptor = os.open(probe, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                set_size(descriptor, Bytes(4096))
            except NoRoom:
                return  # Full is not unsuitable.
            finally:
                os.close(descriptor)
        except OSError as error:
            raise PoolUnsuitable(f"{self.directory} cannot be written: {error.strerror}") from None
        finally:
            probe.unlink(missing_ok=True)

    def create(self, name: str, size: Bytes, *, sparse: bool = False) -> FileObject:
        """See :meth:`Pool.create`; reads as zeroes. Whole or not there, whatever crashes."""
        check_name(name)
        check_size(name, size)
        with self.lock:
            self._make_directory()
            made = FileObject(self, name)
            if made.path.exists():
                raise PoolObjectExists(self.location, name)
            if not sparse:
                self.take(name, size)
            unfinished = self.directory / f".{name}{_UNFINISHED}"
            descriptor = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                self.set_size(descriptor, name, size, sparse=sparse)
                unfinished.rename(made.path)
            except BaseException:
                unfinished.unlink(missing_ok=True)
                raise
            finally:
                os.close(descriptor)
            sync_directory(self.directory)
            return made

    def open(self, name: str) -> FileObject:
        """See :meth:`Pool.open`."""
        check_name(name)
        there = FileObject(self, name)
        if not there.path.is_file():
            raise PoolObjectMissing(self.location, name)
        return there

    def list(self) -> tuple[str, ...]:
        """See :meth:`Pool.list`."""
        if not self.directory.is_dir():
            return ()
        with os.scandir(self.directory) as entries:
            return tuple(
                sorted(e.name for e in entries if e.is_file() and not e.name.startswith("."))
            )

    def remove(self, name: str) -> None:
        """See :meth:`Pool.remove`."""
        check_name(name)
        FileObject(self, name).delete()

    def size(self) -> Bytes:
        """See :meth:`Pool.size`."""
        size = self.used() + self._unused()
        return Bytes(size if self.limit is None else min(size, self.limit))

    def used(self) -> Bytes:
        """See :meth:`Pool.used`: what the files really take."""
        return Bytes(sum(self.taken().values()))

    def taken(self) -> dict[str, int]:
        """See :meth:`Pool.taken`: holes take nothing."""
        return {name: self._taken(name) for name in self.list()}

    def free(self) -> Bytes:
        """See :meth:`Pool.free`."""
        free = self._unused()
        if self.limit is not None:
            free = min(free, max(0, self.limit - self.used()))
        return Bytes(free)

    def _unused(self) -> int:
        """What the filesystem has left."""
        place = next(p for p in (self.directory, *self.directory.parents) if p.is_dir())
        filesystem = os.statvfs(place)
        return filesystem.f_bavail * filesystem.f_frsize

    def take(self, name: str, wanted: int) -> None:
        """:raises PoolFull: ``wanted`` bytes more are not to be had for ``name``."""
        free = self.free()
        if wanted > free:
            raise PoolFull(self.location, name, wanted, free)

    def set_size(self, descriptor: int, name: str, size: Bytes, *, sparse: bool = False) -> None:
        """Let an object's file grow to ``size``. :raises PoolFull: it is as it was."""
        wanted = size - os.fstat(descriptor).st_size
        try:
            set_size(descriptor, size, sparse=sparse)
        except NoRoom:
            raise PoolFull(self.location, name, wanted, self.free()) from None

    def _taken(self, name: str) -> int:
        try:
            return (self.directory / name).stat().st_blocks * _BLOCK
        except FileNotFoundError:
            return 0

    def _make_directory(self) -> None:
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise PoolUnsuitable(
                f"the pool's directory {self.directory} cannot be made: {error.strerror}"
            ) from None
