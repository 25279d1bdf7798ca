"""What the finer tracking of writes stands on; what is missing costs bytes, never data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from bpf.needs import Finding as Need
from bpf.needs import availability
from control.doctor.findings import Finding, Level, ok
from control.doctor.patient import Patient

AREA = "tracing"


def check_tracing(
    patient: Patient, needs: Callable[[], Iterable[Need]] | None = None
) -> Iterator[Finding]:
    """Each need of the tracer, unless the configuration wants none."""
    if not patient.config.trace.enabled:
        yield ok(AREA, "switched off by the configuration")
        return
    for need in needs() if needs else availability(patient.root):
        if need.ok:
            yield ok(AREA, need.what)
        else:
            yield Finding(AREA, Level.WARNING, need.what, need.remedy)
