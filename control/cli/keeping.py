"""Recovery points and what keeps them, as text."""

from __future__ import annotations

from collections.abc import Sequence

from control.cli import words
from control.cli.output import columns
from control.units_text import human_size
from proto.frazil.v1 import replica_pb2 as rpb

HEADER = ("GEN", "FROZEN", "AGE", "SIZE", "KEPT BY", "DEVICES")
PERIODS = ("last", "hourly", "daily", "weekly")


def table(points: Sequence[rpb.RecoveryPoint]) -> str:
    """A line a recovery point, the newest first."""
    if not points:
        return "no recovery points"
    rows = [
        (
            words.number(point.generation),
            words.when(point.generation.frozen_at),
            words.age(point.generation.frozen_at).removesuffix(" ago"),
            human_size(point.bytes),
            ", ".join(point.kept_by) or words.NONE,
            ", ".join(point.devices) or words.NONE,
        )
        for point in points
    ]
    return columns(HEADER, rows, right="GEN AGE SIZE")


def retention(policy: rpb.Retention) -> str:
    """``the newest, 3 last, 24 hourly``: which generations are kept."""
    parts = [f"{count} {name}" for name in PERIODS if (count := getattr(policy, name))]
    return ", ".join(["the newest", *parts])


def passing(points: Sequence[rpb.RecoveryPoint]) -> list[int]:
    """The generations that nothing keeps: they go with the next merge."""
    return [point.generation.number for point in points if list(point.kept_by) == ["passing"]]
