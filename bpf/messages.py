"""Messages between the daemon and its tracer: JSON on seqpacket sockets, at most a file with each.

Blocks travel in a file in memory: there may be more of them than fit in a packet.
"""

from __future__ import annotations

import json
import os
import socket
from array import array
from collections.abc import Sequence
from typing import Any

PROTOCOL = 1
LIMIT = 64 << 10
"""Bytes in a message."""

FILES_AT_MOST = 8

Message = dict[str, Any]


def send(channel: socket.socket, message: Message, files: Sequence[int] = ()) -> None:
    """Send one message. :raises OSError: the other side is gone, or does not read."""
    packet = json.dumps(message).encode()
    if files:
        socket.send_fds(channel, [packet], list(files))
    else:
        channel.send(packet)


def receive(channel: socket.socket) -> tuple[Message, list[int]] | None:
    """The next message and the descriptors of its files, now the caller's; None at the end.

    :raises OSError: nothing came in the socket's time limit, or the other side broke off.
    :raises ValueError: it is no message.
    """
    # Not recv_fds(): it passes no flags on, and the descriptors would be inherited.
    files = array("i")
    room = socket.CMSG_SPACE(FILES_AT_MOST * files.itemsize)
    packet, attached, _, _ = channel.recvmsg(LIMIT, room, socket.MSG_CMSG_CLOEXEC)
    for level, kind, data in attached:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            files.frombytes(data[: len(data) - len(data) % files.itemsize])
    try:
        if not packet:
            return None
        message = json.loads(packet)
        if not isinstance(message, dict):
            raise ValueError("a message is an object")
    except BaseException:
        for file in files:
            os.close(file)
        raise
    return message, list(files)


def in_memory(data: bytes) -> int:
    """A file in memory that holds ``data``; the caller closes it."""
    file = os.memfd_create("frazil-trace", os.MFD_CLOEXEC)
    with os.fdopen(os.dup(file), "wb") as writer:
        writer.write(data)
    return file


def contents(file: int) -> bytes:
    """All of a file in memory, which is closed."""
    with os.fdopen(file, "rb") as reader:
        reader.seek(0)
        return reader.read()
