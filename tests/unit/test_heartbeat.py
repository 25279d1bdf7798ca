"""What is wrong for a while: said once, tried again, and over when it is over."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from control import heartbeat
from control.authority.authority import NO_AUTHORITY
from control.config import Config
from control.events import Events
from control.heartbeat import Heartbeat
from control.host import Host
from control.journal import Journal
from control.notify import Notifier
from control.pool.files import FilesPool
from control.pool.presence import MARK
from control.replica.side import ReplicaSide
from dm_tables.errors import FrazilError, Unavailable


@dataclass
class FakeHost:
    """A host with one volume, which is assembled when ``ready`` says so."""

    context: Any
    ready: bool = False
    working: bool = True
    device_mapper_missing: str = ""
    unassembled: dict[str, str] = field(default_factory=lambda: {"data": "its disk is missing"})

    def volumes(self) -> list[Any]:
        return [SimpleNamespace(name="data", problem=self.unassembled.get("data", ""))]

    def volume(self, name: str) -> Any:
        return self.volumes()[0]

    @property
    def roster(self) -> Any:
        return SimpleNamespace(workers=list)

    def assemble(self, volume: Any) -> None:
        if self.ready:
            self.unassembled.pop(volume.name, None)

    def at_work(self) -> bool:
        return self.working


class Manager(Notifier):
    """Remembers what systemd would be told."""

    def __init__(self) -> None:
        super().__init__({})
        self.watchdog_seconds = 1.0
        self.said: list[str] = []

    def _send(self, *lines: str) -> None:
        self.said += lines


@pytest.fixture
def host(tmp_path: Path) -> Iterator[FakeHost]:
    """A host whose pool is in a directory."""
    context = SimpleNamespace(
        config=Config(),
        journal=Journal(tmp_path / "journal.db"),
        events=Events(tmp_path / "events.db"),
        pool=FilesPool(tmp_path / "pool"),
        authority=NO_AUTHORITY,
    )
    yield FakeHost(context)
    context.events.close()
    context.journal.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting, and a socket that always answers."""

    class Answering:
        def __init__(self, socket: Path) -> None: ...

        def __enter__(self) -> Answering:
            return self

        def __exit__(self, *_: object) -> None: ...

        def felt(self) -> bool:
            return True

    monkeypatch.setattr(heartbeat, "PERIOD", 0.02)
    monkeypatch.setattr(heartbeat, "RETRY", 0.02)
    monkeypatch.setattr(heartbeat, "Pulse", Answering)


def heart_of(host: FakeHost, manager: Manager, tmp_path: Path) -> Heartbeat:
    """A heartbeat over a fake host with a configuration."""
    (tmp_path / "config.toml").touch()
    heart = Heartbeat(cast(Host, host), manager, tmp_path / "config.toml")
    heart._notes = []
    return heart


def kinds(host: FakeHost) -> list[tuple[str, str]]:
    """Subject and kind of every event."""
    return [(one.subject, one.kind) for one in host.context.events.since(0)]


def until(true: Callable[[], object]) -> None:
    """Wait for it, not for long."""
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_problem_is_said_once_and_so_is_its_end(host: FakeHost, tmp_path: Path) -> None:
    heart = heart_of(host, Manager(), tmp_path)

    def fails() -> None:
        raise Unavailable("the address is not there", "wait")

    assert not heart.attempt("listener", fails)
    assert not heart.attempt("listener", fails)
    assert heart.problems == {"listener": "the address is not there: wait"}
    assert heart.attempt("listener", lambda: None)
    assert heart.attempt("listener", lambda: None)
    assert heart.problems == {}
    assert kinds(host) == [("listener", "Unavailable"), ("listener", "recovered")]


def test_what_nobody_expected_is_a_problem_and_not_the_end(host: FakeHost, tmp_path: Path) -> None:
    heart = heart_of(host, Manager(), tmp_path)

    def fails() -> None:
        raise OSError(22, "Invalid argument")

    assert not heart.attempt("disks", fails)
    assert "Invalid argument" in heart.problems["disks"]
    assert heart.attempt("disks", lambda: None)


def test_the_pool_is_marked_and_missed(host: FakeHost, tmp_path: Path) -> None:
    heart = heart_of(host, Manager(), tmp_path)
    heart.open_pool()
    assert heart.problems == {}
    assert (tmp_path / "pool" / MARK).exists()
    (tmp_path / "pool").rename(tmp_path / "away")
    heart.open_pool()
    assert "is not there" in heart.standing()
    assert not (tmp_path / "pool").exists()


def test_what_comes_later_is_taken_up(host: FakeHost, tmp_path: Path, quick: None) -> None:
    manager = Manager()
    heart = heart_of(host, manager, tmp_path)
    listening: list[str] = []

    def listen() -> None:
        if not host.ready:
            raise FrazilError("no certificate", "issue one")
        listening.append("yes")

    replicas = cast(ReplicaSide, SimpleNamespace(listen=listen))
    heart.start(replicas, tmp_path / "socket")
    try:
        assert manager.said[:2] == ["READY=1", "STATUS=volume data: its disk is missing"]
        until(lambda: "listener" in heart.problems)
        host.ready = True
        until(lambda: listening and not host.unassembled)
        until(lambda: "STATUS=1 volume, 0 mirrors; all is well" in manager.said)
        until(lambda: "WATCHDOG=1" in manager.said)
    finally:
        heart.stop()


def test_a_dead_thread_starves_the_watchdog(host: FakeHost, tmp_path: Path, quick: None) -> None:
    manager = Manager()
    heart = heart_of(host, manager, tmp_path)
    host.working = False
    host.ready = True
    heart.start(cast(ReplicaSide, SimpleNamespace(listen=lambda: None)), tmp_path / "socket")
    try:
        until(lambda: "STATUS=1 volume, 0 mirrors; all is well" in manager.said)
        assert "WATCHDOG=1" not in manager.said
        host.working = True
        until(lambda: "WATCHDOG=1" in manager.said)
    finally:
        heart.stop()
