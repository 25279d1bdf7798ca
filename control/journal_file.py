"""The journal's file: one SQLite database, every change in it durable before it is done."""

from __future__ import annotations

import dataclasses
import sqlite3
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from control.journal_schema import SCHEMA_VERSION, STEPS
from control.known_rows import KnownRows, Rows
from dm_tables.errors import Corrupt, Precondition


class JournalDamaged(Corrupt):
    """The journal cannot be read."""


class JournalTooNew(Precondition):
    """The journal was written by a newer frazil."""


class JournalFile:
    """The database. Safe to use from several threads.

    :raises JournalDamaged: the file is not a journal, or is damaged.
    :raises JournalTooNew: a newer frazil wrote it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._known = KnownRows()
        try:
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._db.row_factory = sqlite3.Row
            # A step that makes a table anew must not take what refers to it along.
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=OFF"):
                self._db.execute(f"PRAGMA {pragma}")
            self._open_schema()
            self._db.execute("PRAGMA foreign_keys=ON")
        except sqlite3.DatabaseError as error:
            raise JournalDamaged(
                f"the journal {path} cannot be read: {error}",
                "restore it from a backup, or move it away and adopt the volumes anew",
            ) from error

    def _open_schema(self) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise JournalTooNew(
                f"the journal {self.path} has version {version}, this frazil knows up to "
                f"{SCHEMA_VERSION}",
                "install the frazil that wrote it, or a newer one",
            )
        if version == SCHEMA_VERSION:
            return
        with self.transaction():
            for step in range(version + 1, SCHEMA_VERSION + 1):
                for statement in STEPS[step].split(";\n"):
                    if statement.strip():
                        self._db.execute(statement)
            if version == 0:
                self._db.execute("INSERT INTO meta VALUES ('host_uuid', ?)", (str(uuid.uuid4()),))
            self._db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of what is written inside, or none; durable at the end. Nested ones join."""
        with self._lock:
            if self._db.in_transaction:
                yield
                return
            self._known.forget()
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def _rows(self, sql: str, *values: object) -> Rows:
        with self._lock:
            return self._known.ask(self._db, sql, values)

    def _write(self, sql: str, *values: object) -> None:
        with self.transaction():
            self._db.execute(sql, values)

    def _save(self, table: str, record: Any, **renamed: object) -> None:
        """Insert or replace a record's fields by name."""
        fields = {f.name: getattr(record, f.name) for f in dataclasses.fields(record)} | renamed
        names = ", ".join(fields)
        marks = ", ".join("?" for _ in fields)
        keep = ", ".join(f"{name}=excluded.{name}" for name in fields)
        self._write(
            f"INSERT INTO {table} ({names}) VALUES ({marks})"  # noqa: S608
            f" ON CONFLICT DO UPDATE SET {keep}",
            *fields.values(),
        )
