"""What can go wrong with a pool."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from control.units_text import human_size
from dm_tables.errors import (
    Denied,
    Exhausted,
    Exists,
    FrazilError,
    NotFound,
    Precondition,
    Unavailable,
    Usage,
)
from dm_tables.units import Bytes


class PoolFull(Exhausted):
    """No room: ``wanted`` and ``free`` are bytes, ``location`` is the pool's."""

    def __init__(self, location: str, name: str, wanted: int, free: int) -> None:
        super().__init__(
            f"the pool {location} has no room for {name}: {human_size(wanted)} wanted, "
            f"{human_size(max(free, 0))} free",
            "give the pool more room, or let mirrors catch up so that layers can be merged",
        )
        self.location = location
        self.wanted = Bytes(wanted)
        self.free = Bytes(free)


class PoolObjectMissing(NotFound):
    """The pool has no object of that name."""

    def __init__(self, location: str, name: str) -> None:
        super().__init__(f"the pool {location} has no object {name}")
        self.object_name = name


class PoolObjectExists(Exists):
    """The pool has an object of that name already."""

    def __init__(self, location: str, name: str) -> None:
        super().__init__(f"the pool {location} has an object {name} already")
        self.object_name = name


class BadObjectName(Usage):
    """A name that no object can have."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f'"{name}" cannot name an object of a pool: {why}')


class BadObjectSize(Usage):
    """A size that no object can have."""

    def __init__(self, name: str, size: int) -> None:
        super().__init__(f"{name} cannot have {size} bytes: not a positive count of sectors")


class PoolUnsuitable(Precondition):
    """The place that was configured cannot hold a pool."""


class ObjectBusy(Precondition):
    """Something still uses the object; ``users`` names the devices, as far as known."""

    def __init__(self, path: Path | str, users: Sequence[str]) -> None:
        by = f" by {', '.join(users)}" if users else ""
        super().__init__(
            f"{path} is in use{by}", "remove the devices above it, or wait until they close"
        )
        self.users = tuple(users)


class ToolFailed(FrazilError):
    """A tool ended with a failure; ``argv``, ``code`` and ``stderr`` are its own."""

    def __init__(self, argv: Sequence[str], code: int, stderr: str, hint: str = "") -> None:
        said = "; ".join(line.strip() for line in stderr.splitlines() if line.strip())
        super().__init__(f"{' '.join(argv)}: {said or f'exit code {code}'}", hint)
        self.argv = tuple(argv)
        self.code = code
        self.stderr = stderr


class LoopFailed(ToolFailed):
    """losetup failed."""


class LvmFailed(ToolFailed):
    """A command of LVM failed."""


class ToolTimedOut(ToolFailed, Unavailable):
    """A tool was still running at its time limit."""


class ToolNotAllowed(ToolFailed, Denied):
    """A tool needs root."""


class ToolMissing(Precondition):
    """A tool that the pool needs is not installed."""

    def __init__(self, program: str, package: str) -> None:
        super().__init__(f"{program} is not installed", f"install the package {package}")
        self.program = program
