"""The replica's journal, the part about recovery points: what is kept, and what devices show."""

from __future__ import annotations

from control.replica.database import Database
from control.replica.records import Generation
from control.replica.retention import Retention, Rule


class PointsJournal:
    """Records in, records out. Every method is one transaction unless inside another."""

    def __init__(self, database: Database) -> None:
        self._db = database

    # Retention.

    def retention(self, volume: str) -> Retention | None:
        """A volume's own; None where the host's default holds."""
        rows = self._db.rows("SELECT * FROM retention WHERE volume = ?", volume)
        if not rows:
            return None
        row = rows[0]
        return Retention(row["last"], row["hourly"], row["daily"], row["weekly"])

    def save_retention(self, volume: str, wanted: Retention) -> None:
        """Write down what a volume keeps."""
        self._db.write(
            "INSERT OR REPLACE INTO retention (volume, last, hourly, daily, weekly)"
            " VALUES (?, ?, ?, ?, ?)",
            volume,
            wanted.last,
            wanted.hourly,
            wanted.daily,
            wanted.weekly,
        )

    # Generations that are wanted for other reasons than their time.

    def pins(self, volume: str) -> dict[int, set[Rule]]:
        """The pinned generations, and why."""
        found: dict[int, set[Rule]] = {}
        for row in self._db.rows("SELECT number, rule FROM pins WHERE volume = ?", volume):
            found.setdefault(row["number"], set()).add(Rule(row["rule"]))
        return found

    def pin(self, volume: str, number: int, rule: Rule) -> None:
        """Keep a generation until it is unpinned. Repeating it is harmless."""
        self._db.write(
            "INSERT OR IGNORE INTO pins (volume, number, rule) VALUES (?, ?, ?)",
            volume,
            number,
            rule.value,
        )

    def unpin(self, volume: str, number: int, rule: Rule) -> None:
        """It is not wanted any more, for this reason."""
        sql = "DELETE FROM pins WHERE volume = ? AND number = ? AND rule = ?"
        self._db.write(sql, volume, number, rule.value)

    # What a demoted source had above the common generation.

    def save_diverged(self, volume: str, made: Generation, common: int, layers: str) -> None:
        """Write a branch down; one a volume."""
        self._db.write(
            "INSERT INTO diverged (volume, number, uuid, parent_uuid, frozen_at, common, layers)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            volume,
            made.number,
            made.uuid,
            made.parent_uuid,
            made.frozen_at,
            common,
            layers,
        )

    def diverged(self, volume: str) -> tuple[Generation, int, str] | None:
        """A volume's branch: its generation, the common one, its layers as text."""
        rows = self._db.rows("SELECT * FROM diverged WHERE volume = ?", volume)
        if not rows:
            return None
        row = rows[0]
        made = Generation(row["number"], row["uuid"], row["parent_uuid"], row["frozen_at"])
        return made, row["common"], row["layers"]

    def remove_diverged(self, volume: str) -> None:
        """Forget a branch."""
        self._db.write("DELETE FROM diverged WHERE volume = ?", volume)

    # What devices show of the held generations.

    def shown(self, volume: str) -> set[int]:
        """The held generations that a read-only device shows."""
        rows = self._db.rows("SELECT number FROM held WHERE volume = ? AND shown", volume)
        return {row["number"] for row in rows}

    def set_shown(self, volume: str, number: int, shown: bool) -> None:
        """Write down whether a read-only device shows a held generation."""
        sql = "UPDATE held SET shown = ? WHERE volume = ? AND number = ?"
        self._db.write(sql, shown, volume, number)

    def scratches(self, volume: str) -> dict[int, str]:
        """The held generations that a test head writes over, and the object it writes to."""
        sql = "SELECT number, scratch FROM held WHERE volume = ? AND scratch <> ''"
        return {row["number"]: row["scratch"] for row in self._db.rows(sql, volume)}

    def set_scratch(self, volume: str, number: int, object_name: str) -> None:
        """Name the object of a held generation's test head; empty: there is none."""
        sql = "UPDATE held SET scratch = ? WHERE volume = ? AND number = ?"
        self._db.write(sql, object_name, volume, number)
