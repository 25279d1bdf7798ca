"""Activation at boot: each volume as soon as what it needs is there, none for another's sake."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from control import activate
from control.authority.errors import AuthorityUnavailable
from control.bypass import Bypassed
from control.cli import main
from control.config import Config
from control.context import Context
from control.fence import Fenced, Unanswered
from control.records import VolumeRecord
from dm_tables.errors import FrazilError, Kind, NotFound


class FakeVolume:
    """Can be activated at the attempt that its record says; None: never.

    An error is raised each time; that nobody answers, where it matters only if so asked.
    """

    attempts: dict[str, int]

    def __init__(self, record: Any, context: object) -> None:
        self.name = record.name
        self.record = record
        self._comes_at = record.comes_at
        self.stack = SimpleNamespace(head=SimpleNamespace(link=f"/dev/mapper/frazil-{self.name}"))

    def activate(self, *, certain: bool = False) -> None:
        FakeVolume.attempts[self.name] = FakeVolume.attempts.get(self.name, 0) + 1
        if isinstance(self._comes_at, Unanswered) and not certain:
            return
        if isinstance(self._comes_at, FrazilError):
            raise self._comes_at
        if self._comes_at is None or FakeVolume.attempts[self.name] < self._comes_at:
            raise NotFound(f"the disk of {self.name} is missing", "attach it")


@pytest.fixture(autouse=True)
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeVolume.attempts = {}
    monkeypatch.setattr(activate, "Volume", FakeVolume)
    monkeypatch.setattr(activate, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(activate, "bypasses", lambda records: [])


def assemble(wait: float, later: tuple[str, ...] = (), **comes_at: int | FrazilError | None) -> int:
    records = [SimpleNamespace(name=name, comes_at=when) for name, when in comes_at.items()]
    return activate.assemble(cast(list[VolumeRecord], records), cast(Context, None), wait, later)


def test_what_is_there_is_not_tried_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert assemble(10, late=3, there=1) == Kind.OK
    assert FakeVolume.attempts == {"late": 3, "there": 1}
    said = capsys.readouterr()
    assert said.out.split() == ["/dev/mapper/frazil-there", "/dev/mapper/frazil-late"]
    assert said.err == ""


def test_one_that_never_comes_keeps_no_other_back(capsys: pytest.CaptureFixture[str]) -> None:
    assert assemble(0.05, gone=None, there=1) == Kind.NOT_FOUND
    assert FakeVolume.attempts["gone"] > 1
    said = capsys.readouterr()
    assert said.out.split() == ["/dev/mapper/frazil-there"]
    assert said.err == "frazil: volume gone: the disk of gone is missing\n  attach it\n"


def test_who_uses_the_disk_below_is_told_and_the_head_is_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = Bypassed("vg-lv uses the disk", "let it use the head")
    monkeypatch.setattr(activate, "bypasses", lambda records: [error])
    assert assemble(0, there=1) == Kind.OK
    said = capsys.readouterr()
    assert said.out.split() == ["/dev/mapper/frazil-there"]
    assert said.err == "frazil: vg-lv uses the disk\n  let it use the head\n"


SILENT = Unanswered("data waits for far:7420 to say that it did not take over", "force it")
TAKEN = Fenced("taken is kept from applications: far:7420 was promoted", "demote it")


def test_a_head_that_nobody_needs_before_the_network_is_left_to_the_daemon(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert assemble(60, ("data",), data=SILENT, there=1) == Kind.OK
    assert FakeVolume.attempts == {"data": 1, "there": 1}
    said = capsys.readouterr()
    assert said.out.split() == ["/dev/mapper/frazil-there"]
    assert said.err == f"frazil: volume data: {SILENT.what}\n  {activate.ASKED_LATER}\n"


def test_one_that_is_needed_is_there_though_nobody_answers() -> None:
    assert assemble(0, (), data=SILENT) == Kind.OK


def test_silence_that_lasts_is_a_failure_where_the_head_is_needed() -> None:
    silence = AuthorityUnavailable("no endpoint answered", "see whether etcd runs")
    assert assemble(0.05, (), data=silence) == Kind.UNAVAILABLE
    assert FakeVolume.attempts["data"] > 1


def test_who_was_replaced_is_not_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert assemble(60, ("taken",), taken=TAKEN, there=1) == Kind.PRECONDITION
    assert FakeVolume.attempts == {"taken": 1, "there": 1}
    assert TAKEN.what in capsys.readouterr().err


def test_a_failure_that_goes_is_none() -> None:
    assert assemble(60, slow=2, there=1) == Kind.OK


def test_without_waiting_everything_is_tried_once() -> None:
    assert assemble(0, gone=None, there=1) == Kind.NOT_FOUND
    assert FakeVolume.attempts == {"gone": 1, "there": 1}


def test_a_configuration_that_cannot_be_meant_keeps_no_head_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f'version = 9\n[state]\ndirectory = "{tmp_path}/state"\n')
    seen: list[Path] = []

    def run(config: Config, volumes: tuple[str, ...], wait: float) -> int:
        seen.append(config.paths.state)
        return 0

    monkeypatch.setattr(activate, "main", run)
    assert main(["activate", "--config", str(path)]) == Kind.USAGE
    assert seen == [tmp_path / "state"]
    assert "version: 9 is newer" in capsys.readouterr().err
