"""What frazild tells systemd: that it is ready, how it stands, that it lives (sd_notify(3)).

The protocol is a datagram of ``KEY=value`` lines. The libraries for it either are unmaintained
or need a compiler, and it has not changed since 2010.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

LONGEST_STATUS = 1000
"""Characters; systemctl shows a line."""


class Notifier:
    """Speaks to the service manager that started this process; silent where there is none.

    :param environment: where ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID`` stand.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = _address(environment.get("NOTIFY_SOCKET", ""))
        self.watchdog_seconds = _watchdog(environment) if self._address else 0.0
        self._status = ""

    def ready(self, status: str) -> None:
        """Everything is up: what is ordered after this service may start."""
        self._status = _line(status)
        self._send("READY=1", f"STATUS={self._status}")

    def status(self, text: str) -> None:
        """One sentence for ``systemctl status``; said again only when it is another."""
        line = _line(text)
        if line != self._status:
            self._status = line
            self._send(f"STATUS={line}")

    def alive(self) -> None:
        """The watchdog may wait its time once more."""
        if self.watchdog_seconds:
            self._send("WATCHDOG=1")

    def stopping(self, status: str) -> None:
        """On the way out."""
        self._status = _line(status)
        self._send("STOPPING=1", f"STATUS={self._status}")

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            try:
                channel.sendto("\n".join(lines).encode(), self._address)
            except OSError:
                return  # The manager is being executed anew, or is gone: nobody to tell.


def _address(text: str) -> str:
    return "\0" + text[1:] if text.startswith("@") else text


def _watchdog(environment: Mapping[str, str]) -> float:
    """Seconds within which a sign of life is due; 0: nobody waits for one."""
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    text = environment.get("WATCHDOG_USEC", "")
    return int(text) / 1e6 if text.isdecimal() else 0.0


def _line(text: str) -> str:
    return " ".join(text.split())[:LONGEST_STATUS]
