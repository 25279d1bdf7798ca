"""Devices of committed generations, on a device-mapper in memory."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from control.blocks import Extent
from control.pool.files import FileObject
from control.replica.devices import ReplicaDevices, WhichGeneration
from control.wire.errors import GenerationNotFound, ReplicaHeld, ReplicaNotFound
from dm_tables.dmsetup import DeviceBusy
from dm_tables.errors import FrazilError
from dm_tables.targets import Linear, Snapshot
from dm_tables.units import Bytes
from tests.fake_mapper import FakeMapper
from tests.replica_tools import messages, noise, say, whole
from tests.unit.test_replica_store import CHUNK, History


@dataclass
class Loops:
    """Loop devices that are only names."""

    attached: dict[Path, str] = field(default_factory=dict)

    def attach(self, file: Path) -> str:
        return self.attached.setdefault(file, f"7:{len(self.attached)}")

    def find(self, file: Path) -> str | None:
        return self.attached.get(file)

    def detach(self, file: Path) -> None:
        self.attached.pop(file, None)


class Mapper(FakeMapper):
    """One that tells its version too."""

    def _run_version(self, words: list[str], options: list[str], stdin: str) -> str:
        return "Library version:   1.02.185 (2022-05-18)\nDriver version:    4.47.0\n"


class Shown:
    """A replica with four generations, and a device-mapper that can show them."""

    def __init__(self, directory: Path, mapper: FakeMapper, loops: Loops) -> None:
        self.history = History(directory)
        self.mapper = mapper
        self.loops = loops
        self.devices = self.opened()

    def opened(self) -> ReplicaDevices:
        store = self.history.replica.store
        return ReplicaDevices(store, self.history.replica.directory, self.mapper.dmsetup())

    def attach(self, number: int = 0) -> str:
        path, generation = self.devices.attach("data", number)
        assert generation.number == (number or 4)
        return str(path)

    def held(self) -> list[str]:
        """The devices that are shown."""
        return sorted(name for name in self.mapper.devices if name.startswith("frazil-data-g"))

    def layers(self) -> list[str]:
        """The devices below them, without their stem."""
        inner = [name for name in self.mapper.devices if name.startswith("frazil-replica.")]
        return sorted(name.rpartition("-")[2] for name in inner)


def fake_loops(monkeypatch: pytest.MonkeyPatch) -> Loops:
    """Loop devices, from here on."""
    made = Loops()
    monkeypatch.setattr("control.stack.attach_loop", made.attach)
    monkeypatch.setattr("control.stack.find_loop", made.find)
    monkeypatch.setattr("control.stack.detach_loop", made.detach)
    monkeypatch.setattr(FileObject, "attach", lambda self: made.attach(self.path))
    monkeypatch.setattr(FileObject, "detach", lambda self: made.detach(self.path))
    monkeypatch.setattr("dm_tables.device.Device.path", property(lambda self: Path(self.name)))
    return made


@pytest.fixture
def loops(monkeypatch: pytest.MonkeyPatch) -> Loops:
    return fake_loops(monkeypatch)


@pytest.fixture
def shown(tmp_path: Path, loops: Loops) -> Shown:
    return Shown(tmp_path / "replica", Mapper(), loops)


def test_the_newest_is_shown(shown: Shown) -> None:
    assert shown.attach() == "frazil-data-g4"
    assert shown.layers() == ["1", "2", "3", "4"]
    device = shown.mapper.devices["frazil-data-g4"]
    assert device.readonly
    assert device.live is not None
    [segment] = device.live.segments
    assert isinstance(segment.target, Linear)


def test_the_stack_is_in_the_right_order(shown: Shown) -> None:
    shown.attach()
    inner = {
        name.rpartition("-")[2]: device
        for name, device in shown.mapper.devices.items()
        if name.startswith("frazil-replica.")
    }
    layers = [layer.object_name for layer in shown.history.replica.store.journal.layers("data")]
    for index, object_name in enumerate(layers, 2):
        live = inner[str(index)].live
        assert live is not None
        target = live.segments[0].target
        assert isinstance(target, Snapshot)
        assert target.origin == f"253:{inner[str(index - 1)].minor}"
        assert (
            target.cow == shown.loops.attached[shown.history.replica.pool.directory / object_name]
        )
    live = inner["1"].live
    assert live is not None
    assert isinstance(live.segments[0].target, Linear)


def test_only_the_layers_it_needs(shown: Shown) -> None:
    shown.attach(2)
    assert shown.layers() == ["1", "2"]
    shown.attach(4)
    assert shown.layers() == ["1", "2", "3", "4"]
    shown.attach(1)
    assert shown.held() == ["frazil-data-g1", "frazil-data-g2", "frazil-data-g4"]


def test_attaching_twice_is_attaching_once(shown: Shown) -> None:
    first = shown.attach(3)
    made = [step for step in shown.mapper.log if step.startswith("create")]
    assert shown.attach(3) == first
    assert [step for step in shown.mapper.log if step.startswith("create")] == made


def test_detaching_takes_away_what_nobody_needs(shown: Shown) -> None:
    for number in (1, 2, 4):
        shown.attach(number)
    shown.devices.detach("data", 4)
    assert shown.layers() == ["1", "2"]
    shown.devices.detach("data", 1)
    assert shown.layers() == ["1", "2"]
    shown.devices.detach("data")
    assert shown.mapper.devices == {}
    assert shown.loops.attached == {}
    assert shown.history.replica.store.held_numbers("data") == set()


def test_detaching_what_is_not_there(shown: Shown) -> None:
    shown.devices.detach("data")
    shown.devices.detach("data", 3)
    with pytest.raises(ReplicaNotFound):
        shown.devices.detach("nothing")


def test_detaching_one_of_several_needs_its_number(shown: Shown) -> None:
    shown.attach(2)
    shown.attach(3)
    with pytest.raises(WhichGeneration, match="2, 3"):
        shown.devices.detach("data")


def test_what_is_mounted_stays(shown: Shown) -> None:
    shown.attach()
    shown.mapper.devices["frazil-data-g4"].open_count = 1
    with pytest.raises(DeviceBusy):
        shown.devices.detach("data")
    assert shown.history.replica.store.held_numbers("data") == {4}
    assert shown.layers() == ["1", "2", "3", "4"]


def test_nothing_is_merged_under_a_device(shown: Shown) -> None:
    shown.attach(2)
    while shown.history.replica.merger.merge_next():
        pass
    assert 2 in shown.history.shown()
    shown.devices.detach("data")
    while shown.history.replica.merger.merge_next():
        pass
    assert shown.history.shown() == [4]


def test_a_device_outlives_the_daemon(shown: Shown) -> None:
    shown.attach(2)
    shown.history.replica = shown.history.replica.reopened()
    shown.devices = shown.opened()
    shown.devices.reconcile()
    assert shown.held() == ["frazil-data-g2"]
    assert not any(layer.merged for layer in shown.history.replica.store.journal.layers("data"))
    shown.devices.detach("data")
    assert shown.mapper.devices == {}


def test_a_reboot_lets_go(shown: Shown) -> None:
    shown.attach(2)
    shown.mapper.devices.clear()
    shown.loops.attached.clear()
    shown.history.replica = shown.history.replica.reopened()
    shown.devices = shown.opened()
    shown.devices.reconcile()
    assert shown.history.replica.store.held_numbers("data") == set()
    while shown.history.replica.merger.merge_next():
        pass
    assert shown.history.shown() == [4]


@pytest.mark.parametrize("step", range(6))
def test_what_fails_leaves_nothing(
    shown: Shown, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = shown.mapper._run_create
    left = step

    def failing(words: list[str], options: list[str], stdin: str) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(22, "Invalid argument")
        real(words, options, stdin)

    monkeypatch.setattr(shown.mapper, "_run_create", failing)
    if step == 5:
        shown.attach()
        return
    with pytest.raises(FrazilError):
        shown.attach()
    assert shown.mapper.devices == {}
    assert shown.loops.attached == {}
    assert shown.history.replica.store.held_numbers("data") == set()


def test_what_fails_takes_nothing_away_that_was_there(shown: Shown) -> None:
    shown.attach(2)

    def busy() -> None:
        raise OSError(os.EX_OSERR, "no")

    real = shown.mapper._run_create
    shown.mapper._run_create = lambda *_: busy()  # type: ignore[method-assign]
    with pytest.raises(FrazilError):
        shown.attach(4)
    shown.mapper._run_create = real  # type: ignore[method-assign]
    assert shown.held() == ["frazil-data-g2"]
    assert shown.layers() == ["1", "2"]


def test_merged_past_is_not_shown(shown: Shown) -> None:
    shown.history.replica.merger.merge_next()
    with pytest.raises(GenerationNotFound):
        shown.devices.attach("data", 1)
    assert shown.mapper.devices == {}


def test_two_sizes_are_not_shown_at_once(shown: Shown) -> None:
    """The stack below is one, and as large as what it shows."""
    image = shown.history.images[4]
    grown = image + noise(CHUNK * 4)
    extents = [Extent(Bytes(len(image) // CHUNK * CHUNK), Bytes(CHUNK * 4 + 512))]
    shown.attach(4)
    say(shown.history.replica, messages(5, whole(grown, CHUNK, extents), base=4))
    with pytest.raises(ReplicaHeld, match="generation 4 of data is shown"):
        shown.attach(5)
    assert shown.held() == ["frazil-data-g4"]
    assert shown.history.replica.store.held_numbers("data") == {4}
    shown.devices.detach("data", 4)
    shown.attach(5)
    live = shown.mapper.devices["frazil-data-g5"].live
    assert live is not None
    assert live.segments[0].length * 512 == len(grown)
    with pytest.raises(ReplicaHeld, match="generation 5 of data is shown"):
        shown.attach(3)
