"""A demote that a crash cuts short is gone on with, to its very end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from control.authority.authority import NoAuthority
from control.authority.ownership import Claim
from tests.soft.mirrored import two_sites
from tests.soft.sites import Sites
from tests.soft.world import GROUP


@pytest.fixture
def sites() -> Iterator[Sites]:
    """A group of two volumes, in one generation at both sites."""
    with two_sites() as made:
        yield made


@pytest.mark.parametrize("dies", [None, 2, 5, 10, 15])
def test_the_authority_is_told_after_a_crash_too(
    sites: Sites, dies: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Claim] = []
    monkeypatch.setattr(NoAuthority, "released", lambda _, claim: told.append(claim))
    uuids = {volume.uuid for volume in sites.host.volumes()}
    sites.fail_over()
    sites.come_back(power=True, dies=dies)
    assert sites.died == (dies is not None), "the crash comes in the middle of it"
    assert not sites.other.leads
    assert {claim.group for claim in told} == {GROUP}
    assert {volume for claim in told for volume in claim.volumes} == uuids
    assert all(claim.stamp.number == 1 for claim in told)
