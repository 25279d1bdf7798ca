"""What tests share: labs, hosts with frazil, and the daemons' last words when a test fails."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.pair import Pair
    from vagrant.lab import Lab


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A lab of the test's own: its guests are fresh, and gone afterwards."""
    from vagrant.lab import Lab

    with Lab() as started:
        yield started


@pytest.fixture
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Two fresh hosts, ``source`` and ``replica``, each with a running frazild."""
    from tests.pair import running_pair

    with running_pair() as started:
        yield started
        _tell(request, started)


@pytest.fixture(scope="module")
def shared_pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Two hosts for all tests of a module: each test leaves both with a running frazild."""
    from tests.pair import running_pair

    with running_pair() as started:
        yield started
        _tell(request, started)


def _tell(request: pytest.FixtureRequest, started: Pair) -> None:
    """Print the daemons' logs if a test failed: pytest shows them with the failure."""
    if request.session.testsfailed:
        for host in (started.source, started.replica):
            print(f"--- frazild on {host.name}\n{host.log_tail(120)}")
