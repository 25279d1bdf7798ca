"""A lab guest: commands, functions, files, and the ways a machine can go away and come back."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import network
from .bundle import archive, code_disk
from .channel import Channel
from .errors import CallFailed, CommandFailed, CommandTimeout, GuestGone, LabError
from .inside import wire
from .qemu import CODE_DISK, DATA_DISKS, Disk, Machine, Process
from .qmp import Qmp, connect
from .stock import stocked
from .template import Template

START_LIMIT_S = 240.0
BOOT_LIMIT_S = 240.0
# How long the host waits for the guest to report a command that it should have killed.
GRACE_S = 30.0

Argv = str | Sequence[str]


@dataclass(frozen=True)
class Result:
    """What a command left: its exit code (negative: the signal) and output."""

    argv: list[str]
    code: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """stdout as text, without the last line's end."""
        return self.stdout.decode("utf-8", "replace").rstrip("\n")


class GuestProcess:
    """A process started by Guest.spawn; it goes on by itself, its output in a file."""

    def __init__(self, guest: Guest, pid: int, log: str, argv: list[str]) -> None:
        self.pid = pid
        self.log_path = log
        self.argv = argv
        self._guest = guest

    def poll(self) -> int | None:
        """The exit code (negative: the signal), or None while it runs."""
        code: int | None = self._guest.channel.ask("poll", pid=self.pid)["code"]
        return code

    def wait(self, timeout: float = 60.0) -> int:
        """Wait up to timeout seconds for the exit code; raises LabError after that."""
        code: int = self._guest.channel.ask("wait", timeout=timeout, pid=self.pid)["code"]
        return code

    def kill(self, number: int = signal.SIGKILL, group: bool = False) -> None:
        """Send a signal to the process, or to its process group."""
        self._guest.channel.ask("kill", pid=self.pid, signal=int(number), group=group)

    def log(self) -> str:
        """What the process has written so far."""
        return self._guest.get(self.log_path).decode("utf-8", "replace")


