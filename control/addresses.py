"""Network addresses as text: ``host:port`` and ``[v6]:port``."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from dm_tables.errors import Usage

MAX_PORT = 65535


class NotAnAddress(Usage):
    """Text that is no ``host:port``. :ivar text: what was written."""

    def __init__(self, text: str) -> None:
        super().__init__(
            f'"{text}" is not an address',
            'write host:port, such as "10.0.0.2:7420" or "[::1]:7420"',
        )
        self.text = text


@dataclass(frozen=True, slots=True)
class Address:
    """A host, without brackets, and a TCP port; port 0 lets the kernel choose when listening."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether nobody beyond this host can be meant by it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def parse_address(text: str) -> Address:
    """``"10.0.0.2:7420"`` in its parts. :raises NotAnAddress: it is not host and port."""
    host, colon, port = text.strip().rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if bracketed:
        host = host[1:-1]
    if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) > MAX_PORT:
        raise NotAnAddress(text)
    if (":" in host) != bracketed or any(sign in host for sign in " /[]"):
        raise NotAnAddress(text)
    return Address(host, int(port))
