"""A request's process while it runs: its pipes, its time limit, its end."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import selectors
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import jobs, wire

if TYPE_CHECKING:
    from .agent import Agent
    from .port import Port


class Job:
    """A process whose output streams to the host until it ends."""

    def __init__(self, agent: Agent, port: Port, number: int, request: dict[str, Any]) -> None:
        self.agent, self.port, self.number = agent, port, number
        self.code: int | None = None
        self.timed_out = False
        self.outputs: dict[int, int] = {}  # descriptor: frame kind
        self.answer = bytearray()
        self.pending = bytearray()
        self.input_ended = False
        self.input_watched = False
        self.paused = False
        self.terminal: int | None = None
        timeout = request.get("timeout")
        self.deadline = None if timeout is None else time.monotonic() + float(timeout)
        if request.get("pty"):
            self._start_terminal(request)
        else:
            self._start_pipes(request)

    def _start_terminal(self, request: dict[str, Any]) -> None:
        self.terminal, slave = pty.openpty()
        self._resize(request.get("rows", 24), request.get("columns", 80))
        try:
            self.process: subprocess.Popen[bytes] | None = jobs.execute(
                request, slave, slave, slave
            )
        except OSError:
            os.close(self.terminal)
            raise
        finally:
            os.close(slave)
        self.pid = self.process.pid
        self.stdin = self.terminal
        os.set_blocking(self.terminal, False)
        self._watch(self.terminal, wire.STDOUT)

    def _start_pipes(self, request: dict[str, Any]) -> None:
        theirs_in, self.stdin = os.pipe2(os.O_CLOEXEC)
        out, theirs_out = os.pipe2(os.O_CLOEXEC)
        err, theirs_err = os.pipe2(os.O_CLOEXEC)
        result, theirs_result = os.pipe2(os.O_CLOEXEC)
        self.process = None
        try:
            work = jobs.forked(request)
            if work is None:
                self.process = jobs.execute(request, theirs_in, theirs_out, theirs_err)
                self.pid = self.process.pid
            else:
                self.pid = jobs.fork(
                    work, request, (theirs_in, theirs_out, theirs_err), theirs_result
                )
        except OSError:
            for descriptor in (self.stdin, out, err, result):
                os.close(descriptor)
            raise
        finally:
            for descriptor in (theirs_in, theirs_out, theirs_err, theirs_result):
                os.close(descriptor)
        os.set_blocking(self.stdin, False)
        self._watch(out, wire.STDOUT)
        self._watch(err, wire.STDERR)
        self._watch(result, 0)

    def _watch(self, descriptor: int, kind: int) -> None:
        os.set_blocking(descriptor, False)
        self.outputs[descriptor] = kind
        self.agent.selector.register(
            descriptor, selectors.EVENT_READ, lambda events: self._ready(descriptor, events)
        )

    def _ready(self, descriptor: int, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._write()
        if events & selectors.EVENT_READ and descriptor in self.outputs:
            self._read(descriptor)

    def _read(self, descriptor: int) -> bool:
        try:
            data = os.read(descriptor, wire.CHUNK)
        except BlockingIOError:
            return False
        except OSError:  # a terminal whose other end is closed
            data = b""
        if not data:
            self._unwatch(descriptor)
            return False
        kind = self.outputs[descriptor]
        if kind:
            self.port.send(wire.frame(self.number, kind, data))
        else:
            self.answer += data
        return True

    def _unwatch(self, descriptor: int) -> None:
        del self.outputs[descriptor]
        with contextlib.suppress(KeyError):
            self.agent.selector.unregister(descriptor)
        if descriptor != self.terminal:
            os.close(descriptor)

    def attend(self, now: float) -> None:
        """Kill a job that outlived its limit; finish one that ended; respect a busy port."""
        if self.deadline is not None and now >= self.deadline:
            self.timed_out = True
            self.deadline = None
            self.kill()
        if self.code is not None and not self.port.busy:
            self._finish()
        elif self.paused != self.port.busy:
            self._pause(self.port.busy)

    def _pause(self, pause: bool) -> None:
        self.paused = pause
        for descriptor in self.outputs:
            if pause:
                self.agent.selector.unregister(descriptor)
            else:
                self.agent.selector.register(
                    descriptor,
                    selectors.EVENT_READ,
                    lambda events, which=descriptor: self._ready(which, events),
                )

    def _finish(self) -> None:
        # What the pipes hold now is the command's; a daemon it left behind may keep them
        # open for ever, and is not waited for.
        for descriptor in list(self.outputs):
            while self._read(descriptor):
                if self.port.busy:
                    return
        for descriptor in list(self.outputs):
            self._unwatch(descriptor)
        self._close_input()
        if self.terminal is not None:
            os.close(self.terminal)
        del self.agent.jobs[self.pid]
        answer: dict[str, Any] = {"code": self.code, "timed_out": self.timed_out}
        if self.answer:
            answer["answer"] = json.loads(self.answer)
        self.port.done(self.number, answer)

    def ended(self, code: int) -> None:
        """The process was reaped."""
        self.code = code
        if self.process is not None:
            self.process.returncode = code

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Signal the process group."""
        if self.code is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    def input(self, kind: int, payload: bytes) -> None:
        """Take a frame from the host: bytes for stdin, a signal, or the window's size."""
        if kind == wire.DATA:
            self.pending += payload
            self.input_ended = self.input_ended or not payload
            self._write()
        elif kind == wire.SIGNAL:
            self.kill(json.loads(payload)["signal"])
        elif kind == wire.WINDOW and self.terminal is not None:
            size = json.loads(payload)
            self._resize(size["rows"], size["columns"])

    def _resize(self, rows: int, columns: int) -> None:
        if self.terminal is not None:
            fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def _write(self) -> None:
        if self.stdin < 0:
            return
        try:
            while self.pending:
                del self.pending[: os.write(self.stdin, self.pending)]
        except BlockingIOError:
            if not self.input_watched and self.terminal is None:
                self.input_watched = True
                self.agent.selector.register(
                    self.stdin, selectors.EVENT_WRITE, lambda events: self._write()
                )
            return
        except OSError:
            self.pending.clear()
            self.input_ended = True
        if self.input_watched:
            self.input_watched = False
            self.agent.selector.unregister(self.stdin)
        if self.input_ended and self.terminal is None:
            self._close_input()

    def _close_input(self) -> None:
        if self.stdin >= 0 and self.terminal is None:
            if self.input_watched:
                self.agent.selector.unregister(self.stdin)
                self.input_watched = False
            os.close(self.stdin)
        self.stdin = -1


class Background:
    """A process that outlives its request; its output goes to a file."""

    def __init__(self, request: dict[str, Any]) -> None:
        log = Path(request["log"])
        log.parent.mkdir(parents=True, exist_ok=True)
        self.code: int | None = None
        self._waiting: list[Callable[[int], None]] = []
        self._process: subprocess.Popen[bytes] | None = None
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        output = os.open(log, flags, 0o644)
        nothing = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        try:
            work = jobs.forked(request)
            if work is None:
                self._process = jobs.execute(request, nothing, output, output)
                self.pid = self._process.pid
            else:
                self.pid = jobs.fork(work, request, (nothing, output, output), None)
        finally:
            os.close(output)
            os.close(nothing)

    def ended(self, code: int) -> None:
        """The process was reaped: tell who waits."""
        self.code = code
        if self._process is not None:
            self._process.returncode = code
        for tell in self._waiting:
            tell(code)
        self._waiting.clear()

    def when_ended(self, tell: Callable[[int], None]) -> None:
        """Call tell with the exit code, at once if the process has ended."""
        if self.code is not None:
            tell(self.code)
        else:
            self._waiting.append(tell)
