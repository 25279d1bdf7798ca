"""Messages between the daemon, the freezer and the guard: JSON objects on seqpacket sockets.

A packet arrives whole or not at all; an empty read is the other side's end.
"""

from __future__ import annotations

import json
import socket
from typing import Any

Message = dict[str, Any]

LIMIT = 128 << 10
"""Bytes in a message: a group of a thousand heads fits."""


def pair() -> tuple[socket.socket, socket.socket]:
    """A connected pair of sockets."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(channel: socket.socket, message: Message) -> None:
    """Send one message. :raises OSError: the other side is gone, or does not read."""
    channel.send(json.dumps(message).encode())


def receive(channel: socket.socket, timeout: float | None = None) -> Message | None:
    """The next message; None when the other side is gone.

    :raises TimeoutError: nothing came for ``timeout`` seconds.
    """
    channel.settimeout(timeout)
    try:
        packet = channel.recv(LIMIT)
    except ConnectionError:
        return None
    finally:
        channel.settimeout(None)
    if not packet:
        return None
    message: Message = json.loads(packet)
    return message
