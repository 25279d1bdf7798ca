"""The certificates of [tls]."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from control.certificates import check_certificates
from control.config import TlsSection
from control.doctor.findings import Finding, Level, ok, problem
from control.doctor.patient import Patient
from dm_tables.errors import FrazilError

AREA = "certificates"
SOON = timedelta(days=30)


def check_trust(patient: Patient, now: datetime | None = None) -> Iterator[Finding]:
    """That they can be read, belong together, are valid, and the key is nobody else's."""
    tls = patient.config.tls
    if tls is None:
        if any(not mirror.plaintext for mirror in patient.mirrors):
            yield Finding(
                AREA,
                Level.PROBLEM,
                "mirrors go to other hosts, and there is no [tls]",
                "frazil pki init and frazil pki issue make certificates; name them in [tls]",
            )
        return
    now = now or datetime.now(UTC)
    try:
        identity = check_certificates(tls, now)
    except FrazilError as error:
        yield problem(AREA, error)
        return
    names = ", ".join(identity.names)
    yield ok(AREA, f"this host is {names} until {identity.expires:%Y-%m-%d}")
    for what, day in ((tls.cert, identity.expires), (tls.ca, identity.authority_expires)):
        if day - now < SOON:
            left = f"{(day - now).days} days"
            yield Finding(
                AREA, Level.WARNING, f"{what} is valid for {left} more", "issue a new one in time"
            )
    yield from check_key(tls)


def check_key(tls: TlsSection) -> Iterator[Finding]:
    """Only root may read the private key."""
    mode = stat.S_IMODE(tls.key.stat().st_mode)
    if mode & 0o077:
        yield Finding(
            AREA,
            Level.WARNING,
            f"others than its owner may use the private key {tls.key} (mode {mode:04o})",
            f"chmod 600 {tls.key}",
        )
