"""QEMU's command line for a guest, and its process, which never outlives ours."""

from __future__ import annotations

import queue
import subprocess
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from .build import tool
from .errors import GuestGone
from .kernel import WARM_MODULES

MEMORY_MIB = 1024
KERNEL_ARGUMENTS = (
    "console=ttyS0 quiet mitigations=off norandmaps nokaslr audit=0 no_timer_check nowatchdog "
    "cryptomgr.notests=1 random.trust_cpu=on panic=-1 net.ifnames=0"
)
TCG = "tcg,thread=multi,tb-size=256"
# What is slow when emulated, and chosen by libraries and the kernel where it is there.
TCG_CPU = "max,la57=off,avx=off,avx2=off,xsave=off,erms=off,smap=off,smep=off"
DATA_DISKS = ("d0", "d1", "d2", "d3")
STATE_DISK = "state"
CODE_DISK = "code"


def version() -> str:
    """QEMU's version line."""
    return _version(tool("qemu-system-x86_64"))


@cache
def _version(program: str) -> str:
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[0]


@dataclass(frozen=True)
class Disk:
    """A disk of a guest: its serial, file, format (raw or qcow2) and QEMU cache mode."""

    serial: str
    path: Path
    format: str = "raw"
    cache: str = "unsafe"
    readonly: bool = False

    def drive(self) -> str:
        """QEMU's -drive for it."""
        text = f"if=none,id={self.serial},file={self.path},format={self.format}"
        # Read-only files are shared by guests; locks would only be in the way.
        rest = "readonly=on,file.locking=off" if self.readonly else "discard=unmap"
        return f"{text},cache={self.cache},{rest}"


@dataclass(frozen=True)
class Machine:
    """Everything about a guest's hardware; the same for the template and its clones."""

    image: Path
    initramfs: Path
    accel: str
    folder: Path
    disks: tuple[Disk, ...]
    network: str = "socket,mcast=239.77.0.1:17077,localaddr=127.0.0.1"
    cpus: int = 1
    extra_kernel: str = ""
    ram: Path | None = None
    shared: bool = False
    incoming: bool = False
    probe: bool = field(default=False)

    def argv(self) -> list[str]:
        """QEMU's arguments; sockets and the console lie in the folder, its working directory."""
        program = [tool("qemu-system-x86_64"), "-nodefaults", "-no-user-config"]
        program += ["-display", "none", "-no-reboot"]
        program += ["-smp", str(self.cpus), "-m", str(MEMORY_MIB)]
        if self.accel == "kvm":
            program += ["-accel", "kvm", "-cpu", "host"]
        else:
            program += ["-accel", TCG, "-cpu", TCG_CPU]
        program += ["-M", "pc,memory-backend=m0", "-object", self._memory()]
        modules = WARM_MODULES.replace(" ", ",")
        append = f"{KERNEL_ARGUMENTS} frazil.modules={modules} {self.extra_kernel}".strip()
        program += ["-kernel", str(self.image / "vmlinux"), "-append", append]
        program += ["-initrd", str(self.initramfs)]
        program += ["-chardev", "file,id=con,path=console", "-serial", "chardev:con"]
        program += ["-qmp", "unix:qmp,server=on,wait=off"]
        if self.incoming:
            program += ["-incoming", "defer"]
        return program + ([] if self.probe else self._devices())

    def _memory(self) -> str:
        if self.ram is None:
            return f"memory-backend-ram,id=m0,size={MEMORY_MIB}M"
        share = "on" if self.shared else "off"
        path = f"mem-path={self.ram},share={share}"
        return f"memory-backend-file,id=m0,size={MEMORY_MIB}M,{path}"

    def _devices(self) -> list[str]:
        argv = []
        root = Disk("root", self.image / "root.img", readonly=True)
        for slot, disk in enumerate((root, *self.disks), start=4):
            argv += ["-drive", disk.drive()]
            device = f"virtio-blk-pci,drive={disk.serial},serial={disk.serial},addr={slot:#x}"
            argv += ["-device", device]
        argv += ["-netdev", f"{self.network},id=n0"]
        argv += ["-device", "virtio-net-pci,netdev=n0,mac=52:54:00:77:00:00,addr=0x10,romfile="]
        argv += ["-device", "virtio-rng-pci,addr=0x11"]
        argv += ["-device", "virtio-serial-pci,id=vs,addr=0x12"]
        for number, name in enumerate(("command", "shell"), start=1):
            argv += ["-chardev", f"socket,id={name},path={name},server=on,wait=off"]
            port = f"virtserialport,bus=vs.0,nr={number},chardev={name},name=lab.{number}{name}"
            argv += ["-device", port]
        return argv


class Process:
    """A running QEMU; it gets SIGKILL when this Python process ends, however it ends."""

    def __init__(self, argv: Sequence[str], folder: Path) -> None:
        self.folder = folder
        for name in ("qmp", "command", "shell"):
            (folder / name).unlink(missing_ok=True)
        self._popen = _spawn(list(argv), folder)
        self.pid = self._popen.pid

    def check(self) -> None:
        """Raise GuestGone, with what QEMU said, when the process has ended."""
        if self._popen.poll() is not None:
            said = (self.folder / "qemu.log").read_text(errors="replace")[-2000:].strip()
            raise GuestGone(f"QEMU ended with code {self._popen.returncode}: {said}")

    @property
    def running(self) -> bool:
        """Whether the process has not ended."""
        return self._popen.poll() is None

    def kill(self) -> None:
        """SIGKILL, and wait: to the guest it is a power cut."""
        self._popen.kill()
        self._popen.wait()


_Order = tuple[list[str], Path, "Future[subprocess.Popen[bytes]]"]
_orders: queue.SimpleQueue[_Order] = queue.SimpleQueue()
_starter: list[threading.Thread] = []
_starting = threading.Lock()


def _spawn(argv: list[str], folder: Path) -> subprocess.Popen[bytes]:
    # The kernel sends the parent-death signal when the forking thread ends, so all
    # guests are started by one thread that lasts as long as the process.
    with _starting:
        if not _starter or not _starter[0].is_alive():
            _starter[:] = [threading.Thread(target=_start_all, name="lab-starter", daemon=True)]
            _starter[0].start()
    promise: Future[subprocess.Popen[bytes]] = Future()
    _orders.put((argv, folder, promise))
    return promise.result()


def _start_all() -> None:
    while True:
        argv, folder, promise = _orders.get()
        try:
            with (folder / "qemu.log").open("wb") as log:
                popen = subprocess.Popen(
                    [tool("setpriv"), "--pdeathsig", "KILL", "--", *argv],
                    cwd=folder,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except BaseException as error:
            promise.set_exception(error)
        else:
            promise.set_result(popen)
