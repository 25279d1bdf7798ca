"""The replica's SQLite database: WAL, every commit on stable storage before it returns."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from control.known_rows import KnownRows, Rows
from control.wire.errors import ReplicaDamaged, ReplicaFull
from dm_tables.errors import FrazilError, Precondition

FIRST = """
CREATE TABLE volumes (
  name TEXT PRIMARY KEY, volume_uuid TEXT NOT NULL, identity TEXT NOT NULL,
  size INTEGER NOT NULL, base_object TEXT NOT NULL, base_number INTEGER NOT NULL) STRICT;
CREATE TABLE layers (
  volume TEXT NOT NULL REFERENCES volumes(name) ON DELETE CASCADE, number INTEGER NOT NULL,
  object_name TEXT NOT NULL, chunk INTEGER NOT NULL, chunks INTEGER NOT NULL,
  merging INTEGER NOT NULL, merged INTEGER NOT NULL, PRIMARY KEY (volume, number)) STRICT;
CREATE TABLE generations (
  volume TEXT NOT NULL REFERENCES volumes(name) ON DELETE CASCADE, number INTEGER NOT NULL,
  uuid TEXT NOT NULL, parent_uuid TEXT NOT NULL, frozen_at INTEGER NOT NULL,
  chunks INTEGER NOT NULL, length INTEGER NOT NULL, digest BLOB NOT NULL,
  committed_at INTEGER NOT NULL, PRIMARY KEY (volume, number)) STRICT;
CREATE TABLE incoming (
  volume TEXT PRIMARY KEY REFERENCES volumes(name) ON DELETE CASCADE, number INTEGER NOT NULL,
  uuid TEXT NOT NULL, parent_uuid TEXT NOT NULL, frozen_at INTEGER NOT NULL,
  base_uuid TEXT NOT NULL, object_name TEXT NOT NULL, chunk INTEGER NOT NULL,
  expected INTEGER NOT NULL, runs INTEGER NOT NULL, chunks INTEGER NOT NULL,
  length INTEGER NOT NULL, digest BLOB NOT NULL, position INTEGER NOT NULL) STRICT;
CREATE TABLE held (
  volume TEXT NOT NULL REFERENCES volumes(name), number INTEGER NOT NULL, uuid TEXT NOT NULL,
  parent_uuid TEXT NOT NULL, frozen_at INTEGER NOT NULL, base_object TEXT NOT NULL,
  layers TEXT NOT NULL, PRIMARY KEY (volume, number)) STRICT;
CREATE TABLE garbage (object_name TEXT PRIMARY KEY, volume TEXT NOT NULL) STRICT;
CREATE TABLE names (last INTEGER NOT NULL) STRICT;
INSERT INTO names VALUES (0);
"""

GROUPS = """
ALTER TABLE volumes ADD COLUMN base_spans TEXT NOT NULL DEFAULT '[]';
ALTER TABLE volumes ADD COLUMN role TEXT NOT NULL DEFAULT 'replica';
ALTER TABLE volumes ADD COLUMN role_since INTEGER NOT NULL DEFAULT 0;
ALTER TABLE volumes ADD COLUMN seed_uuid TEXT NOT NULL DEFAULT '';
ALTER TABLE generations ADD COLUMN size INTEGER NOT NULL DEFAULT 0;
ALTER TABLE generations ADD COLUMN group_name TEXT NOT NULL DEFAULT '';
ALTER TABLE incoming ADD COLUMN size INTEGER NOT NULL DEFAULT 0;
ALTER TABLE incoming ADD COLUMN staged INTEGER NOT NULL DEFAULT 0;
ALTER TABLE held ADD COLUMN size INTEGER NOT NULL DEFAULT 0;
ALTER TABLE held ADD COLUMN base_spans TEXT NOT NULL DEFAULT '[]';
UPDATE generations SET size = (SELECT size FROM volumes WHERE name = volume);
UPDATE incoming SET size = (SELECT size FROM volumes WHERE name = volume);
UPDATE held SET size = (SELECT size FROM volumes WHERE name = volume);
CREATE TABLE handed_over (
  volume TEXT PRIMARY KEY REFERENCES volumes(name) ON DELETE CASCADE,
  contents TEXT NOT NULL) STRICT;
