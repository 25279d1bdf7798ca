"""The journal keeps what was written down, all of a step or none of it."""

from __future__ import annotations

import dataclasses
import sqlite3
from pathlib import Path

import pytest

from control.journal import (
    KEPT_GENERATIONS,
    SCHEMA,
    SCHEMA_VERSION,
    Journal,
    JournalDamaged,
    JournalTooNew,
)
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
from dm_tables.units import Bytes

VOLUME = VolumeRecord(
    "data",
    "0f7bdf5e-0000-4000-8000-000000000001",
    (Span(Path("/dev/sda"), Bytes(512), Bytes(4096)), Span(Path("/f"), Bytes(0), Bytes(512))),
    Bytes(4608),
    Bytes(65536),
    VolumeState.CREATING,
    bottom=0,
)
MIRROR = MirrorRecord(
    "m", "data", "peer:7420", "copy", MirrorState.RUNNING, 0, 0, True, False, True, lacking=b"\x01"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


def test_records_come_back_as_they_were(path: Path) -> None:
    journal = Journal(path)
    host = journal.host_uuid
    layer = LayerRecord("data", 1, "data.1", Bytes(65536), LayerState.PREPARED)
    generation = GenerationRecord("data", 1, "g1", "", None)
    cycle = CycleRecord("m", "g1", 1, 2.5, CycleKind.WHOLE, "copying", pause_us=900)
    journal.add_volume(VOLUME)
    journal.save_layer(layer)
    journal.save_generation(generation)
    journal.save_mirror(MIRROR)
    journal.save_cycle(cycle)
    journal.save_checkpoint("m", "g1", 7, 99, b"digest")
    journal.close()
    again = Journal(path)
    assert again.host_uuid == host
    assert again.volumes() == [VOLUME]
    assert again.layers("data") == [layer]
    assert again.generations("data") == [generation]
    assert again.mirrors() == [MIRROR]
    assert again.cycles("m") == [cycle]
    assert again.checkpoint("m", "g1") == (7, 99, b"digest")
    assert again.checkpoint("m", "g2") is None


def test_saving_again_changes_in_place(path: Path) -> None:
    journal = Journal(path)
    journal.add_volume(VOLUME)
    layer = LayerRecord("data", 1, "data.1", Bytes(65536), LayerState.PREPARED)
    journal.save_layer(layer)
    journal.save_layer(dataclasses.replace(layer, state=LayerState.LIVE))
    journal.set_bottom("data", 1)
    journal.set_volume_state("data", VolumeState.ACTIVE)
    assert [found.state for found in journal.layers("data")] == [LayerState.LIVE]
    found = journal.volume("data")
    assert found is not None
    assert (found.bottom, found.state) == (1, VolumeState.ACTIVE)


def test_a_transaction_is_all_or_nothing(path: Path) -> None:
    journal = Journal(path)
    journal.add_volume(VOLUME)
    journal.save_mirror(MIRROR)
    with pytest.raises(RuntimeError), journal.transaction():
        journal.change_mirror("m", committed_number=5)
        journal.set_bottom("data", 4)
        raise RuntimeError
    found, mirror = journal.volume("data"), journal.mirror("m")
    assert found is not None
    assert mirror is not None
    assert (found.bottom, mirror.committed_number) == (0, 0)


def test_removing_a_volume_takes_what_is_its_own(path: Path) -> None:
    journal = Journal(path)
    journal.add_volume(VOLUME)
    journal.save_layer(LayerRecord("data", 1, "data.1", Bytes(65536), LayerState.LIVE))
    journal.save_mirror(MIRROR)
    with pytest.raises(sqlite3.IntegrityError):
        journal.remove_volume("data")
    journal.remove_mirror("m")
    journal.remove_volume("data")
    assert journal.volumes() == []
    assert journal.layers("data") == []


def test_generations_are_kept_in_bounded_number(path: Path) -> None:
    journal = Journal(path)
    journal.add_volume(VOLUME)
    for number in range(1, KEPT_GENERATIONS + 11):
        journal.save_generation(GenerationRecord("data", number, f"g{number}", "", 1.0))
    numbers = [found.number for found in journal.generations("data")]
    assert numbers == list(range(KEPT_GENERATIONS + 10, 10, -1))


def test_a_file_that_is_no_journal_is_named_and_left_alone(path: Path) -> None:
    path.write_bytes(b"not a database at all, but long enough to be looked at" * 20)
    before = path.read_bytes()
    with pytest.raises(JournalDamaged, match=r"journal\.db"):
        Journal(path)
    assert path.read_bytes() == before


def test_a_newer_journal_is_refused(path: Path) -> None:
    Journal(path).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version=99")
    db.close()
    with pytest.raises(JournalTooNew, match="99"):
        Journal(path)


def test_a_journal_of_version_1_goes_on_as_one_of_today(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.executescript(SCHEMA)
        db.execute("INSERT INTO meta VALUES ('host_uuid', 'who I am')")
        db.execute("INSERT INTO volumes VALUES ('data', 'u', 4096, 4096, 'active', 3)")
        db.execute("INSERT INTO layers VALUES ('data', 4, 'data.4', 4096, 'live')")
        db.execute("PRAGMA user_version=1")
    db.close()
    journal = Journal(path)
    assert journal.host_uuid == "who I am"
    assert [layer.sequence for layer in journal.layers("data")] == [4]
    assert journal.trace("data", 4) is None
    trace = TraceRecord("data", 4, TraceState.WATCHED, "", "epoch", 7, 1.5)
    journal.save_trace(trace)
    journal.close()
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION
    db.close()
    again = Journal(path)
    assert (again.host_uuid, again.traces("data")) == ("who I am", [trace])


def test_a_layer_takes_its_trace_along(path: Path) -> None:
    journal = Journal(path)
    journal.add_volume(VOLUME)
    layer = LayerRecord("data", 1, "data.1", Bytes(65536), LayerState.LIVE)
    with pytest.raises(sqlite3.IntegrityError):
        journal.save_trace(TraceRecord("data", 1, TraceState.UNTRACED))
    journal.save_layer(layer)
    journal.save_trace(TraceRecord("data", 1, TraceState.WATCHED, number=1))
    ended = TraceRecord("data", 1, TraceState.TRACED, blocks=b"blocks", counters="{}")
    journal.save_trace(ended)
    journal.save_layer(dataclasses.replace(layer, state=LayerState.FROZEN))
    assert journal.traces("data") == [ended]
    journal.remove_layer("data", 1)
    assert journal.traces("data") == []
