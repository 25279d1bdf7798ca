"""What the histories are worth: frazil broken on purpose is found, in each of several ways."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from control import cycle, merge, sending, volume
from control.journal import Journal
from control.records import GenerationRecord, LayerRecord, Policy, StandingRecord
from control.replica import merging
from control.store.exceptions import Run
from control.store.reader import StoreReader
from control.wire import send
from tests.histories.model import Wrong
from tests.soft.histories import Histories
from tests.soft.kernel import SoftFreezer
from tests.soft.mapper import SoftMapper

Break = AbstractContextManager[Any]

Steps = list[tuple[str, dict[str, Any]]]


class Skipping(StoreReader):
    """A store that forgets the first chunk of every one but the first run."""

    def runs(self, start_exception: int = 0, limit: int = 1 << 63) -> Iterator[Run]:
        for number, run in enumerate(super().runs(start_exception, limit)):
            if number != 1:
                yield run


def a_merge_skips_a_chunk() -> Break:
    """At the source."""
    return mock.patch.object(
        volume, "merge", lambda store, spans, **how: merge.merge(_skipping(store), spans, **how)
    )


def a_merge_there_skips_a_chunk() -> Break:
    """At the replica."""
    return mock.patch.object(merging, "StoreReader", Skipping)


def _skipping(store: StoreReader) -> StoreReader:
    return Skipping(store.file.path, store.origin_bytes, store.chunk)


def members_are_committed_one_by_one() -> Break:
    """By the source, in calls of their own."""

    def commit(stub: Any, group: str, members: Mapping[str, str], **how: Any) -> None:
        for name, uuid in members.items():
            real(stub, group, {name: uuid}, **how)

    real = send.commit
    return mock.patch.object(sending, "commit", commit)


def the_lacking_set_is_forgotten() -> Break:
    """Layers are merged before their time, and nobody remembers what the replicas lack."""
    return mock.patch.object(volume.Volume, "remember", lambda self, layer: None)


def lacking_is_taken_for_sent() -> Break:
    """A layer that a copy needs is left out of it."""

    def plan(
        standing: StandingRecord, made: GenerationRecord, layers: Any, **how: Any
    ) -> cycle.DeltaPlan:
        return real(standing, made, [one for one in layers if one.sequence % 5 != 3], **how)

    real = cycle.plan_delta
    return mock.patch.object(cycle, "plan_delta", plan)


@contextmanager
def layers_are_merged_too_early() -> Iterator[None]:
    """Without waiting for the replicas, and without remembering what they lack then."""

    def mergeable(layers: Any, standings: Any, held: Any) -> LayerRecord | None:
        return real(layers, [], held)

    real = cycle.mergeable
    with (
        mock.patch.object(cycle, "mergeable", mergeable),
        mock.patch.object(volume.Volume, "remember", lambda *_: None),
    ):
        yield


def members_are_frozen_one_after_another() -> Break:
    """Without the common suspend."""

    def made(self: SoftFreezer, mapper: SoftMapper) -> None:
        real(self, mapper)
        self.apart = True

    real = SoftFreezer.__init__
    return mock.patch.object(SoftFreezer, "__init__", made)


def a_restart_forgets_what_the_replicas_have() -> Break:
    """So that everything is copied again."""

    def made(self: Journal, path: Path) -> None:
        real(self, path)
        self._write("UPDATE standings SET lacking_all = 1")

    real = Journal.__init__
    return mock.patch.object(Journal, "__init__", made)


def what_is_held_is_merged_over() -> Break:
    """And nobody is told."""

    def begin(self: volume.Volume, layer: LayerRecord, **how: Any) -> bool:
        self.context.journal.note_merging(self.uuid, layer.sequence)
        return True

    return mock.patch.object(volume.Volume, "begin_merge", begin)


BROKEN = (
    what_is_held_is_merged_over,
    a_merge_skips_a_chunk,
    a_merge_there_skips_a_chunk,
    members_are_committed_one_by_one,
    the_lacking_set_is_forgotten,
    lacking_is_taken_for_sent,
    layers_are_merged_too_early,
    members_are_frozen_one_after_another,
    a_restart_forgets_what_the_replicas_have,
)


def test_the_story_goes_well() -> None:
    """With nothing broken."""
    tell()


@pytest.mark.parametrize("broken", BROKEN)
def test_what_is_broken_is_found(broken: Any) -> None:
    """By the machine's own judgement, in a history that is the same every time."""
    with broken(), pytest.raises(Wrong):
        tell()


def tell() -> None:
    """One history with a bit of everything, judged after each step. :raises Wrong: by then."""
    told = Histories()
    steps = ((getattr(told, name), how) for name, how in STORY)
    try:
        for step, how in steps:
            step(**how)
            told.right()
    finally:
        told.teardown()


def writes(*places: int) -> Steps:
    """To both members of the group."""
    return [
        ("write", {"volume": volume, "place": place, "sectors": 9, "content": "noise"})
        for place in places
        for volume in ("a", "b")
    ]


def frozen(chunk: int) -> Steps:
    """With writers that race."""
    return [("freeze", {"chunk": chunk, "dies": None, "power": False})]


def copied(*mirrors: str) -> Steps:
    """With nothing in the way."""
    return [("copy", {"mirror": mirror}) for mirror in mirrors]


def badly(kind: str, volume: str, number: int) -> Steps:
    """m1's copy breaks off."""
    fault = (kind, volume, number)
    return [("copy_badly", {"mirror": "m1", "fault": fault, "dies": None, "power": False})]


def merged() -> Steps:
    """A layer of each volume, at both ends."""
    here: Steps = [("merge", {"volume": v, "dies": None, "power": False}) for v in ("a", "b")]
    return [*here, *[("merge_there", {"replica": r}) for r in ("r1", "r1", "r2", "r2")]]


STORY: Steps = [
    ("begin", {"members": 2, "keep": 2, "policy": Policy.INDEPENDENT, "two": True}),
    *frozen(4),
    *copied("m1", "m2"),
    *writes(10, 40, 80),
    *frozen(16),
    *copied("m1", "m2"),
    *merged(),
    *writes(15, 60, 90),
    *frozen(8),
    *badly("cut", "a", 1),
    *badly("cut", "b", 2),
    *merged(),
    *copied("m1"),
    ("restart", {"power": True}),
    *writes(20, 60, 70),
    *frozen(4),
    *badly("before", "", 1),
    *badly("before", "", 0),
    *badly("after", "", 0),
    *copied("m1"),
    *merged(),
    *writes(5, 30, 90),
    *frozen(8),
    ("sacrifice", {"volume": "a", "how": "frozen", "dies": None, "power": False}),
    *copied("m1", "m2"),
    ("restart", {"power": False}),
    *writes(50),
    *frozen(8),
    *copied("m1", "m2"),
    *merged(),
    *writes(10, 30),
    *frozen(8),
    *copied("m1", "m2"),
    *writes(30, 70),
    *frozen(8),
    ("read", {"volume": "a", "pick": 1}),
    *writes(31),
    ("sacrifice", {"volume": "a", "how": "folded", "dies": None, "power": False}),
    ("end_reading", {}),
    *frozen(8),
    *copied("m1", "m2"),
    *merged(),
    ("settle", {}),
]
