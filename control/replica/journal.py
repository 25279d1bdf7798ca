"""The replica's journal: which generations are committed, and what is on the way to become one.

An object (base or layer) is named here before it is made, and named as garbage in the same
transaction that lets it go; so a crash leaves nothing that is not known.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import AbstractContextManager
from pathlib import Path

from control.replica.database import Database
from control.replica.points_journal import PointsJournal
from control.replica.records import (
    Chain,
    ChainLayer,
    CommittedRecord,
    Generation,
    IncomingRecord,
    LayerRecord,
    VolumeRecord,
)
from control.spans import Span
from control.wire.frames import Tally
from dm_tables.units import Bytes

KEPT_GENERATIONS = 200


class ReplicaJournal:
    """Records in, records out. Every method is one transaction unless inside another."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self.points = PointsJournal(database)

    def transaction(self) -> AbstractContextManager[None]:
        """See :meth:`Database.transaction`."""
        return self._db.transaction()

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    # Volumes.

    def volumes(self) -> list[VolumeRecord]:
        """Every volume, by name."""
        return [_volume(row) for row in self._db.rows("SELECT * FROM volumes ORDER BY name")]

    def volume(self, name: str) -> VolumeRecord | None:
        """One volume."""
        rows = self._db.rows("SELECT * FROM volumes WHERE name = ?", name)
        return _volume(rows[0]) if rows else None

    def save_volume(self, record: VolumeRecord) -> None:
        """Write a volume down, or what changed of it."""
        self._db.write(
            "INSERT INTO volumes (name, volume_uuid, identity, size, base_object, base_number,"
            " base_spans, role, role_since, seed_uuid) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (name) DO UPDATE SET volume_uuid = excluded.volume_uuid,"
            " identity = excluded.identity, size = excluded.size,"
            " base_object = excluded.base_object, base_number = excluded.base_number,"
            " base_spans = excluded.base_spans, role = excluded.role,"
            " role_since = excluded.role_since, seed_uuid = excluded.seed_uuid",
            record.name,
            record.volume_uuid,
            record.identity,
            record.size,
            record.base_object,
            record.base_number,
            spans_text(record.base_spans),
            record.role,
            record.role_since,
            record.seed_uuid,
        )

    def remove_volume(self, name: str) -> None:
        """Forget a volume with its layers, its history and what was coming in."""
        self._db.write("DELETE FROM volumes WHERE name = ?", name)

    def new_object(self, volume: str, kind: str) -> str:
        """A name that no object ever had."""
        with self.transaction():
            self._db.write("UPDATE names SET last = last + 1")
            last = self._db.rows("SELECT last FROM names")[0][0]
        return f"{volume}.{kind}{last}"

    # Layers.

    def layers(self, volume: str) -> list[LayerRecord]:
        """A volume's unmerged layers, lowest first."""
        rows = self._db.rows("SELECT * FROM layers WHERE volume = ? ORDER BY number", volume)
        return [
            LayerRecord(
                row["volume"],
                row["number"],
                row["object_name"],
                Bytes(row["chunk"]),
                row["chunks"],
                bool(row["merging"]),
                row["merged"],
            )
            for row in rows
        ]

    def save_layer(self, record: LayerRecord) -> None:
        """Write a layer down, or how far its merge is."""
        self._db.write(
            "INSERT OR REPLACE INTO layers VALUES (?, ?, ?, ?, ?, ?, ?)",
            record.volume,
            record.number,
            record.object_name,
            record.chunk,
            record.chunks,
            record.merging,
            record.merged,
        )

    def note_merged(self, record: LayerRecord, exceptions: int) -> bool:
        """So many exceptions of the layer are durable in the base. :return: is it still there?"""
        changed = self._db.write(
            "UPDATE layers SET merged = ? WHERE volume = ? AND object_name = ?",
            exceptions,
            record.volume,
            record.object_name,
        )
        return changed > 0

    def remove_layer(self, record: LayerRecord) -> bool:
        """Forget a layer. :return: whether it was there."""
        sql = "DELETE FROM layers WHERE volume = ? AND object_name = ?"
        return self._db.write(sql, record.volume, record.object_name) > 0

    # What was handed over.

    def remember_handed_over(self, volume: str, contents: str) -> None:
        """Write down what a promoted volume had."""
        self._db.write("INSERT INTO handed_over VALUES (?, ?)", volume, contents)

    def handed_over(self, volume: str) -> str:
        """What :meth:`remember_handed_over` wrote down."""
        rows = self._db.rows("SELECT contents FROM handed_over WHERE volume = ?", volume)
        return str(rows[0]["contents"])

    def forget_stack(self, volume: str) -> None:
        """Forget layers, history and what was handed over; the volume stays."""
        with self.transaction():
            self._db.write("DELETE FROM layers WHERE volume = ?", volume)
            self._db.write("DELETE FROM generations WHERE volume = ?", volume)
            self._db.write("DELETE FROM handed_over WHERE volume = ?", volume)

    # Generations.

    def history(self, volume: str) -> list[CommittedRecord]:
        """A volume's committed generations, newest first; bounded."""
        sql = "SELECT * FROM generations WHERE volume = ? ORDER BY number DESC"
        return [_committed(row) for row in self._db.rows(sql, volume)]

    def newest(self, volume: str) -> CommittedRecord | None:
        """The newest committed generation."""
        sql = "SELECT * FROM generations WHERE volume = ? ORDER BY number DESC LIMIT 1"
        rows = self._db.rows(sql, volume)
        return _committed(rows[0]) if rows else None

    def add_committed(self, record: CommittedRecord) -> None:
        """Write a committed generation down; old ones beyond the bound are forgotten.

        What base and layers lead to is remembered for as long as they are there.
        """
        made = record.generation
        with self.transaction():
            self._db.write(
                "INSERT INTO generations (volume, number, uuid, parent_uuid, frozen_at, chunks,"
                " length, digest, committed_at, size, group_name)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                record.volume,
                made.number,
                made.uuid,
                made.parent_uuid,
                made.frozen_at,
                record.chunks,
                record.length,
                record.digest,
                record.committed_at,
                record.size,
                record.group,
            )
            self._db.write(
                "DELETE FROM generations WHERE volume = ? AND number NOT IN (SELECT number FROM"
                " generations WHERE volume = ? ORDER BY number DESC LIMIT ?)"
                " AND number NOT IN (SELECT number FROM layers WHERE volume = ?)"
                " AND number NOT IN (SELECT base_number FROM volumes WHERE name = ?)",
                record.volume,
                record.volume,
                KEPT_GENERATIONS,
                record.volume,
                record.volume,
            )

    def set_group(self, volume: str, number: int, group: str, at: int) -> None:
        """Write down which group a committed generation came with, and when."""
        sql = (
            "UPDATE generations SET group_name = ?, committed_at = ? WHERE volume = ? "
            "AND number = ?"
        )
        self._db.write(sql, group, at, volume, number)

    def members(self, group: str, uuid: str) -> list[str]:
        """The volumes that were committed together, as one generation of a group; by name."""
        sql = "SELECT volume FROM generations WHERE group_name = ? AND uuid = ? ORDER BY volume"
        return [row["volume"] for row in self._db.rows(sql, group, uuid)]

    def newest_of(self, group: str) -> str:
        """The UUID of what was committed last as a generation of a group; empty: nothing was."""
        sql = "SELECT uuid FROM generations WHERE group_name = ? ORDER BY number DESC LIMIT 1"
        rows = self._db.rows(sql, group)
        return str(rows[0]["uuid"]) if rows else ""

    def identities(self, group: str) -> list[str]:
        """Who commits volumes as a group of this name."""
        sql = (
            "SELECT DISTINCT identity FROM volumes JOIN generations ON volume = name"
            " WHERE group_name = ? ORDER BY identity"
        )
        return [str(row["identity"]) for row in self._db.rows(sql, group)]

    # What is coming in.

    def incoming(self, volume: str) -> IncomingRecord | None:
        """The generation being received, or left by a broken connection."""
        rows = self._db.rows("SELECT * FROM incoming WHERE volume = ?", volume)
        return _incoming(rows[0]) if rows else None

    def save_incoming(self, record: IncomingRecord) -> None:
        """Write down what is coming in, or how much of it is durable."""
        self._db.write(
            "INSERT OR REPLACE INTO incoming (volume, number, uuid, parent_uuid, frozen_at,"
            " base_uuid, object_name, chunk, expected, runs, chunks, length, digest, position,"
            " size, staged) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            record.volume,
            record.generation.number,
            record.generation.uuid,
            record.generation.parent_uuid,
            record.generation.frozen_at,
            record.base_uuid,
            record.object_name,
            record.chunk,
            record.expected,
            record.tally.runs,
            record.tally.chunks,
            record.tally.length,
            record.tally.digest,
            record.position,
            record.size,
            record.staged,
        )

    def remove_incoming(self, volume: str) -> None:
        """Forget what was coming in."""
        self._db.write("DELETE FROM incoming WHERE volume = ?", volume)

    # Held generations.

    def held(self, volume: str) -> list[Chain]:
        """The images that devices show, lowest generation first."""
        sql = "SELECT * FROM held WHERE volume = ? ORDER BY number"
        return [_chain(row) for row in self._db.rows(sql, volume)]

    def hold(self, chain: Chain) -> None:
        """Write down that a device shows this image."""
        made = chain.generation
        layers = json.dumps([[layer.object_name, layer.chunk] for layer in chain.layers])
        self._db.write(
            "INSERT OR REPLACE INTO held (volume, number, uuid, parent_uuid, frozen_at,"
            " base_object, layers, size, base_spans) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            chain.volume,
            made.number,
            made.uuid,
            made.parent_uuid,
            made.frozen_at,
            chain.base_object,
            layers,
            chain.size,
            spans_text(chain.base_spans),
        )

    def release(self, volume: str, number: int) -> None:
        """No device shows the generation any more."""
        self._db.write("DELETE FROM held WHERE volume = ? AND number = ?", volume, number)

    # Garbage.

    def add_garbage(self, volume: str, object_name: str) -> None:
        """The object may go once no image that uses it is held."""
        self._db.write("INSERT OR IGNORE INTO garbage VALUES (?, ?)", object_name, volume)

    def garbage(self) -> list[tuple[str, str]]:
        """What may go: (object name, volume)."""
        rows = self._db.rows("SELECT object_name, volume FROM garbage ORDER BY object_name")
        return [(row["object_name"], row["volume"]) for row in rows]

    def remove_garbage(self, object_name: str) -> None:
        """The object is gone."""
        self._db.write("DELETE FROM garbage WHERE object_name = ?", object_name)


