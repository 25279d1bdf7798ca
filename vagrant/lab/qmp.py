"""QEMU's machine protocol, as far as the lab uses it."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any

from .errors import GuestGone, LabError


def connect(path: Path, alive: Any, timeout: float) -> socket.socket:
    """Connect to a socket that QEMU is about to open; alive() raises when it has died."""
    end = time.monotonic() + timeout
    while True:
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            link.connect(str(path))
            return link
        except (FileNotFoundError, ConnectionRefusedError):
            link.close()
        alive()
        if time.monotonic() > end:
            raise LabError(f"QEMU has not opened {path} within {timeout:.0f} s")
        time.sleep(0.005)


class Qmp:
    """One connection; execute() waits for the answer and passes events over."""

    def __init__(self, link: socket.socket, timeout: float = 60.0) -> None:
        self._link = link
        self._link.settimeout(timeout)
        self._lines = link.makefile("rb")
        self._receive()
        self.execute("qmp_capabilities")

    def _receive(self) -> dict[str, Any]:
        try:
            line = self._lines.readline()
        except OSError as error:
            raise GuestGone(f"QEMU does not answer on QMP: {error}") from error
        if not line:
            raise GuestGone("QEMU has closed its QMP connection")
        message: dict[str, Any] = json.loads(line)
        return message

    def execute(self, command: str, **arguments: Any) -> Any:
        """Run a command; raises LabError with QEMU's own words when it refuses."""
        request: dict[str, Any] = {"execute": command}
        if arguments:
            request["arguments"] = arguments
        try:
            self._link.sendall(json.dumps(request).encode() + b"\n")
        except OSError as error:
            raise GuestGone(f"QEMU has closed its QMP connection: {error}") from error
        while True:
            message = self._receive()
            if "error" in message:
                raise LabError(f"QEMU refuses {command}: {message['error'].get('desc')}")
            if "return" in message:
                return message["return"]

    def capability(self, name: str) -> None:
        """Switch a migration capability on."""
        self.execute("migrate-set-capabilities", capabilities=[{"capability": name, "state": True}])

    def wait_migrated(self, timeout: float) -> None:
        """Wait until an outgoing migration has completed; raises LabError otherwise."""
        end = time.monotonic() + timeout
        while True:
            info = self.execute("query-migrate")
            status = info.get("status")
            if status == "completed":
                return
            if status in ("failed", "cancelled") or time.monotonic() > end:
                raise LabError(f"saving the guest: {status} {info.get('error-desc', '')}")
            time.sleep(0.05)

    def wait_loaded(self, timeout: float) -> None:
        """Wait until an incoming migration has been read; raises LabError otherwise."""
        end = time.monotonic() + timeout
        while self.execute("query-status")["status"] == "inmigrate":
            if time.monotonic() > end:
                raise LabError(f"restoring the template took more than {timeout:.0f} s")
            time.sleep(0.004)

    def close(self) -> None:
        """Close the connection."""
        self._lines.close()
        self._link.close()
