"""What every call of the Control service is made with."""

from __future__ import annotations

import functools
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import grpc

from control.wire.status import abort_with
from dm_tables.errors import FrazilError
from proto.frazil.v1 import control_pb2 as pb

TICK_SECONDS = 0.5

Reply = TypeVar("Reply")
Report = Callable[[int, int], None]


def typed(method: Callable[..., Reply]) -> Callable[..., Reply]:
    """A call whose FrazilError reaches the caller as what it is."""

    @functools.wraps(method)
    def call(self: Any, request: Any, context: grpc.ServicerContext) -> Reply:
        try:
            return method(self, request, context)
        except FrazilError as error:
            abort_with(context, error)

    return call


def typed_stream(method: Callable[..., Iterator[Reply]]) -> Callable[..., Iterator[Reply]]:
    """The same for a stream of replies."""

    @functools.wraps(method)
    def call(self: Any, request: Any, context: grpc.ServicerContext) -> Iterator[Reply]:
        try:
            yield from method(self, request, context)
        except FrazilError as error:
            abort_with(context, error)

    return call


def reported(phase: str, work: Callable[[Report], pb.Progress]) -> Iterator[pb.Progress]:
    """Run ``work`` in a thread, and give its progress as it comes; last what it returns."""
    steps: queue.SimpleQueue[pb.Progress | BaseException] = queue.SimpleQueue()
    started = time.monotonic()
    told = 0.0

    def report(done: int, total: int) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told < TICK_SECONDS / 2 and done != total:
            return
        told = now
        rate = int(done / (now - started)) if now > started else 0
        steps.put(pb.Progress(phase=phase, done=done, total=total, bytes_per_second=rate))

    def run() -> None:
        try:
            last = work(report)
            last.finished = True
            steps.put(last)
        except BaseException as error:
            steps.put(error)

    threading.Thread(target=run, name=phase, daemon=True).start()
    while True:
        step = steps.get()
        if isinstance(step, BaseException):
            raise step
        yield step
        if step.finished:
            return
