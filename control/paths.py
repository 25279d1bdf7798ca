"""Where frazil's files lie on a host, below the directories that the configuration names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DEFAULT_CONFIG = Path("/etc/frazil/config.toml")
DEFAULT_STATE = Path("/var/lib/frazil")
DEFAULT_RUN = Path("/run/frazil")


@dataclass(frozen=True, slots=True)
class Paths:
    """The files of one frazild: ``state`` outlives a reboot, ``run`` does not."""

    state: Path = DEFAULT_STATE
    run: Path = DEFAULT_RUN

    @property
    def control_socket(self) -> Path:
        """The unix socket that the command line speaks to."""
        return self.run / "control.sock"

    @property
    def tracer_socket(self) -> Path:
        """The unix socket of the process that holds the trace."""
        return self.run / "tracer.sock"

    @property
    def lock(self) -> Path:
        """Held by the one daemon of this state directory, for as long as it lives."""
        return self.state / "frazild.lock"

    @property
    def journal(self) -> Path:
        """The SQLite journal: volumes, layers, generations, mirrors."""
        return self.state / "journal.db"

    @property
    def history(self) -> Path:
        """How volumes were written in their newest cycles."""
        return self.state / "history.db"

    @property
    def pool(self) -> Path:
        """Where auxiliary volumes lie, unless the configuration says otherwise."""
        return self.state / "pool"

    @property
    def hooks(self) -> Path:
        """What is owed to applications that are being quieted."""
        return self.state / "hooks"

    @property
    def verify(self) -> Path:
        """Where comparisons that were asked for go on."""
        return self.state / "verify"

    @property
    def scrub(self) -> Path:
        """How far comparisons in the background are."""
        return self.state / "scrub"

    @property
    def replica(self) -> Path:
        """Where replica volumes lie, unless the configuration says otherwise."""
        return self.state / "replica"
