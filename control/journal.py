"""The journal: what was decided, written down before it is done.

One SQLite database (WAL, synchronous=FULL) in the state directory. Every step of a cycle is
journaled first and can be repeated after a crash. The kernel and the stores say what was done;
the journal says what was meant.
"""

from __future__ import annotations

import dataclasses
import sqlite3
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from control.records import (
    CycleKind,
    CycleRecord,
    GenerationRecord,
    LayerRecord,
    LayerState,
    MirrorRecord,
    MirrorState,
    TraceRecord,
    TraceState,
    VolumeRecord,
    VolumeState,
)
from control.spans import Span
from dm_tables.errors import Corrupt, Precondition
from dm_tables.units import Bytes

SCHEMA_VERSION = 2
KEPT_CYCLES = 200
KEPT_GENERATIONS = 200

SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE volumes (
  name TEXT PRIMARY KEY, uuid TEXT NOT NULL UNIQUE, size INTEGER NOT NULL,
  chunk INTEGER NOT NULL, state TEXT NOT NULL, bottom INTEGER NOT NULL) STRICT;
CREATE TABLE spans (
  volume TEXT NOT NULL REFERENCES volumes(name) ON DELETE CASCADE, position INTEGER NOT NULL,
  path TEXT NOT NULL, start INTEGER NOT NULL, length INTEGER NOT NULL,
  PRIMARY KEY (volume, position)) STRICT;
CREATE TABLE layers (
  volume TEXT NOT NULL REFERENCES volumes(name) ON DELETE CASCADE, sequence INTEGER NOT NULL,
  object_name TEXT NOT NULL, chunk INTEGER NOT NULL, state TEXT NOT NULL,
  PRIMARY KEY (volume, sequence)) STRICT;
CREATE TABLE generations (
  volume TEXT NOT NULL REFERENCES volumes(name) ON DELETE CASCADE, number INTEGER NOT NULL,
  uuid TEXT NOT NULL UNIQUE, parent_uuid TEXT NOT NULL, frozen_at REAL, pause_us INTEGER NOT NULL,
  PRIMARY KEY (volume, number)) STRICT;
CREATE TABLE mirrors (
  name TEXT PRIMARY KEY, volume TEXT NOT NULL REFERENCES volumes(name), peer TEXT NOT NULL,
  replica_volume TEXT NOT NULL, state TEXT NOT NULL, interval_ms INTEGER NOT NULL,
  rate_bytes INTEGER NOT NULL, on_demand INTEGER NOT NULL, plaintext INTEGER NOT NULL,
  verify INTEGER NOT NULL, committed_uuid TEXT NOT NULL, committed_number INTEGER NOT NULL,
  committed_frozen_at REAL NOT NULL, lacking BLOB NOT NULL, lacking_all INTEGER NOT NULL) STRICT;
CREATE TABLE cycles (
  mirror TEXT NOT NULL REFERENCES mirrors(name) ON DELETE CASCADE, generation_uuid TEXT NOT NULL,
  generation_number INTEGER NOT NULL, frozen_at REAL NOT NULL, kind TEXT NOT NULL,
  state TEXT NOT NULL, pause_us INTEGER NOT NULL, chunks INTEGER NOT NULL,
  changed_bytes INTEGER NOT NULL, sent_bytes INTEGER NOT NULL, payload_bytes INTEGER NOT NULL,
  copy_seconds REAL NOT NULL, committed_at REAL NOT NULL, verified TEXT NOT NULL,
  resumed INTEGER NOT NULL, PRIMARY KEY (mirror, generation_uuid)) STRICT;
CREATE TABLE checkpoints (
  mirror TEXT PRIMARY KEY REFERENCES mirrors(name) ON DELETE CASCADE,
  generation_uuid TEXT NOT NULL, ordinal INTEGER NOT NULL, position INTEGER NOT NULL,
  digest BLOB NOT NULL) STRICT;
"""

TRACES = """
CREATE TABLE traces (
  volume TEXT NOT NULL, sequence INTEGER NOT NULL, state TEXT NOT NULL, why TEXT NOT NULL,
  epoch TEXT NOT NULL, number INTEGER NOT NULL, since REAL NOT NULL, blocks BLOB NOT NULL,
  counters TEXT NOT NULL, PRIMARY KEY (volume, sequence),
  FOREIGN KEY (volume, sequence) REFERENCES layers(volume, sequence) ON DELETE CASCADE) STRICT;
