"""The guests' private network: addresses, and the switch that joins their network cards."""

from __future__ import annotations

import os
import secrets

NETWORK = "10.77.0"
MAX_GUESTS = 200


def address(number: int) -> str:
    """The private address of guest 1, 2, …"""
    return f"{NETWORK}.{number}"


def mac(number: int) -> str:
    """The hardware address of guest 1, 2, …"""
    return f"52:54:00:77:00:{number:02x}"


def switch() -> str:
    """A QEMU network backend that joins all guests of one lab, over loopback multicast.

    Group and port are random, so that labs on one host do not hear each other. Nothing
    of the host's network is changed, and a guest can come and go at any time.
    """
    group = f"239.{77 + secrets.randbelow(100)}.{secrets.randbelow(256)}.{secrets.randbelow(256)}"
    port = 20000 + (os.getpid() * 31 + secrets.randbelow(1000)) % 20000
    return f"socket,mcast={group}:{port},localaddr=127.0.0.1"
