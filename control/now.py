"""What a mirror does at this moment."""

from __future__ import annotations

from dataclasses import dataclass

from control.copying import CopyProgress
from control.records import CycleRecord
from control.sending import InstantCopy
from dm_tables.errors import FrazilError, Kind


@dataclass(slots=True)
class Now:
    """What a mirror does at this moment."""

    phase: str = "idle"
    cycle: CycleRecord | None = None
    copy: InstantCopy | None = None
    problem: str = ""
    error: FrazilError | None = None
    next_attempt: float = 0.0
    failing_since: float = 0.0

    @property
    def kind(self) -> Kind:
        """What sort of problem there is."""
        return self.error.kind if self.error else Kind.OK

    @property
    def progress(self) -> CopyProgress | None:
        """How far the copy is."""
        return self.copy.progress if self.copy is not None else None
