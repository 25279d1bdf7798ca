"""Who asks for a cycle is answered by what was tried since, not by what was tried before."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from control.replica.receive import Pace
from dm_tables.errors import Precondition
from tests.chain import CHUNK, PATIENCE, SIZE, Model, Station, served, until
from tests.chain_hosts import middle, stack
from tests.replica_tools import Replica

__all__ = ["middle", "stack"]


@pytest.fixture
def peer(tmp_path: Path, stack: ExitStack) -> str:
    (tmp_path / "last").mkdir()
    return stack.enter_context(served(Replica(tmp_path / "last", Pace(bytes=64 << 10))))


@pytest.fixture
def source() -> Model:
    return Model(bytes(SIZE))


def test_what_failed_in_an_attempt_of_before_is_no_answer_to_who_asks_now(
    middle: Station, peer: str, source: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.commit(middle, 1, {})
    worker = middle.mirror("on", "data", peer)
    middle.sync("on")
    source.commit(middle, 2, {2: bytes(CHUNK)})
    step, begun, asked = worker._step, threading.Event(), threading.Event()
    stale = Precondition("as it was when the attempt began")

    def refused_once() -> float:
        if begun.is_set():
            return step()
        begun.set()
        assert asked.wait(PATIENCE)
        raise stale

    monkeypatch.setattr(worker, "_step", refused_once)
    worker.wake()
    assert begun.wait(PATIENCE)
    moment = time.monotonic()
    number = worker.ask()
    asked.set()
    until(lambda: worker.committed_number >= number)
    assert worker.failed_since(0.0) is stale
    assert worker.failed_since(moment) is None


def test_what_fails_after_the_question_is_the_answer(
    middle: Station, peer: str, source: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.commit(middle, 1, {})
    worker = middle.mirror("on", "data", peer)
    middle.sync("on")

    def refused() -> float:
        raise Precondition("as it is")

    monkeypatch.setattr(worker, "_step", refused)
    source.commit(middle, 2, {2: bytes(CHUNK)})
    with pytest.raises(Precondition, match="as it is"):
        middle.sync("on")
