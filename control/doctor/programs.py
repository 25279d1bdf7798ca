"""Programs the doctor asks: short, with a time limit, and never a reason to fail."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence

LIMIT_SECONDS = 20.0
_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))


def found(program: str) -> str | None:
    """Where a program lies, administrators' directories included."""
    return shutil.which(program, path=_PATH)


def output_of(argv: Sequence[str]) -> str | None:
    """What a program printed; None if it is not there, failed or took too long."""
    path = found(argv[0])
    if path is None:
        return None
    try:
        done = subprocess.run(
            [path, *argv[1:]],
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def run_quietly(argv: Sequence[str]) -> bool:
    """Whether a program ended well."""
    return output_of(argv) is not None
