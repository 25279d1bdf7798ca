"""Which of the host's apt sources serve the Debian release that the guests run."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .errors import LabError

APT = Path("/etc/apt")


@dataclass(frozen=True)
class Sources:
    """The selected entries: deb822 stanzas and one-line entries, with the release's name."""

    codename: str
    stanzas: tuple[str, ...]
    lines: tuple[str, ...]

    def write(self, folder: Path) -> list[Path]:
        """Write the entries as files that mmdebstrap and apt read; returns their paths."""
        written = []
        for name, entries, gap in (
            ("host.list", self.lines, "\n"),
            ("host.sources", self.stanzas, "\n\n"),
        ):
            if entries:
                path = folder / name
                path.write_text(gap.join(entries) + "\n")
                written.append(path)
        return written


def _codename() -> str:
    fields = dict(
        line.split("=", 1)
        for line in Path("/etc/os-release").read_text().splitlines()
        if "=" in line
    )
    return fields.get("VERSION_CODENAME", "").strip('"')


def _serves(suites: list[str], components: list[str], codename: str) -> bool:
    """Debian names its suites CODENAME or CODENAME-PART, and its first component main."""
    wanted = re.compile(rf"{re.escape(codename)}(-(updates|security|backports))?$")
    return "main" in components and all(wanted.match(suite) for suite in suites)


def _one_line(text: str, codename: str) -> list[str]:
    chosen = []
    for raw in text.splitlines():
        line = raw.split("#", 1)[0].strip()
        match = re.match(r"deb\s+(\[[^\]]*\]\s+)?(\S+)\s+(\S+)\s+(.+)$", line)
        if match and _serves([match[3]], match[4].split(), codename):
            chosen.append(line)
    return chosen


def _deb822(text: str, codename: str) -> list[str]:
    chosen = []
    text = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for stanza in re.split(r"\n\s*\n", text):
        fields: dict[str, str] = {}
        name = ""
        for line in stanza.splitlines():
            if line[:1].isspace():
                fields[name] = fields.get(name, "") + " " + line.strip()
            elif ":" in line:
                name, value = line.split(":", 1)
                name = name.lower()
                fields[name] = value.strip()
        enabled = fields.get("enabled", "yes").lower() not in ("no", "false", "0")
        suites, components = fields.get("suites", "").split(), fields.get("components", "").split()
        if enabled and "deb" in fields.get("types", "").split():
            suites = suites or ["/"]
            if _serves(suites, components, codename):
                chosen.append(stanza.strip("\n"))
    return chosen


def foreign_addresses() -> set[str]:
    """Addresses whose release files say that they are not Debian's, as far as apt has them.

    Vendors name their suites after Debian's too; only the origin tells them apart.
    """
    done = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(ORIGIN)|$(SITE)"],
        capture_output=True,
        text=True,
        check=False,
    )
    pairs = (line.split("|", 1) for line in done.stdout.splitlines() if "|" in line)
    return {site.rstrip("/") for origin, site in pairs if origin not in ("", "Debian")}


def _ours(entry: str, foreign: set[str]) -> bool:
    return not any(word.rstrip("/") in foreign for word in entry.split())


def debian_sources(
    apt: Path = APT, codename: str | None = None, foreign: set[str] | None = None
) -> Sources:
    """The host's own Debian entries; raises LabError when there are none."""
    others = foreign_addresses() if foreign is None else foreign
    release = codename or _codename()
    parts = apt / "sources.list.d"
    lines: list[str] = []
    stanzas: list[str] = []
    files = [apt / "sources.list"] + (sorted(parts.iterdir()) if parts.is_dir() else [])
    for path in files:
        if not path.is_file() or not os.access(path, os.R_OK):
            continue
        if path.suffix == ".list":
            lines += _one_line(path.read_text(), release)
        elif path.suffix == ".sources":
            stanzas += _deb822(path.read_text(), release)
    lines = [line for line in lines if _ours(line, others)]
    stanzas = [stanza for stanza in stanzas if _ours(stanza, others)]
    if not lines and not stanzas:
        raise LabError(
            f"no apt source in {apt} serves Debian {release or '(unknown release)'}: "
            "the lab builds its guests from the host's own Debian 12 sources; add them "
            "to sources.list and run apt-get update"
        )
    return Sources(release, tuple(stanzas), tuple(lines))
