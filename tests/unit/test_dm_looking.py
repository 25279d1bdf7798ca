"""What is looked at by ioctl: what it comes to, and when dmsetup is asked instead."""

from __future__ import annotations

import errno
from typing import Any, cast

import pytest

from dm_tables import ioctl
from dm_tables.dmsetup import DeviceMissing, Dmsetup, DmsetupFailed, NotRoot
from dm_tables.ioctl import Control
from dm_tables.looking import Looks, read_info
from dm_tables.names import DmName
from dm_tables.running import Completed
from dm_tables.status import DeviceInfo, StatusLine
from dm_tables.units import Sectors
from tests.unit.test_dm_ioctl import answer

NAME = DmName("frazil-a")
HERE = DeviceInfo("frazil-a", "FRAZIL-a", 253, 300, True, False, False, True, 1, 7)
FLAGS = ioctl.ACTIVE_PRESENT_FLAG | ioctl.READONLY_FLAG


class Kernel:
    """Has one device. :ivar problem: what every ioctl ends with."""

    problem = 0

    def header(self, name: str) -> bytes:
        self._look(name)
        return answer(FLAGS)

    def table(self, name: str, *, inactive: bool = False) -> tuple[str, ...]:
        self._look(name)
        return () if inactive else ("0 8 linear 7:0 16", "8 8 zero")

    def status(self, name: str) -> tuple[StatusLine, ...]:
        self._look(name)
        return (StatusLine(Sectors(0), Sectors(8), "linear", ""),)

    def names(self) -> tuple[str, ...]:
        self._look(NAME)
        return ("gone", NAME)

    def _look(self, name: str) -> None:
        if self.problem or name != NAME:
            raise OSError(self.problem or errno.ENXIO, "as the kernel says")


class Tool:
    """Counts its calls, all of which end with one answer."""

    def __init__(self, done: Completed) -> None:
        self.done = done
        self.asked: list[str] = []

    def __call__(self, argv: tuple[str, ...], **_: object) -> Completed:
        self.asked.append(argv[1])
        return self.done


def given(kernel: Kernel, done: Completed) -> tuple[Dmsetup, Tool]:
    """A dmsetup that looks by ioctl."""
    tool = Tool(done)
    looks = Looks(lambda: cast(Control, kernel))
    return Dmsetup(cast(Any, tool), looks=looks, udev_running=lambda: False), tool


def test_a_header_is_what_dmsetup_prints_of_it() -> None:
    assert read_info(answer(FLAGS)) == HERE
    assert read_info(answer(ioctl.SUSPEND_FLAG | ioctl.INACTIVE_PRESENT_FLAG)) == DeviceInfo(
        "frazil-a", "FRAZIL-a", 253, 300, False, True, True, False, 1, 7
    )


def test_looking_needs_no_process() -> None:
    dmsetup, tool = given(Kernel(), Completed(1, "", "must not be asked"))
    assert dmsetup.info(NAME) == HERE
    live = dmsetup.table(NAME)
    assert live is not None
    assert live.text() == "0 8 linear 7:0 16\n8 8 zero\n"
    assert dmsetup.table(NAME, inactive=True) is None
    assert [line.kind for line in dmsetup.status(NAME)] == ["linear"]
    assert dmsetup.list() == [HERE], "what goes while it is looked for is none"
    assert dmsetup.list("OTHER-") == []
    none = DmName("none")
    assert dmsetup.info(none) is None
    assert dmsetup.table(none) is None
    assert tool.asked == []


def test_of_no_device_there_is_no_status() -> None:
    missing = Completed(1, "", "Device none not found\nCommand failed.")
    dmsetup, _ = given(Kernel(), missing)
    with pytest.raises(DeviceMissing):
        dmsetup.status(DmName("none"))


def test_why_it_cannot_be_looked_is_for_dmsetup_to_say() -> None:
    kernel = Kernel()
    kernel.problem = errno.EACCES
    dmsetup, tool = given(kernel, Completed(1, "", "/dev/mapper/control: Permission denied"))
    for look in (dmsetup.info, dmsetup.table, dmsetup.status):
        with pytest.raises(NotRoot):
            look(NAME)
    with pytest.raises(NotRoot):
        dmsetup.list()
    assert tool.asked == ["info", "table", "status", "info"]


def test_whether_it_can_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda program: f"/sbin/{program}")
    dmsetup, tool = given(Kernel(), Completed(1, "", "dmsetup: command not found"))
    dmsetup.check()
    assert tool.asked == []
    monkeypatch.setattr("shutil.which", lambda program: None)
    with pytest.raises(DmsetupFailed):
        dmsetup.check()
    with pytest.raises(DmsetupFailed):
        Dmsetup(cast(Any, tool)).check()
    assert tool.asked == ["version", "version"], "the tool says what is wrong"


def test_a_control_node_that_comes_later_is_found() -> None:
    there: list[Kernel] = []

    def opened() -> Control:
        if not there:
            raise OSError(errno.ENXIO, "no device-mapper yet")
        return cast(Control, there[0])

    looks = Looks(opened)
    with pytest.raises(OSError, match="no device-mapper yet"):
        looks.info(NAME)
    there.append(Kernel())
    assert looks.info(NAME) == HERE
