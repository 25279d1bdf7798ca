"""Exit codes, in words. They are the numbers of ``dm_tables.errors.Kind``: stable."""

from __future__ import annotations

from typing import Final

from dm_tables.errors import Kind

INTERRUPTED: Final = 130

MEANINGS: Final[dict[int, str]] = {
    Kind.OK: "done",
    Kind.FAILED: "failed, for a reason no other code names",
    Kind.USAGE: "the command line or a value in it cannot be meant",
    Kind.NOT_FOUND: "no such volume, group, mirror, replica, layer or generation",
    Kind.EXISTS: "the name is taken by something else",
    Kind.PRECONDITION: "something else has to be done first",
    Kind.UNAVAILABLE: "no answer from frazild or from the peer, or time ran out; try again",
    Kind.DEGRADED: "it works, but not in full",
    Kind.EXHAUSTED: "no room left in the pool",
    Kind.CORRUPT: "data is not what it must be: a difference, or damage",
    Kind.DENIED: "not allowed: not root, or an identity without the right",
    INTERRUPTED: "interrupted from the keyboard",
}

# Any command that talks to the daemon can end with these.
EVERYWHERE: Final = (Kind.OK, Kind.FAILED, Kind.USAGE, Kind.UNAVAILABLE, Kind.DENIED)


def listed(extra: tuple[Kind, ...]) -> list[tuple[int, str]]:
    """The codes a command can end with, in rising order, each with its meaning."""
    codes = sorted({*EVERYWHERE, *extra})
    return [(int(code), MEANINGS[code]) for code in codes]
