"""A real application: SQLite in WAL mode with synchronous=FULL, commits that are numbered.

Each transaction adds a row with a checksum, drops old rows, and moves money between two
accounts, whose sum never changes: a torn or mixed instant breaks one of the three.

    python3 -m tests.workload.sqlite_writer DIRECTORY --log - --pause 0.02
"""

from __future__ import annotations

import argparse
import hashlib
import random
import shutil
import sqlite3
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.workload.oplog import Recorder, open_log
from tests.workload.pace import Pace

DATABASE: Final = "app.db"
ACCOUNTS: Final = 16
BALANCE: Final = 1000
KEPT_ROWS: Final = 300

SCHEMA: Final = """
CREATE TABLE tx (n INTEGER PRIMARY KEY, wall_ns INTEGER, payload BLOB, digest TEXT);
CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER);
"""


def digest_of(number: int, payload: bytes) -> str:
    """The checksum that a row carries: over its number and its payload."""
    return hashlib.blake2b(number.to_bytes(8, "little") + payload, digest_size=16).hexdigest()


class SqliteWriter:
    """Commits one numbered transaction a step into ``directory``/app.db."""

    def __init__(self, directory: Path, recorder: Recorder, seed: int = 1) -> None:
        self._recorder = recorder
        self._random = random.Random(seed)
        self._db = sqlite3.connect(directory / DATABASE, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._create()

    def _create(self) -> None:
        self._db.executescript(f"BEGIN; {SCHEMA} COMMIT;")
        rows = [(account, BALANCE) for account in range(ACCOUNTS)]
        self._db.execute("BEGIN")
        self._db.executemany("INSERT INTO account VALUES (?, ?)", rows)
        self._db.execute("COMMIT")

    def step(self) -> None:
        """One transaction. The log's marks stand around COMMIT alone: only it can show it."""
        number = self._recorder.number + 1
        payload = self._random.randbytes(int(2 ** self._random.uniform(7, 14)))
        digest = digest_of(number, payload)
        giver, taker = self._random.sample(range(ACCOUNTS), 2)
        amount = self._random.randrange(1, 100)
        run = self._db.execute
        run("BEGIN IMMEDIATE")
        run("INSERT INTO tx VALUES (?, ?, ?, ?)", (number, time.time_ns(), payload, digest))
        run("DELETE FROM tx WHERE n <= ?", (number - KEPT_ROWS,))
        run("UPDATE account SET balance = balance - ? WHERE id = ?", (amount, giver))
        run("UPDATE account SET balance = balance + ? WHERE id = ?", (amount, taker))
        self._recorder.begin("commit", DATABASE, digest)
        run("COMMIT")
        self._recorder.done("commit", DATABASE, digest)

    def close(self) -> None:
        """Close the database."""
        self._db.close()


@dataclass(frozen=True, slots=True)
class SqliteFindings:
    """What a check found: the newest transaction, and what is wrong (empty: nothing)."""

    newest: int
    rows: int
    faults: list[str]


def check_sqlite(directory: Path) -> SqliteFindings:
    """Open a copy of the database, as an application would after a crash, and check it all.

    A copy, because opening a database with a write-ahead log writes: the replica is read-only.
    """
    if not (directory / DATABASE).exists():
        return SqliteFindings(0, 0, [f"{directory / DATABASE} is missing"])
    with tempfile.TemporaryDirectory() as scratch:
        for suffix in ("", "-wal"):
            source = directory / f"{DATABASE}{suffix}"
            if source.exists():
                shutil.copyfile(source, Path(scratch) / source.name)
        with closing(sqlite3.connect(Path(scratch) / DATABASE)) as db:
            try:
                return _check(db)
            except sqlite3.DatabaseError as error:
                return SqliteFindings(0, 0, [f"the database cannot be read: {error}"])


def _check(db: sqlite3.Connection) -> SqliteFindings:
    faults: list[str] = []
    verdict = [str(row[0]) for row in db.execute("PRAGMA integrity_check")]
    if verdict != ["ok"]:
        faults.append(f"integrity_check: {'; '.join(verdict[:3])}")
    newest, rows = db.execute("SELECT COALESCE(MAX(n), 0), COUNT(*) FROM tx").fetchone()
    if rows != min(newest, KEPT_ROWS):
        faults.append(f"{rows} rows are there, not {min(newest, KEPT_ROWS)}")
    for number, payload, digest in db.execute("SELECT n, payload, digest FROM tx"):
        if digest_of(number, payload) != digest:
            faults.append(f"transaction {number} has a wrong checksum")
    (total,) = db.execute("SELECT SUM(balance) FROM account").fetchone()
    if total != ACCOUNTS * BALANCE:
        faults.append(f"the accounts sum up to {total}, not {ACCOUNTS * BALANCE}")
    return SqliteFindings(int(newest), int(rows), faults)


def main() -> None:
    """Write until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--log", default="-", help="- or PATH[@OFFSET+LENGTH]")
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    given.directory.mkdir(parents=True, exist_ok=True)
    pace = Pace(given.seconds, given.count, given.pause).listen()
    writer = SqliteWriter(given.directory, Recorder(open_log(given.log)), given.seed)
    while pace.go():
        writer.step()
    writer.close()


if __name__ == "__main__":
    main()
