"""The guest's first process: runs commands, Python functions and file transfers for the host.

One event loop serves every port; a request never blocks another. It imports what frazil
needs (grpc, protobuf, zstandard, SQLite, pyroute2) before the template is saved, so that
a forked child starts with them.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import importlib
import os
import selectors
import signal
import sys
import time
from pathlib import Path
from typing import Any

from . import identity, jobs
from .port import Port
from .work import Background, Job

WARM = (
    "argparse asyncio concurrent.futures ctypes dataclasses datetime fcntl hashlib inspect "
    "ipaddress json logging logging.handlers mmap multiprocessing queue random shlex shutil "
    "socket sqlite3 ssl statistics struct subprocess tarfile tempfile threading tomllib typing "
    "unittest.mock urllib.parse uuid zlib lzma "
    "google.protobuf google.protobuf.message google.protobuf.json_format "
    "google.protobuf.timestamp_pb2 google.protobuf.duration_pb2 google.protobuf.empty_pb2 "
    "google.protobuf.field_mask_pb2 google.rpc.status_pb2 google.rpc.error_details_pb2 "
    "grpc grpc.aio grpc_health.v1.health grpc_reflection.v1alpha.reflection grpc_status.rpc_status "
    "zstandard pyroaring pyroute2 click msgspec msgspec.json rich.console rich.table"
)
RETRY_S = 0.25


class Agent:
    """Ports, the jobs they asked for, and the loop that moves their bytes."""

    def __init__(self) -> None:
        self.selector = selectors.EpollSelector()
        self.ports = [Port(path, self) for path in _port_devices()]
        self.jobs: dict[int, Job] = {}
        self.background: dict[int, Background] = {}
        wake, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        # Handlers, not SIG_IGN: what is ignored here would be ignored by every command.
        for number in (signal.SIGCHLD, signal.SIGINT):
            signal.signal(number, lambda number, frame: None)
        self.wake = wake
        self.selector.register(wake, selectors.EVENT_READ, self._woken)

    def run(self) -> None:
        """Serve for ever."""
        while True:
            for key, events in self.selector.select(self._patience()):
                key.data(events)
            for port in self.ports:
                port.attend()
            now = time.monotonic()
            for job in list(self.jobs.values()):
                job.attend(now)

    def _patience(self) -> float | None:
        now = time.monotonic()
        waits = [job.deadline - now for job in self.jobs.values() if job.deadline is not None]
        waits += [RETRY_S for port in self.ports if not port.open]
        return max(0.0, min(waits)) if waits else None

    def _woken(self, events: int) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(self.wake, 4096):
                pass
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            self._reaped(pid, os.waitstatus_to_exitcode(status))

    def _reaped(self, pid: int, code: int) -> None:
        if pid in self.jobs:
            self.jobs[pid].ended(code)
        elif pid in self.background:
            self.background[pid].ended(code)

    def request(self, port: Port, number: int, request: dict[str, Any]) -> None:
        """Start what a request asks for; a failure to start is its answer."""
        try:
            getattr(self, "op_" + request["op"])(port, number, request)
        except Exception as error:
            failure = {"error": str(error), "type": type(error).__name__}
            failure["errno"] = errno.errorcode.get(getattr(error, "errno", None) or 0, "")
            port.done(number, failure)

    def op_ping(self, port: Port, number: int, request: dict[str, Any]) -> None:
        """Answer at once, with the modules that could not be imported."""
        port.done(number, {"missing": MISSING, "pid": os.getpid()})

    def op_assume(self, port: Port, number: int, request: dict[str, Any]) -> None:
        """Become the machine that the request describes."""
        identity.assume(request)
        port.done(number, {})

    def op_hosts(self, port: Port, number: int, request: dict[str, Any]) -> None:
        """Learn the guests' names."""
        identity.set_hosts(request["hosts"])
        port.done(number, {})

    def op_code(self, port: Port, number: int, request: dict[str, Any]) -> None:
        """Mount the code, for what is imported of it before a clone becomes a machine."""
        identity.mount_code()
        port.done(number, {})

    def op_warm(self, port: Port, number: int, request: dict[str, Any]) -> None:
        """Import modules of the code under test, for forked children to start with.

        Of ``module:function`` the function is called: it remembers what it found.
        """
        if jobs.CODE not in sys.path:
            sys.path.insert(0, jobs.CODE)
        for name in request["modules"]:
            module, _, function = name.partition(":")
            imported = importlib.import_module(module)
            if function:
                getattr(imported, function)()
        gc.collect()
        gc.freeze()
        port.done(number, {})

    def op_forget(self, port: Port, number: int, request: dict[str, Any]) -> None:
        """Drop what op_warm imported: the code is about to change."""
        for name, module in list(sys.modules.items()):
            if str(getattr(module, "__file__", "")).startswith(jobs.CODE):
                del sys.modules[name]
        importlib.invalidate_caches()
        port.done(number, {})

    def op_run(self, port: Port, number: int, request: dict[str, Any]) -> None:
        """Run a command or call a function, streaming its output to the port."""
        job = Job(self, port, number, request)
        self.jobs[job.pid] = job
        port.jobs[number] = job

    def op_spawn(self, port: Port, number: int, request: dict[str, Any]) -> None:
        """Start a process that outlives the request; its output goes to a file."""
        started = Background(request)
        self.background[started.pid] = started
        port.done(number, {"pid": started.pid})

    def op_poll(self, port: Port, number: int, request: dict[str, Any]) -> None:
        """The exit code of a spawned process, or null while it runs."""
        port.done(number, {"code": self.background[request["pid"]].code})

    def op_wait(self, port: Port, number: int, request: dict[str, Any]) -> None:
        """Answer when a spawned process has ended."""
        self.background[request["pid"]].when_ended(lambda code: port.done(number, {"code": code}))

    def op_kill(self, port: Port, number: int, request: dict[str, Any]) -> None:
        """Signal a spawned process, or its whole process group."""
        if self.background[request["pid"]].code is None:
            send = os.killpg if request.get("group") else os.kill
            send(request["pid"], request["signal"])
        port.done(number, {})

    def op_put(self, port: Port, number: int, request: dict[str, Any]) -> None:
        """Write a file from the DATA frames that follow."""
        path = Path(request["path"])
        path.parent.mkdir(parents=True, exist_ok=True)
        port.receive(number, path, int(request.get("mode", 0o644)))

    def op_get(self, port: Port, number: int, request: dict[str, Any]) -> None:
        """Send a file's bytes."""
        port.transmit(number, request["path"])


def _port_devices() -> list[str]:
    named = {}
    for folder in Path("/sys/class/virtio-ports").iterdir():
        named[(folder / "name").read_text().strip()] = f"/dev/{folder.name}"
    return [named[name] for name in sorted(named) if name.startswith("lab.")]


MISSING: list[str] = []


def _warm_up() -> None:
    for name in WARM.split():
        try:
            importlib.import_module(name)
        except ImportError:
            MISSING.append(name)
    gc.collect()
    gc.disable()
    gc.freeze()


def main() -> None:
    """Import what children need, then serve."""
    os.environ.update(jobs.ENVIRONMENT)
    _warm_up()
    print("frazil-lab: agent serves", flush=True)
    Agent().run()


if __name__ == "__main__":
    sys.modules["lab_inside.agent"] = sys.modules["__main__"]
    main()
