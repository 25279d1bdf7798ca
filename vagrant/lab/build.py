"""What all stages of building the guests' image share: tools, logs, lists, places."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from .errors import LabError

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
# The guests' Python: Debian 12's, for which Debian builds python3-bpfcc.
PYTHON = "3.11"
MKE2FS = ("mke2fs", "-q", "-F", "-t", "ext4", "-m", "0")


def lines_of(path: Path) -> list[str]:
    """The lines of a list file without comments and blanks."""
    lines = (line.split("#", 1)[0].strip() for line in path.read_text().splitlines())
    return [line for line in lines if line]


def tool(name: str) -> str:
    """A host tool's path; raises LabError that names the remedy."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not found:
        raise LabError(f"{name} is not installed: run `make setup` (as root)")
    return found


def call(argv: list[str], log: Path, env: dict[str, str] | None = None) -> None:
    """Run a build step with its output in a log; raises LabError with the log's tail."""
    with log.open("ab") as out:
        code = subprocess.run(
            [tool(argv[0]), *argv[1:]],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            check=False,
            env={**os.environ, **(env or {})},
        ).returncode
    if code:
        tail = log.read_text(errors="replace")[-3000:]
        raise LabError(f"{argv[0]} failed with exit code {code}:\n{tail}")
