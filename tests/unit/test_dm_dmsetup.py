"""The dmsetup wrapper: what it runs, what it makes of failures, and devices brought to a table."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dm_tables import dmsetup as tool
from dm_tables.device import Change, Device, ForeignDevice, NoDevice
from dm_tables.dmsetup import Dmsetup, DmsetupFailed
from dm_tables.errors import FrazilError, Kind
from dm_tables.names import DmName, DmUuid
from dm_tables.running import Completed, TimedOut, run
from dm_tables.table import Table
from tests.fake_mapper import FakeMapper

NAME, UUID = DmName("frazil-a"), DmUuid("FRAZIL-a-head")
ONE = Table.parse("0 8 linear 7:0 0")
TWO = Table.parse("0 8 linear 7:1 0")
SNAPSHOT = Table.parse("0 8 snapshot 7:1 7:2 PO 8")


@dataclass
class Script:
    """A runner that answers what it is told to, and remembers what it was asked."""

    answer: Completed | Exception
    asked: list[tuple[str, ...]] = field(default_factory=list)
    stdin: str = ""
    env: Mapping[str, str] = field(default_factory=dict)

    def __call__(
        self, argv: Sequence[str], *, stdin: str, timeout: float, env: Mapping[str, str]
    ) -> Completed:
        self.asked.append(tuple(argv))
        self.stdin, self.env = stdin, env
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


OK = Completed(0, "", "")


def test_arguments() -> None:
    script = Script(OK)
    dm = Dmsetup(script, udev_running=lambda: False)
    dm.create(NAME, UUID, ONE, readonly=True)
    assert script.stdin == "0 8 linear 7:0 0\n"
    assert script.env["DM_DISABLE_UDEV"] == "1"
    assert script.env["LC_ALL"] == "C"
    dm.load(NAME, TWO)
    dm.suspend(NAME, noflush=True, nolockfs=True)
    dm.resume(NAME)
    dm.remove(NAME)
    dm.remove(NAME, retry=False)
    dm.message(NAME, 0, "reset")
    assert script.asked == [
        ("dmsetup", "create", "frazil-a", "--uuid", "FRAZIL-a-head", "--readonly"),
        ("dmsetup", "load", "frazil-a"),
        ("dmsetup", "suspend", "--noudevsync", "--noflush", "--nolockfs", "frazil-a"),
        ("dmsetup", "resume", "--noudevsync", "frazil-a"),
        ("dmsetup", "remove", "--retry", "frazil-a"),
        ("dmsetup", "remove", "frazil-a"),
        ("dmsetup", "message", "frazil-a", "0", "reset"),
    ]


def test_udev_is_used_where_it_runs() -> None:
    script = Script(OK)
    Dmsetup(script, udev_running=lambda: True).clear(NAME)
    assert "DM_DISABLE_UDEV" not in script.env


def test_version_and_targets() -> None:
    text = "Library version:   1.02.185 (2022-05-18)\nDriver version:    4.47.0\n"
    assert Dmsetup(Script(Completed(0, text, ""))).version().driver == "4.47.0"
    text = "snapshot         v1.16.0\nlinear           v1.4.0\n"
    assert Dmsetup(Script(Completed(0, text, ""))).targets() == {
        "snapshot": "1.16.0",
        "linear": "1.4.0",
    }


@pytest.mark.parametrize(
    ("stderr", "error", "kind"),
    [
        (
            "/dev/mapper/control: open failed: No such device\n"
            "Failure to communicate with kernel device-mapper driver.\nCommand failed.\n",
            tool.DeviceMapperMissing,
            Kind.UNAVAILABLE,
        ),
        (
            "/dev/mapper/control: open failed: Permission denied\n"
            "Failure to communicate with kernel device-mapper driver.\nCommand failed.\n",
            tool.NotRoot,
            Kind.DENIED,
        ),
        ("Device a not found\nCommand failed.\n", tool.DeviceMissing, Kind.NOT_FOUND),
        (
            "device-mapper: resume ioctl on a  failed: No such device or address\n",
            tool.DeviceMissing,
            Kind.NOT_FOUND,
        ),
        (
            "device-mapper: remove ioctl on a  failed: Device or resource busy\n",
            tool.DeviceBusy,
            Kind.PRECONDITION,
        ),
        (
            "device-mapper: reload ioctl on a  failed: Invalid argument\n",
            DmsetupFailed,
            Kind.FAILED,
        ),
        ("", DmsetupFailed, Kind.FAILED),
    ],
)
def test_failures_are_typed(stderr: str, error: type[DmsetupFailed], kind: Kind) -> None:
    with pytest.raises(DmsetupFailed) as caught:
        Dmsetup(Script(Completed(1, "", stderr))).resume(NAME)
    assert type(caught.value) is error
    assert caught.value.kind is kind
    assert caught.value.stderr == stderr
    assert "resume --noudevsync frazil-a" in str(caught.value)


def test_what_dmsetup_repeats_is_told_once() -> None:
    busy = "device-mapper: remove ioctl on a  failed: Device or resource busy\n"
    with pytest.raises(tool.DeviceBusy) as caught:
        Dmsetup(Script(Completed(1, "", busy * 25 + "Command failed.\n"))).remove(NAME)
    assert str(caught.value).count("busy") == 1


def test_a_name_that_is_taken() -> None:
    failed = Completed(1, "", "device-mapper: create ioctl on a failed: Device or resource busy")
    with pytest.raises(tool.DeviceExists):
        Dmsetup(Script(failed)).create(NAME, UUID, ONE)
    failed = Completed(1, "", "device-mapper: reload ioctl on a failed: Device or resource busy")
    with pytest.raises(tool.DeviceBusy):
        Dmsetup(Script(failed)).create(NAME, UUID, ONE)


def test_a_tool_that_is_missing_or_hangs() -> None:
    with pytest.raises(tool.DmsetupMissing, match="install the package"):
        Dmsetup(program="no-such-dmsetup").version()
    with pytest.raises(tool.DmsetupTimedOut, match="still running after 30 s"):
        Dmsetup(Script(TimedOut())).version()


def test_running_ends_at_the_limit_and_keeps_stderr() -> None:
    code = "import sys, time; print('why', file=sys.stderr, flush=True); time.sleep(60)"
    began = time.monotonic()
    with pytest.raises(TimedOut) as caught:
        run([sys.executable, "-c", code], stdin="", timeout=1.5, env={})
    assert time.monotonic() - began < 10
    assert caught.value.stderr == "why\n"
    echo = [sys.executable, "-c", "import sys; print(sys.stdin.read()); sys.exit(3)"]
    assert run(echo, stdin="in", timeout=30, env={}) == Completed(3, "in\n", "")


def test_lists_only_its_own_and_none() -> None:
    mapper = FakeMapper()
    dm = mapper.dmsetup()
    assert dm.list() == []
    mapper.add("vg-lv", "0 8 zero", uuid="LVM-x")
    mapper.add("frazil-b", "0 8 zero", uuid="FRAZIL-b-head")
    mapper.add("frazil-a", "0 8 zero", uuid="FRAZIL-a-head")
    assert [info.name for info in dm.list()] == ["frazil-a", "frazil-b"]
    assert [info.name for info in dm.list("LVM-")] == ["vg-lv"]
    assert dm.info(DmName("none")) is None
    assert dm.table(DmName("none")) is None


def device(mapper: FakeMapper) -> Device:
    return Device(mapper.dmsetup(), NAME, UUID, resolver=lambda text: text)


def test_ensure_can_be_repeated() -> None:
    mapper = FakeMapper()
    assert device(mapper).ensure(ONE) is Change.CREATED
    assert device(mapper).matches(ONE)
    before = list(mapper.log)
    assert device(mapper).ensure(ONE) is Change.NOTHING
    assert mapper.log == before
    assert not device(mapper).matches(TWO)
    assert device(mapper).ensure(TWO) is Change.SWAPPED
    assert mapper.log[len(before) :] == ["load frazil-a", "resume frazil-a"]
    assert device(mapper).table() == TWO


def test_ensure_settles_what_a_crash_left() -> None:
    mapper = FakeMapper()
    left = mapper.add(NAME, "0 8 linear 7:0 0", "0 8 linear 7:9 0", UUID)
    left.suspended = True
    assert device(mapper).ensure(ONE) is Change.RESUMED
    assert (left.live, left.inactive, left.suspended) == (ONE, None, False)
    left.live = None
    assert device(mapper).ensure(ONE) is Change.SWAPPED
    assert left.live == ONE
    assert device(mapper).ensure(ONE, readonly=True) is Change.SWAPPED
    assert left.readonly


def test_a_snapshot_is_loaded_while_suspended() -> None:
    mapper = FakeMapper()
    mapper.add(NAME, "0 8 linear 7:0 0", uuid=UUID)
    device(mapper).swap(SNAPSHOT)
    assert mapper.log == ["suspend frazil-a", "load frazil-a", "resume frazil-a"]


@pytest.mark.parametrize("table", [TWO, SNAPSHOT])
@pytest.mark.parametrize("step", ["suspend", "load", "resume"])
def test_a_swap_that_fails_leaves_the_old_table_running(table: Table, step: str) -> None:
    mapper = FakeMapper()
    there = mapper.add(NAME, "0 8 linear 7:0 0", uuid=UUID)
    if step == "resume":
        table = Table.parse(table.text().replace("0 8 ", "0 16 ", 1))
    else:
        mapper.fail(f"{step} {NAME}", 22)
    if (table, step) == (TWO, "suspend"):
        device(mapper).swap(table)  # it needs no suspend, so this cannot fail it
        assert there.live == TWO
        return
    with pytest.raises(DmsetupFailed):
        device(mapper).swap(table)
    assert (there.live, there.inactive, there.suspended) == (ONE, None, False)


def test_a_swap_that_cannot_be_undone_says_so() -> None:
    mapper = FakeMapper()
    mapper.add(NAME, "0 8 linear 7:0 0", uuid=UUID)
    mapper.fail(f"resume {NAME}", 5)
    with pytest.raises(DmsetupFailed) as caught:
        device(mapper).swap(SNAPSHOT)
    assert "may still be suspended" in caught.value.__notes__[0]


def test_another_devices_name_is_left_alone() -> None:
    mapper = FakeMapper()
    mapper.add(NAME, "0 8 linear 7:0 0", uuid="LVM-x")
    for action in (device(mapper).remove, lambda: device(mapper).ensure(TWO)):
        with pytest.raises(ForeignDevice):
            action()
    assert not mapper.steps("load", "remove", "resume")


def test_removing() -> None:
    mapper = FakeMapper()
    device(mapper).remove()
    there = mapper.add(NAME, "0 8 zero", uuid=UUID)
    there.open_count = 1
    with pytest.raises(tool.DeviceBusy):
        device(mapper).remove()
    there.open_count = 0
    device(mapper).remove()
    assert not device(mapper).exists()


def test_where_it_is() -> None:
    mapper = FakeMapper()
    with pytest.raises(NoDevice):
        _ = device(mapper).path
    mapper.add(NAME, "0 8 zero", uuid=UUID)
    assert device(mapper).devno == "253:0"
    assert device(mapper).path in (Path("/dev/dm-0"), Path("/dev/mapper/frazil-a"))


def test_every_error_has_one_kind() -> None:
    kinds = {
        error.__name__: error.kind
        for error in vars(tool).values()
        if isinstance(error, type) and issubclass(error, DmsetupFailed)
    }
    assert set(kinds) >= {"DeviceMissing", "NotRoot", "DmsetupTimedOut"}
    assert [name for name, kind in kinds.items() if kind is Kind.FAILED] == ["DmsetupFailed"]
    assert issubclass(DmsetupFailed, FrazilError)


def test_udev_is_asked_to_look_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = device(FakeMapper())
    with pytest.raises(NoDevice):
        made.announce()
    made.ensure(ONE)
    monkeypatch.setattr("dm_tables.device.BLOCK", tmp_path)
    made.announce()
    about = tmp_path / f"dm-{made.devno.split(':')[1]}"
    about.mkdir()
    made.announce()
    assert (about / "uevent").read_text() == "add"
