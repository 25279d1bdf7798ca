"""All checks in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from control.doctor.boot import check_boot
from control.doctor.clock import check_clock
from control.doctor.findings import Finding, Level
from control.doctor.kernel import check_kernel
from control.doctor.patient import Patient, admit
from control.doctor.peers import check_peers
from control.doctor.pools import check_pools
from control.doctor.tools import check_tools
from control.doctor.tracing import check_tracing
from control.doctor.trust import check_trust

Check = Callable[[Patient], Iterable[Finding]]

ANYWHERE: tuple[tuple[str, Check], ...] = (
    ("kernel", check_kernel),
    ("tools", check_tools),
    ("tracing", check_tracing),
    ("time", lambda _: check_clock()),
)
CONFIGURED: tuple[tuple[str, Check], ...] = (
    ("certificates", check_trust),
    ("pool", check_pools),
    ("boot", check_boot),
    ("peers", check_peers),
)
"""These mean nothing while the configuration cannot be read."""


def examine(source: Path | None = None) -> Iterator[Finding]:
    """Look at everything; nothing is changed.

    :param source: a configuration file; None for the host's.
    """
    patient, findings = admit(source)
    yield from findings
    for area, check in ANYWHERE + (CONFIGURED if patient.sound else ()):
        yield from guarded(area, check, patient)


def guarded(area: str, check: Check, patient: Patient) -> Iterator[Finding]:
    """A check that itself fails is a finding, and keeps no other from being made."""
    try:
        yield from check(patient)
    except Exception as error:
        yield Finding(
            area, Level.WARNING, f"this could not be checked: {error!r}", "please report it"
        )
