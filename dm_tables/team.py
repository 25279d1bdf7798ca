"""Doing the same for every head at once, by threads that are there before the window.

A suspend waits for grace periods of the kernel (``synchronize_srcu`` in ``__dm_suspend``), a
swap for more: for one head after another a group's pause would grow with its size.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType

STACK = 256 << 10
"""Bytes of a thread's stack: it is locked in memory."""

LIMIT = 32
"""Threads at most; in a larger group each takes more than one head."""

Each = Callable[[Callable[[int], None]], None]
"""Calls an action with every head's index and returns when all are done."""


class Team:
    """Threads for ``count`` heads, the calling one among them, while it is entered."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._step = max(1, min(count, LIMIT))
        self._action: Callable[[int], None] | None = None
        self._go = [threading.Lock() for _ in range(1, self._step)]
        self._done = [threading.Lock() for _ in range(1, self._step)]
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Each:
        before = threading.stack_size(STACK)
        try:
            for number, locks in enumerate(zip(self._go, self._done, strict=True), start=1):
                for lock in locks:
                    lock.acquire()
                thread = threading.Thread(target=self._work, args=(number, *locks), daemon=True)
                thread.start()
                self._threads.append(thread)
        finally:
            threading.stack_size(before)
        return self._each

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._action = None
        for lock in self._go:
            lock.release()
        for thread in self._threads:
            thread.join()

    def _each(self, action: Callable[[int], None]) -> None:
        self._action = action
        for lock in self._go:
            lock.release()
        for index in range(0, self._count, self._step):
            action(index)
        for lock in self._done:
            lock.acquire()

    def _work(self, number: int, go: threading.Lock, done: threading.Lock) -> None:
        while True:
            go.acquire()
            action = self._action
            if action is None:
                return
            for index in range(number, self._count, self._step):
                action(index)
            done.release()