"""

STEPS = {1: SCHEMA, 2: TRACES}
"""What brings a journal from the version before to each version."""


class JournalDamaged(Corrupt):
    """The journal cannot be read."""


class JournalTooNew(Precondition):
    """The journal was written by a newer frazil."""


class Journal:
    """The journal of one host. Safe to use from several threads.

    :raises JournalDamaged: the file is not a journal, or is damaged.
    :raises JournalTooNew: a newer frazil wrote it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        try:
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._db.row_factory = sqlite3.Row
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
                self._db.execute(f"PRAGMA {pragma}")
            self._open_schema()
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
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def _rows(self, sql: str, *values: object) -> list[sqlite3.Row]:
        with self._lock:
            return self._db.execute(sql, values).fetchall()

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

    @property
    def host_uuid(self) -> str:
        """This host's identity, made with the journal."""
        return str(self._rows("SELECT value FROM meta WHERE key = 'host_uuid'")[0][0])

    def note(self, key: str) -> str:
        """What was noted of this host under ``key``; empty if nothing was."""
        rows = self._rows("SELECT value FROM meta WHERE key = ?", key)
        return str(rows[0][0]) if rows else ""

    def set_note(self, key: str, value: str) -> None:
        """Note something of this host."""
        self._write("INSERT OR REPLACE INTO meta VALUES (?, ?)", key, value)

    # Volumes and their layers.

    def volumes(self) -> list[VolumeRecord]:
        """Every volume, by name."""
        return [self._volume(row) for row in self._rows("SELECT * FROM volumes ORDER BY name")]

    def volume(self, name: str) -> VolumeRecord | None:
        """One volume."""
        rows = self._rows("SELECT * FROM volumes WHERE name = ?", name)
        return self._volume(rows[0]) if rows else None

    def _volume(self, row: sqlite3.Row) -> VolumeRecord:
        spans = tuple(
            Span(Path(span["path"]), Bytes(span["start"]), Bytes(span["length"]))
            for span in self._rows(
                "SELECT * FROM spans WHERE volume = ? ORDER BY position", row["name"]
            )
        )
        return VolumeRecord(
            row["name"],
            row["uuid"],
            spans,
            Bytes(row["size"]),
            Bytes(row["chunk"]),
            VolumeState(row["state"]),
            row["bottom"],
        )

    def add_volume(self, record: VolumeRecord) -> None:
        """Write a new volume down."""
        with self.transaction():
            self._db.execute(
                "INSERT INTO volumes VALUES (?, ?, ?, ?, ?, ?)",
                (
                    record.name,
                    record.uuid,
                    record.size,
                    record.chunk,
                    record.state,
                    record.bottom,
                ),
            )
            for position, span in enumerate(record.spans):
                self._db.execute(
                    "INSERT INTO spans VALUES (?, ?, ?, ?, ?)",
                    (record.name, position, str(span.path), span.offset, span.length),
                )

    def set_volume_state(self, name: str, state: VolumeState) -> None:
        """What is being done with a volume."""
        self._write("UPDATE volumes SET state = ? WHERE name = ?", state, name)

    def set_bottom(self, name: str, sequence: int) -> None:
        """Which layer device is the spans themselves from now on."""
        self._write("UPDATE volumes SET bottom = ? WHERE name = ?", sequence, name)

    def remove_volume(self, name: str) -> None:
        """Forget a volume, its layers and its generations."""
        self._write("DELETE FROM volumes WHERE name = ?", name)

    def layers(self, volume: str) -> list[LayerRecord]:
        """A volume's auxiliary volumes, lowest first."""
        rows = self._rows("SELECT * FROM layers WHERE volume = ? ORDER BY sequence", volume)
        return [
            LayerRecord(
                row["volume"],
                row["sequence"],
                row["object_name"],
                Bytes(row["chunk"]),
                LayerState(row["state"]),
            )
            for row in rows
        ]

    def save_layer(self, record: LayerRecord) -> None:
        """Write a layer down, or its new state."""
        self._save("layers", record)

    def remove_layer(self, volume: str, sequence: int) -> None:
        """Forget a layer."""
        self._write("DELETE FROM layers WHERE volume = ? AND sequence = ?", volume, sequence)

    # What was traced of layers.

    def traces(self, volume: str) -> list[TraceRecord]:
        """The traces of a volume's layers, lowest first. A layer without one is untraced."""
        rows = self._rows("SELECT * FROM traces WHERE volume = ? ORDER BY sequence", volume)
        return [_trace(row) for row in rows]

    def trace(self, volume: str, sequence: int) -> TraceRecord | None:
        """One layer's trace."""
        query = "SELECT * FROM traces WHERE volume = ? AND sequence = ?"
        rows = self._rows(query, volume, sequence)
        return _trace(rows[0]) if rows else None

    def save_trace(self, record: TraceRecord) -> None:
        """Write a trace down, or how it ended. The layer is in the journal."""
        self._save("traces", record)

    # Generations.

    def generations(self, volume: str) -> list[GenerationRecord]:
        """A volume's generations, newest first; bounded."""
        rows = self._rows("SELECT * FROM generations WHERE volume = ? ORDER BY number DESC", volume)
        return [GenerationRecord(**dict(row)) for row in rows]

    def save_generation(self, record: GenerationRecord) -> None:
        """Write a generation down, planned or frozen; old ones beyond the bound are forgotten."""
        with self.transaction():
            self._save("generations", record)
            self._db.execute(
                "DELETE FROM generations WHERE volume = ? AND number <= ?",
                (record.volume, record.number - KEPT_GENERATIONS),
            )

    def remove_generation(self, generation_uuid: str) -> None:
        """Forget a planned generation whose freeze did not happen."""
        self._write("DELETE FROM generations WHERE uuid = ?", generation_uuid)

    # Mirrors and their cycles.

    def mirrors(self) -> list[MirrorRecord]:
        """Every mirror, by name."""
        rows = self._rows("SELECT * FROM mirrors ORDER BY name")
        return [
            MirrorRecord(
                **dict(row)
                | {
                    "state": MirrorState(row["state"]),
                    "on_demand": bool(row["on_demand"]),
                    "plaintext": bool(row["plaintext"]),
                    "verify": bool(row["verify"]),
                    "lacking_all": bool(row["lacking_all"]),
                }
            )
            for row in rows
        ]

    def mirror(self, name: str) -> MirrorRecord | None:
        """One mirror."""
        return next((record for record in self.mirrors() if record.name == name), None)

    def save_mirror(self, record: MirrorRecord) -> None:
        """Write a mirror down."""
        self._save("mirrors", record)

    def change_mirror(self, name: str, **fields: object) -> MirrorRecord:
        """Change some fields of a mirror in one step, and give the whole record back."""
        with self.transaction():
            record = self.mirror(name)
            if record is None:
                raise KeyError(name)
            changed = dataclasses.replace(record, **fields)  # type: ignore[arg-type]
            self.save_mirror(changed)
            return changed

    def remove_mirror(self, name: str) -> None:
        """Forget a mirror and its cycles."""
        self._write("DELETE FROM mirrors WHERE name = ?", name)

    def cycles(self, mirror: str, limit: int = 20) -> list[CycleRecord]:
        """A mirror's newest cycles, newest first."""
        rows = self._rows(
            "SELECT * FROM cycles WHERE mirror = ? ORDER BY generation_number DESC LIMIT ?",
            mirror,
            limit,
        )
        return [CycleRecord(**dict(row) | {"kind": CycleKind(row["kind"])}) for row in rows]

    def save_cycle(self, record: CycleRecord) -> None:
        """Write a cycle down; old ones beyond the bound are forgotten."""
        with self.transaction():
            self._save("cycles", record)
            self._db.execute(
                "DELETE FROM cycles WHERE mirror = ? AND generation_number <= ?",
                (record.mirror, record.generation_number - KEPT_CYCLES),
            )

    def checkpoint(self, mirror: str, generation_uuid: str) -> tuple[int, int, bytes] | None:
        """How far the copy of a generation is durable: (ordinal, position, digest)."""
        rows = self._rows(
            "SELECT * FROM checkpoints WHERE mirror = ? AND generation_uuid = ?",
            mirror,
            generation_uuid,
        )
        if not rows:
            return None
        return rows[0]["ordinal"], rows[0]["position"], rows[0]["digest"]

    def save_checkpoint(
        self, mirror: str, generation_uuid: str, ordinal: int, position: int, digest: bytes
    ) -> None:
        """The replica said that every run below ``ordinal`` is durable."""
        self._write(
            "INSERT OR REPLACE INTO checkpoints VALUES (?, ?, ?, ?, ?)",
            mirror,
            generation_uuid,
            ordinal,
            position,
            digest,
        )


def _trace(row: sqlite3.Row) -> TraceRecord:
    return TraceRecord(**dict(row) | {"state": TraceState(row["state"])})
