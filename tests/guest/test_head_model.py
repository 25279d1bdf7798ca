"""The head, the frozen images and the freeze tables, against a model in plain Python.

Ten cycles under a random writer (512 B to 2 MiB, across chunk borders, direct, buffered and
zeroing, with flushes), on a volume that is no multiple of the chunk. In every other cycle the
writer goes on through the freeze: then the model says what the instant may hold.
"""

from __future__ import annotations

import pytest

from tests.pair import MIB, SECTOR, Pair, Volume, Writer
from tests.workload.judge import Window
from vagrant.cluster.cycles import Cycle

pytestmark = pytest.mark.guest

CYCLES = 10
SIZE = 12 * MIB + 5 * SECTOR
WRITES = 12


class Story:
    """One volume through its cycles; ``previous`` is the freeze that began the running one."""

    def __init__(self, volume: Volume, writer: Writer) -> None:
        self.volume = volume
        self.writer = writer
        self.previous: Window | None = None

    def quiet_cycle(self) -> None:
        """Nothing is written during the freeze: the model knows everything exactly."""
        self.writer.write(WRITES)
        model = self.writer.digest()
        table = self.volume.changed_chunks() if self.previous else frozenset()
        cycle = self.volume.sync()
        assert self.writer.wrong_sectors(self.volume.head) == []
        assert self.volume.frozen_digest(cycle.generation) == model
        assert self.volume.replica_digest(cycle.generation) == model
        if self.previous is not None:
            places = self.places(None)
            certain, possible = frozenset(places["certain"]), frozenset(places["possible"])
            assert certain <= table <= possible
            assert cycle.chunks == len(table)
        self.previous = cycle.window

    def live_cycle(self) -> None:
        """The writer goes on through the freeze and the copy."""
        self.writer.ask("start", pause=0.15)
        cycle = self.volume.sync()
        assert self.writer.ask("stop")["failed"] == ""
        window = cycle.window
        assert self.writer.faults_of(self.volume.frozen(cycle.generation), window) == []
        frozen = self.volume.frozen_digest(cycle.generation)
        assert self.volume.replica_digest(cycle.generation) == frozen
        self.check_counted(cycle, window)
        self.previous = window

    def check_counted(self, cycle: Cycle, window: Window) -> None:
        """The cycle changed as many chunks as the model says, give or take writes under way."""
        places = self.places(window)
        assert len(places["certain"]) <= cycle.chunks <= len(places["possible"])

    def places(self, until: Window | None) -> dict[str, list[int]]:
        """Where each chunk of the running cycle must be, and may be."""
        found: dict[str, list[int]] = self.writer.ask(
            "places", chunk=self.volume.chunk, since=_pair(self.previous), until=_pair(until)
        )
        return found


def _pair(window: Window | None) -> list[int] | None:
    return [window.begin_ns, window.end_ns] if window else None


@pytest.mark.parametrize(("chunk", "disk"), [(4096, "d0"), (65536, "d1"), (MIB, "d2")])
def test_head_and_generations_are_what_was_written(
    shared_pair: Pair, chunk: int, disk: str
) -> None:
    volume = shared_pair.volume(f"head{chunk}", SIZE, chunk=chunk, disk=disk)
    writer = volume.writer(seed=chunk)
    volume.mirror()
    story = Story(volume, writer)
    for number in range(CYCLES):
        if number % 2:
            story.live_cycle()
        else:
            story.quiet_cycle()
    writer.quit()
    assert {cycle.kind for cycle in volume.now().recent if cycle.generation > 1} == {"delta"}


def test_the_model_calls_a_wrong_head_wrong(shared_pair: Pair) -> None:
    """The negative control: bytes that nobody wrote through the writer."""
    volume = shared_pair.volume("control", SIZE, disk="d3")
    writer = volume.writer(seed=3)
    volume.mirror()
    story = Story(volume, writer)
    story.quiet_cycle()
    guest = shared_pair.source.guest
    guest.run(f"echo x | dd of={volume.head} bs=512 seek=77 conv=notrunc,fsync,sync status=none")
    assert writer.wrong_sectors(volume.head) == [77]
    with pytest.raises(AssertionError):
        story.quiet_cycle()
    writer.quit()
