"""The host's end of a guest's command channel: many requests at once over one socket."""

from __future__ import annotations

import contextlib
import itertools
import json
import queue
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from .errors import GuestGone, LabError
from .inside import wire


class Request:
    """A request under way; frames of the guest queue up here."""

    def __init__(self, channel: Channel, number: int) -> None:
        self.number = number
        self._channel = channel
        self._frames: queue.SimpleQueue[tuple[int, bytes]] = queue.SimpleQueue()

    def deliver(self, kind: int, payload: bytes) -> None:
        """Called by the channel's reader."""
        self._frames.put((kind, payload))

    def send(self, kind: int, payload: bytes) -> None:
        """Send a further frame of this request."""
        self._channel.send(wire.frame(self.number, kind, payload))

    def frames(self, deadline: float | None) -> Any:
        """Yield (kind, payload) to the end, the answer last; raises LabError past the deadline."""
        while True:
            wait = None if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                kind, payload = self._frames.get(timeout=wait)
            except queue.Empty:
                self._channel.forget(self.number)
                raise LabError(
                    f"{self._channel.name}: no answer in time; the guest hangs or is overloaded"
                ) from None
            if kind < 0:
                raise GuestGone(f"{self._channel.name}: {payload.decode()}")
            yield kind, payload
            if kind == wire.DONE:
                return

    def answer(self, timeout: float | None) -> dict[str, Any]:
        """Wait for the answer, in seconds; output frames are dropped."""
        deadline = None if timeout is None else time.monotonic() + timeout
        for kind, payload in self.frames(deadline):
            if kind == wire.DONE:
                value: dict[str, Any] = json.loads(payload)
                return value
        raise AssertionError("frames end with the answer")


class Channel:
    """A connected socket, a thread that reads it, and the requests under way."""

    def __init__(self, link: socket.socket, name: str, lost: Callable[[], str]) -> None:
        self.name = name
        self._link = link
        self._lost = lost
        self._numbers = itertools.count(1)
        self._requests: dict[int, Request] = {}
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._closed = False
        self._reader = threading.Thread(target=self._read, name=f"lab-{name}", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        parser = wire.Parser()
        try:
            while data := self._link.recv(1 << 18):
                for number, kind, payload in parser.feed(data):
                    with self._lock:
                        request = self._requests.get(number)
                        if kind == wire.DONE:
                            self._requests.pop(number, None)
                    if request is not None:
                        request.deliver(kind, payload)
        except (OSError, ValueError):
            pass
        with self._lock:
            self._closed = True
            left = list(self._requests.values())
            self._requests.clear()
        for request in left:
            request.deliver(-1, self._lost().encode())

    def request(self, operation: str, **fields: Any) -> Request:
        """Open a request; raises GuestGone when the channel is closed."""
        with self._lock:
            if self._closed:
                raise GuestGone(f"{self.name}: {self._lost()}")
            request = Request(self, next(self._numbers))
            self._requests[request.number] = request
        self.send(wire.json_frame(request.number, wire.REQUEST, {"op": operation, **fields}))
        return request

    def ask(self, operation: str, timeout: float | None = 60.0, **fields: Any) -> dict[str, Any]:
        """A request and its answer; raises LabError with the guest's error."""
        answer = self.request(operation, **fields).answer(timeout)
        if "error" in answer:
            raise LabError(f"{self.name}: {operation}: {answer['type']}: {answer['error']}")
        return answer

    def send(self, data: bytes) -> None:
        """Send frames whole; raises GuestGone."""
        try:
            with self._sending:
                self._link.sendall(data)
        except OSError as error:
            raise GuestGone(f"{self.name}: {self._lost()}") from error

    def forget(self, number: int) -> None:
        """Drop what still comes for a request."""
        with self._lock:
            self._requests.pop(number, None)

    def close(self) -> None:
        """Hang up; requests under way end with GuestGone."""
        with contextlib.suppress(OSError):
            self._link.shutdown(socket.SHUT_RDWR)
        self._link.close()
        if threading.current_thread() is not self._reader:
            self._reader.join(5)
