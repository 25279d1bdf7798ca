"""Waiting in the guest, where asking again costs the one that is waited for next to nothing."""

from __future__ import annotations

import socket
import time
from pathlib import Path

PAUSE_S = 0.05


def listens(path: str, pid: int, seconds: float) -> bool:
    """Wait until somebody listens on a Unix socket.

    :return: False if process ``pid`` ended first, or nobody does within ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and Path("/proc", str(pid)).exists():
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
            try:
                link.connect(path)
            except OSError:
                time.sleep(PAUSE_S)
            else:
                return True
    return False