def spans_text(spans: tuple[Span, ...]) -> str:
    """Spans as the journal keeps them."""
    return json.dumps([[str(span.path), span.offset, span.length] for span in spans])


def spans_of(text: str) -> tuple[Span, ...]:
    """What :func:`spans_text` wrote."""
    found = json.loads(text)
    return tuple(Span(Path(path), Bytes(at), Bytes(length)) for path, at, length in found)


def _volume(row: sqlite3.Row) -> VolumeRecord:
    return VolumeRecord(
        row["name"],
        row["volume_uuid"],
        row["identity"],
        Bytes(row["size"]),
        row["base_object"],
        row["base_number"],
        spans_of(row["base_spans"]),
        row["role"],
        row["role_since"],
        row["seed_uuid"],
    )


def _generation(row: sqlite3.Row) -> Generation:
    return Generation(row["number"], row["uuid"], row["parent_uuid"], row["frozen_at"])


def _committed(row: sqlite3.Row) -> CommittedRecord:
    return CommittedRecord(
        row["volume"],
        _generation(row),
        row["chunks"],
        Bytes(row["length"]),
        row["digest"],
        row["committed_at"],
        Bytes(row["size"]),
        row["group_name"],
    )


def _incoming(row: sqlite3.Row) -> IncomingRecord:
    return IncomingRecord(
        row["volume"],
        _generation(row),
        row["base_uuid"],
        row["object_name"],
        Bytes(row["chunk"]),
        row["expected"],
        Tally(row["runs"], row["chunks"], row["length"], row["digest"]),
        row["position"],
        Bytes(row["size"]),
        bool(row["staged"]),
    )


def _chain(row: sqlite3.Row) -> Chain:
    layers = tuple(ChainLayer(name, Bytes(chunk)) for name, chunk in json.loads(row["layers"]))
    return Chain(
        row["volume"],
        Bytes(row["size"]),
        _generation(row),
        row["base_object"],
        layers,
        spans_of(row["base_spans"]),
    )
