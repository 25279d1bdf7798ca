"""Comparisons of a mirror: what is asked for, what follows a commit, and the background's."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from control import comparing
from control.blocks import BlockSet
from control.comparing import Comparisons, MemberGone, MergedOver
from control.config import Config, CopySection, StateSection, VerifySection
from control.context import Context
from control.events import Events
from control.journal import Journal
from control.records import (
    GenerationRecord,
    MirrorRecord,
    MirrorState,
    StandingRecord,
    VolumeRecord,
    VolumeState,
)
from control.roster import Roster
from control.scrub_plan import Scrub
from control.scrubs import Scrubs, scrubber_of
from control.spans import Span
from control.store.direct import DirectFile
from control.units_text import Seconds
from control.verify_position import KeptTexts
from control.wire.errors import GenerationNotFound
from dm_tables.errors import Precondition, Unavailable
from dm_tables.units import MIB, Bytes
from tests.ends import SIZE, Ends, blocks
from tests.replica_tools import VOLUME_UUID, generation, noise


class Source:
    """A mirrored volume without devices: its journal, and its one generation as a file."""

    def __init__(self, ends: Ends, *, repair: bool = True) -> None:
        self.ends = ends
        config = Config(
            state=StateSection(directory=ends.directory / "state"),
            copy=CopySection(),
            verify=VerifySection(every=Seconds(60.0), repair=repair),
        )
        config.paths.state.mkdir(exist_ok=True)
        self.journal = Journal(config.paths.journal)
        self.events = Events(config.paths.state / "events.db")
        self.context: Any = SimpleNamespace(config=config, journal=self.journal, events=self.events)
        spans = (Span(ends.image(1), Bytes(0), Bytes(SIZE)),)
        self.record = VolumeRecord(
            "data", VOLUME_UUID, spans, Bytes(SIZE), Bytes(65536), VolumeState.ACTIVE, 0
        )
        self.journal.add_volume(self.record)
        self.journal.save_mirror(
            MirrorRecord(
                "m", "data", ends.peer, "data", MirrorState.RUNNING, 0, 0, False, True, False
            )
        )
        self.generation = GenerationRecord("data", 1, generation(1).uuid, "", 1.0, 0)
        self.held: list[int] = []
        self.there = [self.generation]
        volume = SimpleNamespace(
            name="data",
            record=self.record,
            images=lambda: self.there,
            size=self.record.size,
            open_image=lambda record: DirectFile(ends.image(record.number)),
            hold=self.hold,
        )
        self.volume: Any = volume
        group: Any = SimpleNamespace(volumes=(volume,), name="data")
        self.comparisons = Comparisons("m", group, cast(Context, self.context))

    @contextmanager
    def hold(self, layer: int) -> Iterator[threading.Event]:
        self.held.append(layer)
        yield threading.Event()

    def commit(self) -> None:
        self.journal.save_standing(StandingRecord("m", "data", self.generation.uuid, 1, 0, 1.0))

    @property
    def lacking(self) -> BlockSet:
        return BlockSet(self.journal.standing("m", "data").lacking)

    def ask(self, *, resume: bool = False, stop_at: int = SIZE + 1) -> BlockSet:
        cancel = threading.Event()

        def progress(done: int, total: int) -> None:
            self.ends.seen.append(done)
            if done >= stop_at:
                cancel.set()

        return self.comparisons.asked(
            self.volume,
            self.generation,
            block_bytes=0,
            rate_bytes=0,
            resume=resume,
            progress=progress,
            cancel=cancel,
        ).blocks

    def told(self) -> list[tuple[str, str, str]]:
        return [(event.subject, event.kind, event.message) for event in self.events.since(0)]


@pytest.fixture
def ends(tmp_path: Path) -> Iterator[Ends]:
    made = Ends(tmp_path)
    with made.serving():
        made.bring(1, noise(SIZE))
        yield made


@pytest.fixture
def source(ends: Ends) -> Iterator[Source]:
    made = Source(ends)
    made.commit()
    yield made
    made.events.close()
    made.journal.close()


def test_what_is_compared_is_what_the_replica_has(ends: Ends) -> None:
    source = Source(ends)
    with pytest.raises(Precondition, match="committed nothing yet"):
        source.comparisons.members()
    source.commit()
    assert source.comparisons.members() == [(source.volume, source.generation)]
    source.there = []
    with pytest.raises(Precondition, match="generation 1 of data is merged over here"):
        source.comparisons.members()


def test_the_image_is_held_meanwhile(source: Source) -> None:
    assert not source.ask()
    assert source.held == [0]
    assert source.told() == []


def test_an_interrupted_one_is_gone_on_with(source: Source) -> None:
    source.ends.rot(0)
    with pytest.raises(Unavailable) as caught:
        source.ask(stop_at=2 * MIB)
    assert "--resume goes on" in str(caught.value)
    source.ends.seen.clear()
    assert source.ask(resume=True) == blocks(0)
    assert min(source.ends.seen) == 3 * MIB
    source.ends.seen.clear()
    assert source.ask(resume=True) == blocks(0), "another volume's may not be through yet"
    assert min(source.ends.seen, default=SIZE) == SIZE
    source.comparisons.forget(["data"])
    source.ends.seen.clear()
    assert source.ask(resume=True) == blocks(0)
    assert min(source.ends.seen) == MIB


def test_what_differs_after_a_commit_is_sent_again(source: Source) -> None:
    assert source.comparisons.after_commit(source.volume, source.generation, threading.Event())
    assert not source.lacking
    source.ends.rot(5 * MIB)
    source.journal.change_standing("m", "data", lacking=blocks(3).serialise())
    same = source.comparisons.after_commit(source.volume, source.generation, threading.Event())
    assert not same
    assert source.lacking == blocks(3, 5 * MIB // 4096)
    ((subject, kind, message),) = source.told()
    assert (subject, kind) == ("m", "differs")
    assert "generation 1 of data differs at the replica in 4.0 KiB, the first 4096 bytes at" in (
        message
    )


def test_or_only_told_of_as_configured(ends: Ends) -> None:
    source = Source(ends, repair=False)
    source.commit()
    ends.rot(0)
    assert not source.comparisons.after_commit(source.volume, source.generation, threading.Event())
    assert not source.lacking
    assert len(source.told()) == 1


def test_an_interrupted_one_after_a_commit_says_so(source: Source) -> None:
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(Unavailable, match="interrupted"):
        source.comparisons.after_commit(source.volume, source.generation, cancel)


# In the background.


def roster(source: Source) -> Any:
    """One worker, whose mirror asks for repairs straight away."""
    worker = SimpleNamespace(
        mirror="m",
        comparisons=source.comparisons,
    )

    class FakeWorker:
        mirror = "m"
        comparisons = source.comparisons

        @property
        def record(self) -> MirrorRecord:
            return source.comparisons.record

        @property
        def standings(self) -> list[StandingRecord]:
            return [source.journal.standing("m", "data")]

    def repair(name: str, volume: str, found: BlockSet) -> None:
        assert name == worker.mirror
        source.comparisons.lack(volume, found)

    return SimpleNamespace(
        workers=lambda: [FakeWorker()], worker=lambda name: FakeWorker(), repair=repair
    )


def test_only_what_runs_and_has_something_is_scrubbed(source: Source) -> None:
    scrubs = Scrubs(cast(Roster, roster(source)))
    assert scrubs.scrub_keys() == ["m+data"]
    source.journal.change_mirror("m", state=MirrorState.PAUSED)
    assert scrubs.scrub_keys() == []
    source.journal.change_mirror("m", state=MirrorState.RUNNING)
    source.journal.remove_standing("m", "data")
    assert scrubs.scrub_keys() == []


def test_a_scrub_from_the_configuration_to_the_set_of_what_is_lacking(source: Source) -> None:
    source.ends.rot(MIB)
    kept = KeptTexts(source.context.config.paths.scrub)
    kept.save("m+data", Scrub(since=0.0).text())
    scrubber = scrubber_of(source.context, cast(Roster, roster(source)))
    assert scrubber.step() == 60.0
    assert source.lacking == blocks(256)
    assert [told[:2] for told in source.told()] == [("m", "differs"), ("m", "compared")]
    assert source.told()[0][2].startswith("data: 4.0 KiB differ at the replica")
    assert Scrub.parse(kept.load("m+data"), 0.0).since > 0


def test_a_scrub_of_what_is_merged_over_is_tried_again(source: Source) -> None:
    kept = KeptTexts(source.context.config.paths.scrub)
    kept.save("m+data", Scrub(since=0.0).text())
    source.there = []
    scrubber = scrubber_of(source.context, cast(Roster, roster(source)))
    assert scrubber.step() == 60.0
    assert source.told() == []


class Cycle(threading.Event):
    """As long as something is waited for, a cycle goes on."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.source = source

    def wait(self, timeout: float | None = None) -> bool:
        self.source.there = [self.source.generation]
        self.source.commit()
        return False


