"""``frazil-tracer``: the process that holds the program and its maps.

``python3 -m bpf.tracer --socket PATH``. It has no state on disk and no threads, and does nothing
but answer: what it holds lives in the kernel as long as it does. So the daemon may stop, crash or
be upgraded, and no write goes unmarked. An epoch names one life of it: traces of another epoch are
gone.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import selectors
import signal
import socket
import struct
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

from bpf import messages
from bpf.compiling import REGIONS_AT_MOST, Compilation, Program
from bpf.messages import PROTOCOL, Message
from bpf.watching import DETACHED, Reading, Refused, Watched

STALLED_PEER_SECONDS = 5.0
CONNECTIONS = 16
AWAY = 4
"""The exit code when another tracer has the socket."""


class Tracer:
    """Answers requests; see :meth:`answer`.

    :param start: begins making the program.
    """

    def __init__(self, start: Callable[[], Compilation]) -> None:
        self.epoch = uuid.uuid4().hex
        self.started = time.time()
        self.why = ""
        self.program: Program | None = None
        self.watched: Watched | None = None
        self.compilation: Compilation | None = start()

    @property
    def state(self) -> str:
        """compiling, ready or failed."""
        if self.watched is not None:
            return "ready" if self.watched.attached() else "failed"
        return "compiling" if self.compilation is not None else "failed"

    def compiled(self) -> None:
        """Take what the compilation has to say."""
        assert self.compilation is not None
        outcome = self.compilation.outcome()
        if outcome is None:
            return
        self.compilation = None
        if isinstance(outcome, str):
            self.why = outcome
            return
        self.program = outcome
        self.watched = Watched(*outcome.maps, outcome.missed, outcome.attached)

    def answer(self, request: Message) -> tuple[Message, bytes | None]:
        """The answer and the blocks that go with it.

        ``{"do": "status"}``; ``{"do": "add", "devno": "254:3", "layer": UUID}`` before the layer's
        first write; ``{"do": "read", "trace": N, "blocks": bool}``; ``{"do": "drop", "trace": N}``;
        ``{"do": "list"}``. What cannot be done is ``{"refused": KIND, "why": TEXT}``.
        """
        try:
            return self._answer(request)
        except Refused as refused:
            return {"refused": refused.kind, "why": str(refused), "epoch": self.epoch}, None
        except (KeyError, TypeError, ValueError) as error:
            return {"refused": "request", "why": f"no such request: {error!r}"}, None
        except OSError as error:
            return {"refused": "kernel", "why": f"bpf(2): {error.strerror}"}, None

    def _answer(self, request: Message) -> tuple[Message, bytes | None]:
        do = request["do"]
        if do == "status":
            return self._status(), None
        if self.watched is None:
            raise Refused("not-ready", self.why or "the program is being compiled")
        if do == "add":
            watch = self.watched.add(str(request["devno"]), str(request["layer"]))
            return {"epoch": self.epoch, "trace": watch.trace, "since": watch.since}, None
        if do == "read":
            wanted = bool(request.get("blocks"))
            reading = self.watched.read(int(request["trace"]), blocks=wanted)
            return self._reading(reading), reading.regions if wanted else None
        if do == "drop":
            self.watched.drop(int(request["trace"]))
            return {"epoch": self.epoch}, None
        if do == "list":
            return {"epoch": self.epoch, "traces": [w.trace for w in self.watched.watches]}, None
        raise ValueError(do)

    def _status(self) -> Message:
        watches = self.watched.watches if self.watched else []
        state = self.state
        return {
            "protocol": PROTOCOL,
            "epoch": self.epoch,
            "state": state,
            "why": DETACHED if self.watched and state == "failed" else self.why,
            "pid": os.getpid(),
            "started": self.started,
            "traces": len(watches),
            "missed": self.program.missed() if self.program else 0,
        }

    def _reading(self, reading: Reading) -> Message:
        return {
            "epoch": self.epoch,
            "trace": reading.watch.trace,
            "devno": reading.watch.devno,
            "layer": reading.watch.layer,
            "since": reading.watch.since,
            "why_lost": reading.why_lost,
            "counters": reading.counters.as_dict(),
        }


class Server:
    """The tracer's socket, for root alone."""

    def __init__(self, tracer: Tracer, listener: socket.socket) -> None:
        self._tracer = tracer
        self._listener = listener
        self._selector = selectors.DefaultSelector()
        self._peers: set[socket.socket] = set()
        self._selector.register(listener, selectors.EVENT_READ)
        self._watch_compilation()
        self.stopped = False

    def _watch_compilation(self) -> None:
        if self._tracer.compilation is not None:
            self._selector.register(self._tracer.compilation.channel, selectors.EVENT_READ)

    def serve(self) -> None:
        """Answer until stopped."""
        while not self.stopped:
            for key, _ in self._selector.select(1.0):
                ready = key.fileobj
                assert isinstance(ready, socket.socket)
                compilation = self._tracer.compilation
                if ready is self._listener:
                    self._accept()
                elif compilation is not None and ready is compilation.channel:
                    self._selector.unregister(ready)
                    self._tracer.compiled()
                    self._watch_compilation()
                else:
                    self._serve(ready)

    def close(self) -> None:
        """Let everybody go."""
        for peer in list(self._peers):
            self._leave(peer)
        self._selector.close()
        self._listener.close()

    def _accept(self) -> None:
        peer, _ = self._listener.accept()
        credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        _, user, _ = struct.unpack("3i", credentials)
        if user != os.geteuid() or len(self._peers) >= CONNECTIONS:
            peer.close()
            return
        peer.settimeout(STALLED_PEER_SECONDS)
        self._peers.add(peer)
        self._selector.register(peer, selectors.EVENT_READ)

    def _serve(self, peer: socket.socket) -> None:
        try:
            received = messages.receive(peer)
            if received is None:
                self._leave(peer)
                return
            request, files = received
            for file in files:
                os.close(file)
            answer, blocks = self._tracer.answer(request)
            _send(peer, answer, blocks)
        except (OSError, ValueError):
            self._leave(peer)

    def _leave(self, peer: socket.socket) -> None:
        self._selector.unregister(peer)
        self._peers.discard(peer)
        peer.close()


