"""Making the program: ``python3 -m bpf.compiling`` runs once for a tracer, and is gone afterwards.

Only here bcc is needed, and with it LLVM's hundred megabytes. What is handed over are descriptors:
of the two maps, of the program, and of its attachment, which lives as long as somebody has it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bpf import messages
from bpf.btf import NoTypes, running_bio_flags
from bpf.layout import LAYER_BYTES, REGION_BYTES
from bpf.syscalls import KernelMap, is_attached, missed_runs

SOURCE = Path(__file__).with_name("layers.c")
FUNCTION = "on_remap"
HOOK = "block_bio_remap"
"""Fires at map time with the layer's device: see the head of ``layers.c``."""

LAYERS_AT_MOST = 1024
REGIONS_AT_MOST = 65536
"""Each is 2 MiB of one layer, and takes about 130 bytes of the kernel's memory from the start."""

NICE = 15
WITHOUT_BCC = 3
"""The exit code of an interpreter that has no bcc."""


@dataclass(frozen=True, slots=True)
class Program:
    """The program at work, by its descriptors."""

    layers: int
    regions: int
    program: int
    attachment: int

    @property
    def maps(self) -> tuple[KernelMap, KernelMap]:
        """Its maps: layers and regions."""
        return KernelMap(self.layers, 4, LAYER_BYTES), KernelMap(self.regions, 8, REGION_BYTES)

    def missed(self) -> int:
        """How often the kernel left it out."""
        return missed_runs(self.program)

    def attached(self) -> bool:
        """Whether it is run still."""
        return is_attached(self.attachment, self.program)

    def close(self) -> None:
        """Let it go: nothing is traced any more."""
        for file in (self.attachment, self.program, self.regions, self.layers):
            os.close(file)


def compile_here(
    regions: int = REGIONS_AT_MOST, hook: str = HOOK, source: Path = SOURCE
) -> Program:
    """Compile, load and attach in this process. The descriptors live as long as it.

    :param regions: how many can be marked at once, of all layers together.
    :raises ImportError: there is no bcc. :raises NoTypes: see :mod:`bpf.btf`.
    :raises Exception: bcc's own: it does not compile, load or attach.
    """
    from bcc import BPF

    flags = [f"-DLAYERS_AT_MOST={LAYERS_AT_MOST}", f"-DREGIONS_AT_MOST={regions}"]
    made = BPF(src_file=str(source), cflags=[*flags, *running_bio_flags()])
    made.attach_raw_tracepoint(tp=hook, fn_name=FUNCTION)
    files = (
        made["layers"].map_fd,
        made["regions"].map_fd,
        made.funcs[FUNCTION.encode()].fd,
        made.raw_tracepoint_fds[hook.encode()],
    )
    return Program(*(os.dup(file) for file in files))


class Compilation:
    """A compilation in a process of its own, and what has come of it.

    Interpreters are tried in turn: bcc is a package of the distribution's own.

    :ivar channel: readable when :meth:`outcome` has something to say.
    """

    def __init__(self, regions: int, interpreters: Sequence[str] = ()) -> None:
        self._regions = regions
        self._left = list(interpreters or known_interpreters())
        self._tried: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None
        self.channel: socket.socket
        self._next()

    def _next(self) -> None:
        interpreter = self._left.pop(0)
        self._tried.append(interpreter)
        self.channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        package = str(Path(__file__).resolve().parent.parent)
        argv = [interpreter, "-P", "-m", "bpf.compiling", str(theirs.fileno()), str(self._regions)]
        with theirs:
            self._process = subprocess.Popen(
                argv,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                cwd="/",
                env={**os.environ, "PYTHONPATH": package, "PYTHONDONTWRITEBYTECODE": "1"},
            )

    def outcome(self) -> Program | str | None:
        """The program, or why there is none; None: not yet, on a new channel."""
        assert self._process is not None
        try:
            received = messages.receive(self.channel)
        except (OSError, ValueError) as error:
            received = ({"failed": f"the compiler's answer cannot be read: {error}"}, [])
        self.channel.close()
        code = self._process.wait()
        if received is None:
            return f"the compiler ended with code {code}"
        message, files = received
        if message.get("code") == WITHOUT_BCC and self._left:
            self._next()
            return None
        if message.get("code") == WITHOUT_BCC:
            return f"no Python here has bcc: tried {', '.join(self._tried)}"
        if len(files) == 4:
            return Program(*files)
        return str(message.get("failed", "the compiler gave no program"))

    def stop(self) -> None:
        """End it. The process is killed: it holds nothing that stays."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self.channel.close()


def known_interpreters() -> tuple[str, ...]:
    """This one, and the distribution's, for which it has its bcc."""
    names = dict.fromkeys((sys.executable, "/usr/bin/python3"))
    return tuple(name for name in names if Path(name).exists())


def main(arguments: Sequence[str]) -> int:
    """``python -m bpf.compiling CHANNEL-FD REGIONS``."""
    channel = socket.socket(fileno=int(arguments[0]))
    with contextlib.suppress(OSError):
        os.nice(NICE)
        Path("/proc/self/oom_score_adj").write_text("500")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        program = compile_here(int(arguments[1]))
    except ImportError:
        messages.send(channel, {"code": WITHOUT_BCC})
        return WITHOUT_BCC
    except NoTypes as error:
        messages.send(channel, {"failed": str(error)})
        return 1
    except Exception as error:
        why = " ".join(str(error).split()) or type(error).__name__
        messages.send(channel, {"failed": f"the program does not load: {why}"[:1000]})
        return 1
    files = (program.layers, program.regions, program.program, program.attachment)
    messages.send(channel, {"ready": True}, files)
    # Not by way of bcc's own clean-up, which takes seconds.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
