"""What a host's groups and mirrors refuse, before anything is written down."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from control.config import Config, StateSection
from control.context import Context
from control.events import Events
from control.hooks import BadHook, HookMissing
from control.hours import BadHours
from control.journal import Journal
from control.pace import BadSchedule, TwoPaces
from control.records import GroupRecord, MirrorRecord, MirrorState
from control.roster import Roster, check_settings
from dm_tables.errors import FrazilError, Kind, Usage

RECORD = MirrorRecord("m", "db", "p:1", "{volume}", MirrorState.STOPPED, 0, 0, False, True, False)
GROUP = GroupRecord("db", implicit=False)


@pytest.fixture
def roster(tmp_path: Path) -> Iterator[Roster]:
    journal, events = Journal(tmp_path / "journal.db"), Events(tmp_path / "events.db")
    config = Config(state=StateSection(directory=tmp_path))
    context = SimpleNamespace(journal=journal, events=events, config=config)
    journal.save_group(GROUP)
    made = Roster(cast(Context, context), cast(Any, None), lambda: None)
    made.start()
    yield made
    made.stop()
    events.close()
    journal.close()


BAD: list[tuple[dict[str, Any], type[FrazilError]]] = [
    ({"schedule": "every day"}, BadSchedule),
    ({"window": "by night"}, BadHours),
    ({"interval_ms": 5000, "rpo_ms": 5000}, TwoPaces),
    ({"on_demand": True, "schedule": "* * * * *"}, TwoPaces),
]


@pytest.mark.parametrize(("fields", "error"), BAD)
def test_a_mirror_whose_settings_mean_nothing(
    roster: Roster, fields: dict[str, Any], error: type[FrazilError]
) -> None:
    with pytest.raises(error) as caught:
        roster.create_mirror(dataclasses.replace(RECORD, **fields))
    assert caught.value.kind is Kind.USAGE
    assert roster.workers() == []
    assert roster.context.journal.mirrors() == []


@pytest.mark.parametrize(("fields", "error"), BAD)
def test_a_mirror_keeps_its_settings_when_others_are_refused(
    roster: Roster, fields: dict[str, Any], error: type[FrazilError]
) -> None:
    roster.create_mirror(RECORD)
    with pytest.raises(error):
        roster.change_mirror("m", **fields)
    assert roster.worker("m").record == RECORD


def test_a_pace_takes_the_place_of_another(roster: Roster) -> None:
    roster.create_mirror(dataclasses.replace(RECORD, interval_ms=5000))
    with pytest.raises(TwoPaces, match="an interval of 5s and a target of 1m"):
        roster.change_mirror("m", rpo_ms=60_000)
    roster.change_mirror("m", rpo_ms=60_000, interval_ms=0)
    roster.change_mirror("m", window="Sat-Sun", rate_bytes=7)
    changed = roster.worker("m").record
    assert (changed.interval_ms, changed.rpo_ms, changed.window) == (0, 60_000, "Sat-Sun")
    assert roster.worker("m").limiter.rate == 7


def test_a_group_whose_hooks_cannot_run(tmp_path: Path) -> None:
    check_settings(GROUP)
    program = tmp_path / "hook"
    program.write_text("#!/bin/sh\n")
    named = dataclasses.replace(GROUP, after=(str(program), "word"))
    with pytest.raises(HookMissing, match="is not executable"):
        check_settings(named)
    program.chmod(0o755)
    check_settings(named)
    with pytest.raises(BadHook, match="not an absolute path"):
        check_settings(dataclasses.replace(GROUP, before=("hook",)))
    with pytest.raises(BadHook, match="a time limit of"):
        check_settings(dataclasses.replace(named, after_ms=10**9))
    with pytest.raises(HookMissing, match="is not there"):
        check_settings(dataclasses.replace(GROUP, before=(str(tmp_path / "none"),)))
    with pytest.raises(Usage, match="is no consistency"):
        check_settings(dataclasses.replace(GROUP, consistency="app"))