def _send(peer: socket.socket, answer: Message, blocks: bytes | None) -> None:
    if blocks is None:
        messages.send(peer, answer)
        return
    file = messages.in_memory(blocks)
    try:
        messages.send(peer, answer, [file])
    finally:
        os.close(file)


def listen(path: Path) -> tuple[socket.socket, int] | None:
    """The socket, and a lock that keeps others off it; None when another tracer has it."""
    lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    previous = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(previous)
    listener.listen(CONNECTIONS)
    return listener, lock


def parser() -> argparse.ArgumentParser:
    """What frazil-tracer takes."""
    made = argparse.ArgumentParser("frazil-tracer", description="Hold the trace of frazil's layers")
    made.add_argument("--socket", type=Path, required=True, metavar="PATH", help="where to listen")
    made.add_argument(
        "--regions",
        type=int,
        default=REGIONS_AT_MOST,
        metavar="N",
        help=f"2 MiB regions that can be marked at once, of all layers; {REGIONS_AT_MOST}",
    )
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM."""
    options = parser().parse_args(argv)
    options.socket.parent.mkdir(parents=True, exist_ok=True)
    bound = listen(options.socket)
    if bound is None:
        print(f"frazil-tracer: another one serves {options.socket}", file=sys.stderr)
        return AWAY
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("-500")
    tracer = Tracer(lambda: Compilation(options.regions))
    server = Server(tracer, bound[0])

    def stop(*_: object) -> None:
        server.stopped = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    server.serve()
    options.socket.unlink(missing_ok=True)
    if tracer.compilation is not None:
        tracer.compilation.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
