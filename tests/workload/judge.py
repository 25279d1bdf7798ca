"""Is what a replica holds what the application had done by the freeze? Pure functions.

An instant of an application that does one thing after the other is a prefix of its
operations. A freeze takes time, and the operation under way may be in or out; so the log and
the freeze's window give the shortest and the longest prefix that can be right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tests.workload.oplog import Operation


@dataclass(frozen=True, slots=True)
class Window:
    """When the instant was taken: wall clock of the source, in nanoseconds."""

    begin_ns: int
    end_ns: int


EVERYTHING: Final = Window(1 << 62, 1 << 62)
"""The end of time: what was acknowledged at all must be there."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many operations the instant holds: no fewer than were acknowledged before the
    window, no more than had been begun when it ended."""

    least: int
    most: int


def bounds(operations: Sequence[Operation], window: Window) -> Bounds:
    """The shortest and the longest prefix of ``operations`` that an instant may be."""
    least = most = 0
    for operation in operations:
        if operation.done_ns is not None and operation.done_ns < window.begin_ns:
            least = operation.number
        if operation.begin_ns <= window.end_ns:
            most = operation.number
    return Bounds(least, most)


def judge_newest(newest: int, allowed: Bounds) -> list[str]:
    """What is wrong with an instant whose newest transaction is ``newest``; empty if nothing."""
    if newest < allowed.least:
        return [
            f"transaction {allowed.least} was acknowledged before the freeze and is missing: "
            f"the newest is {newest}"
        ]
    if newest > allowed.most:
        return [f"transaction {newest} is there, but only {allowed.most} had begun by the freeze"]
    return []


def files_after(operations: Sequence[Operation], count: int) -> dict[str, int]:
    """Each file's name and the operation that wrote it, after the first ``count``."""
    state: dict[str, int] = {}
    for operation in operations[:count]:
        if operation.kind == "delete":
            state.pop(operation.name, None)
        else:
            state[operation.name] = operation.number
    return state


def judge_files(
    found: Mapping[str, int], operations: Sequence[Operation], allowed: Bounds
) -> list[str]:
    """What is wrong with a directory that holds ``found``; empty if it is one instant."""
    nearest: list[str] = []
    for count in range(allowed.most, allowed.least - 1, -1):
        wrong = _differences(found, files_after(operations, count))
        if not wrong:
            return []
        if not nearest or len(wrong) < len(nearest):
            nearest = wrong
    span = f"operations {allowed.least} to {allowed.most}"
    return [f"the files are no instant within {span}; at the nearest: {'; '.join(nearest[:5])}"]


def _differences(found: Mapping[str, int], wanted: Mapping[str, int]) -> list[str]:
    wrong = [f"{name} is missing" for name in sorted(wanted.keys() - found.keys())]
    wrong += [f"{name} should not be there" for name in sorted(found.keys() - wanted.keys())]
    wrong += [
        f"{name} is of operation {found[name]}, not {wanted[name]}"
        for name in sorted(found.keys() & wanted.keys())
        if found[name] != wanted[name]
    ]
    return wrong
