"""Running a tool: argument lists, a time limit that holds, and its stderr kept."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

KILL_GRACE = 2.0
"""Seconds a killed tool has to go before it is left behind."""


class TimedOut(Exception):
    """The tool was still running at its time limit, and was killed; ``stderr`` as far as known."""

    def __init__(self, stderr: str = "") -> None:
        super().__init__(stderr)
        self.stderr = stderr


@dataclass(frozen=True, slots=True)
class Completed:
    """A tool's end."""

    code: int
    stdout: str
    stderr: str


class Runner(Protocol):
    """What runs a tool; tests put another in its place.

    :raises TimedOut: it did not end in time.
    :raises FileNotFoundError: there is no such tool.
    """

    def __call__(
        self, argv: Sequence[str], *, stdin: str, timeout: float, env: Mapping[str, str]
    ) -> Completed:
        """Run ``argv`` with ``stdin`` and ``env``, for at most ``timeout`` seconds."""


def run(argv: Sequence[str], *, stdin: str, timeout: float, env: Mapping[str, str]) -> Completed:
    """Run a tool as :class:`Runner` says.

    A tool stuck in the kernel cannot be killed: it is left behind, never waited for without end.
    """
    process = subprocess.Popen(
        list(argv),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(env),
        text=True,
        errors="replace",
    )
    try:
        stdout, stderr = process.communicate(stdin, timeout=timeout)
    except BaseException as error:
        process.kill()
        stderr = _last_words(process)
        if isinstance(error, subprocess.TimeoutExpired):
            raise TimedOut(stderr) from None
        raise
    return Completed(process.returncode, stdout, stderr)


def _last_words(process: subprocess.Popen[str]) -> str:
    try:
        return process.communicate(timeout=KILL_GRACE)[1]
    except subprocess.TimeoutExpired:
        return ""