def newest(
    source: Source, generation: GenerationRecord, cancel: threading.Event | None = None
) -> tuple[GenerationRecord, bool]:
    """Compare it, or what has come since. :return: what was, and whether it is the same."""
    found, compared = source.comparisons.newest(
        source.volume,
        generation,
        block_bytes=0,
        rate_bytes=0,
        resume=False,
        progress=lambda *_: None,
        cancel=cancel or threading.Event(),
    )
    return found, not compared.blocks


def test_what_is_gone_before_it_is_held_is_compared_at_a_newer_generation(source: Source) -> None:
    """Cycles go on meanwhile, and either end may have merged past it by then."""
    before = dataclasses.replace(source.generation, uuid=generation(7).uuid)
    source.there = [before]
    source.journal.change_standing("m", "data", committed_uuid=before.uuid)
    there = (source.generation, True)
    assert newest(source, before, Cycle(source)) == there, "the replica has it no more"
    assert newest(source, before, Cycle(source)) == there, "nor is it here"


def test_where_nothing_newer_comes_it_is_told(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparing, "NEWER_SECONDS", 0.3)
    before = dataclasses.replace(source.generation, uuid=generation(7).uuid)
    source.there = [before]
    source.journal.change_standing("m", "data", committed_uuid=before.uuid)
    with pytest.raises(GenerationNotFound):
        newest(source, before)
    source.there = []
    with pytest.raises(MergedOver):
        newest(source, before)


@pytest.mark.parametrize("how", ["it left the group", "it is copied anew"])
def test_a_member_that_goes_while_it_is_compared_is_a_typed_error(
    source: Source, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Not a StopIteration, which a stream of progress would make a RuntimeError of."""
    other = SimpleNamespace(name="log", images=lambda: [source.generation])
    source.journal.save_standing(StandingRecord("m", "log", source.generation.uuid, 1, 0, 1.0))
    there = (other,) if how == "it left the group" else (source.volume, other)
    monkeypatch.setattr(source.comparisons, "_group", SimpleNamespace(volumes=there, name="db"))
    before = dataclasses.replace(source.generation, uuid=generation(7).uuid)
    source.there = [before]
    source.journal.change_standing("m", "data", committed_uuid="")
    with pytest.raises(MemberGone, match="m has nothing of data at its replica"):
        newest(source, before)
