"""Which accelerator works here: KVM only if a guest reaches user space with it."""

from __future__ import annotations

import os
import platform
import tempfile
import time
from pathlib import Path

from .cache import cache_dir, key_of, locked
from .errors import LabError
from .progress import say
from .qemu import Machine, Process, version

REACHED = b"frazil-lab: user space"
PATIENCE_S = 8.0


def accel(image: Path, initramfs: Path) -> str:
    """kvm or tcg: $FRAZIL_LAB_ACCEL, else a probe boot's outcome, kept in the cache."""
    named = os.environ.get("FRAZIL_LAB_ACCEL")
    if named:
        if named not in ("kvm", "tcg"):
            raise LabError(f"FRAZIL_LAB_ACCEL is {named!r}: say kvm or tcg, or unset it")
        return named
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    kept = cache_dir() / f"probe-{key_of(platform.release(), version(), _boot_id())}"
    if kept.is_file():
        return kept.read_text().strip()
    with locked("probe"):
        if not kept.is_file():
            found = "kvm" if reaches_user_space("kvm", image, initramfs) else "tcg"
            say(f"/dev/kvm {'works' if found == 'kvm' else 'is there but boots no guest'}: {found}")
            kept.write_text(found + "\n")
    return kept.read_text().strip()


def _boot_id() -> str:
    # A container or a nested guest can move to another host between boots.
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def reaches_user_space(
    name: str, image: Path, initramfs: Path, patience_s: float = PATIENCE_S
) -> bool:
    """Boot a guest without disks; whether its first process speaks within patience_s."""
    with tempfile.TemporaryDirectory(prefix="frazil-probe-") as work:
        folder = Path(work)
        machine = Machine(
            image, initramfs, name, folder, (), extra_kernel="frazil.probe", probe=True
        )
        process = Process(machine.argv(), folder)
        console = folder / "console"
        end = time.monotonic() + patience_s
        try:
            while time.monotonic() < end:
                if console.is_file() and REACHED in console.read_bytes():
                    return True
                if not process.running:
                    return console.is_file() and REACHED in console.read_bytes()
                time.sleep(0.05)
            return False
        finally:
            process.kill()
