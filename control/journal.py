"""The journal: what was decided, written down before it is done.

One SQLite database (WAL, synchronous=FULL) in the state directory. Every step of a cycle is
journaled first and can be repeated after a crash. The kernel and the stores say what was done;
the journal says what was meant.
"""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path

from control.blocks import BlockSet
from control.journal_file import JournalFile
from control.records import (
    CycleKind,
    CycleRecord,
    GenerationRecord,
    GroupRecord,
    LayerRecord,
    LayerState,
    MirrorRecord,
    MirrorState,
    Origin,
    Policy,
    Promotion,
    StandingRecord,
    TraceRecord,
    TraceState,
    VolumeRecord,
    VolumeState,
)
from control.spans import Span
from dm_tables.units import Bytes

KEPT_CYCLES = 200
KEPT_GENERATIONS = 200


class Journal(JournalFile):
    """The journal of one host; see :class:`JournalFile` for what opening it raises."""

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

    def merging(self, volume_uuid: str) -> int:
        """The layer that was last begun to be merged into a volume's spans; -1 for none."""
        return int(self.note(f"merging {volume_uuid}") or -1)

    def note_merging(self, volume_uuid: str, sequence: int) -> None:
        """From now on the spans are a mixture, until the layer is merged."""
        self.set_note(f"merging {volume_uuid}", str(sequence))

    def kept(self, volume_uuid: str) -> set[int]:
        """The layer devices of a volume whose images stay as long as it changes sides."""
        return {int(sequence) for sequence in self.note(f"keeping {volume_uuid}").split()}

    def keep(self, volume_uuid: str, sequences: Iterable[int]) -> None:
        """Nothing is merged over these images from now on, nor after a crash; none: all may be."""
        self.set_note(f"keeping {volume_uuid}", " ".join(map(str, sequences)))

    def promotion(self, volume: str) -> Promotion | None:
        """When a volume became a source of this host; None: it was created here."""
        record = self.volume(volume)
        noted = self.note(f"promoted {record.uuid}") if record is not None else ""
        if not noted:
            return None
        number, since_ns, taken_from = f"{noted} ".split(" ", 2)
        return Promotion(int(number), int(since_ns), taken_from.strip())

    def note_promotion(self, volume_uuid: str, promotion: Promotion) -> None:
        """It became one."""
        self.set_note(f"promoted {volume_uuid}", " ".join(map(str, promotion)))

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
            row["fenced"],
        )

    def add_volume(self, record: VolumeRecord) -> None:
        """Write a new volume down."""
        with self.transaction():
            self._db.execute(
                "INSERT INTO volumes VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    record.name,
                    record.uuid,
                    record.size,
                    record.chunk,
                    record.state,
                    record.bottom,
                    record.fenced,
                ),
            )
            self._write_spans(record.name, record.spans)
            self.save_group(GroupRecord(record.name, implicit=True))
            self.set_member(record.name, record.name)

    def _write_spans(self, name: str, spans: tuple[Span, ...]) -> None:
        for position, span in enumerate(spans):
            self._db.execute(
                "INSERT INTO spans VALUES (?, ?, ?, ?, ?)",
                (name, position, str(span.path), span.offset, span.length),
            )

    def set_spans(self, name: str, spans: tuple[Span, ...], size: Bytes) -> None:
        """A volume's contents span from now on."""
        with self.transaction():
            self._db.execute("DELETE FROM spans WHERE volume = ?", (name,))
            self._write_spans(name, spans)
            self._db.execute("UPDATE volumes SET size = ? WHERE name = ?", (size, name))

    def set_fenced(self, name: str, why: str) -> None:
        """Whether, and why, a volume's head is kept from applications; empty: it is not."""
        self._write("UPDATE volumes SET fenced = ? WHERE name = ?", why, name)

    def set_volume_state(self, name: str, state: VolumeState) -> None:
        """What is being done with a volume."""
        self._write("UPDATE volumes SET state = ? WHERE name = ?", state, name)

    def set_bottom(self, name: str, sequence: int) -> None:
        """Which layer device is the spans themselves from now on."""
        self._write("UPDATE volumes SET bottom = ? WHERE name = ?", sequence, name)

    def remove_volume(self, name: str) -> None:
        """Forget a volume, its layers, its generations and the group it had by itself.

        :raises sqlite3.IntegrityError: it is mirrored; nothing was changed.
        """
        with self.transaction():
            for note in ("merging ", "keeping ", "promoted ", "overridden ", "fenced "):
                self._db.execute(
                    "DELETE FROM meta WHERE key = (SELECT ? || uuid FROM volumes WHERE name = ?)",
                    (note, name),
                )
            self._db.execute("DELETE FROM volumes WHERE name = ?", (name,))
            self._db.execute(
                "DELETE FROM standings WHERE volume = ? AND mirror IN"
                " (SELECT name FROM mirrors WHERE origin = 'group')",
                (name,),
            )
            if self.mirrors_of(name):
                raise sqlite3.IntegrityError(f"{name} is mirrored")
            self._db.execute("DELETE FROM groups WHERE name = ? AND implicit", (name,))

    # Groups.

    def groups(self) -> list[GroupRecord]:
        """Every group, by name."""
        rows = self._rows("SELECT * FROM groups ORDER BY name")
        return [_group(row) for row in rows]

    def group(self, name: str) -> GroupRecord | None:
        """One group."""
        rows = self._rows("SELECT * FROM groups WHERE name = ?", name)
        return _group(rows[0]) if rows else None

    def save_group(self, record: GroupRecord) -> None:
        """Write a group down."""
        before, after = json.dumps(record.before), json.dumps(record.after)
        self._save("groups", record, before=before, after=after)

    def remove_group(self, name: str) -> None:
        """Forget a group that has no members and no mirrors.

        :raises sqlite3.IntegrityError: it has some; nothing was changed.
        """
        with self.transaction():
            if self.mirrors_of(name):
                raise sqlite3.IntegrityError(f"{name} is mirrored")
            self._write("DELETE FROM groups WHERE name = ?", name)

    def members(self, group: str) -> list[str]:
        """The volumes of a group, by name."""
        rows = self._rows("SELECT volume FROM members WHERE group_name = ? ORDER BY volume", group)
        return [str(row[0]) for row in rows]

    def group_of(self, volume: str) -> str:
        """The group of a volume; empty if there is no such volume."""
        rows = self._rows("SELECT group_name FROM members WHERE volume = ?", volume)
        return str(rows[0][0]) if rows else ""

    def set_member(self, volume: str, group: str) -> None:
        """A volume belongs to this group from now on."""
        self._write("INSERT OR REPLACE INTO members VALUES (?, ?)", volume, group)

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
                Bytes(row["size"]),
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

    def remove_generation(self, volume: str, generation_uuid: str) -> None:
        """Forget a planned generation whose freeze did not happen."""
        sql = "DELETE FROM generations WHERE volume = ? AND uuid = ?"
        self._write(sql, volume, generation_uuid)

    def instant(self, generation_uuid: str) -> list[GenerationRecord]:
        """The parts of one instant: a generation of each volume that was frozen in it."""
        sql = "SELECT * FROM generations WHERE uuid = ? ORDER BY volume"
        return [GenerationRecord(**dict(row)) for row in self._rows(sql, generation_uuid)]

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
                    "origin": Origin(row["origin"]),
                }
            )
            for row in rows
        ]

    def mirrors_of(self, group: str) -> list[MirrorRecord]:
        """The mirrors of a group of this host's own volumes, by name."""
        return [
            mirror
            for mirror in self.mirrors()
            if mirror.group_name == group and mirror.origin is Origin.GROUP
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

    # What replicas have.

    def standings(self, *, mirror: str = "", volume: str = "") -> list[StandingRecord]:
        """What replicas have of volumes: of one mirror, of one volume, or all."""
        given = {"mirror": mirror, "volume": volume}
        wanted = {name: value for name, value in given.items() if value}
        where = " AND ".join(f"{name} = ?" for name in wanted) or "TRUE"
        sql = f"SELECT * FROM standings WHERE {where} ORDER BY mirror, volume"  # noqa: S608
        rows = self._rows(sql, *wanted.values())
        flags = ("lacking_all", "asked_whole")
        return [
            StandingRecord(**dict(row) | {flag: bool(row[flag]) for flag in flags}) for row in rows
        ]

    def standings_of(self, volume: str) -> list[StandingRecord]:
        """What the replicas of one of this host's own volumes have, one for each of its mirrors."""
        mirrors = self.mirrors_of(self.group_of(volume))
        return [self.standing(mirror.name, volume) for mirror in mirrors]

    def standing(self, mirror: str, volume: str) -> StandingRecord:
        """What one replica has of one volume."""
        found = self.standings(mirror=mirror, volume=volume)
        return found[0] if found else StandingRecord(mirror, volume)

    def save_standing(self, record: StandingRecord) -> None:
        """Write down what a replica has."""
        self._save("standings", record)

    def change_standing(self, mirror: str, volume: str, **fields: object) -> StandingRecord:
        """Change some fields of a standing in one step, and give the whole record back."""
        with self.transaction():
            known = self.standing(mirror, volume)
            changed = dataclasses.replace(known, **fields)  # type: ignore[arg-type]
            self.save_standing(changed)
            return changed

    def add_lacking(self, standings: Sequence[StandingRecord], blocks: BlockSet) -> None:
        """Write down that replicas lack these blocks, too."""
        with self.transaction():
            for standing in standings:
                total = BlockSet(standing.lacking)
                total.update(blocks)
                self.change_standing(standing.mirror, standing.volume, lacking=total.serialise())

    def remove_standing(self, mirror: str, volume: str) -> None:
        """Forget what a replica has of a volume."""
        sql = "DELETE FROM standings WHERE mirror = ? AND volume = ?"
        self._write(sql, mirror, volume)

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

    def checkpoint(
        self, mirror: str, volume: str, generation_uuid: str
    ) -> tuple[int, int, bytes] | None:
        """How far the copy of a generation is durable: (ordinal, position, digest)."""
        rows = self._rows(
            "SELECT * FROM checkpoints WHERE mirror = ? AND volume = ? AND generation_uuid = ?",
            mirror,
            volume,
            generation_uuid,
        )
        if not rows:
            return None
        return rows[0]["ordinal"], rows[0]["position"], rows[0]["digest"]

    def save_checkpoint(
        self,
        mirror: str,
        volume: str,
        generation_uuid: str,
        mark: tuple[int, int, bytes],
    ) -> None:
        """The replica said that every run below ``mark``'s ordinal is durable."""
        self._write(
            "INSERT OR REPLACE INTO checkpoints VALUES (?, ?, ?, ?, ?, ?)",
            mirror,
            volume,
            generation_uuid,
            *mark,
        )


def _group(row: sqlite3.Row) -> GroupRecord:
    return GroupRecord(
        **dict(row)
        | {
            "implicit": bool(row["implicit"]),
            "policy": Policy(row["policy"]),
            "before": tuple(json.loads(row["before"])),
            "after": tuple(json.loads(row["after"])),
        }
    )


def _trace(row: sqlite3.Row) -> TraceRecord:
    return TraceRecord(**dict(row) | {"state": TraceState(row["state"])})
