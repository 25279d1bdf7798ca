"""The pool of files, on a real directory, with losetup in memory."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from control.pool import PoolObject, allocation, loops
from control.pool.errors import (
    BadObjectName,
    BadObjectSize,
    LoopFailed,
    ObjectBusy,
    PoolFull,
    PoolObjectExists,
    PoolObjectMissing,
    PoolUnsuitable,
    ToolMissing,
)
from control.pool.files import FilesPool
from control.pool.tools import Tool
from dm_tables.units import MIB, Bytes
from tests.unit.pool_fakes import FakeLosetup


@pytest.fixture
def losetup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeLosetup:
    """losetup in memory, in place of the tool."""
    monkeypatch.setattr(loops, "SYS_BLOCK", tmp_path / "sys")
    monkeypatch.setattr(loops, "CONTROL", tmp_path)
    monkeypatch.setattr(loops, "GOING_AWAY_SECONDS", 0.2)
    return FakeLosetup(tmp_path / "sys")


@pytest.fixture
def pool(tmp_path: Path, losetup: FakeLosetup) -> FilesPool:
    """A pool of at most 8 MiB."""
    tool = Tool("true", "coreutils", LoopFailed, losetup)
    return FilesPool(tmp_path / "pool", Bytes(8 * MIB), losetup=tool)


def allocated(made: PoolObject) -> int:
    """The bytes that the file really has."""
    return made.path.stat().st_blocks * 512


def names_in(pool: FilesPool) -> list[str]:
    """Everything in the pool's directory, unfinished files too."""
    return sorted(path.name for path in pool.directory.glob("*"))


def test_an_object_has_all_its_room_and_reads_as_zeroes(pool: FilesPool) -> None:
    made = pool.create("db.1", Bytes(2 * MIB))
    assert made.size() == 2 * MIB
    assert allocated(made) >= 2 * MIB
    assert made.path.read_bytes() == bytes(2 * MIB)
    assert made.path.stat().st_mode & 0o777 == 0o600
    assert pool.directory.stat().st_mode & 0o777 == 0o700


def test_a_sparse_object_has_none(pool: FilesPool) -> None:
    made = pool.create("base", Bytes(1 << 30), sparse=True)
    assert made.size() == 1 << 30
    assert allocated(made) == 0
    assert pool.used() == 0


def test_the_pool_counts_what_it_gives(pool: FilesPool) -> None:
    assert (pool.used(), pool.free(), pool.size()) == (0, 8 * MIB, 8 * MIB)
    pool.create("db.2", Bytes(3 * MIB))
    pool.create("db.1", Bytes(MIB))
    assert pool.list() == ("db.1", "db.2")
    assert (pool.used(), pool.free(), pool.size()) == (4 * MIB, 4 * MIB, 8 * MIB)
    pool.open("db.2").delete()
    assert pool.list() == ("db.1",)
    assert pool.free() == 7 * MIB


def test_without_a_limit_the_filesystem_is_the_limit(tmp_path: Path) -> None:
    pool = FilesPool(tmp_path / "a" / "b")
    filesystem = os.statvfs(tmp_path)
    most = filesystem.f_blocks * filesystem.f_frsize
    assert 0 < pool.free() <= most
    with pytest.raises(PoolFull):
        pool.create("huge", Bytes(most + 512))
    assert names_in(pool) == []


