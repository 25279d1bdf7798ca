"""Writable heads to test on, on a device-mapper in memory: made, found again, thrown away."""

from __future__ import annotations

from pathlib import Path

import pytest

from control.pool.errors import PoolFull
from control.pool.files import FileObject, FilesPool
from control.replica.describe import describe
from control.replica.devices import WhichGeneration
from control.replica.scratch import CHUNK
from control.store.layout import room_for
from control.wire.errors import GenerationNotFound, ReplicaHeld, ReplicaNotFound
from dm_tables.dmsetup import DeviceBusy, DeviceMapperMissing, Dmsetup
from dm_tables.errors import FrazilError
from dm_tables.targets import Snapshot
from dm_tables.units import chunks_covering
from tests.fake_mapper import FakeDevice
from tests.unit.test_replica_devices import Mapper, Shown, fake_loops

HEAD = "frazil-data-g4-test"


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shown:
    return Shown(tmp_path / "replica", Mapper(), fake_loops(monkeypatch))


def head_on(shown: Shown, number: int = 0) -> str:
    path, generation = shown.devices.attach("data", number, writable=True)
    assert generation.number == (number or 4)
    return str(path)


def scratches(shown: Shown) -> list[Path]:
    return sorted(shown.history.replica.pool.directory.glob("*.test*"))


def restart(shown: Shown) -> None:
    shown.history.replica = shown.history.replica.reopened()
    shown.devices = shown.opened()
    shown.devices.reconcile()


def test_it_is_a_writable_snapshot_of_its_generation(shown: Shown) -> None:
    assert head_on(shown) == HEAD
    device = shown.mapper.devices[HEAD]
    assert not device.readonly
    assert device.live is not None
    [segment] = device.live.segments
    target = segment.target
    assert isinstance(target, Snapshot)
    layers = {int(n): d.minor for n, d in inner(shown).items()}
    assert target.origin == f"253:{layers[4]}"
    [scratch] = scratches(shown)
    assert target.cow == shown.loops.attached[scratch]
    assert target.chunk * 512 == CHUNK
    assert describe(shown.history.replica.store, "data").points[0].devices == [
        f"/dev/mapper/{HEAD}"
    ]


def inner(shown: Shown) -> dict[str, FakeDevice]:
    return {
        name.rpartition("-")[2]: device
        for name, device in shown.mapper.devices.items()
        if name.startswith("frazil-replica.")
    }


def test_it_cannot_overflow_and_takes_nothing_yet(shown: Shown) -> None:
    head_on(shown)
    [scratch] = scratches(shown)
    size = shown.history.replica.store.volume("data").size
    assert scratch.stat().st_size >= room_for(chunks_covering(size, CHUNK), CHUNK) * CHUNK
    assert scratch.stat().st_blocks * 512 <= 2 * CHUNK


def test_attaching_twice_keeps_what_was_written(shown: Shown) -> None:
    head_on(shown)
    [scratch] = scratches(shown)
    scratch.write_bytes(b"written")
    assert head_on(shown) == HEAD
    assert head_on(shown, 4) == HEAD
    assert scratch.read_bytes() == b"written"
    assert scratches(shown) == [scratch]


def test_it_stands_beside_the_read_only_device(shown: Shown) -> None:
    shown.attach(4)
    head_on(shown)
    shown.devices.detach("data", 4)
    assert sorted(shown.mapper.devices)[0] == HEAD
    assert shown.layers() == ["1", "2", "3", "4"]
    assert shown.history.replica.store.held_numbers("data") == {4}
    shown.attach(4)
    shown.devices.detach("data", writable=True)
    assert shown.held() == ["frazil-data-g4"]
    assert scratches(shown) == []
    assert shown.layers() == ["1", "2", "3", "4"]
    shown.devices.detach("data")
    assert shown.mapper.devices == {}
    assert shown.loops.attached == {}


def test_detaching_throws_it_away(shown: Shown) -> None:
    head_on(shown, 2)
    shown.devices.detach("data", 2, writable=True)
    assert shown.mapper.devices == {}
    assert shown.loops.attached == {}
    assert scratches(shown) == []
    assert shown.history.replica.store.held_numbers("data") == set()
    shown.devices.detach("data", 2, writable=True)
    shown.devices.detach("data", writable=True)
    with pytest.raises(ReplicaNotFound):
        shown.devices.detach("nothing", writable=True)


