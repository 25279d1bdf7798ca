"""The tools that pools are made with, each run with a time limit and its stderr kept."""

from __future__ import annotations

import os
from dataclasses import dataclass

from control.pool.errors import ToolFailed, ToolMissing, ToolNotAllowed, ToolTimedOut
from dm_tables.running import Runner, TimedOut, run

TIME_LIMIT = 60.0
"""Seconds that one call may take."""

_NOT_ALLOWED = ("Permission denied", "Operation not permitted", "Run `", "as root", "superuser")


@dataclass(frozen=True, slots=True)
class Tool:
    """A program, the package that has it, and the error that its failures become."""

    program: str
    package: str
    failure: type[ToolFailed]
    runner: Runner = run
    timeout: float = TIME_LIMIT

    def call(self, *arguments: str) -> str:
        """Run it. :return: what it wrote to standard output.

        :raises ToolFailed: of the tool's own kind, or ToolTimedOut, or ToolNotAllowed.
        :raises ToolMissing: it is not installed.
        """
        argv = (self.program, *arguments)
        environment = {**os.environ, "LC_ALL": "C", "LVM_SUPPRESS_FD_WARNINGS": "1"}
        try:
            done = self.runner(argv, stdin="", timeout=self.timeout, env=environment)
        except TimedOut as error:
            said = error.stderr or f"still running after {self.timeout:g} seconds"
            raise ToolTimedOut(argv, -1, said) from None
        except FileNotFoundError:
            raise ToolMissing(self.program, self.package) from None
        if done.code == 0:
            return done.stdout
        if os.geteuid() != 0 and any(word in done.stderr for word in _NOT_ALLOWED):
            raise ToolNotAllowed(argv, done.code, done.stderr, "run as root")
        raise self.failure(argv, done.code, done.stderr)
