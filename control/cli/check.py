"""``frazil check``: one line and an exit code for Nagios and its kin."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import click

from control.cli import words
from control.cli.man import ManCommand
from control.cli.output import data, document
from control.cli.schema import error_dict
from control.cli.session import Session, pass_session
from control.cli.types import DURATION
from control.units_text import Seconds, human_duration
from dm_tables.errors import FrazilError
from proto.frazil.v1 import control_pb2 as pb
from proto.frazil.v1 import replica_pb2 as rpb

LEAST_PERIOD = 60.0
EXAMPLES = [
    ("frazil check", "every mirror, against 2 and 3 times its interval"),
    ("frazil check data-b --warning 10m --critical 1h", "one mirror, against limits of your own"),
    ("frazil check --replicas --warning 10m --critical 1h", "on the host that keeps the copies"),
]


class Level(IntEnum):
    """The exit codes that Nagios plugins agree on."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds that a copy's newest instant may be old; None: no limit."""

    warning: float | None = None
    critical: float | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One copy's verdict. ``age``: how old its newest instant is, in seconds; None: it has none."""

    name: str
    level: Level
    why: str
    age: float | None
    limits: Limits


class CheckCommand(ManCommand):
    """A wrong command line is UNKNOWN: its usual code would read as CRITICAL."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Parse ``args``. :raises click.exceptions.Exit: with 3, they cannot be meant."""
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.UsageError as error:
            data(f"FRAZIL UNKNOWN - {error.format_message()}")
            raise click.exceptions.Exit(Level.UNKNOWN) from None


@click.command("check", cls=CheckCommand, examples=EXAMPLES, exits=None)
@click.argument("names", nargs=-1, metavar="[MIRROR]...")
@click.option("--warning", type=DURATION, metavar="DURATION", help="Oldest copy without WARNING.")
@click.option("--critical", type=DURATION, metavar="DURATION", help="Oldest without CRITICAL.")
@click.option("--replicas", is_flag=True, help="Check the replicas kept here, not the mirrors.")
@pass_session
def check(
    session: Session,
    names: tuple[str, ...],
    warning: Seconds | None,
    critical: Seconds | None,
    replicas: bool,
) -> int:
    """Check the copies' age for Nagios.

    Prints one line, with performance data, and exits with 0 OK, 1 WARNING, 2 CRITICAL or
    3 UNKNOWN, as monitoring plugins do.

    A mirror is too old at 2 times its interval (WARNING) and at 3 times (CRITICAL), an interval
    of under a minute counting as one; with an RPO at that and at twice that. A mirror that runs
    on demand, by a schedule or in a window, and a replica, are too old only by limits that are
    given. A mirror whose health is ERROR is CRITICAL; one that is DEGRADED, or
    does not run, is WARNING.
    """
    given = Limits(warning, critical)
    try:
        found = _replicas(session, names, given) if replicas else _mirrors(session, names, given)
    except FrazilError as error:
        if session.as_json:
            document(error_dict(error))
        else:
            data(f"FRAZIL UNKNOWN - {error.what}")
        return Level.UNKNOWN
    if session.as_json:
        document(as_document(found))
    else:
        data(summary(found))
    return worst(found)


def _mirrors(session: Session, names: Sequence[str], given: Limits) -> list[Finding]:
    if names:
        mirrors = [
            session.api.ask("GetMirror", pb.GetMirrorRequest(name=name), pb.Mirror)
            for name in names
        ]
    else:
        reply = session.api.ask("ListMirrors", pb.ListMirrorsRequest(), pb.ListMirrorsReply)
        mirrors = list(reply.mirrors)
    return [judge_mirror(one, given) for one in mirrors]


