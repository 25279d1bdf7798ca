"""``frazil doctor``: what is wrong with this host, and what to do; no daemon is needed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from control.cli.man import ManCommand
from control.cli.output import data, document
from control.cli.session import Session, pass_session
from dm_tables.errors import Denied, Kind

if TYPE_CHECKING:
    from control.doctor.findings import Finding

EXAMPLES = [
    ("frazil doctor", "what is wrong here, and what to do about it"),
    ("frazil doctor --all", "also what was looked at and is right"),
    ("frazil doctor --json | jq '.findings[] | select(.level == \"problem\")'", "for a script"),
]
WORDS = {"OK": "ok", "NOTE": "note", "WARNING": "warning", "PROBLEM": "PROBLEM"}


class NotRoot(Denied):
    """The doctor sees what only root may see."""


@click.command(
    "doctor",
    cls=ManCommand,
    examples=EXAMPLES,
    exits=(Kind.PRECONDITION, Kind.DEGRADED),
)
@click.option("--all", "everything", is_flag=True, help="Show also what is right.")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Instead of /etc/frazil/config.toml.",
)
@pass_session
def doctor(session: Session, everything: bool, config: Path | None) -> int:
    """Examine this host.

    Looks at the kernel, the tools, bcc and kernel headers, the clock, certificates, pools, the
    order of the boot and the mirrors' peers, with or without a running frazild, and changes
    nothing. Each finding comes with what to do about it.

    Exits with 0 when all is well (notes do not count), with 7 when the worst is a warning: frazil
    works, but not in full or not for long; and with 5 when there is a problem, which has to be
    put right first.
    """
    from control.doctor.examination import examine
    from control.doctor.findings import exit_kind

    if os.geteuid() != 0:
        raise NotRoot("frazil doctor needs root: it looks at devices and keys", "use sudo")
    findings = list(examine(config))
    if session.as_json:
        document(as_document(findings))
    else:
        data(report(findings, everything=everything))
    return int(exit_kind(findings))


def report(findings: Sequence[Finding], *, everything: bool) -> str:
    """A line a finding, its remedy below it, and a last line that sums up."""
    lines: list[str] = []
    for finding in findings:
        if finding.level.name == "OK" and not everything:
            continue
        lines.append(f"{WORDS[finding.level.name] + ':':<9}{finding.area}: {finding.what}")
        if finding.remedy:
            lines.append(f"{'':9}  {finding.remedy}")
    return "\n".join([*lines, summary(findings)])


def summary(findings: Sequence[Finding]) -> str:
    """How many of each level."""
    counts = dict.fromkeys(WORDS, 0)
    for finding in findings:
        counts[finding.level.name] += 1
    bad = [
        f"{number} {name}{'' if number == 1 else 's'}"
        for name, number in (("problem", counts["PROBLEM"]), ("warning", counts["WARNING"]))
        if number
    ]
    looked = f"{len(findings)} things looked at"
    return f"{looked}: {' and '.join(bad)}" if bad else f"{looked}: all is well"


def as_document(findings: Sequence[Finding]) -> dict[str, object]:
    """For ``--json``."""
    from control.doctor.findings import worst

    return {
        "level": worst(findings).name.lower(),
        "findings": [
            {
                "area": finding.area,
                "level": finding.level.name.lower(),
                "what": finding.what,
                "remedy": finding.remedy,
            }
            for finding in findings
        ],
    }
