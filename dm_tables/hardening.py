"""Making a process fit to hold a suspended disk: in memory, unkillable by accident, prompt.

Every step is tried by itself and reported; none is needed for the window to be correct.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path

_MCL_CURRENT = 1
_MCL_FUTURE = 2
_M_ARENA_MAX = -8

_libc = ctypes.CDLL(None, use_errno=True)


def harden() -> bool:
    """Lock all memory, now and later; outlive signals and the OOM killer.

    :return: whether memory is locked: without CAP_IPC_LOCK it is not.
    """
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGTSTP):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("-1000")
    # What is alive now stays, and what comes makes no cycles: no collection in a window.
    gc.collect()
    gc.freeze()
    gc.disable()
    # Else every thread of a window reserves 64 MiB of its own, which would be locked too.
    with contextlib.suppress(AttributeError):
        _libc.mallopt(_M_ARENA_MAX, 1)
    return bool(_libc.mlockall(_MCL_CURRENT | _MCL_FUTURE) == 0)


@contextlib.contextmanager
def urgent() -> Iterator[None]:
    """Run before ordinary processes, so that a busy host does not stretch the pause."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def syncfs(descriptor: int) -> None:
    """Write out the filesystem that ``descriptor`` is on. :raises OSError: it failed."""
    if _libc.syncfs(descriptor) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
