"""The history of writes: bounded, by volume, and never more important than the host."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from control.history import KEPT, CycleWrites, History
from control.pattern import Pattern
from dm_tables.units import Bytes

PATTERN = Pattern(5, tuple(range(9)), 7, 28672, (0, 7) + (0,) * 14, (7,) + (0,) * 15)
CYCLE = CycleWrites(1, 10.5, 12.25, Bytes(65536), True, 2, PATTERN, (0, 5, 1 << 40))


def test_what_is_kept_comes_back(tmp_path: Path) -> None:
    history = History(tmp_path / "history.db")
    untraced = dataclasses.replace(CYCLE, sequence=2, traced=False, pattern=Pattern())
    history.add("u", CYCLE)
    history.add("u", untraced)
    history.explain("u", 2, "4 KiB: so")
    history.close()
    again = History(tmp_path / "history.db")
    assert again.cycles("u") == [CYCLE, untraced]
    assert again.cycles("u", 1) == [untraced]
    assert again.cycles("other") == []
    assert (again.has("u", 2), again.has("u", 3)) == (True, False)
    assert (again.why("u", 2), again.why("u", 1)) == ("4 KiB: so", "")


def test_a_cycle_counts_once(tmp_path: Path) -> None:
    history = History(tmp_path / "history.db")
    for _ in range(2):
        history.add("u", CYCLE)
    history.add("u", dataclasses.replace(CYCLE, sequence=2))
    assert history.totals("u") == (14, 2 * 28672)


def test_it_stays_bounded_and_its_totals_do_not_fall(tmp_path: Path) -> None:
    history = History(tmp_path / "history.db")
    for sequence in range(1, KEPT + 21):
        history.add("u", dataclasses.replace(CYCLE, sequence=sequence))
        history.explain("u", sequence, "so")
    assert [c.sequence for c in history.cycles("u")] == list(range(21, KEPT + 21))
    assert (history.why("u", 20), history.why("u", 21)) == ("", "so")
    assert history.totals("u")[0] == 7 * (KEPT + 20)


def test_a_volume_that_is_gone_leaves_nothing(tmp_path: Path) -> None:
    history = History(tmp_path / "history.db")
    history.add("u", CYCLE)
    history.add("v", CYCLE)
    history.forget("u")
    assert (history.cycles("u"), history.totals("u")) == ([], (0, 0))
    assert history.cycles("v") == [CYCLE]


def test_a_damaged_one_is_made_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "history.db"
    path.write_bytes(b"this is no database at all, it is a text" * 100)
    history = History(path)
    history.add("u", CYCLE)
    assert history.cycles("u") == [CYCLE]
    assert "made anew" in caplog.text


def test_a_disk_that_takes_no_more_fails_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    history = History(tmp_path / "history.db")
    history.add("u", CYCLE)
    pages = history._db.execute("PRAGMA page_count").fetchone()[0]
    history._db.execute(f"PRAGMA max_page_count={pages}")
    for sequence in range(2, 400):
        history.explain("u", sequence, "x" * 1000)
    assert "full" in caplog.text
    assert history.cycles("u") == [CYCLE]
