"""docs/patent.md: every claim and figure is there once, and everything it names exists."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/patent.md"
NAMED = re.compile(r"`((?:control|dm_tables|bpf|proto|tests)/[\w/.]+)(?:::(\w+))?`")
ROW = re.compile(r"^\| ([\d, ]+) \|.*\|$")
CLAIMS = set(range(1, 49))
FIGURES = set(range(2, 9))


@cache
def functions(path: Path) -> frozenset[str]:
    """The functions at the top of a Python file."""
    body = ast.parse(path.read_text()).body
    return frozenset(node.name for node in body if isinstance(node, ast.FunctionDef))


def wrong_names(text: str) -> list[str]:
    """What is named as a module or a test, and is none."""
    wrong: list[str] = []
    for path, function in NAMED.findall(text):
        if not (ROOT / path).is_file() or (function and function not in functions(ROOT / path)):
            wrong.append(f"{path}::{function}" if function else path)
    return wrong


def rows(text: str, heading: str) -> Iterator[tuple[list[int], str]]:
    """The numbers in the first column below a heading, and the whole row."""
    section = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    for line in section.splitlines():
        if found := ROW.match(line):
            yield [int(number) for number in found[1].split(",")], line


def count(text: str, heading: str) -> list[int]:
    """Every number that a section has a row for."""
    return sorted(number for numbers, _ in rows(text, heading) for number in numbers)


def unshown(text: str) -> list[list[int]]:
    """The rows that name no module, or no test."""
    bad: list[list[int]] = []
    for heading in ("Claims", "Figures"):
        for numbers, line in rows(text, heading):
            kinds = {bool(function) for _, function in NAMED.findall(line)}
            if kinds != {True, False}:
                bad.append(numbers)
    return bad


@pytest.fixture(scope="module")
def page() -> str:
    return PAGE.read_text()


def test_every_claim_and_figure_once(page: str) -> None:
    assert count(page, "Claims") == sorted(CLAIMS)
    assert count(page, "Figures") == sorted(FIGURES)


def test_each_has_a_module_and_a_test(page: str) -> None:
    assert unshown(page) == []


def test_everything_that_is_named_exists(page: str) -> None:
    assert len(NAMED.findall(page)) > 80
    assert wrong_names(page) == []


def test_negative_controls(page: str) -> None:
    assert wrong_names("`control/nothing.py`") == ["control/nothing.py"]
    assert wrong_names("`tests/unit/test_patent.py::test_none`") != []
    without = "\n".join(line for line in page.splitlines() if not line.startswith("| 16, 40 "))
    assert count(without, "Claims") != sorted(CLAIMS)
    assert unshown(page.replace("`control/spans.py`, `control/adopt.py`, `control/beneath.py`", ""))
