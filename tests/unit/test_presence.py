"""A pool whose disk is not mounted is an empty directory, and must not be taken for the pool."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from control.journal import Journal
from control.pool.files import FilesPool
from control.pool.presence import MARK, PoolAbsent, check_present, mark
from dm_tables.units import Bytes


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """A host's journal."""
    made = Journal(tmp_path / "journal.db")
    yield made
    made.close()


def test_a_pool_is_known_again(journal: Journal, tmp_path: Path) -> None:
    pool = FilesPool(tmp_path / "pool")
    check_present(journal, pool)
    pool.check()
    mark(journal, pool)
    check_present(journal, pool)
    mark(journal, pool)
    check_present(journal, pool)
    assert pool.list() == ()


def test_an_empty_directory_in_its_place_is_not_it(journal: Journal, tmp_path: Path) -> None:
    place = tmp_path / "pool"
    pool = FilesPool(place)
    pool.check()
    mark(journal, pool)
    pool.create("data.1", Bytes(1 << 20))
    place.rename(tmp_path / "away")
    with pytest.raises(PoolAbsent, match="no such directory"):
        check_present(journal, pool)
    place.mkdir()
    with pytest.raises(PoolAbsent, match=MARK):
        check_present(journal, pool)
    (place / MARK).write_text("another\n")
    with pytest.raises(PoolAbsent):
        check_present(journal, pool)
    (place / MARK).unlink()
    place.rmdir()
    (tmp_path / "away").rename(place)
    check_present(journal, pool)


def test_another_place_is_another_pool(journal: Journal, tmp_path: Path) -> None:
    one, two = FilesPool(tmp_path / "one"), FilesPool(tmp_path / "two")
    for pool in (one, two):
        pool.check()
    mark(journal, one)
    check_present(journal, two)
    mark(journal, two)
    (tmp_path / "two" / MARK).unlink()
    check_present(journal, one)
    with pytest.raises(PoolAbsent):
        check_present(journal, two)