def test_more_than_the_limit_is_refused_and_leaves_nothing(pool: FilesPool) -> None:
    pool.create("db.1", Bytes(6 * MIB))
    with pytest.raises(PoolFull) as caught:
        pool.create("db.2", Bytes(3 * MIB))
    assert (caught.value.wanted, caught.value.free) == (3 * MIB, 2 * MIB)
    assert "db.2" in str(caught.value)
    assert names_in(pool) == ["db.1"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_filesystem_that_fills_up_on_the_way(
    pool: FilesPool, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    made = pool.create("db.1", Bytes(MIB))

    def full(descriptor: int, offset: int, length: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(allocation, "_allocate", full)
    with pytest.raises(PoolFull):
        pool.create("db.2", Bytes(MIB))
    with pytest.raises(PoolFull):
        made.grow(Bytes(2 * MIB))
    assert made.size() == MIB
    assert names_in(pool) == ["db.1"]


def test_a_filesystem_that_cannot_preallocate(
    pool: FilesPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, mode: int, offset: int, length: int) -> int:
        ctypes.set_errno(errno.EOPNOTSUPP)
        return -1

    monkeypatch.setattr(allocation, "_fallocate", lambda: refuse)
    with pytest.raises(PoolUnsuitable, match="cannot allocate room ahead"):
        pool.create("db.1", Bytes(MIB))
    with pytest.raises(PoolUnsuitable):
        pool.check()
    assert names_in(pool) == []


def test_the_size_changes_in_one_step(pool: FilesPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """All room is there before the size says so: no crash leaves a size in between."""
    made = pool.create("db.1", Bytes(MIB))
    seen: list[tuple[int, int]] = []
    truncate = os.ftruncate

    def watched(descriptor: int, size: int) -> None:
        seen.append((os.fstat(descriptor).st_size, os.fstat(descriptor).st_blocks * 512))
        truncate(descriptor, size)

    monkeypatch.setattr(os, "ftruncate", watched)
    made.grow(Bytes(4 * MIB))
    assert [size for size, _ in seen] == [MIB]
    assert seen[0][1] >= 4 * MIB


def test_names_and_sizes_that_cannot_be(pool: FilesPool) -> None:
    for name in ("", ".hidden", "a/b", "../up", "-x", "a b", "x" * 101):
        with pytest.raises(BadObjectName):
            pool.create(name, Bytes(MIB))
        with pytest.raises(BadObjectName):
            pool.open(name)
    for size in (0, -512, 513):
        with pytest.raises(BadObjectSize):
            pool.create("db.1", Bytes(size))
    assert names_in(pool) == []


def test_a_name_that_is_taken_and_one_that_is_free(pool: FilesPool) -> None:
    made = pool.create("db.1", Bytes(MIB))
    made.path.write_bytes(b"precious")
    with pytest.raises(PoolObjectExists):
        pool.create("db.1", Bytes(MIB))
    assert made.path.read_bytes() == b"precious"
    with pytest.raises(PoolObjectMissing):
        pool.open("db.2")


def test_attaching_twice_makes_one_loop_device(pool: FilesPool, losetup: FakeLosetup) -> None:
    made = pool.create("db.1", Bytes(MIB))
    assert made.attached() is None
    assert made.attach() == made.attach() == pool.open("db.1").attached() == "/dev/loop0"
    assert len(losetup.loops) == 1
    made.detach()
    made.detach()
    assert losetup.loops == {}


def test_growing_while_attached_lets_the_loop_device_follow(
    pool: FilesPool, losetup: FakeLosetup, tmp_path: Path
) -> None:
    made = pool.create("db.1", Bytes(MIB))
    made.attach()
    assert made.grow(Bytes(3 * MIB)) == 3 * MIB
    assert (tmp_path / "sys/loop0/size").read_text() == f"{3 * MIB // 512}\n"
    assert allocated(made) >= 3 * MIB
    assert made.grow(Bytes(2 * MIB)) == 3 * MIB
    with pytest.raises(PoolFull):
        made.grow(Bytes(9 * MIB))
    assert made.size() == 3 * MIB


@pytest.mark.parametrize("again", [lambda one: one.attach(), lambda one: one.grow(one.size())])
def test_a_crash_between_file_and_loop_device_is_made_good(
    pool: FilesPool, tmp_path: Path, again: Callable[[PoolObject], object]
) -> None:
    made = pool.create("db.1", Bytes(MIB))
    made.attach()
    os.truncate(made.path, 2 * MIB)
    again(made)
    assert (tmp_path / "sys/loop0/size").read_text() == f"{2 * MIB // 512}\n"


def test_what_something_stands_on_is_not_taken_away(pool: FilesPool, losetup: FakeLosetup) -> None:
    made = pool.create("db.1", Bytes(MIB))
    losetup.hold(made.attach(), "dm-3")
    for attempt in (made.detach, made.delete):
        with pytest.raises(ObjectBusy) as caught:
            attempt()
        assert caught.value.users == ("dm-3",)
    assert made.path.exists()
    assert len(losetup.loops) == 1
    losetup.release("/dev/loop0", "dm-3")
    made.delete()
    assert losetup.loops == {}
    made.delete()
    pool.remove("db.1")


def test_a_loop_device_that_is_going_away_is_not_used_again(
    pool: FilesPool, losetup: FakeLosetup
) -> None:
    made = pool.create("db.1", Bytes(MIB))
    losetup.loops[made.attach()].opened = True
    with pytest.raises(ObjectBusy):
        made.detach()
    assert made.attached() is None
    with pytest.raises(ObjectBusy, match="goes away at its last close"):
        made.attach()
    losetup.close("/dev/loop0")
    assert made.attach() == "/dev/loop0"
    assert not losetup.loops["/dev/loop0"].going


@pytest.mark.parametrize(("refuses", "asked"), [(True, "off"), (False, "on")])
def test_direct_io_is_asked_for_where_the_filesystem_can(
    pool: FilesPool,
    losetup: FakeLosetup,
    monkeypatch: pytest.MonkeyPatch,
    refuses: bool,
    asked: str,
) -> None:
    made = pool.create("db.1", Bytes(MIB))
    opened = os.open

    def tmpfs(path: Path, flags: int, *more: int) -> int:
        if flags & os.O_DIRECT and refuses:
            raise OSError(errno.EINVAL, "Invalid argument")
        return opened(path, flags & ~os.O_DIRECT, *more)

    monkeypatch.setattr(os, "open", tmpfs)
    made.attach()
    assert losetup.made() == [("true", "--find", "--show", f"--direct-io={asked}", str(made.path))]


def test_losetup_fails(pool: FilesPool, losetup: FakeLosetup) -> None:
    made = pool.create("db.1", Bytes(MIB))
    losetup.refuses = "losetup: cannot find an unused loop device"
    with pytest.raises(LoopFailed, match="cannot find an unused loop device") as caught:
        made.attach()
    assert caught.value.code == 1


def test_check_makes_the_place_and_sweeps_it(pool: FilesPool) -> None:
    pool.check()
    assert names_in(pool) == []
    (pool.directory / ".db.1.new").write_bytes(b"half made")
    (pool.directory / "db.2").write_bytes(b"whole")
    pool.check()
    assert names_in(pool) == ["db.2"]


def test_check_misses_a_tool(tmp_path: Path) -> None:
    absent = Tool("no-such-losetup", "mount", LoopFailed)
    with pytest.raises(ToolMissing, match="install the package mount"):
        FilesPool(tmp_path, losetup=absent).check()
    with pytest.raises(ToolMissing):
        absent.call("--list")


def test_a_place_that_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    pool = FilesPool(tmp_path / "file" / "pool")
    with pytest.raises(PoolUnsuitable):
        pool.create("db.1", Bytes(MIB))
    assert pool.list() == ()