def test_one_kind_is_not_taken_for_the_other(shown: Shown) -> None:
    head_on(shown, 2)
    shown.attach(3)
    shown.devices.detach("data", 2)
    shown.devices.detach("data", 3, writable=True)
    assert shown.held() == ["frazil-data-g2-test", "frazil-data-g3"]
    head_on(shown, 3)
    with pytest.raises(WhichGeneration, match="2, 3"):
        shown.devices.detach("data", writable=True)
    shown.devices.detach("data")
    assert shown.held() == ["frazil-data-g2-test", "frazil-data-g3-test"]


def test_mirroring_goes_on_and_the_generation_stays(shown: Shown) -> None:
    head_on(shown, 2)
    replica = shown.history.replica
    for number in range(5, 20):
        shown.history.add(number)
        while replica.merger.merge_next():
            pass
    assert {2, 19} <= set(shown.history.shown())
    assert shown.layers() == ["1", "2"]
    with pytest.raises(ReplicaHeld):
        replica.store.remove("data")
    shown.devices.detach("data", writable=True)
    while replica.merger.merge_next():
        pass
    assert shown.history.shown() == [19]
    assert len(replica.pool.list()) == 1


def test_what_is_mounted_stays(shown: Shown) -> None:
    head_on(shown)
    shown.mapper.devices[HEAD].open_count = 1
    with pytest.raises(DeviceBusy):
        shown.devices.detach("data", writable=True)
    restart(shown)
    assert shown.held() == [HEAD]
    assert len(scratches(shown)) == 1
    shown.mapper.devices[HEAD].open_count = 0
    shown.devices.detach("data", writable=True)
    assert shown.mapper.devices == {}
    assert scratches(shown) == []


def test_a_restart_throws_it_away(shown: Shown) -> None:
    head_on(shown)
    shown.attach(3)
    restart(shown)
    assert shown.held() == ["frazil-data-g3"]
    assert scratches(shown) == []
    assert shown.history.replica.store.held_numbers("data") == {3}


def test_a_reboot_throws_it_away(shown: Shown) -> None:
    head_on(shown)
    shown.attach(4)
    shown.mapper.devices.clear()
    shown.loops.attached.clear()
    restart(shown)
    assert shown.mapper.devices == {}
    assert scratches(shown) == []
    assert shown.history.replica.store.held_numbers("data") == set()


def test_a_kernel_without_device_mapper_throws_it_away(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    head_on(shown)

    def missing(*_: object, **__: object) -> None:
        raise DeviceMapperMissing(("info",), 1, "there is none")

    monkeypatch.setattr(Dmsetup, "info", missing)
    restart(shown)
    assert scratches(shown) == []
    assert shown.history.replica.store.held_numbers("data") == set()


@pytest.mark.parametrize("step", range(5))
def test_what_fails_leaves_nothing(
    shown: Shown, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, left = shown.mapper._run_create, step

    def failing(words: list[str], options: list[str], stdin: str) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(22, "Invalid argument")
        real(words, options, stdin)

    monkeypatch.setattr(shown.mapper, "_run_create", failing)
    with pytest.raises(FrazilError):
        head_on(shown)
    assert shown.mapper.devices == {}
    assert shown.loops.attached == {}
    assert scratches(shown) == []
    assert shown.history.replica.store.held_numbers("data") == set()


def test_no_room_for_it_leaves_the_read_only_device(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown.attach()

    def full(self: FilesPool, name: str, *_: object, **__: object) -> FileObject:
        raise PoolFull(self.location, name, 2, 1)

    monkeypatch.setattr(FilesPool, "create", full)
    with pytest.raises(PoolFull):
        head_on(shown)
    assert shown.held() == ["frazil-data-g4"]
    assert describe(shown.history.replica.store, "data").points[0].devices == [
        "/dev/mapper/frazil-data-g4"
    ]


def test_a_crash_between_its_steps_is_found(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named in the journal, and dead before, or just after, its object was made."""

    class Killed(BaseException):
        pass

    def dying(*_: object, **__: object) -> None:
        raise Killed

    for place in ("make_scratch", "scratch_table"):
        with monkeypatch.context() as crash:
            crash.setattr(f"control.replica.devices.{place}", dying)
            with pytest.raises(Killed):
                head_on(shown)
        assert shown.history.replica.store.held_numbers("data") == {4}
        restart(shown)
        assert shown.mapper.devices == {}
        assert scratches(shown) == []
        assert shown.history.replica.store.held_numbers("data") == set()


def test_what_is_not_there_cannot_be_tested_on(shown: Shown) -> None:
    shown.history.replica.merger.merge_next()
    with pytest.raises(GenerationNotFound):
        head_on(shown, 1)
    assert shown.mapper.devices == {}
    assert scratches(shown) == []
