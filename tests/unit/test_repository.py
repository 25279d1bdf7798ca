"""The repository keeps its own rules; each rule is also shown to find what breaks it."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git work tree")
MOST_LINES = 499
LONGEST_FUNCTION = 45
TOP_LEVEL = set(
    ".ci .gitignore LICENSE Makefile README.md bpf control dist dm_tables docs proto "
    "pyproject.toml requirements-dev.lock requirements.lock tests vagrant".split()
)
NOT_OURS = re.compile(r"(^|/)LICENSE$|_pb2(_grpc)?\.pyi?$")

# Taken apart, so that this file does not break the rules itself. Vagrant's boxes have one user.
MACHINE_PATH = re.compile(
    r"(?<![\w.])/(home/(?!vagrant\b)\w|(Users|work|opt/(pypi|wheels))/\w|root/[.])"
)
REGISTRY = re.compile(
    "|".join(["pypi[.]org", "python" + "hosted", "debian[.]org", "pkg[.]dev", "npm" + "js"])
)
UNFINISHED = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")


@cache
def files() -> list[Path]:
    """Every file of the repository that git has, or would take."""
    said = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return sorted({ROOT / name for name in said.split("\0") if name and (ROOT / name).is_file()})


def ours() -> Iterator[tuple[Path, str]]:
    """Path below the root and text of each file that is written here by hand."""
    for path in files():
        name = path.relative_to(ROOT)
        if not NOT_OURS.search(str(name)):
            yield name, path.read_text(encoding="utf-8")


def is_reference(name: Path) -> bool:
    """Documentation: a page for looking things up is not cut for its length."""
    return name.suffix == ".md"


def too_long(text: str) -> bool:
    """More lines than a file may have."""
    return len(text.splitlines()) > MOST_LINES


def unexplained(text: str) -> bool:
    """A Python module with code and without a docstring."""
    tree = ast.parse(text)
    return bool(tree.body) and ast.get_docstring(tree) is None


def long_functions(text: str) -> list[str]:
    """The functions whose body, its docstring apart, does not fit a screen."""
    functions = [
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return [node.name for node in functions if body_lines(node) > LONGEST_FUNCTION]


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """The lines of a function's body without its docstring."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


RULES: dict[str, Callable[[str], object]] = {
    "fewer than 500 lines": too_long,
    "no path of some machine": MACHINE_PATH.search,
    "no package registry": REGISTRY.search,
    "nothing unfinished": UNFINISHED.search,
}
PYTHON_RULES: dict[str, Callable[[str], object]] = {
    "modules say what they are": unexplained,
    "functions fit a screen": long_functions,
}


@pytest.mark.parametrize("rule", RULES)
def test_every_file_keeps(rule: str) -> None:
    breaking = [name for name, text in ours() if RULES[rule](text)]
    if RULES[rule] is too_long:
        breaking = [name for name in breaking if not is_reference(name)]
    assert [str(name) for name in breaking] == []


@pytest.mark.parametrize("rule", PYTHON_RULES)
def test_every_module_keeps(rule: str) -> None:
    modules = [(name, text) for name, text in ours() if name.suffix == ".py"]
    assert len(modules) > 100
    assert [str(name) for name, text in modules if PYTHON_RULES[rule](text)] == []


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("fewer than 500 lines", "\n" * 500),
        ("no path of some machine", "see /" + "home/ann/notes"),
        ("no path of some machine", 'Path("/' + 'root/.cache")'),
        ("no package registry", "--index-url https://" + "pypi" + ".org/simple"),
        ("nothing unfinished", "# TO" + "DO: later"),
        ("modules say what they are", "import os\n"),
        ("functions fit a screen", "def f():\n" + "    pass\n" * (LONGEST_FUNCTION + 1)),
    ],
)
def test_each_rule_finds_what_breaks_it(rule: str, text: str) -> None:
    assert {**RULES, **PYTHON_RULES}[rule](text)


@pytest.mark.parametrize("rule", RULES)
def test_no_rule_finds_fault_with_what_is_right(rule: str) -> None:
    text = '"""A mount point below /var/lib/frazil/work/x, or https://example.com/home."""\n'
    assert not RULES[rule](text)


def test_nothing_else_lies_at_the_top() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in files()} - TOP_LEVEL == set()


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_the_locks_pin_everything_and_nothing_else(lock: str) -> None:
    lines = [line.partition("#")[0].strip() for line in (ROOT / lock).read_text().splitlines()]
    pins = [line for line in lines if line]
    assert len(pins) > 10
    assert [pin for pin in pins if not re.fullmatch(r"[a-z0-9-]+==[\w.+]+", pin)] == []


def test_what_is_checked_is_what_runs() -> None:
    """Every runtime pin is the same in both locks."""
    runtime, development = (
        {line.partition("#")[0].strip() for line in (ROOT / lock).read_text().splitlines()}
        for lock in ("requirements.lock", "requirements-dev.lock")
    )
    assert runtime <= development