class Guest:
    """One guest of a lab; made by Lab.start. Its methods may be called from many threads."""

    def __init__(
        self,
        name: str,
        number: int,
        folder: Path,
        disks: tuple[Disk, ...],
        *,
        cpus: int,
        template: Template,
        switch: str,
        hosts: Callable[[], dict[str, str]],
    ) -> None:
        self.name = name
        self.number = number
        self.folder = folder
        self.address = network.address(number)
        self.disks = disks
        self.cpus = cpus
        self._template = template
        self._switch = switch
        self._hosts = hosts
        self._machine_id = secrets.token_hex(16)
        self._process: Process | None = None
        self._channel: Channel | None = None
        self._qmp: Qmp | None = None
        self._lock = threading.RLock()

    # Coming and going

    def restart(self) -> None:
        """Cut the power if it is on, and start a fresh clone on the same disks (0.5 to 2 s).

        The kernel is as just booted; only the data disks, /var/lib/frazil and /etc/frazil
        keep their contents. A guest of several processors boots: the template has one.
        """
        if self.cpus > 1:
            self.boot()
            return
        with self._lock:
            self.power_cut()
            self._launch(clone=True, limit=START_LIMIT_S)

    def boot(self) -> None:
        """Cut the power if it is on, and boot from cold on the same disks (10 to 30 s)."""
        with self._lock:
            self.power_cut()
            self._launch(clone=False, limit=BOOT_LIMIT_S)

    def power_cut(self) -> None:
        """Kill QEMU at once; disks stay as they are. See Lab.start for what they lose."""
        with self._lock:
            process, channel, qmp = self._process, self._channel, self._qmp
            self._process = self._channel = self._qmp = None
            if process is not None:
                process.kill()
            if qmp is not None:
                qmp.close()
            if channel is not None:
                channel.close()

    def pause(self) -> None:
        """Stop the guest's processor: it hangs, as seen from outside, until resume()."""
        with self._lock:
            self._monitor().execute("stop")

    def resume(self) -> None:
        """Let a paused guest go on."""
        with self._lock:
            self._monitor().execute("cont")

    @property
    def running(self) -> bool:
        """Whether the guest's QEMU runs."""
        process = self._process
        return process is not None and process.running

    def _monitor(self) -> Qmp:
        if self._qmp is None:
            raise GuestGone(f"{self.name} is off: call restart() or boot()")
        return self._qmp

    def _launch(self, clone: bool, limit: float) -> None:
        code = code_disk(self.folder.parent)
        template = stocked(self._template, code) if clone else self._template
        machine = Machine(
            template.image,
            template.initramfs,
            template.accel,
            self.folder,
            (*self.disks, Disk(CODE_DISK, code, readonly=True)),
            network=self._switch,
            cpus=self.cpus,
            ram=template.ram if clone else None,
            incoming=clone,
        )
        process = Process(machine.argv(), self.folder)
        self._process = process
        try:
            self._qmp = Qmp(connect(self.folder / "qmp", process.check, limit))
            link = connect(self.folder / "command", process.check, limit)
            self._channel = Channel(link, self.name, self._why_gone)
            if clone:
                self._qmp.capability("x-ignore-shared")
                self._qmp.execute("migrate-incoming", uri=template.state)
                self._qmp.wait_loaded(limit)
                self._qmp.execute("cont")
            self._introduce(limit)
        except LabError as error:
            console = self.console
            self.power_cut()
            raise LabError(
                f"{self.name} does not start: {error}\n--- console\n{console}"
            ) from error

    def _why_gone(self) -> str:
        process = self._process
        if process is None:
            return "the power was cut"
        try:
            time.sleep(0.05)
            process.check()
        except GuestGone as error:
            return f"{error}\n--- console\n{self.console}"
        return "the command channel was closed"

    def _introduce(self, limit: float) -> None:
        self.channel.ask("ping", timeout=limit)
        self.channel.ask(
            "assume",
            timeout=limit,
            name=self.name,
            address=self.address,
            mac=network.mac(self.number),
            machine_id=self._machine_id,
            seed=secrets.token_hex(64),
            hosts=self._hosts(),
            disks=[f"/dev/disk/by-id/virtio-{serial}" for serial in DATA_DISKS],
            time_ns=time.time_ns(),
        )

    def update_code(self) -> None:
        """Send the repository's code as it is now; a start does it by itself."""
        self.put(archive(), "/run/frazil-code.tar.zlib")
        self.channel.ask("forget")
        self.call("lab_inside.code:unpack")

    def warm(self, *modules: str) -> None:
        """Import modules of the code once, so that forked processes need not.

        Worth it where many commands will run: `warm("control.cli.app")` saves most of the
        time of every later `run(["frazil", ...])`. Raises LabError if one cannot be imported.
        """
        self.channel.ask("warm", timeout=START_LIMIT_S, modules=modules)

    # Commands

    @property
    def channel(self) -> Channel:
        """The command channel; raises GuestGone when the guest is off."""
        channel = self._channel
        if channel is None:
            raise GuestGone(f"{self.name} is off: call restart() or boot()")
        return channel

    def run(
        self,
        command: Argv,
        *,
        timeout: float = 120.0,
        check: bool = True,
        stdin: bytes | str = b"",
        env: dict[str, str] | None = None,
        cwd: str | None = None,
    ) -> Result:
        """Run a command: a string through sh, a list as it is; timeout in seconds.

        `frazil` and `frazild` as first word of a list run in a forked child of the
        guest's warm Python instead of by exec, unless FRAZIL_LAB_EXEC=1 is set here.
        Raises CommandFailed when check is set and the exit code is not 0, CommandTimeout
        when the command was killed at its limit, GuestGone when the guest went away.
        """
        argv = ["sh", "-c", command] if isinstance(command, str) else [str(a) for a in command]
        request = self.channel.request(
            "run", argv=argv, timeout=timeout, env=env or {}, cwd=cwd, exec=_by_exec()
        )
        data = stdin.encode() if isinstance(stdin, str) else stdin
        for begin in range(0, len(data), wire.CHUNK):
            request.send(wire.DATA, data[begin : begin + wire.CHUNK])
        request.send(wire.DATA, b"")
        output = {wire.STDOUT: bytearray(), wire.STDERR: bytearray()}
        answer: dict[str, Any] = {}
        for kind, payload in request.frames(time.monotonic() + timeout + GRACE_S):
            if kind == wire.DONE:
                answer = json.loads(payload)
            else:
                output[kind] += payload
        stdout, stderr = bytes(output[wire.STDOUT]), bytes(output[wire.STDERR])
        result = Result(argv, int(answer.get("code", 127)), stdout, stderr)
        self._judge(result, answer, check, timeout)
        return result

    def _judge(self, result: Result, answer: dict[str, Any], check: bool, timeout: float) -> None:
        left = (result.argv, result.code, result.stdout, result.stderr)
        if "error" in answer:
            raise CommandFailed(*left, f"{self.name}: {answer['error']}")
        if answer.get("timed_out"):
            raise CommandTimeout(*left, f"{self.name}: no end within {timeout:g} s")
        if check and result.code != 0:
            raise CommandFailed(*left, f"{self.name}: exit code {result.code}")

    def json(self, command: Argv, **options: Any) -> Any:
        """Run a command as run() does, and parse its stdout as JSON."""
        return json.loads(self.run(command, **options).stdout)

    def spawn(
        self,
        command: Argv,
        *,
        log: str | None = None,
        env: dict[str, str] | None = None,
        cwd: str | None = None,
    ) -> GuestProcess:
        """Start a process that goes on by itself; its output is appended to the file log."""
        argv = ["sh", "-c", command] if isinstance(command, str) else [str(a) for a in command]
        path = log or f"/run/spawned-{secrets.token_hex(4)}.log"
        try:
            answer = self.channel.ask(
                "spawn", argv=argv, log=path, env=env or {}, cwd=cwd, exec=_by_exec()
            )
        except GuestGone:
            raise
        except LabError as error:
            raise CommandFailed(argv, 127, b"", b"", str(error)) from error
        return GuestProcess(self, int(answer["pid"]), path, argv)

    def call(self, target: str, /, *args: Any, timeout: float = 120.0, **kwargs: Any) -> Any:
        """Call "module:function" in a forked child of the guest's warm Python.

        Arguments and value travel as JSON; what the function prints goes to this
        process's stderr when it fails. Raises CallFailed with the remote type and
        traceback, CommandTimeout after timeout seconds.
        """
        request = self.channel.request(
            "run", call=target, args=args, kwargs=kwargs, timeout=timeout
        )
        printed = bytearray()
        answer: dict[str, Any] = {}
        for kind, payload in request.frames(time.monotonic() + timeout + GRACE_S):
            if kind == wire.DONE:
                answer = json.loads(payload)
            else:
                printed += payload
        returned = answer.get("answer")
        if returned is None:
            result = Result([target], int(answer.get("code", 127)), b"", bytes(printed))
            self._judge(result, answer, True, timeout)
            raise CommandFailed([target], 0, b"", bytes(printed), "ended without an answer")
        if "value" in returned:
            return returned["value"]
        sys.stderr.write(printed.decode("utf-8", "replace"))
        raise CallFailed(target, returned["type"], returned["message"], returned["traceback"])

    # Files

    def put(self, source: str | Path | bytes, path: str, mode: int = 0o644) -> None:
        """Write a file in the guest from bytes, or from the local file a path names."""
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
        request = self.channel.request("put", path=path, mode=mode)
        for begin in range(0, len(data), wire.CHUNK):
            request.send(wire.DATA, data[begin : begin + wire.CHUNK])
        request.send(wire.DATA, b"")
        answer = request.answer(START_LIMIT_S + len(data) / 1e5)
        if "error" in answer:
            raise LabError(f"{self.name}: cannot write {path}: {answer['error']}")

    def get(self, path: str, timeout: float = 120.0) -> bytes:
        """A guest's file; raises LabError when it cannot be read."""
        request = self.channel.request("get", path=path)
        data = bytearray()
        for kind, payload in request.frames(time.monotonic() + timeout):
            if kind == wire.STDOUT:
                data += payload
            elif "error" in (answer := json.loads(payload)):
                raise LabError(f"{self.name}: cannot read {path}: {answer['error']}")
        return bytes(data)

    # Network, console, shell

    def network(
        self,
        delay_ms: float = 0,
        loss_percent: float = 0,
        rate_mbit: float = 0,
        jitter_ms: float = 0,
    ) -> None:
        """Shape what this guest sends to the private network; without arguments, undo it."""
        self.call(
            "lab_inside.shape:shape",
            delay_ms=delay_ms,
            jitter_ms=jitter_ms,
            loss_percent=loss_percent,
            rate_mbit=rate_mbit,
        )

    @property
    def console(self) -> str:
        """The tail of the serial console: the kernel's last words."""
        path = self.folder / "console"
        if not path.is_file():
            return ""
        return path.read_bytes()[-4000:].decode("utf-8", "replace").replace("\r", "")

    @property
    def shell_command(self) -> str:
        """The command with which a person gets a shell in this guest, while it runs."""
        return shlex.join(["python3", "-m", "vagrant.lab", "shell", str(self.folder)])


def _by_exec() -> bool:
    return os.environ.get("FRAZIL_LAB_EXEC") == "1"
