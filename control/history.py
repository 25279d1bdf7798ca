"""How volumes were written in their newest cycles, in a database of its own.

Only views and choices come from it: losing it loses no data, and it is made anew when damaged.
A volume keeps so many cycles, of at most a few KiB each.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import sys
import threading
import zlib
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from control.pattern import Pattern
from dm_tables.units import Bytes

log = logging.getLogger("frazil.history")

KEPT = 200
VERSION = 1

SCHEMA = """
CREATE TABLE IF NOT EXISTS cycles (
  volume TEXT NOT NULL, sequence INTEGER NOT NULL, began REAL NOT NULL, frozen REAL NOT NULL,
  chunk INTEGER NOT NULL, traced INTEGER NOT NULL, stored INTEGER NOT NULL,
  pattern TEXT NOT NULL, counts BLOB NOT NULL, PRIMARY KEY (volume, sequence)) STRICT;
CREATE TABLE IF NOT EXISTS choices (
  volume TEXT NOT NULL, sequence INTEGER NOT NULL, why TEXT NOT NULL,
  PRIMARY KEY (volume, sequence)) STRICT;
CREATE TABLE IF NOT EXISTS totals (
  volume TEXT PRIMARY KEY, writes INTEGER NOT NULL, bytes INTEGER NOT NULL) STRICT;
"""


@dataclass(frozen=True, slots=True)
class CycleWrites:
    """What was written in one cycle.

    :ivar sequence: the layer's. :ivar began: when the head came onto it, in seconds since the
        epoch; ``frozen`` when it left; 0 while it is there.
    :ivar traced: else ``pattern`` counts blocks of whole chunks, and no writes.
    :ivar stored: chunks in its store. :ivar counts: blocks of each region.
    """

    sequence: int
    began: float
    frozen: float
    chunk: Bytes
    traced: bool
    stored: int
    pattern: Pattern
    counts: tuple[int, ...]


class History:
    """The cycles of every volume, by the volume's UUID. Safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        try:
            self._db = _open(path)
        except sqlite3.DatabaseError as error:
            log.warning("%s cannot be read and is made anew: %s", path, error)
            for old in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))):
                with suppress(FileNotFoundError):
                    old.unlink()
            self._db = _open(path)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """All of what is written inside, or none. A full disk costs views, nothing else."""
        with self._lock:
            try:
                with self._db:
                    yield
            except sqlite3.Error as error:
                log.warning("the history of writes cannot be kept: %s", error)

    def _rows(self, sql: str, *values: object) -> list[Any]:
        with self._lock:
            try:
                return self._db.execute(sql, values).fetchall()
            except sqlite3.Error as error:
                log.warning("the history of writes cannot be read: %s", error)
                return []

    def add(self, volume: str, cycle: CycleWrites) -> None:
        """Keep a cycle; of an older one than it keeps, nothing. Doing it again changes nothing."""
        with self._changing():
            added = self._db.execute(
                "INSERT OR IGNORE INTO cycles VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    volume,
                    cycle.sequence,
                    cycle.began,
                    cycle.frozen,
                    cycle.chunk,
                    cycle.traced,
                    cycle.stored,
                    _pack_pattern(cycle.pattern),
                    _pack_counts(cycle.counts),
                ),
            )
            if added.rowcount:
                self._db.execute(
                    "INSERT INTO totals VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET"
                    " writes = writes + excluded.writes, bytes = bytes + excluded.bytes",
                    (volume, cycle.pattern.writes, cycle.pattern.bytes),
                )
            self._forget_older(volume, cycle.sequence)

    def _forget_older(self, volume: str, newest: int) -> None:
        for table in ("cycles", "choices"):
            self._db.execute(
                f"DELETE FROM {table} WHERE volume = ? AND sequence <= ?",  # noqa: S608
                (volume, newest - KEPT),
            )

    def has(self, volume: str, sequence: int) -> bool:
        """Whether a cycle is kept."""
        sql = "SELECT 1 FROM cycles WHERE volume = ? AND sequence = ?"
        return bool(self._rows(sql, volume, sequence))

    def cycles(self, volume: str, limit: int = KEPT) -> list[CycleWrites]:
        """The newest cycles, oldest first."""
        rows = self._rows(
            "SELECT sequence, began, frozen, chunk, traced, stored, pattern, counts"
            " FROM cycles WHERE volume = ? ORDER BY sequence DESC LIMIT ?",
            volume,
            limit,
        )
        return [_cycle(row) for row in reversed(rows)]

    def totals(self, volume: str) -> tuple[int, int]:
        """(writes, bytes) of all traced cycles there ever were."""
        rows = self._rows("SELECT writes, bytes FROM totals WHERE volume = ?", volume)
        return (int(rows[0][0]), int(rows[0][1])) if rows else (0, 0)

    def explain(self, volume: str, sequence: int, why: str) -> None:
        """Why a layer has the chunk size that it has."""
        with self._changing():
            self._db.execute(
                "INSERT OR REPLACE INTO choices VALUES (?, ?, ?)", (volume, sequence, why)
            )

    def why(self, volume: str, sequence: int) -> str:
        """What :meth:`explain` was told; empty if it was told nothing."""
        sql = "SELECT why FROM choices WHERE volume = ? AND sequence = ?"
        rows = self._rows(sql, volume, sequence)
        return str(rows[0][0]) if rows else ""

    def forget(self, volume: str) -> None:
        """A volume is gone."""
        with self._changing():
            for table in ("cycles", "choices", "totals"):
                self._db.execute(f"DELETE FROM {table} WHERE volume = ?", (volume,))  # noqa: S608

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._db.close()


def _open(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, check_same_thread=False)
    try:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")
        if db.execute("PRAGMA user_version").fetchone()[0] not in (0, VERSION):
            raise sqlite3.DatabaseError("another frazil wrote it")
        db.executescript(SCHEMA)
        db.execute(f"PRAGMA user_version={VERSION}")
    except BaseException:
        db.close()
        raise
    return db


def _cycle(row: Sequence[object]) -> CycleWrites:
    sequence, began, frozen, chunk, traced, stored, pattern, counts = row
    assert isinstance(sequence, int) and isinstance(chunk, int) and isinstance(stored, int)
    assert isinstance(began, float) and isinstance(frozen, float)
    assert isinstance(pattern, str) and isinstance(counts, bytes)
    return CycleWrites(
        sequence,
        began,
        frozen,
        Bytes(chunk),
        bool(traced),
        stored,
        _parse_pattern(pattern),
        _parse_counts(counts),
    )


def _pack_pattern(pattern: Pattern) -> str:
    return json.dumps(
        [
            pattern.blocks,
            pattern.touched,
            pattern.writes,
            pattern.bytes,
            pattern.sizes,
            pattern.alignments,
        ]
    )


def _parse_pattern(text: str) -> Pattern:
    blocks, touched, writes, size, sizes, alignments = json.loads(text)
    return Pattern(blocks, tuple(touched), writes, size, tuple(sizes), tuple(alignments))


def _pack_counts(counts: Sequence[int]) -> bytes:
    packed = array("Q", counts)
    if sys.byteorder == "big":
        packed.byteswap()
    return zlib.compress(packed.tobytes())


def _parse_counts(data: bytes) -> tuple[int, ...]:
    counts = array("Q", zlib.decompress(data))
    if sys.byteorder == "big":
        counts.byteswap()
    return tuple(counts)
