"""Fixtures of a chain's tests: the host in the middle, and what ends it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.chain import Station


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What is to be ended after the test."""
    with ExitStack() as made:
        yield made


@pytest.fixture
def middle(tmp_path: Path, stack: ExitStack) -> Station:
    """A host that mirrors on what comes in."""
    made = Station(tmp_path / "middle")
    stack.callback(made.close)
    return made
