"""Events: what happened on this host, kept in bounded number, followed live."""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

log = logging.getLogger("frazil")

KEPT = 10_000
LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. ``at`` is in seconds since the epoch."""

    sequence: int
    at: float
    level: str
    subject: str
    kind: str
    message: str
    fields: dict[str, str] = field(default_factory=dict)


class Events:
    """The host's events, in a database of their own: losing one loses no data.

    A writer never waits for the disk longer than a page write (synchronous=NORMAL).
    """

    def __init__(self, path: Path) -> None:
        self._changed = threading.Condition()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS events (sequence INTEGER PRIMARY KEY AUTOINCREMENT,"
            " at REAL, level TEXT, subject TEXT, kind TEXT, message TEXT, fields TEXT)"
        )

    def add(self, level: str, subject: str, kind: str, message: str, **fields: object) -> None:
        """Write an event down and wake those who follow. ``level``: info, warning or error."""
        log.log(LEVELS[level], "%s: %s: %s", subject, kind, message)
        texts = {key: str(value) for key, value in fields.items()}
        with self._changed:
            cursor = self._db.execute(
                "INSERT INTO events (at, level, subject, kind, message, fields)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (time.time(), level, subject, kind, message, json.dumps(texts)),
            )
            newest = cursor.lastrowid or 0
            self._db.execute("DELETE FROM events WHERE sequence <= ?", (newest - KEPT,))
            self._changed.notify_all()

    def since(self, sequence: int, limit: int = 1000) -> list[Event]:
        """Events from ``sequence`` on, oldest first."""
        with self._changed:
            rows = self._db.execute(
                "SELECT * FROM events WHERE sequence >= ? ORDER BY sequence LIMIT ?",
                (sequence, limit),
            ).fetchall()
        return [
            Event(sequence, at, level, subject, kind, message, json.loads(fields))
            for sequence, at, level, subject, kind, message, fields in rows
        ]

    def newest(self) -> int:
        """The newest event's sequence; 0 if there is none."""
        with self._changed:
            row = self._db.execute("SELECT max(sequence) FROM events").fetchone()
        return int(row[0] or 0)

    def follow(self, sequence: int, stop: threading.Event) -> Iterator[Event]:
        """Events from ``sequence`` on, without end until ``stop`` is set."""
        while not stop.is_set():
            batch = self.since(sequence)
            for event in batch:
                yield event
                sequence = event.sequence + 1
            if not batch:
                with self._changed:
                    self._changed.wait(0.5)

    def close(self) -> None:
        """Close the database."""
        with self._changed:
            self._db.close()
