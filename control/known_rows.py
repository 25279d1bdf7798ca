"""What a database said last, until something is written to it: most of it is asked over and over.

Only for a database that nobody else writes to.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Hashable, Sequence

Rows = Sequence[sqlite3.Row]

MOST = 2000
"""So many answers are kept; then it starts over."""


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
            if len(self._answers) >= MOST:
                self._answers.clear()
            rows = self._answers[key] = tuple(db.execute(sql, values).fetchall())
        return rows

    def forget(self) -> None:
        """Something is about to be written."""
        self._answers.clear()
