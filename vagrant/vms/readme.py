"""The README's section "Install on a real host" as steps: the one source of how it is done.

A fenced block whose first line is ``sh HOST`` is executed as it stands, by root on that host:
``local``, ``remote`` or ``both``, which is side by side. Other blocks are only read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

README = Path(__file__).resolve().parents[2] / "README.md"
HEADING = "## Install on a real host"
HOSTS = {"local": ("local",), "remote": ("remote",), "both": ("local", "remote")}
_FENCE = re.compile(r"^```sh (?P<where>\w+)\n(?P<script>.*?)^```$", re.MULTILINE | re.DOTALL)
_NEXT = re.compile(r"^## ", re.MULTILINE)


class ReadmeWrong(Exception):
    """The section is not there, or names a host that there is not."""


@dataclass(frozen=True, slots=True)
class Step:
    """A script, and on which hosts it is executed."""

    hosts: tuple[str, ...]
    script: str

    @property
    def title(self) -> str:
        """Its first line, for people."""
        return f"{' and '.join(self.hosts)}: {self.script.splitlines()[0]}"


def section(text: str, heading: str = HEADING) -> str:
    """The text from a heading to the next of its rank. :raises ReadmeWrong: there is none."""
    _, found, rest = text.partition(f"{heading}\n")
    if not found:
        raise ReadmeWrong(f'there is no section "{heading}"')
    following = _NEXT.search(rest)
    return rest[: following.start()] if following else rest


def steps(text: str) -> list[Step]:
    """The section's executable blocks, in order. :raises ReadmeWrong: there are none."""
    found = []
    for block in _FENCE.finditer(section(text)):
        if block["where"] not in HOSTS:
            raise ReadmeWrong(f'"sh {block["where"]}": the hosts are {", ".join(HOSTS)}')
        found.append(Step(HOSTS[block["where"]], block["script"]))
    if not found:
        raise ReadmeWrong(f'the section "{HEADING}" has no block that begins with ```sh HOST')
    return found


def read_steps(path: Path = README) -> list[Step]:
    """The steps in the README."""
    return steps(path.read_text(encoding="utf-8"))
