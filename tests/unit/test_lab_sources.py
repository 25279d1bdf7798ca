"""Which apt sources of a host the lab builds its guests from."""

from __future__ import annotations

from pathlib import Path

import pytest

from vagrant.lab import LabError
from vagrant.lab.sources import debian_sources

STANZA = """Types: deb
# a remark
URIs: http://mirror.test/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""


def apt(tmp_path: Path, **files: str) -> Path:
    (tmp_path / "sources.list.d").mkdir()
    for name, text in files.items():
        place = tmp_path if name == "sources_list" else tmp_path / "sources.list.d"
        (place / name.replace("_", ".")).write_text(text)
    return tmp_path


def test_one_line_entries_of_the_release_are_taken(tmp_path: Path) -> None:
    lines = (
        "deb http://mirror.test/debian bookworm main\n"
        "deb-src http://mirror.test/debian bookworm main\n"
        "# deb http://mirror.test/debian trixie main\n"
        "deb [arch=amd64 signed-by=/k.gpg] http://mirror.test/security bookworm-security main x\n"
        "deb http://vendor.test/apt stable main\n"
        "deb http://vendor.test/tools bookworm tools\n"
    )
    found = debian_sources(apt(tmp_path, sources_list=lines), "bookworm", set())
    assert found.stanzas == ()
    assert [line.split()[-2:] for line in found.lines] == [
        ["bookworm", "main"],
        ["main", "x"],
    ]


def test_deb822_stanzas_of_the_release_are_taken(tmp_path: Path) -> None:
    other = STANZA.replace("bookworm", "nodistro")
    disabled = STANZA + "Enabled: no\n"
    folder = apt(tmp_path, debian_sources=f"{STANZA}\n{other}\n{disabled}", old_disabled=STANZA)
    found = debian_sources(folder, "bookworm", set())
    assert len(found.stanzas) == 1
    assert "remark" not in found.stanzas[0]
    (written,) = found.write(tmp_path)
    assert "mirror.test" in written.read_text()


def test_a_vendor_with_debians_suite_name_is_told_apart_by_its_origin(tmp_path: Path) -> None:
    lines = "deb http://mirror.test/debian bookworm main\ndeb http://vendor.test bookworm main\n"
    found = debian_sources(apt(tmp_path, sources_list=lines), "bookworm", {"http://vendor.test"})
    assert found.lines == ("deb http://mirror.test/debian bookworm main",)


def test_no_debian_source_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="no apt source"):
        debian_sources(apt(tmp_path), "bookworm", set())
