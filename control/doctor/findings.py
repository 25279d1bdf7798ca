"""What the doctor finds, and what the whole comes to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from dm_tables.errors import FrazilError, Kind


class Level(IntEnum):
    """How bad it is."""

    OK = 0
    NOTE = 1
    """Worth knowing; nothing has to be done."""
    WARNING = 2
    """frazil works, but not in full, or not for long."""
    PROBLEM = 3
    """Something does not work before this is put right."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    :ivar area: what it belongs to: ``kernel``, ``tools``, ``tracing``, ``time`` …
    :ivar what: one sentence on how it is.
    :ivar remedy: what to do about it; empty where nothing is to be done.
    """

    area: str
    level: Level
    what: str
    remedy: str = ""


def ok(area: str, what: str) -> Finding:
    """As it should be."""
    return Finding(area, Level.OK, what)


def problem(area: str, error: FrazilError) -> Finding:
    """An error that frazild would meet too."""
    return Finding(area, Level.PROBLEM, error.what, error.hint)


def worst(findings: Iterable[Finding]) -> Level:
    """The worst level of all; OK for nothing."""
    return max((finding.level for finding in findings), default=Level.OK)


def exit_kind(findings: Iterable[Finding]) -> Kind:
    """OK with nothing worse than a note, DEGRADED with warnings, PRECONDITION with problems."""
    return {Level.WARNING: Kind.DEGRADED, Level.PROBLEM: Kind.PRECONDITION}.get(
        worst(findings), Kind.OK
    )
