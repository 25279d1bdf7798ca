"""Guests with a real Debian kernel, from packages, for demos, tests and benchmarks."""

from .errors import CallFailed, CommandFailed, CommandTimeout, GuestGone, LabError
from .guest import Guest, GuestProcess, Result
from .lab import Lab

__all__ = [
    "CallFailed",
    "CommandFailed",
    "CommandTimeout",
    "Guest",
    "GuestGone",
    "GuestProcess",
    "Lab",
    "LabError",
    "Result",
]
