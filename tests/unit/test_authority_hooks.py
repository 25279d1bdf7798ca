"""Where promote asks the authority, and what a host claims by its journal and its replicas."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from control.authority.authority import NoAuthority
from control.authority.claims import PROMOTING, replica_groups, source_claim
from control.authority.errors import OwnedElsewhere
from control.authority.ownership import Claim, Stamp
from control.journal import Journal
from control.promote import Promoter
from control.records import (
    GenerationRecord,
    MirrorRecord,
    MirrorState,
    StandingRecord,
    VolumeRecord,
    VolumeState,
)
from dm_tables.units import Bytes


class Owned(NoAuthority):
    """Another host owns everything."""

    def __init__(self) -> None:
        self.asked: list[tuple[Claim, bool]] = []

    def promoting(self, claim: Claim, *, force: bool) -> None:
        self.asked.append((claim, force))
        if not force:
            raise OwnedElsewhere("here owns db")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal(tmp_path / "journal.db")
    yield made
    made.close()


def committed(number: int, group: str = "db") -> Any:
    made = SimpleNamespace(number=number, uuid=f"g{number}")
    return SimpleNamespace(generation=made, group=group)


def store_of(**histories: list[Any]) -> Any:
    """A replica's store with these volumes, each committed as listed, newest first."""
    volumes = {
        name: SimpleNamespace(
            name=name, volume_uuid=f"uuid-{name}", role="replica", identity="loopback"
        )
        for name in histories
    }

    def members(group: str, uuid: str) -> list[str]:
        return [
            name
            for name, part in histories.items()
            if any(one.group == group and one.generation.uuid == uuid for one in part)
        ]

    journal = SimpleNamespace(
        volumes=lambda: list(volumes.values()),
        newest=lambda name: next(iter(histories[name]), None),
        history=lambda name: histories[name],
        members=members,
    )
    return SimpleNamespace(volume=volumes.__getitem__, journal=journal)


def test_what_a_replica_claims() -> None:
    store = store_of(
        data=[committed(3), committed(2)], log=[committed(3)], own=[committed(7, "")], empty=[]
    )
    db, own = replica_groups(store)
    assert db == Claim("db", ("uuid-data", "uuid-log"), Stamp(3, "g3"), {"g3": 3, "g2": 2})
    assert own == Claim("own", ("uuid-own",), Stamp(7, "g7"), {"g7": 7})


def test_what_a_source_claims_is_what_a_replica_committed(journal: Journal) -> None:
    journal.add_volume(
        VolumeRecord("data", "uuid-data", (), Bytes(4096), Bytes(0), VolumeState.ACTIVE, 0)
    )
    for number in (1, 2, 3):
        at = None if number == 3 else 1.0
        journal.save_generation(GenerationRecord("data", number, f"g{number}", "", at, number - 1))
    assert source_claim(journal, "data").stamp == Stamp()
    for name, number in (("fast", 2), ("slow", 1)):
        state = MirrorState.RUNNING
        journal.save_mirror(
            MirrorRecord(name, "data", "a:1", "{volume}", state, 0, 0, False, False, False)
        )
        journal.save_standing(StandingRecord(name, "data", f"g{number}", number, number - 1, 1.0))
    found = source_claim(journal, "data")
    assert found == Claim("data", ("uuid-data",), Stamp(2, "g2"), {"g1": 1, "g2": 2})


@pytest.mark.parametrize("force", [False, True])
def test_a_promote_that_is_refused_changes_nothing(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, force: bool
) -> None:
    authority = Owned()
    context = SimpleNamespace(journal=journal, authority=authority)
    handed: list[str] = []
    replicas = SimpleNamespace(
        store=store_of(data=[committed(3)], log=[committed(3)]),
        hand_over=lambda name, end_copy: handed.append(name),
    )
    monkeypatch.setattr(Promoter, "check", lambda *_, force: (["data", "log"], "db"))
    monkeypatch.setattr(Promoter, "_take", lambda *_: [])
    promoter = Promoter(cast(Any, SimpleNamespace(context=context)), cast(Any, replicas))
    if force:
        promoter.promote("db", force=True, progress=lambda *_: None)
    else:
        with pytest.raises(OwnedElsewhere):
            promoter.promote("db", progress=lambda *_: None)
        assert journal.note(PROMOTING) == ""
    assert handed == (["data", "log"] if force else [])
    claim = Claim("db", ("uuid-data", "uuid-log"), Stamp(3, "g3"), {"g3": 3})
    assert authority.asked == [(claim, force)]
