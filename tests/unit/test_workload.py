"""The workloads and their checkers, on plain files; each oracle with its negative control."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.workload.checksum_files import FilesWriter, check_files
from tests.workload.judge import (
    Bounds,
    Window,
    bounds,
    files_after,
    judge_files,
    judge_newest,
)
from tests.workload.oplog import (
    RECORD_BYTES,
    DiskLog,
    LogFull,
    Mark,
    Operation,
    Recorder,
    operations,
    read_disk_log,
    read_lines,
)
from tests.workload.sqlite_writer import KEPT_ROWS, SqliteWriter, check_sqlite


class ListLog:
    """Keeps the marks in memory."""

    def __init__(self) -> None:
        self.marks: list[Mark] = []

    def put(self, mark: Mark) -> None:
        self.marks.append(mark)


def write_sqlite(directory: Path, count: int) -> list[Operation]:
    log = ListLog()
    writer = SqliteWriter(directory, Recorder(log))
    for _ in range(count):
        writer.step()
    writer.close()
    return operations(log.marks)


def write_files(directory: Path, count: int) -> list[Operation]:
    log = ListLog()
    writer = FilesWriter(directory, Recorder(log), names=12)
    for _ in range(count):
        writer.step()
    return operations(log.marks)


def test_log_on_a_disk_reads_back_and_ends_at_the_first_empty_sector(tmp_path: Path) -> None:
    disk = tmp_path / "log"
    disk.write_bytes(bytes(16 * RECORD_BYTES))
    recorder = Recorder(DiskLog(disk, 4 * RECORD_BYTES, 4 * RECORD_BYTES))
    recorder.begin("commit", "a.db", "d1")
    recorder.done("commit", "a.db", "d1")
    recorder.begin("commit", "a.db", "d2")
    found = operations(read_disk_log(disk, 4 * RECORD_BYTES, 4 * RECORD_BYTES))
    assert [(op.number, op.digest, op.done_ns is None) for op in found] == [
        (1, "d1", False),
        (2, "d2", True),
    ]
    recorder.done("commit", "a.db", "d2")
    with pytest.raises(LogFull):
        recorder.begin("commit")
    assert not any(disk.read_bytes()[: 4 * RECORD_BYTES])


def test_log_from_a_stream_leaves_out_the_line_that_was_cut_off() -> None:
    lines = [Mark(1, stage, "commit", "a", "d", 5, 6).encode() for stage in ("begin", "done")]
    assert len(read_lines(b"".join(lines))) == 2
    assert len(read_lines(b"".join(lines)[:-3])) == 1


def test_log_with_a_gap_is_refused() -> None:
    with pytest.raises(ValueError, match="operation 3 follows operation 1"):
        operations([Mark(1, "begin", "w", "", "", 1, 1), Mark(3, "begin", "w", "", "", 2, 2)])
    with pytest.raises(ValueError, match="without having begun"):
        operations([Mark(1, "done", "w", "", "", 1, 1)])


def test_bounds_hold_what_was_acknowledged_before_and_begun_by_the_freeze() -> None:
    marks = [
        Operation(1, "commit", "", "", 10, 20),
        Operation(2, "commit", "", "", 30, 40),
        Operation(3, "commit", "", "", 50, 60),
        Operation(4, "commit", "", "", 70, None),
    ]
    assert bounds(marks, Window(45, 55)) == Bounds(2, 3)
    assert bounds(marks, Window(5, 6)) == Bounds(0, 0)
    assert bounds(marks, Window(100, 101)) == Bounds(3, 4)


def test_judge_of_the_newest_transaction() -> None:
    assert judge_newest(5, Bounds(5, 6)) == []
    assert judge_newest(6, Bounds(5, 6)) == []
    assert "is missing" in judge_newest(4, Bounds(5, 6))[0]
    assert "only 6 had begun" in judge_newest(7, Bounds(5, 6))[0]


def test_sqlite_check_finds_what_was_committed(tmp_path: Path) -> None:
    count = KEPT_ROWS + 20
    committed = write_sqlite(tmp_path, count)
    findings = check_sqlite(tmp_path)
    assert findings.faults == []
    assert (findings.newest, findings.rows) == (count, KEPT_ROWS)
    assert [op.number for op in committed] == list(range(1, count + 1))


def test_sqlite_check_reads_the_write_ahead_log_of_a_killed_writer(tmp_path: Path) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-m", "tests.workload.sqlite_writer", str(tmp_path / "data")],
        stdout=subprocess.PIPE,
    )
    assert writer.stdout is not None
    lines = [writer.stdout.readline() for _ in range(40)]
    writer.kill()
    marks = read_lines(b"".join(lines) + writer.stdout.read())
    writer.wait()
    found = operations(marks)
    findings = check_sqlite(tmp_path / "data")
    assert findings.faults == []
    assert judge_newest(findings.newest, bounds(found, Window(1 << 62, 1 << 62))) == []
    assert findings.newest >= 20


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ("UPDATE tx SET payload = x'00' WHERE n = 3", "transaction 3 has a wrong checksum"),
        ("DELETE FROM tx WHERE n = 4", "rows are there"),
        ("UPDATE account SET balance = balance + 1 WHERE id = 2", "the accounts sum up to"),
    ],
)
def test_sqlite_check_is_red_on_damage(tmp_path: Path, statement: str, fault: str) -> None:
    write_sqlite(tmp_path, 10)
    with closing(sqlite3.connect(tmp_path / "app.db")) as db, db:
        db.execute(statement)
    assert any(fault in found for found in check_sqlite(tmp_path).faults)


def test_sqlite_check_is_red_on_a_torn_or_missing_database(tmp_path: Path) -> None:
    assert "missing" in check_sqlite(tmp_path).faults[0]
    write_sqlite(tmp_path, 50)
    database = tmp_path / "app.db"
    data = bytearray(database.read_bytes())
    data[4096:8192] = os.urandom(4096)
    database.write_bytes(data)
    assert check_sqlite(tmp_path).faults


def test_files_check_finds_what_was_written(tmp_path: Path) -> None:
    done = write_files(tmp_path, 60)
    assert {op.kind for op in done} == {"write", "delete"}
    findings = check_files(tmp_path)
    assert findings.faults == []
    assert findings.found == files_after(done, 60)
    assert judge_files(findings.found, done, Bounds(60, 60)) == []


def test_files_check_is_red_on_damage(tmp_path: Path) -> None:
    done = write_files(tmp_path, 40)
    name, number = next(iter(files_after(done, 40).items()))
    victim = tmp_path / name
    whole = victim.read_bytes()
    victim.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert check_files(tmp_path).faults == [f"{name} has a wrong checksum"]
    victim.write_bytes(whole)
    other = tmp_path / "file-999"
    other.write_bytes(whole)
    assert check_files(tmp_path).faults == ["file-999 has a wrong checksum"]
    other.unlink()
    victim.unlink()
    missing = judge_files(check_files(tmp_path).found, done, Bounds(40, 40))
    assert f"{name} is missing" in missing[0]
    assert number <= 40


def test_judge_of_files_takes_any_prefix_within_bounds_and_no_mixture(tmp_path: Path) -> None:
    done = write_files(tmp_path, 40)
    assert judge_files(files_after(done, 30), done, Bounds(29, 31)) == []
    assert judge_files(files_after(done, 28), done, Bounds(29, 31)) != []
    mixture = files_after(done, 29)
    last = next(op for op in reversed(done) if op.kind == "write")
    mixture[last.name] = last.number
    assert judge_files(mixture, done, Bounds(29, 31)) != []


def test_a_writer_told_to_stop_ends_after_the_step_under_way(tmp_path: Path) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-m", "tests.workload.checksum_files", str(tmp_path / "data")],
        stdout=subprocess.PIPE,
    )
    assert writer.stdout is not None
    first = writer.stdout.readline()
    writer.send_signal(signal.SIGTERM)
    done = operations(read_lines(first + writer.stdout.read()))
    assert writer.wait() == 0
    assert done[-1].done_ns is not None
    assert check_files(tmp_path / "data").found == files_after(done, len(done))
