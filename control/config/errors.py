"""What can be wrong with a configuration file."""

from __future__ import annotations

from pathlib import Path

from dm_tables.errors import Usage


class ConfigError(Usage):
    """A configuration file that cannot be meant.

    :ivar source: the file.
    :ivar key: the key's path, as in ``pool.grow_at`` or ``replica.allow[0].identity``; empty
        when the file as a whole is wrong.
    :ivar problem: what was wrong with it.
    """

    def __init__(self, source: Path, key: str, problem: str, hint: str = "") -> None:
        where = f"{source}: {key}" if key else str(source)
        super().__init__(f"{where}: {problem}", hint)
        self.source = source
        self.key = key
        self.problem = problem


class BadValue(Exception):
    """A value that is wrong, before it is known in which file and under which key."""

    def __init__(self, key: str, problem: str, hint: str = "") -> None:
        super().__init__(problem)
        self.key = key
        self.problem = problem
        self.hint = hint
