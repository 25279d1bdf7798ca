"""A random writer on a head, which knows what the head must hold.

It runs in the guest and takes commands, a line of JSON each, on a unix socket: write a batch,
start and stop writing without end, compare a device with the model, judge a frozen instant,
and say which chunks a cycle's freeze table must have.

    python3 -m tests.workload.block_writer DEVICE SOCKET --chunk 65536 --seed 7
"""

from __future__ import annotations

import argparse
import json
import os
import random
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tests.workload.block_model import (
    BlockModel,
    InstantJudge,
    Shape,
    Way,
    Write,
    compare,
    draw,
    places,
    small,
    streamed,
)
from tests.workload.device_io import DeviceWriter, DirectReader
from tests.workload.judge import Window

Reply = dict[str, Any]
SHOWN_FAULTS: Final = 10


class BlockWriter:
    """Random writes on ``device``, each taken into the model before it is done."""

    def __init__(self, device: Path, chunk: int, seed: int) -> None:
        self._device = DeviceWriter(device)
        self._chance = random.Random(seed)
        self._chunk = chunk
        self.model = BlockModel(self._device.size, seed)
        self._unflushed: list[Write] = []

    def step(self, pattern: str = "mixed") -> None:
        """One write: of a ``mixed`` sort, now and then with a flush, ``small`` or ``streamed``."""
        size = self.model.size
        if pattern == "small":
            self.write(small(self._chance, size))
        elif pattern == "streamed":
            self.write(streamed(len(self.model.writes), size))
        else:
            self.write(draw(self._chance, size, self._chunk))

    def write(self, shape: Shape) -> None:
        """Do this write. It ends when it is on the device: a buffered one at the next flush."""
        write = Write(len(self.model.writes) + 1, shape, time.time_ns())
        data = self.model.apply(write)
        if shape.way is Way.BUFFERED:
            self._unflushed.append(write)
            self._device.write_buffered(shape.address, data)
        else:
            if shape.way is Way.ZEROOUT:
                self._device.zero(shape.address, shape.length)
            else:
                self._device.write_direct(shape.address, data)
            write.end_ns = time.time_ns()
        if shape.flush:
            self.flush()

    def flush(self) -> None:
        """fsync: every write so far is on stable storage."""
        self._device.flush()
        now = time.time_ns()
        for write in self._unflushed:
            write.end_ns = now
        self._unflushed.clear()

    def close(self) -> None:
        """Flush, and let go of the device."""
        self.flush()
        self._device.close()


class Service:
    """The commands, one method each: keywords in, a dict for JSON out."""

    def __init__(self, writer: BlockWriter, seed: int) -> None:
        self._writer = writer
        self._judge = InstantJudge(writer.model.size, seed)
        self._running: threading.Thread | None = None
        self._stop = threading.Event()
        self._failed = ""
        self.over = False

    def write(self, count: int, pattern: str = "mixed", pause: float = 0.0) -> Reply:
        """That many writes, with a pause after each, then a flush."""
        for _ in range(count):
            self._writer.step(pattern)
            time.sleep(pause)
        self._writer.flush()
        return self.status()

    def start(self, pause: float = 0.0, pattern: str = "mixed") -> Reply:
        """Write without end, until ``stop``."""
        self._stop.clear()
        self._running = threading.Thread(target=self._run, args=(pause, pattern), daemon=True)
        self._running.start()
        return self.status()

    def stop(self) -> Reply:
        """End writing, then flush."""
        self._stop.set()
        if self._running is not None:
            self._running.join()
            self._running = None
        self._writer.flush()
        return self.status()

    def status(self) -> Reply:
        """How far the writer is; ``failed`` holds the error that ended it, if one did."""
        writes = self._writer.model.writes
        written = sum(write.shape.length for write in writes)
        return {"writes": len(writes), "bytes": written, "failed": self._failed}

    def digest(self) -> Reply:
        """The digest of what the head must hold now (while nothing is written)."""
        return {"digest": self._writer.model.digest(), "size": self._writer.model.size}

    def compare(self, path: str) -> Reply:
        """Compare a device with the model, byte for byte (while nothing is written)."""
        with DirectReader(Path(path)) as device:
            wrong = [sector for sector, _ in compare(device.read, self._writer.model.image)]
            return {"wrong": wrong[:SHOWN_FAULTS], "count": len(wrong), "digest": device.digest()}

    def judge(self, path: str, begin_ns: int, end_ns: int) -> Reply:
        """Judge the instant that a frozen device holds; instants in the order of freezes."""
        with DirectReader(Path(path)) as device:
            writes = list(self._writer.model.writes)
            faults = self._judge.judge(writes, Window(begin_ns, end_ns), device.read)
            return {"faults": faults[:SHOWN_FAULTS], "digest": device.digest()}

    def places(self, chunk: int, since: list[int] | None, until: list[int] | None) -> Reply:
        """The chunks that a cycle's freeze table must, and those that it may, have."""
        first = Window(*since) if since else None
        last = Window(*until) if until else None
        found = places(list(self._writer.model.writes), chunk, first, last)
        return {"certain": sorted(found.certain), "possible": sorted(found.possible)}

    def quit(self) -> Reply:
        """End the process."""
        self._stop.set()
        self.over = True
        return self.status()

    def _run(self, pause: float, pattern: str) -> None:
        try:
            while not self._stop.wait(pause):
                self._writer.step(pattern)
        except OSError as error:
            self._failed = f"{type(error).__name__}: {error}"


def serve(service: Service, listener: socket.socket) -> None:
    """Answer commands, one connection after the other, until ``quit``."""
    while not service.over:
        connection, _ = listener.accept()
        with connection, connection.makefile("rwb") as stream:
            for line in stream:
                stream.write(json.dumps(_answer(service, json.loads(line))).encode() + b"\n")
                stream.flush()


def _answer(service: Service, command: dict[str, Any]) -> Reply:
    action: Callable[..., Reply] = getattr(service, command.pop("do"))
    try:
        return action(**command)
    except (OSError, EOFError, TypeError) as error:
        return {"error": f"{type(error).__name__}: {error}"}


def ask(writer: str, do: str, **keywords: object) -> Reply:
    """Give the writer behind the socket ``writer`` one command; its answer.

    :raises RuntimeError: the command failed in the writer.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(writer)
        with client.makefile("rwb") as stream:
            stream.write(json.dumps({"do": do, **keywords}).encode() + b"\n")
            stream.flush()
            reply: Reply = json.loads(stream.readline())
    if "error" in reply:
        raise RuntimeError(f"{do}: {reply['error']}")
    return reply


def main() -> None:
    """Serve until told to quit. Prints one line when it is ready."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("device", type=Path)
    parser.add_argument("socket")
    parser.add_argument("--chunk", type=int, default=65536)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    writer = BlockWriter(given.device, given.chunk, given.seed)
    Path(given.socket).unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(given.socket)
        listener.listen()
        print(f"ready {os.getpid()}", flush=True)
        serve(Service(writer, given.seed), listener)
    writer.close()


if __name__ == "__main__":
    main()
