"""How the daemon asks its tracer: short waits, typed errors, and never a need for an answer."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bpf import messages
from bpf.layout import Counters
from bpf.messages import PROTOCOL, Message
from dm_tables.errors import NotFound, Unavailable

PATIENCE = 2.0
"""Seconds that an answer may take."""

REST = 5.0
"""Seconds that a tracer which did not answer is left alone: asking costs its time limit."""

UNIT = "frazil-tracer.service"


class TracerUnavailable(Unavailable):
    """There is no tracer, it does not answer, or it cannot trace: what is written is untraced."""


class TraceGone(NotFound):
    """The trace was of another life of the tracer, or was dropped."""


@dataclass(frozen=True, slots=True)
class TracerStatus:
    """The tracer.

    :ivar epoch: names one life of it. :ivar state: compiling, ready or failed, and ``why``.
    :ivar missed: how often the kernel left the program out since it was attached.
    """

    epoch: str
    state: str
    why: str
    pid: int
    started: float
    traces: int
    missed: int


@dataclass(frozen=True, slots=True)
class Attached:
    """A trace that has begun: ``trace`` is its number in ``epoch``."""

    epoch: str
    trace: int
    since: float


@dataclass(frozen=True, slots=True)
class LayerTrace:
    """What is known of a layer.

    :ivar why_lost: why ``regions`` is not all that was written; empty when it is.
    :ivar regions: the blocks written, for :func:`bpf.layout.parse_regions`; empty if they were not
        asked for.
    """

    layer: str
    devno: str
    since: float
    why_lost: str
    counters: Counters
    regions: bytes


class TracerClient:
    """A connection to the tracer, made when it is needed. Safe to use from several threads.

    :param start: starts a tracer that serves the path; None: somebody else does.
    """

    def __init__(
        self,
        path: Path,
        *,
        start: Callable[[Path], None] | None = None,
        patience: float = PATIENCE,
        rest: float = REST,
    ) -> None:
        self.path = path
        self._start = start
        self._patience = patience
        self._rest = rest
        self._lock = threading.Lock()
        self._channel: socket.socket | None = None
        self._rests_until = 0.0
        self._why = ""

    def ensure(self) -> None:
        """Start a tracer unless one serves; does not wait for it.

        :raises TracerUnavailable: there is none, and none can be started.
        """
        with self._lock:
            if self._connected(time.monotonic()):
                return
            if self._start is None:
                raise self._unavailable("nothing serves it")
            try:
                self._start(self.path)
            except OSError as error:
                raise self._unavailable(f"it cannot be started: {error}") from error
            self._rests_until = 0.0

    def status(self) -> TracerStatus:
        """Which tracer this is, and whether it is ready.

        :raises TracerUnavailable: it does not answer, or is of another version.
        """
        answer, _ = self._ask({"do": "status"})
        if answer.get("protocol") != PROTOCOL:
            raise TracerUnavailable(
                f"the tracer at {self.path} is of another version of frazil",
                f"systemctl restart {UNIT}: the running layers go on untraced",
            )
        return TracerStatus(
            answer["epoch"],
            answer["state"],
            answer["why"],
            answer["pid"],
            answer["started"],
            answer["traces"],
            answer["missed"],
        )

    def add(self, devno: str, layer: str) -> Attached:
        """Trace a layer from now on; it has no writes yet.

        :param devno: ``MAJOR:MINOR``. :param layer: a name for people: its DM UUID.
        :raises TracerUnavailable: it is not traced.
        """
        answer, _ = self._ask({"do": "add", "devno": devno, "layer": layer})
        return Attached(answer["epoch"], answer["trace"], answer["since"])

    def read(self, epoch: str, trace: int, *, blocks: bool = True) -> LayerTrace:
        """A trace as it stands; exact once its layer gets no more writes.

        :raises TraceGone: it is not there any more. :raises TracerUnavailable: no answer.
        """
        answer, regions = self._ask({"do": "read", "trace": trace, "blocks": blocks})
        if answer["epoch"] != epoch:
            raise TraceGone("the tracer was started anew, and its traces are gone")
        return LayerTrace(
            answer["layer"],
            answer["devno"],
            answer["since"],
            answer["why_lost"],
            Counters.of(answer["counters"]),
            regions,
        )

    def drop(self, epoch: str, trace: int) -> None:
        """End a trace, and give its room back; one that is gone is no error.

        :raises TracerUnavailable: no answer.
        """
        if self.status().epoch == epoch:
            self._ask({"do": "drop", "trace": trace})

    def traces(self) -> tuple[str, list[int]]:
        """(epoch, every trace there is). :raises TracerUnavailable: no answer."""
        answer, _ = self._ask({"do": "list"})
        return answer["epoch"], answer["traces"]

    def close(self) -> None:
        """Let the connection go; the tracer goes on."""
        with self._lock:
            self._drop_channel()

    # The connection.

    def _ask(self, request: Message) -> tuple[Message, bytes]:
        with self._lock:
            now = time.monotonic()
            if now < self._rests_until:
                raise self._unavailable(self._why)
            answer = self._asked(request, now)
            if answer is None:
                # A tracer started anew left a dead connection behind: once more, on a new one.
                answer = self._asked(request, time.monotonic())
            if answer is None:
                raise self._gave_up("it does not answer")
        message, blocks = answer
        if "refused" not in message:
            return message, blocks
        if message["refused"] == "unknown":
            raise TraceGone(str(message["why"]))
        raise TracerUnavailable(f"the tracer does not trace: {message['why']}")

    def _asked(self, request: Message, now: float) -> tuple[Message, bytes] | None:
        if not self._connected(now):
            raise self._gave_up("nothing serves it")
        assert self._channel is not None
        try:
            messages.send(self._channel, request)
            received = messages.receive(self._channel)
        except TimeoutError:
            raise self._gave_up(f"it did not answer in {self._patience:g} s") from None
        except (OSError, ValueError):
            received = None
        if received is None:
            self._drop_channel()
            return None
        message, files = received
        data = b"".join(messages.contents(file) for file in files)
        return message, data

    def _connected(self, now: float) -> bool:
        if self._channel is not None:
            return True
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        channel.settimeout(self._patience)
        try:
            channel.connect(str(self.path))
        except OSError:
            channel.close()
            return False
        self._channel = channel
        return True

    def _gave_up(self, why: str) -> TracerUnavailable:
        self._drop_channel()
        self._rests_until = time.monotonic() + self._rest
        self._why = why
        return self._unavailable(why)

    def _drop_channel(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _unavailable(self, why: str) -> TracerUnavailable:
        return TracerUnavailable(
            f"there is no tracer at {self.path}: {why}", f"systemctl status {UNIT}"
        )


def start_tracer(path: Path) -> None:
    """Start a tracer that outlives this process, at lower priority than what it traces for.

    Under systemd its own unit is asked for, because what a service starts ends with the service.

    :raises OSError: it cannot be started.
    """
    if os.environ.get("INVOCATION_ID") and _unit_started():
        return
    package = str(Path(__file__).resolve().parent.parent)
    _spawn(
        [sys.executable, "-S", "-P", "-m", "bpf.tracer", "--socket", str(path)],
        {**os.environ, "PYTHONPATH": package, "PYTHONDONTWRITEBYTECODE": "1"},
    )


def _unit_started() -> bool:
    words = ["systemctl", "start", "--no-block", UNIT]
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        return subprocess.run(words, check=False, capture_output=True, timeout=5).returncode == 0
    return False


def _spawn(argv: Sequence[str], env: dict[str, str]) -> None:
    # Twice, so that it is nobody's child: a daemon that never waits for it leaves no zombie.
    code = "import os, sys\nif os.fork() == 0:\n os.setsid()\n os.execv(sys.argv[1], sys.argv[1:])"
    subprocess.run(
        [sys.executable, "-S", "-c", code, *argv],
        check=True,
        env=env,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        timeout=30,
    )
