"""What can go wrong, as types. Every error names what was wrong, where, and what to do."""

from __future__ import annotations

from enum import IntEnum


class Kind(IntEnum):
    """What sort of failure it is: the command line's exit code, stable and documented."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    EXISTS = 4
    PRECONDITION = 5
    UNAVAILABLE = 6
    DEGRADED = 7
    EXHAUSTED = 8
    CORRUPT = 9
    DENIED = 10


class FrazilError(Exception):
    """The root of every error that frazil raises on purpose.

    :param what: one sentence that says what was wrong, and where.
    :param hint: what to do about it; empty when ``what`` says it all.
    """

    kind: Kind = Kind.FAILED

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint

    @property
    def name(self) -> str:
        """The error's stable name, for machines: ``PeerUnreachable``."""
        return type(self).__name__

    def __str__(self) -> str:
        return f"{self.what} ({self.hint})" if self.hint else self.what


class Usage(FrazilError):
    """An argument, a configuration value or a request that cannot be meant."""

    kind = Kind.USAGE


class NotFound(FrazilError):
    """A name that nothing has."""

    kind = Kind.NOT_FOUND


class Exists(FrazilError):
    """A name or a thing that is already there, and is not the same."""

    kind = Kind.EXISTS


class Precondition(FrazilError):
    """Something else has to be so first."""

    kind = Kind.PRECONDITION


class Unavailable(FrazilError):
    """It may work later: a peer or a daemon that does not answer, a time limit passed."""

    kind = Kind.UNAVAILABLE


class Exhausted(FrazilError):
    """No room left."""

    kind = Kind.EXHAUSTED


class Corrupt(FrazilError):
    """Bytes that are not what they must be."""

    kind = Kind.CORRUPT


class Denied(FrazilError):
    """Not allowed: not root, or an identity without the right."""

    kind = Kind.DENIED
