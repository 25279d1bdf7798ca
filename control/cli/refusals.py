"""What more than one command refuses before anything is asked."""

from __future__ import annotations

from collections.abc import Sequence

from dm_tables.errors import Usage


class NothingToSet(Usage):
    """A command that changes settings, without a setting. :ivar options: those it takes."""

    def __init__(self, what: str, options: Sequence[str]) -> None:
        super().__init__(f"nothing to set for {what}", f"give at least one of {', '.join(options)}")
        self.options = tuple(options)


class LimitWithoutCommand(Usage):
    """A time limit for a hook that there is none of."""

    def __init__(self, option: str) -> None:
        super().__init__(
            f"--{option}-limit limits a command, and there is none", f"give --{option} too"
        )