"""

POINTS = """
ALTER TABLE held ADD COLUMN shown INTEGER NOT NULL DEFAULT 1;
ALTER TABLE held ADD COLUMN scratch TEXT NOT NULL DEFAULT '';
CREATE TABLE retention (
  volume TEXT PRIMARY KEY REFERENCES volumes(name) ON DELETE CASCADE, last INTEGER NOT NULL,
  hourly INTEGER NOT NULL, daily INTEGER NOT NULL, weekly INTEGER NOT NULL) STRICT;
CREATE TABLE pins (
  volume TEXT NOT NULL REFERENCES volumes(name) ON DELETE CASCADE, number INTEGER NOT NULL,
  rule TEXT NOT NULL, PRIMARY KEY (volume, number, rule)) STRICT;
"""

DIVERGED = """
CREATE TABLE diverged (
  volume TEXT PRIMARY KEY REFERENCES volumes(name) ON DELETE CASCADE, number INTEGER NOT NULL,
  uuid TEXT NOT NULL, parent_uuid TEXT NOT NULL, frozen_at INTEGER NOT NULL,
  common INTEGER NOT NULL, layers TEXT NOT NULL) STRICT;
"""

STEPS = (FIRST, GROUPS, POINTS, DIVERGED)
"""What brings a database from each version to the next; the first makes it."""

SCHEMA_VERSION = len(STEPS)


class ReplicaTooNew(Precondition):
    """The replica's journal was written by a newer frazil."""


class Database:
    """One connection, shared by threads under a lock.

    :raises ReplicaDamaged: the file is no such database, or is damaged.
    :raises ReplicaTooNew: a newer frazil wrote it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._known = KnownRows()
        try:
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._db.row_factory = sqlite3.Row
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
                self._db.execute(f"PRAGMA {pragma}")
            self._open_schema()
        except sqlite3.Error as error:
            raise self._typed(error) from error

    def _open_schema(self) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise ReplicaTooNew(
                f"{self.path} has version {version}, this frazil knows up to {SCHEMA_VERSION}",
                "install the frazil that wrote it, or a newer one",
            )
        if version == SCHEMA_VERSION:
            return
        with self.transaction():
            for step in STEPS[version:]:
                for statement in step.split(";\n"):
                    if statement.strip():
                        self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")

    def close(self) -> None:
        """Close it; harmless when done twice."""
        with self._lock:
            self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of what is written inside, or none; durable at the end. Nested ones join.

        :raises ReplicaFull: no room for it. :raises ReplicaDamaged: the database cannot be used.
        """
        with self._lock:
            if self._db.in_transaction:
                yield
                return
            self._known.forget()
            try:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    yield
                    self._db.execute("COMMIT")
                except BaseException:
                    if self._db.in_transaction:
                        self._db.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                raise self._typed(error) from error

    def rows(self, sql: str, *values: object) -> Rows:
        """What a query gives. :raises ReplicaDamaged: it cannot be read."""
        with self._lock:
            try:
                return self._known.ask(self._db, sql, values)
            except sqlite3.Error as error:
                raise self._typed(error) from error

    def write(self, sql: str, *values: object) -> int:
        """Run one statement. :return: the rows it changed. :raises: as :meth:`transaction`."""
        with self.transaction():
            return self._db.execute(sql, values).rowcount

    def _typed(self, error: sqlite3.Error) -> FrazilError:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            return ReplicaFull(f"there is no room for {self.path}", "make room on its filesystem")
        return ReplicaDamaged(
            f"the replica's journal {self.path} cannot be used: {error}",
            "see the disk it lies on; restore it, or remove the replicas and mirror anew",
        )
