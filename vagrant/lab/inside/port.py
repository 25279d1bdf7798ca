"""One virtio-serial port: frames in, frames out, without ever blocking the agent."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from . import wire

if TYPE_CHECKING:
    from .agent import Agent
    from .work import Job

BUSY_BYTES = 1 << 20


class Port:
    """A port's queue of outgoing bytes and the requests that came through it."""

    def __init__(self, path: str, agent: Agent) -> None:
        self.agent = agent
        self.descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self.open = False
        self.jobs: dict[int, Job] = {}
        self._forget()

    def _forget(self) -> None:
        self.parser = wire.Parser()
        self.queue: deque[memoryview] = deque()
        self.queued = 0
        self.incoming: dict[int, BinaryIO] = {}
        self.outgoing: dict[int, BinaryIO] = {}

    @property
    def busy(self) -> bool:
        """Whether so much waits for the host that producers should pause."""
        return self.queued > BUSY_BYTES

    def attend(self) -> None:
        """Notice that the host has connected; go on with files under way."""
        if not self.open:
            self._try_open()
        while self.outgoing and not self.busy:
            for number, file in list(self.outgoing.items()):
                data = file.read(wire.CHUNK)
                if data:
                    self.send(wire.frame(number, wire.STDOUT, data))
                else:
                    file.close()
                    del self.outgoing[number]
                    self.done(number, {})

    def _try_open(self) -> None:
        try:
            data = os.read(self.descriptor, 1 << 16)
        except BlockingIOError:
            data = None
        except OSError:
            return
        if data == b"":
            return
        self.open = True
        self.agent.selector.register(self.descriptor, selectors.EVENT_READ, self._ready)
        if data:
            self._take(data)

    def _ready(self, events: int) -> None:
        if events & selectors.EVENT_READ:
            try:
                data = os.read(self.descriptor, 1 << 16)
            except BlockingIOError:
                data = None
            if data == b"":
                self._close()
                return
            if data:
                self._take(data)
        if events & selectors.EVENT_WRITE and self.open:
            self._flush()

    def _close(self) -> None:
        # The host hung up: nobody waits for what it had asked for.
        self.open = False
        self.agent.selector.unregister(self.descriptor)
        for file in (*self.incoming.values(), *self.outgoing.values()):
            file.close()
        for job in list(self.jobs.values()):
            job.kill()
        self._forget()

    def _take(self, data: bytes) -> None:
        for number, kind, payload in self.parser.feed(data):
            if kind == wire.REQUEST:
                self.agent.request(self, number, json.loads(payload))
            elif number in self.incoming:
                self._store(number, payload)
            elif number in self.jobs:
                self.jobs[number].input(kind, payload)

    def receive(self, number: int, path: Path, mode: int) -> None:
        """Write the request's DATA frames to a file, up to the empty one."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        os.fchmod(descriptor, mode)
        self.incoming[number] = open(descriptor, "wb")  # noqa: SIM115 - closed at its end

    def _store(self, number: int, payload: bytes) -> None:
        try:
            if payload:
                self.incoming[number].write(payload)
                return
            self.incoming.pop(number).close()
            self.done(number, {})
        except OSError as error:
            with contextlib.suppress(OSError, KeyError):
                self.incoming.pop(number).close()
            self.done(number, {"error": str(error), "type": type(error).__name__})

    def transmit(self, number: int, path: str) -> None:
        """Send a file's bytes as the queue drains; raises OSError."""
        self.outgoing[number] = open(path, "rb")  # noqa: SIM115 - closed at its end

    def done(self, number: int, answer: dict[str, Any]) -> None:
        """End a request with its answer."""
        self.jobs.pop(number, None)
        self.send(wire.json_frame(number, wire.DONE, answer))

    def send(self, data: bytes) -> None:
        """Queue bytes for the host."""
        if self.open:
            self.queue.append(memoryview(data))
            self.queued += len(data)
            self._flush()

    def _flush(self) -> None:
        while self.queue:
            head = self.queue[0]
            try:
                count = os.write(self.descriptor, head[:32768])
            except BlockingIOError:
                break
            except OSError:
                self._close()
                return
            self.queued -= count
            if count == len(head):
                self.queue.popleft()
            else:
                self.queue[0] = head[count:]
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self.queue else 0)
        if self.agent.selector.get_key(self.descriptor).events != wanted:
            self.agent.selector.modify(self.descriptor, wanted, self._ready)
