"""A disk with a volatile cache under the stores, and death at any step: what power cuts leave.

Everything that :class:`control.store.direct.DirectFile` writes is kept apart until it is
flushed. At the power cut, of what was not, any part may have reached the disk, in any order.
Death comes at the n-th effect: a write, a flush, or either side of a commit; after it nothing
has any effect any more, as after kill -9.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from control.replica.database import Database
from control.store import direct


class Died(BaseException):
    """The process is dead from here on."""


@dataclass
class Cached:
    """A file's flushed content, and what was done to it since."""

    flushed: bytes
    since: list[tuple[int, bytes] | int] = field(default_factory=list)


@dataclass
class VolatileDisk:
    """Use :meth:`inserted` around what is to die; then :meth:`cut_power`, and look at the files.

    ``left`` effects happen before death; None: it never comes.
    """

    left: int | None = None
    files: dict[Path, Cached] = field(default_factory=dict)
    effects: int = 0

    def live(self) -> None:
        """Count an effect. :raises Died: it is not to happen."""
        self.effects += 1
        if self.left is not None and self.effects > self.left:
            raise Died

    @property
    def dead(self) -> bool:
        """Whether death has come."""
        return self.left is not None and self.effects > self.left

    @contextmanager
    def inserted(self) -> Iterator[None]:
        """Everything in here stands on this disk."""
        patched = SimpleNamespace(**vars(os))
        patched.pwrite, patched.pwritev = self._pwrite, self._pwritev
        patched.ftruncate, patched.fsync = self._ftruncate, self._fsync
        commit = mock.patch.object(Database, "transaction", self._transaction(Database.transaction))
        with (
            mock.patch.object(direct, "os", patched),
            mock.patch.object(direct, "_punch", self._punch),
            commit,
        ):
            yield

    def _cached(self, fd: int) -> Cached:
        path = Path(f"/proc/self/fd/{fd}").readlink()
        if path not in self.files:
            self.files[path] = Cached(path.read_bytes())
        return self.files[path]

    def _pwrite(self, fd: int, data: bytes | memoryview, at: int) -> int:
        self.live()
        self._cached(fd).since.append((at, bytes(data)))
        return os.pwrite(fd, data, at)

    def _pwritev(self, fd: int, views: list[memoryview], at: int) -> int:
        self.live()
        cached = self._cached(fd)
        put = os.pwritev(fd, views, at)
        cached.since.append((at, b"".join(views)[:put]))
        return put

    def _ftruncate(self, fd: int, size: int) -> None:
        self.live()
        self._cached(fd).since.append(size)
        os.ftruncate(fd, size)

    def _punch(self, fd: int, at: int, length: int) -> None:
        self.live()
        end = min(at + length, os.fstat(fd).st_size)
        cached = self._cached(fd)
        if end > at:
            cached.since.append((at, bytes(end - at)))
            os.pwrite(fd, bytes(end - at), at)

    def _fsync(self, fd: int) -> None:
        self.live()
        cached = self._cached(fd)
        cached.flushed = Path(f"/proc/self/fd/{fd}").readlink().read_bytes()
        cached.since.clear()

    def _transaction(self, real: Any) -> Any:
        disk = self

        @contextmanager
        def transaction(database: Database) -> Iterator[None]:
            if database._db.in_transaction:
                yield
                return
            disk.live()
            with real(database):
                yield
                # Death before the commit, or after it: both are tried.
                disk.live()
            disk.live()

        return transaction

    def cut_power(self, chance: random.Random) -> None:
        """Leave of each file what was flushed, and any part of what was not."""
        for path, cached in self.files.items():
            if not path.exists():
                continue
            content = bytearray(cached.flushed)
            for done in cached.since:
                if chance.random() < 0.5:
                    _apply(content, done)
            path.write_bytes(bytes(content))
        self.files.clear()


def _apply(content: bytearray, done: tuple[int, bytes] | int) -> None:
    if isinstance(done, int):
        size = len(content)
        del content[done:]
        content.extend(bytes(max(0, done - size)))
        return
    at, data = done
    content.extend(bytes(max(0, at + len(data) - len(content))))
    content[at : at + len(data)] = data
