"""An interactive shell in a guest, over its second port: also from another process."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .channel import Channel, Request
from .errors import LabError
from .inside import wire
from .lab import run_base

GREETING = "frazil lab: {name}; data disks vdb to vde; leave with exit or ctrl-d"


def find(named: str) -> Path:
    """A running guest's folder, by its path or its name in any running lab of this user."""
    if (Path(named) / "shell").exists():
        return Path(named)
    found = sorted(run_base().glob(f"*/{named}/shell"), key=lambda path: path.stat().st_mtime)
    if not found:
        running = sorted({path.parent.name for path in run_base().glob("*/*/shell")})
        raise LabError(f"no guest {named!r} runs; running: {', '.join(running) or 'none'}")
    return found[-1].parent


@contextmanager
def _raw(descriptor: int) -> Iterator[None]:
    if not os.isatty(descriptor):
        yield
        return
    before = termios.tcgetattr(descriptor)
    try:
        tty.setraw(descriptor)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _window() -> dict[str, int]:
    size = shutil.get_terminal_size()
    return {"rows": size.lines, "columns": size.columns}


def _type(request: Request, stop: int) -> None:
    while True:
        ready, _, _ = select.select([0, stop], [], [])
        if stop in ready:
            return
        data = os.read(0, 4096)
        # A pseudo-terminal has no end of file but the character.
        request.send(wire.DATA, data or b"\x04")
        if not data:
            return


def shell(folder: Path, argv: list[str] | None = None) -> int:
    """Run a shell (or argv) on a pseudo-terminal in the guest; returns its exit code."""
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    link.settimeout(5)
    try:
        link.connect(str(folder / "shell"))
    except OSError as error:
        raise LabError(f"{folder.name} is not running: {error}") from error
    link.settimeout(None)
    channel = Channel(link, folder.name, lambda: "the guest is gone")
    try:
        channel.ask("ping", timeout=5)
    except LabError as error:
        raise LabError(f"{folder.name}: does another shell hold its port? {error}") from error
    try:
        return _converse(channel, folder.name, argv or ["bash", "-l"])
    finally:
        channel.close()


def _converse(channel: Channel, name: str, argv: list[str]) -> int:
    environment = {"TERM": os.environ.get("TERM", "linux"), "PS1": f"{name}:\\w# "}
    if os.isatty(0):
        print(GREETING.format(name=name), file=sys.stderr)
    request = channel.request("run", argv=argv, pty=True, env=environment, **_window())
    stop, end = os.pipe()
    typing = threading.Thread(target=_type, args=(request, stop), daemon=True)
    previous = signal.signal(
        signal.SIGWINCH,
        lambda number, frame: request.send(wire.WINDOW, json.dumps(_window()).encode()),
    )
    code = 1
    try:
        with _raw(0):
            typing.start()
            for kind, payload in request.frames(None):
                if kind == wire.DONE:
                    answer = json.loads(payload)
                    if "error" in answer:
                        raise LabError(f"{name}: {answer['error']}")
                    code = int(answer["code"])
                else:
                    _write_all(payload)
    finally:
        signal.signal(signal.SIGWINCH, previous)
        os.write(end, b"x")
        typing.join(2)
        os.close(stop)
        os.close(end)
    return code


def _write_all(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]
