"""What a database said last, until something is written to it: most of it is asked over and over.

Only for a database that nobody else writes to.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Hashable, Sequence

Rows = Sequence[sqlite3.Row]

MOST = 2000
"""So many answers are kept; then it starts over."""

LARGE = 64 << 10
"""An answer with more bytes in blobs is not kept."""


class KnownRows:
    """Answers by query and values. For one thread at a time; its owner has a lock."""

    def __init__(self) -> None:
        self._answers: dict[tuple[Hashable, ...], Rows] = {}

    def ask(self, db: sqlite3.Connection, sql: str, values: Sequence[object]) -> Rows:
        """The query's rows; asked anew inside a transaction, whose end nobody knows yet.

        :raises sqlite3.Error: the database refused.
        """
        if db.in_transaction:
            return db.execute(sql, values).fetchall()
        key = (sql, *values)
        rows = self._answers.get(key)
        if rows is None:
            rows = tuple(db.execute(sql, values).fetchall())
            if _blobs(rows) <= LARGE:
                self._keep(key, rows)
        return rows

    def _keep(self, key: tuple[Hashable, ...], rows: Rows) -> None:
        if len(self._answers) >= MOST:
            self._answers.clear()
        self._answers[key] = rows

    def forget(self) -> None:
        """Something is about to be written."""
        self._answers.clear()


def _blobs(rows: Rows) -> int:
    return sum(len(value) for row in rows for value in row if isinstance(value, bytes))
