"""The pool of logical volumes, with LVM in memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from control.pool.errors import (
    BadObjectName,
    LvmFailed,
    ObjectBusy,
    PoolFull,
    PoolObjectExists,
    PoolObjectMissing,
    PoolUnsuitable,
)
from control.pool.lvm import LvmPool
from dm_tables.units import MIB, Bytes
from tests.unit.pool_fakes import FakeLvm, FakeVolume


@pytest.fixture
def lvm() -> FakeLvm:
    """A group of 400 MiB, with a volume in it that is none of ours."""
    return FakeLvm(volumes={"root": FakeVolume(40 * MIB, [])})


@pytest.fixture
def pool(lvm: FakeLvm) -> LvmPool:
    """The pool in that group."""
    return LvmPool("vg0", runner=lvm)


def test_an_object_is_a_tagged_volume_that_nobody_else_activates(
    pool: LvmPool, lvm: FakeLvm
) -> None:
    made = pool.create("db.1", Bytes(10 * MIB))
    assert made.path == Path("/dev/vg0/frazil-pool-db.1")
    assert made.size() == 12 * MIB
    assert lvm.volumes["frazil-pool-db.1"].tags == ["frazil", "frazil-pool"]
    create = next(call for call in lvm.calls if call[0] == "lvcreate")
    assert create[create.index("--setautoactivation") + 1] == "n"
    assert create[-1] == "vg0"


def test_only_its_own_volumes_are_listed_and_counted(pool: LvmPool, lvm: FakeLvm) -> None:
    pool.create("db.1", Bytes(8 * MIB))
    LvmPool("vg0", label="frazil-replica", runner=lvm).create("db", Bytes(20 * MIB))
    assert pool.list() == ("db.1",)
    assert pool.used() == 8 * MIB
    assert pool.free() == (400 - 40 - 8 - 20) * MIB
    assert pool.granularity == 4 * MIB


def test_the_limit_counts_its_own_volumes(lvm: FakeLvm) -> None:
    pool = LvmPool("vg0", Bytes(16 * MIB), runner=lvm)
    pool.create("db.1", Bytes(12 * MIB))
    assert pool.free() == 4 * MIB
    with pytest.raises(PoolFull):
        pool.create("db.2", Bytes(5 * MIB))
    assert pool.list() == ("db.1",)


def test_a_group_that_has_less_than_it_said(pool: LvmPool, lvm: FakeLvm) -> None:
    made = pool.create("db.1", Bytes(300 * MIB))
    lvm.lies_about_free = True
    with pytest.raises(PoolFull):
        pool.create("db.2", Bytes(100 * MIB))
    with pytest.raises(PoolFull):
        made.grow(Bytes(400 * MIB))
    assert made.size() == 300 * MIB


def test_growing(pool: LvmPool, lvm: FakeLvm) -> None:
    made = pool.create("db.1", Bytes(8 * MIB))
    assert made.grow(Bytes(21 * MIB)) == 24 * MIB
    assert [call[0] for call in lvm.calls[-2:]] == ["lvs", "lvextend"]
    assert made.size() == 24 * MIB
    before = len(lvm.calls)
    assert made.grow(Bytes(24 * MIB)) == made.grow(Bytes(4 * MIB)) == 24 * MIB
    assert not [call for call in lvm.calls[before:] if call[0] == "lvextend"]


def test_open_activates(pool: LvmPool, lvm: FakeLvm) -> None:
    made = pool.create("db.1", Bytes(8 * MIB))
    made.detach()
    made.detach()
    assert made.attached() is None
    assert not lvm.volumes["frazil-pool-db.1"].active
    assert pool.open("db.1").attached() == "/dev/vg0/frazil-pool-db.1"
    assert made.attach() == "/dev/vg0/frazil-pool-db.1"


def test_deleting_twice(pool: LvmPool) -> None:
    made = pool.create("db.1", Bytes(8 * MIB))
    made.delete()
    made.delete()
    pool.remove("db.1")
    assert pool.list() == ()
    with pytest.raises(PoolObjectMissing):
        pool.open("db.1")


def test_what_something_stands_on_is_not_taken_away(pool: LvmPool, lvm: FakeLvm) -> None:
    made = pool.create("db.1", Bytes(8 * MIB))
    lvm.in_use = True
    for attempt in (made.detach, made.delete):
        with pytest.raises(ObjectBusy):
            attempt()
    assert pool.list() == ("db.1",)


def test_names(pool: LvmPool) -> None:
    pool.create("db.1", Bytes(MIB))
    with pytest.raises(PoolObjectExists):
        pool.create("db.1", Bytes(MIB))
    for name in ("my_tdata", "x_mlog.1", "a/b"):
        with pytest.raises(BadObjectName):
            pool.create(name, Bytes(MIB))


def test_another_failure_keeps_what_lvm_said(lvm: FakeLvm) -> None:
    pool = LvmPool("vg1", runner=lvm)
    with pytest.raises(LvmFailed, match='Volume group "vg1" not found') as caught:
        pool.free()
    assert caught.value.code == 5
    assert caught.value.argv[0] == "vgs"
    with pytest.raises(PoolUnsuitable, match="vgcreate vg1"):
        pool.check()


def test_check_is_content_with_a_group_that_is_there(pool: LvmPool, lvm: FakeLvm) -> None:
    pool.check()
    assert [call[0] for call in lvm.calls] == ["vgs"]
