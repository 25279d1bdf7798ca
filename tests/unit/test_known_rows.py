"""What a database said is not asked twice, and never older than what was written."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from control.journal import Journal
from control.known_rows import LARGE, MOST, KnownRows
from control.replica.database import Database

BY_KEY = "SELECT value FROM t WHERE key = ?"


@pytest.fixture
def asked(db: sqlite3.Connection) -> list[str]:
    """What the database was asked."""
    found: list[str] = []
    db.set_trace_callback(found.append)
    return found


@pytest.fixture
def db() -> sqlite3.Connection:
    made = sqlite3.connect(":memory:", isolation_level=None)
    made.execute("CREATE TABLE t (key INTEGER, value TEXT)")
    made.execute("INSERT INTO t VALUES (1, 'one'), (2, 'two')")
    return made


def test_the_same_question_is_asked_once(db: sqlite3.Connection, asked: list[str]) -> None:
    known = KnownRows()
    for _ in range(3):
        assert [tuple(row) for row in known.ask(db, BY_KEY, (1,))] == [("one",)]
        assert [tuple(row) for row in known.ask(db, BY_KEY, (2,))] == [("two",)]
    assert len(asked) == 2
    known.forget()
    known.ask(db, BY_KEY, (1,))
    assert len(asked) == 3


def test_nothing_asked_in_a_transaction_is_kept(db: sqlite3.Connection) -> None:
    known = KnownRows()
    db.execute("BEGIN")
    db.execute("UPDATE t SET value = 'uno' WHERE key = 1")
    assert known.ask(db, BY_KEY, (1,))[0][0] == "uno"
    db.execute("ROLLBACK")
    assert known.ask(db, BY_KEY, (1,))[0][0] == "one"


def test_only_so_much_is_kept(db: sqlite3.Connection, asked: list[str]) -> None:
    known = KnownRows()
    for key in range(MOST + 1):
        known.ask(db, BY_KEY, (key,))
    known.ask(db, BY_KEY, (0,))
    assert len(asked) == MOST + 2


def test_a_large_answer_is_not_kept(db: sqlite3.Connection, asked: list[str]) -> None:
    known = KnownRows()
    for size, times in ((LARGE, 1), (LARGE + 1, 2)):
        asked.clear()
        for _ in range(2):
            assert len(known.ask(db, "SELECT zeroblob(?)", (size,))[0][0]) == size
        assert len(asked) == times


def test_a_journal_tells_what_was_written_last(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db")
    assert journal.note("n") == ""
    journal.set_note("n", "1")
    assert journal.note("n") == "1"
    with pytest.raises(RuntimeError), journal.transaction():
        journal.set_note("n", "2")
        assert journal.note("n") == "2"
        raise RuntimeError
    assert journal.note("n") == "1"


def test_a_replicas_journal_tells_what_was_written_last(tmp_path: Path) -> None:
    database = Database(tmp_path / "replica.db")
    last = "SELECT last FROM names"
    assert database.rows(last)[0][0] == 0
    database.write("UPDATE names SET last = 1")
    assert database.rows(last)[0][0] == 1
    with pytest.raises(RuntimeError), database.transaction():
        database.write("UPDATE names SET last = 2")
        assert database.rows(last)[0][0] == 2
        raise RuntimeError
    assert database.rows(last)[0][0] == 1
