"""KVM or emulation: KVM only if the box's own kernel speaks with it."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

from vagrant.lab.errors import LabError

PATIENCE_SECONDS = 10.0
SPEAKS = b"Linux version"


def driver(box: Path) -> str:
    """``kvm`` or ``qemu``, for libvirt: $FRAZIL_VM_DRIVER, else what a boot shows.

    :param box: the folder with the box's ``vmlinuz`` and ``initrd.img``.
    """
    named = os.environ.get("FRAZIL_VM_DRIVER")
    if named:
        if named not in ("kvm", "qemu"):
            raise LabError(f"FRAZIL_VM_DRIVER is {named!r}: say kvm or qemu, or unset it")
        return named
    usable = os.access("/dev/kvm", os.R_OK | os.W_OK)
    return "kvm" if usable and speaks(box, "kvm") else "qemu"


def speaks(box: Path, accel: str, patience: float = PATIENCE_SECONDS) -> bool:
    """Boot the kernel without disks; whether it says a word within ``patience`` seconds."""
    program = ["qemu-system-x86_64", "-accel", accel, "-m", "512", "-nodefaults", "-no-reboot"]
    program += ["-display", "none", "-serial", "stdio", "-kernel", str(box / "vmlinuz")]
    program += ["-initrd", str(box / "initrd.img"), "-append", "console=ttyS0 panic=-1"]
    process = subprocess.Popen(
        program, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    timer = threading.Timer(patience, process.kill)
    timer.start()
    said = b""
    try:
        assert process.stdout is not None
        while chunk := os.read(process.stdout.fileno(), 4096):
            said += chunk
            if SPEAKS in said:
                return True
        return False
    finally:
        timer.cancel()
        process.kill()
        process.wait()
