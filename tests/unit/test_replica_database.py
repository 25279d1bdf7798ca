"""The replica's database: older ones are brought up to date, and what they hold stays."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from control.pool.files import FilesPool
from control.replica.database import FIRST, SCHEMA_VERSION, STEPS, Database, ReplicaTooNew
from control.replica.journal import ReplicaJournal
from control.replica.store import DATABASE, ReplicaStore
from control.wire.errors import ReplicaDamaged

ROWS = """
INSERT INTO volumes VALUES ('data', 'v', 'source', 8192, 'data.base1', 1);
INSERT INTO layers VALUES ('data', 2, 'data.layer2', 4096, 1, 0, 0);
INSERT INTO generations VALUES ('data', 1, 'g1', '', 5, 2, 8192, X'00', 6);
INSERT INTO generations VALUES ('data', 2, 'g2', 'g1', 7, 1, 4096, X'01', 8);
INSERT INTO incoming VALUES
  ('data', 3, 'g3', 'g2', 9, 'g2', 'data.layer3', 4096, 2, 1, 1, 4096, X'02', 1);
INSERT INTO held VALUES ('data', 1, 'g1', '', 5, 'data.base1', '[["data.layer2", 4096]]');
"""


def old_database(path: Path) -> None:
    """As the first version left it."""
    with sqlite3.connect(path) as db:
        db.executescript(FIRST + ROWS + "PRAGMA user_version=1;")
    db.close()


def test_an_old_one_keeps_what_it_holds(tmp_path: Path) -> None:
    old_database(tmp_path / DATABASE)
    journal = ReplicaJournal(Database(tmp_path / DATABASE))
    volume = journal.volume("data")
    assert volume is not None
    assert (volume.base_object, volume.base_number, volume.size) == ("data.base1", 1, 8192)
    assert (volume.base_spans, volume.role, volume.seed_uuid) == ((), "replica", "")
    assert [(r.generation.uuid, r.size, r.group) for r in journal.history("data")] == [
        ("g2", 8192, ""),
        ("g1", 8192, ""),
    ]
    [layer] = journal.layers("data")
    assert layer.object_name == "data.layer2"
    incoming = journal.incoming("data")
    assert incoming is not None
    assert (incoming.generation.uuid, incoming.size, incoming.staged) == ("g3", 8192, False)
    assert (incoming.position, incoming.tally.digest) == (1, b"\x02")
    [chain] = journal.held("data")
    assert (chain.size, chain.base_object, len(chain.layers)) == (8192, "data.base1", 1)


def test_an_old_one_is_brought_up_to_date_once(tmp_path: Path) -> None:
    old_database(tmp_path / DATABASE)
    for _ in range(2):
        ReplicaStore(tmp_path, FilesPool(tmp_path / "objects")).close()
        with sqlite3.connect(tmp_path / DATABASE) as db:
            assert db.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION
        db.close()


def test_old_and_new_ones_are_alike(tmp_path: Path) -> None:
    def columns(path: Path) -> list[tuple[str, str]]:
        Database(path).close()
        with sqlite3.connect(path) as db:
            names = db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            found = [
                (name, column[1])
                for (name,) in names
                for column in db.execute(f"PRAGMA table_info({name})")
            ]
        db.close()
        return sorted(found)

    old_database(tmp_path / "old.db")
    assert columns(tmp_path / "old.db") == columns(tmp_path / "new.db")


def test_a_step_that_fails_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_database(tmp_path / DATABASE)
    broken = (*STEPS[:1], STEPS[1] + "ALTER TABLE nothing ADD COLUMN more TEXT;\n")
    monkeypatch.setattr("control.replica.database.STEPS", broken)
    with pytest.raises(ReplicaDamaged, match="nothing"):
        Database(tmp_path / DATABASE)
    monkeypatch.undo()
    journal = ReplicaJournal(Database(tmp_path / DATABASE))
    assert len(journal.history("data")) == 2


def test_a_newer_one_is_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / DATABASE) as db:
        db.execute(f"PRAGMA user_version={SCHEMA_VERSION + 1}")
    db.close()
    with pytest.raises(ReplicaTooNew, match=f"has version {SCHEMA_VERSION + 1}"):
        Database(tmp_path / DATABASE)
