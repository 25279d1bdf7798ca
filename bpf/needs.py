"""What tracing needs of a host, and what its lack costs: for ``frazil doctor``."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bpf.btf import VMLINUX
from bpf.compiling import known_interpreters

COST = "layers are untraced: whole chunks are sent, and there are no live views"
OLDEST = (5, 12)
"""The kernel from which a bio names its block device as the program expects."""

LOCKDOWN = re.compile(r"\[(\w+)\]")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    :ivar what: one sentence on how it is; what its lack costs, where it is lacking.
    :ivar remedy: what to do about it; empty where nothing is to be done, or nothing can be.
    """

    ok: bool
    what: str
    remedy: str = ""


def availability(
    root: Path = Path("/"),
    release: str | None = None,
    has_bcc: Callable[[str], bool] | None = None,
) -> list[Finding]:
    """Each thing that tracing needs, in the order in which to put it right.

    :param root: where the host's files are looked for. :param release: the kernel's, as uname says.
    :param has_bcc: whether an interpreter has bcc.
    """
    found = release or os.uname().release
    return list(_findings(root, found, has_bcc or _imports_bcc))


def _findings(root: Path, release: str, has_bcc: Callable[[str], bool]) -> Iterator[Finding]:
    yield _judged(
        platform.machine() in ("x86_64", "aarch64", "riscv64", "ppc64le", "s390x"),
        f"processor {platform.machine()}",
        "has no bpf(2) that frazil knows",
    )
    numbers = re.match(r"(\d+)\.(\d+)", release)
    new_enough = numbers is not None and tuple(map(int, numbers.groups())) >= OLDEST
    wanted = ".".join(map(str, OLDEST))
    yield _judged(new_enough, f"kernel {release}", f"is older than {wanted}", "boot a newer one")
    types = root / VMLINUX.relative_to("/")
    yield _judged(
        types.exists(), "the kernel's types (BTF)", f"are not at {types}", "boot a kernel with BTF"
    )
    build = root / "lib/modules" / release / "build"
    yield _judged(
        (build / "include").exists() or (build / "Makefile").exists(),
        f"headers of kernel {release}",
        "are not installed",
        f"apt install linux-headers-{release}",
    )
    yield _judged(
        any(map(has_bcc, known_interpreters())),
        "bcc",
        f"is in no Python of {', '.join(known_interpreters())}",
        "apt install python3-bpfcc; PyPI's bcc is another thing",
    )
    yield _judged(
        lockdown(root) != "confidentiality",
        "kernel lockdown",
        "is set to confidentiality, which lets no program read the kernel",
        "boot with lockdown=integrity or none",
    )


def _judged(good: bool, what: str, lack: str, remedy: str = "") -> Finding:
    return Finding(True, what) if good else Finding(False, f"{what} {lack}: {COST}", remedy)


def lockdown(root: Path = Path("/")) -> str:
    """none, integrity or confidentiality; none where the kernel does not say."""
    try:
        said = (root / "sys/kernel/security/lockdown").read_text()
    except OSError:
        return "none"
    chosen = LOCKDOWN.search(said)
    return chosen[1] if chosen else "none"


def _imports_bcc(interpreter: str) -> bool:
    code = "import importlib.util, sys; sys.exit(importlib.util.find_spec('bcc') is None)"
    try:
        done = subprocess.run(
            [interpreter, "-c", code], check=False, capture_output=True, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
