"""When a mirror's cycles start: the options for it, of which one excludes the others."""

from __future__ import annotations

from typing import Any

import click

from control.cli.types import DURATION, WINDOW
from control.units_text import Seconds
from dm_tables.errors import Usage


class TwoRhythms(Usage):
    """Two ways of starting cycles at once."""

    def __init__(self, ways: list[str]) -> None:
        super().__init__(
            f"{' and '.join(ways)} exclude each other",
            "cycles start by an interval, by a schedule, as an RPO asks, or only at sync-now",
        )


class NoTarget(Usage):
    """A replica that may be no older than now."""

    def __init__(self) -> None:
        super().__init__(
            "an RPO of 0 cannot be met: a copy takes time",
            "give --continuous for cycles without a pause",
        )


def options(command: Any) -> Any:
    """The options that ``mirror create`` and ``mirror set`` share."""
    for option in reversed(
        [
            click.option(
                "--interval",
                type=DURATION,
                metavar="DURATION",
                help="From one freeze to the next; 0 (the default): at once after the last.",
            ),
            click.option(
                "--schedule", metavar="CRON", help='Five cron fields: "0 */2 * * mon-fri".'
            ),
            click.option(
                "--rpo",
                type=DURATION,
                metavar="DURATION",
                help="How old the replica's instant may become; the pace follows.",
            ),
            click.option(
                "--on-demand/--continuous", default=None, help="Cycles at sync-now only, or not."
            ),
            click.option(
                "--window",
                type=WINDOW,
                metavar="TEXT",
                help='When copies may run: "Mon-Fri 22:00-06:00, Sat-Sun", or always.',
            ),
        ]
    ):
        command = option(command)
    return command


def taken(given: dict[str, Any]) -> dict[str, Any]:
    """Take the options of a rhythm out of ``given``: all its fields, or none if none was given.

    :raises TwoRhythms: more than one way. :raises NoTarget: an RPO of nothing.
    """
    interval: Seconds | None = given.pop("interval")
    schedule: str | None = given.pop("schedule")
    rpo: Seconds | None = given.pop("rpo")
    on_demand: bool | None = given.pop("on_demand")
    ways = []
    if interval is not None or on_demand is False:
        ways.append("--interval" if interval is not None else "--continuous")
    ways += ["--schedule"] if schedule is not None else []
    ways += ["--rpo"] if rpo is not None else []
    ways += ["--on-demand"] if on_demand else []
    if len(ways) > 1:
        raise TwoRhythms(ways)
    if rpo is not None and not rpo:
        raise NoTarget
    if not ways:
        return {}
    return {
        "interval_ms": _milliseconds(interval),
        "schedule": schedule or "",
        "rpo_ms": _milliseconds(rpo),
        "on_demand": bool(on_demand),
    }


def _milliseconds(seconds: Seconds | None) -> int:
    # A cycle that is due at once is not the same as one every half millisecond.
    return max(round(seconds * 1000), 1) if seconds else 0
