"""The daemon behind its unix socket: calls that answer with messages or with typed errors."""

from __future__ import annotations

import errno
import socket as sockets
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

from control.wire.status import error_from_rpc
from dm_tables.errors import Denied, FrazilError, Unavailable, Usage
from proto.frazil.v1 import control_pb2_grpc

ASK_SECONDS = 120.0
PROBE_SECONDS = 5.0
OPTIONS = [("grpc.enable_http_proxy", 0)]

M = TypeVar("M", bound=Message)
T = TypeVar("T")


class DaemonUnreachable(Unavailable):
    """Nothing answers at the control socket. :ivar socket: its path."""

    def __init__(self, socket: str, why: str) -> None:
        super().__init__(
            f"no frazild answers at {socket}: {why}",
            "start it with 'systemctl start frazild', or name its socket with --socket",
        )
        self.socket = socket


class SocketDenied(Denied):
    """This user may not speak to the daemon. :ivar socket: its path."""

    def __init__(self, socket: str) -> None:
        super().__init__(f"not allowed to connect to {socket}", "run it as root")
        self.socket = socket


class StreamEnded(Unavailable):
    """A stream that has no end of its own came to one."""

    def __init__(self) -> None:
        super().__init__("frazild ended the stream")


class Api:
    """One connection to a daemon.

    :param socket: path of its unix socket.
    :param timeout: seconds for any call; None: two minutes for a question, no limit for a
        stream, which may rightly take hours.
    :raises DaemonUnreachable, SocketDenied: nothing answers, or not to this user.
    """

    def __init__(self, socket: str, timeout: float | None = None) -> None:
        probe(socket)
        self.socket = socket
        self.timeout = timeout
        self._channel = grpc.insecure_channel(f"unix:{socket}", options=OPTIONS)
        # Generated without annotations.
        stubs: Any = control_pb2_grpc
        self._stub = stubs.ControlStub(self._channel)

    def ask(self, method: str, request: Message, reply: type[M]) -> M:
        """Call ``method`` of the Control service; the answer is a ``reply``.

        :raises FrazilError: what the daemon raised, by its own class.
        """
        call: Callable[..., M] = getattr(self._stub, method)
        try:
            return call(request, timeout=self.timeout or ASK_SECONDS)
        except grpc.RpcError as error:
            raise error_from_rpc(error) from None

    def stream(self, method: str, request: Message, item: type[M]) -> Iterator[M]:
        """Call ``method``, which answers with a stream of ``item``; one is held at a time.

        :raises FrazilError: what the daemon raised, when the stream comes to it.
        """
        call = getattr(self._stub, method)(request, timeout=self.timeout)
        try:
            yield from call
        except grpc.RpcError as error:
            raise error_from_rpc(error) from None
        finally:
            call.cancel()

    def stream_and_close(self, method: str, request: Message, item: type[M]) -> Iterator[M]:
        """The same, for a connection that is good for this one stream."""
        try:
            yield from self.stream(method, request, item)
        finally:
            self.close()

    def close(self) -> None:
        """Let the connection go."""
        self._channel.close()


def probe(path: str) -> None:
    """Connect once by hand: gRPC's own error does not say what is wrong with the socket.

    :raises DaemonUnreachable, SocketDenied, Usage: nothing answers; not to this user; a path
        too long for a unix socket.
    """
    with sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as probing:
        probing.settimeout(PROBE_SECONDS)
        try:
            probing.connect(path)
        except OSError as error:
            raise _unreachable(path, error) from None


def _unreachable(path: str, error: OSError) -> FrazilError:
    if isinstance(error, PermissionError):
        return SocketDenied(path)
    if error.errno is None and not isinstance(error, TimeoutError):
        return Usage(f"{path} cannot be a socket: {error}")
    why = {
        errno.ENOENT: "there is no such socket",
        errno.ECONNREFUSED: "the socket is there, but nothing listens on it",
        None: "it does not accept within five seconds",
    }
    return DaemonUnreachable(path, why.get(error.errno, error.strerror or str(error)))


def lasting(
    connect: Callable[[], Iterator[T]],
    on_gap: Callable[[FrazilError], None],
    sleep: Callable[[float], None],
) -> Iterator[T]:
    """An endless stream that outlives the daemon's restarts.

    That there is no daemon to begin with is raised: it is news. Later on that, a stream that
    breaks, and one that the daemon ends as it stops, are told to ``on_gap`` and tried again,
    after 1, 2, 4 and at most 10 seconds.

    :param connect: connects, then gives the stream: it must not put the first off to the second.
    :raises FrazilError: there is no daemon, or it refused.
    """
    pause, stream = 1.0, connect()
    while True:
        try:
            for item in stream:
                pause = 1.0
                yield item
            raise StreamEnded
        except Unavailable as error:
            on_gap(error)
        sleep(pause)
        pause = min(pause * 2, 10.0)
        stream = _again(connect)


def _again(connect: Callable[[], Iterator[T]]) -> Iterator[T]:
    yield from connect()