def _replicas(session: Session, names: Sequence[str], given: Limits) -> list[Finding]:
    if names:
        kept = [
            session.api.ask("GetReplica", pb.GetReplicaRequest(name=name), rpb.ReplicaVolume)
            for name in names
        ]
    else:
        reply = session.api.ask("ListReplicas", pb.ListReplicasRequest(), pb.ListReplicasReply)
        kept = list(reply.replicas)
    return [judge_replica(one, given, time.time()) for one in kept]


def judge_mirror(one: pb.Mirror, given: Limits) -> Finding:
    """The verdict over a mirror: the worst of its health, its state and its lag."""
    limits = given if given != Limits() else _own_limits(one)
    age = one.lag_ms / 1000 if one.committed.number else None
    verdicts = [_by_age(age, limits)]
    if one.health == "ERROR":
        verdicts.append((Level.CRITICAL, one.problem or "ERROR"))
    elif one.health != "OK":
        verdicts.append((Level.WARNING, one.problem or one.health or "health unknown"))
    if one.state != "running":
        verdicts.append((Level.WARNING, one.state))
    level, why = max(verdicts, key=lambda verdict: verdict[0])
    return Finding(one.name, level, why, age, limits)


def _own_limits(one: pb.Mirror) -> Limits:
    """What its rhythm promises; nothing where the next cycle may be far away by rights."""
    if one.on_demand or one.schedule or one.window:
        return Limits()
    if one.rpo_ms:
        return Limits(one.rpo_ms / 1000, 2 * one.rpo_ms / 1000)
    period = max(one.interval_ms / 1000, LEAST_PERIOD)
    return Limits(2 * period, 3 * period)


def judge_replica(one: rpb.ReplicaVolume, given: Limits, now: float) -> Finding:
    """The verdict over a replica: the age of its newest instant by this host's clock."""
    if one.role == "promoted":
        return Finding(one.name, Level.OK, "promoted: a source here", None, given)
    newest = one.newest
    age = max(now - words.seconds(newest.frozen_at), 0.0) if newest.number else None
    level, why = _by_age(age, given)
    return Finding(one.name, level, why, age, given)


def _by_age(age: float | None, limits: Limits) -> tuple[Level, str]:
    if age is None:
        return Level.WARNING, "no copy yet"
    text = f"{human_duration(age)} old"
    if limits.critical is not None and age > limits.critical:
        return Level.CRITICAL, f"{text}, over {human_duration(limits.critical)}"
    if limits.warning is not None and age > limits.warning:
        return Level.WARNING, f"{text}, over {human_duration(limits.warning)}"
    return Level.OK, text


def worst(found: Sequence[Finding]) -> Level:
    """The highest level; nothing to check is UNKNOWN, for a check of nothing proves nothing."""
    return max((finding.level for finding in found), default=Level.UNKNOWN)


def summary(found: Sequence[Finding]) -> str:
    """``FRAZIL WARNING - data-b: 95 s old, over 60 s | data-b=95s;60;90``."""
    if not found:
        return "FRAZIL UNKNOWN - there is nothing to check"
    ordered = sorted(found, key=lambda finding: -finding.level)
    text = "; ".join(f"{finding.name}: {finding.why}" for finding in ordered)
    performance = " ".join(_performance(finding) for finding in found if finding.age is not None)
    line = f"FRAZIL {worst(found).name} - {text}"
    return f"{line} | {performance}" if performance else line


def _performance(finding: Finding) -> str:
    limits = [_number(finding.limits.warning), _number(finding.limits.critical)]
    return f"{finding.name}={_number(finding.age)}s;{';'.join(limits)};0"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}".rstrip("0").rstrip(".")


def as_document(found: Sequence[Finding]) -> dict[str, object]:
    """The findings for ``--json``."""
    return {
        "level": worst(found).name,
        "findings": [
            {
                "name": finding.name,
                "level": finding.level.name,
                "why": finding.why,
                "age_seconds": finding.age,
                "warning_seconds": finding.limits.warning,
                "critical_seconds": finding.limits.critical,
            }
            for finding in found
        ],
    }
