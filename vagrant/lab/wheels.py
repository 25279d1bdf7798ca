"""The guests' Python packages, from PyPI, as the lock pins them."""

from __future__ import annotations

import importlib.util
import re
import sys
import tomllib
from pathlib import Path

from .build import HERE, PYTHON, REPOSITORY, call, lines_of
from .cache import built, key_of
from .progress import step

LOCK = "requirements-dev.lock"
_DEVELOPMENT = re.compile(
    r"(mypy|ruff|types-|grpcio-tools|setuptools|pip|ast-serialize|pytest-xdist|execnet)\b", re.I
)


def wheels_key() -> str:
    """What the packages are chosen by; another key, other packages."""
    return key_of(requirements(), PYTHON, 2)


def wheels() -> Path:
    """The folder with what guests get from PyPI, installed as a site folder."""
    return built("wheels", wheels_key(), _build_wheels)


def requirements() -> list[str]:
    """What pip installs for the guests.

    With a requirements-dev.lock: all it pins but the tools of development. Without one: the
    dependencies that pyproject.toml names, and wheels.txt.
    """
    lock = REPOSITORY / LOCK
    if lock.is_file():
        joined = lock.read_text().replace("\\\n", " ")
        pins = [re.sub(r"\s+#.*|^#.*", "", line).strip() for line in joined.splitlines()]
        return [pin for pin in pins if pin and not _DEVELOPMENT.match(pin)]
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    return [*project["dependencies"], *lines_of(HERE / "wheels.txt")]


def _build_wheels(work: Path) -> None:
    listed = work / "requirements.txt"
    listed.write_text("\n".join(requirements()) + "\n")
    locked = ["--no-deps"] if (REPOSITORY / LOCK).is_file() else []
    python = sys.executable if importlib.util.find_spec("pip") else "/usr/bin/python3"
    argv = [python, "-m", "pip", "install", "--quiet", "--only-binary=:all:", "--no-compile"]
    argv += ["--target", str(work / "site"), "--python-version", PYTHON]
    argv += ["--implementation", "cp", "--root-user-action=ignore", *locked, "-r", str(listed)]
    for platform in ("manylinux_2_34", "manylinux_2_28", "manylinux_2_17", "manylinux2014"):
        argv += ["--platform", f"{platform}_x86_64"]
    with step("fetching the guests' Python packages", 20):
        call(argv, work / "log")
