"""What systemd is told, against a socket that listens as systemd does."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from control.heartbeat import sentence, summary
from control.notify import LONGEST_STATUS, Notifier
from dm_tables.errors import FrazilError


class Manager:
    """systemd's end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)

    def heard(self) -> list[list[str]]:
        """Every message since the last look, as its lines."""
        messages = []
        while True:
            try:
                messages.append(self._socket.recv(1 << 16).decode().split("\n"))
            except BlockingIOError:
                return messages

    def close(self) -> None:
        """Go away."""
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """A service manager that listens."""
    made = Manager(tmp_path / "notify")
    yield made
    made.close()


def test_ready_status_and_stopping(manager: Manager) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(manager.path)})
    notifier.status("assembling")
    notifier.ready("all is well")
    notifier.status("all is well")
    notifier.status("two\nlines  here")
    notifier.stopping("ending")
    assert manager.heard() == [
        ["STATUS=assembling"],
        ["READY=1", "STATUS=all is well"],
        ["STATUS=two lines here"],
        ["STOPPING=1", "STATUS=ending"],
    ]


def test_the_watchdog_is_fed_only_where_one_waits(manager: Manager) -> None:
    Notifier({"NOTIFY_SOCKET": str(manager.path)}).alive()
    other = {"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "4000000", "WATCHDOG_PID": "1"}
    Notifier(other).alive()
    assert manager.heard() == []
    mine = Notifier({**other, "WATCHDOG_PID": str(os.getpid())})
    assert mine.watchdog_seconds == 4.0
    mine.alive()
    assert manager.heard() == [["WATCHDOG=1"]]


def test_silence_without_a_manager(manager: Manager) -> None:
    Notifier({}).ready("x")
    notifier = Notifier({"NOTIFY_SOCKET": str(manager.path)})
    manager.close()
    manager.path.unlink()
    notifier.ready("nobody hears it")


def test_an_abstract_socket() -> None:
    name = f"frazil-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0{name}")
        Notifier({"NOTIFY_SOCKET": f"@{name}"}).status("here")
        assert listening.recv(100) == b"STATUS=here"


def test_a_status_is_one_line_of_bounded_length(manager: Manager) -> None:
    Notifier({"NOTIFY_SOCKET": str(manager.path)}).status("x" * 10_000)
    assert len(manager.heard()[0][0]) == LONGEST_STATUS + len("STATUS=")


def test_the_sentence() -> None:
    assert sentence(FrazilError("it broke", "mend it")) == "it broke: mend it"
    assert summary([], [], 1, 2) == "1 volume, 2 mirrors; all is well"
    assert (
        summary([], ["no headers: get them"], 0, 1) == "0 volumes, 1 mirror; no headers: get them"
    )
    assert summary(["a: b"], ["note"], 1, 1) == "a: b"
    assert summary(["a: b", "c"], [], 1, 1) == "a: b (and 1 more: frazil doctor)"
