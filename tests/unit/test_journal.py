"""The journal keeps what was written down, all of a step or none of it."""

from __future__ import annotations

import dataclasses
import sqlite3
from pathlib import Path

import pytest

from control.blocks import BlockSet
from control.journal import KEPT_GENERATIONS, Journal
from control.journal_file import JournalDamaged, JournalTooNew
from control.journal_schema import SCHEMA, SCHEMA_VERSION, TRACES
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
    StandingRecord,
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
    "m",
    "data",
    "peer:7420",
    "copy",
    MirrorState.RUNNING,
    0,
    0,
    True,
    False,
    True,
    "0 3 * * *",
    0,
    "Sat-Sun",
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


def test_records_come_back_as_they_were(path: Path) -> None:
    journal = Journal(path)
    host = journal.host_uuid
    layer = LayerRecord("data", 1, "data.1", Bytes(65536), LayerState.PREPARED)
    generation = GenerationRecord("data", 1, "g1", "", None, 0, members=2)
    cycle = CycleRecord("m", "g1", 1, 2.5, CycleKind.WHOLE, "copying", pause_us=900)
    journal.add_volume(VOLUME)
    journal.save_layer(layer)
    journal.save_generation(generation)
    journal.save_mirror(MIRROR)
    journal.save_cycle(cycle)
    journal.save_checkpoint("m", "data", "g1", (7, 99, b"digest"))
    standing = StandingRecord("m", "data", "g1", 1, 0, 2.5, b"\x01", lacking_all=True)
    journal.save_standing(standing)
    group = GroupRecord("db", False, "crash", Policy.QUORUM, 2, ("/bin/a", "b"), 5, (), 0, "peer")
    journal.save_group(group)
    journal.close()
    again = Journal(path)
    assert again.host_uuid == host
    assert again.volumes() == [VOLUME]
    assert again.layers("data") == [layer]
    assert again.generations("data") == [generation]
    assert again.mirrors() == [MIRROR]
    assert again.cycles("m") == [cycle]
    assert again.checkpoint("m", "data", "g1") == (7, 99, b"digest")
    assert again.checkpoint("m", "data", "g2") is None
    assert again.standings(mirror="m") == again.standings(volume="data") == [standing]
    assert again.standings(mirror="other") == []
    assert again.groups() == [GroupRecord("data", implicit=True), group]
    assert again.instant("g1") == [generation]


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
        journal.change_standing("m", "data", committed_number=5)
        journal.set_bottom("data", 4)
        raise RuntimeError
    found, standing = journal.volume("data"), journal.standing("m", "data")
    assert found is not None
    assert (found.bottom, standing.committed_number) == (0, 0)


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
    assert journal.groups() == []


def test_a_volume_is_a_group_by_itself_until_it_joins_one(path: Path) -> None:
    journal = Journal(path)
    journal.add_volume(VOLUME)
    assert (journal.group_of("data"), journal.members("data")) == ("data", ["data"])
    journal.save_group(GroupRecord("db", implicit=False))
    journal.set_member("data", "db")
    journal.remove_group("data")
    assert (journal.group_of("data"), journal.members("db")) == ("db", ["data"])
    with pytest.raises(sqlite3.IntegrityError):
        journal.remove_group("db")


def test_generations_are_kept_in_bounded_number(path: Path) -> None:
    journal = Journal(path)
    journal.add_volume(VOLUME)
    for number in range(1, KEPT_GENERATIONS + 11):
        journal.save_generation(GenerationRecord("data", number, f"g{number}", "", 1.0, number - 1))
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


def test_a_mirror_of_version_2_keeps_what_its_replica_has(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.executescript(SCHEMA + TRACES)
        db.execute("INSERT INTO volumes VALUES ('data', 'u', 4096, 4096, 'active', 3)")
        db.execute("INSERT INTO layers VALUES ('data', 4, 'data.4', 4096, 'live')")
        db.execute("INSERT INTO generations VALUES ('data', 4, 'g4', 'g3', 1.5, 900)")
        db.execute(
            "INSERT INTO mirrors VALUES ('m', 'data', 'peer:1', 'copy', 'running', 5, 6, 0, 1, 1,"
            " 'g4', 4, 1.5, x'07', 0)"
        )
        db.execute(
            "INSERT INTO cycles VALUES ('m', 'g4', 4, 1.5, 'delta', 'committed', 900, 1, 2, 3, 4,"
            " 5.0, 6.0, 'verified', 0)"
        )
        db.execute("PRAGMA user_version=2")
    db.close()
    journal = Journal(path)
    assert journal.mirrors() == [
        MirrorRecord("m", "data", "peer:1", "copy", MirrorState.RUNNING, 5, 6, False, True, True)
    ]
    assert journal.standings() == [StandingRecord("m", "data", "g4", 4, 3, 1.5, b"\x07")]
    assert journal.generations("data") == [
        GenerationRecord("data", 4, "g4", "g3", 1.5, layer=3, pause_us=900)
    ]
    assert [cycle.generation_uuid for cycle in journal.cycles("m")] == ["g4"]
    assert journal.layers("data")[0].size == 4096
    assert journal.members("data") == ["data"]
    journal.remove_mirror("m")
    assert journal.standings() == []


def test_a_mirror_of_a_replica_needs_no_volume_here(path: Path) -> None:
    journal = Journal(path)
    onward = dataclasses.replace(MIRROR, name="on", origin=Origin.REPLICA)
    standing = StandingRecord("on", "data", "g4", 4, 4, 1.5, base="data.base1")
    journal.save_mirror(onward)
    journal.save_standing(standing)
    journal.add_volume(VOLUME)
    journal.save_mirror(MIRROR)
    assert journal.mirrors_of("data") == [MIRROR]
    assert journal.standings_of("data") == [StandingRecord("m", "data")]
    journal.remove_mirror("m")
    journal.remove_volume("data")
    assert (journal.mirrors(), journal.standings()) == ([onward], [standing])
    journal.remove_mirror("on")
    assert journal.standings() == []


def test_lacking_blocks_add_up(path: Path) -> None:
    journal = Journal(path)
    journal.save_mirror(MIRROR)
    for number in (3, 5, 3):
        blocks = BlockSet()
        blocks.add_blocks([number])
        journal.add_lacking([journal.standing("m", "data")], blocks)
    assert list(BlockSet(journal.standing("m", "data").lacking)) == [3, 5]


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
