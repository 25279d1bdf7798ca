"""When replicas are compared in the background, and what becomes of what is found."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable

import pytest

from control.blocks import BLOCK, BlockSet
from control.config import VerifySection
from control.limiter import RateLimiter
from control.scrub_plan import Scrub, due_in
from control.scrubber import RETRY_SECONDS, Scrubber
from control.units_text import Seconds
from control.verify import Verification
from control.verify_position import Position
from control.wire.errors import PeerUnreachable
from dm_tables.errors import Corrupt, FrazilError
from dm_tables.units import MIB, Bytes

DAY = 86400.0
SIZE = Bytes(5 * MIB)


def test_the_first_pass_is_due_a_while_after_the_volume_was_seen() -> None:
    seen = Scrub.parse("", 1000.0)
    assert due_in(seen, 1000.0, 30 * DAY) == 30 * DAY
    assert due_in(seen, 1000.0 + 31 * DAY, 30 * DAY) == 0.0
    begun = seen.begun(2000.0)
    assert due_in(begun, 2000.0, 30 * DAY) == 0.0
    assert begun.begun(3000.0).began == 2000.0
    assert due_in(begun.ended(5000.0), 5001.0, 100.0) == 99.0


def test_a_clock_that_was_set_back_delays_nothing_for_long() -> None:
    assert due_in(Scrub(since=1e9), 5000.0, 100.0) == 100.0


@pytest.mark.parametrize("text", ["", "{}", "x", '{"since": null}', "[]"])
def test_what_cannot_be_read_is_seen_for_the_first_time(text: str) -> None:
    assert Scrub.parse(text, 7.0) == Scrub(7.0)
    told = BlockSet()
    told.add_blocks([3])
    kept = Scrub(1.0, 2.0, "p", told.serialise())
    assert Scrub.parse(kept.text(), 7.0) == kept


class Bench:
    """A host of some replica volumes, whose clock and contents the test sets."""

    def __init__(self, **settings: object) -> None:
        self.now = 1000.0
        self.keys = ["m"]
        self.texts: dict[str, str] = {}
        self.told: list[tuple[str, str, str, str]] = []
        self.repairs: list[tuple[str, set[int]]] = []
        self.differ: set[int] = set()
        self.slices: list[tuple[str, int]] = []
        self.error: FrazilError | None = None
        made = dataclasses.asdict(Settings()) | settings
        self.scrubber = Scrubber(
            Settings(**made),  # type: ignore[arg-type]
            self,
            load=lambda key: self.texts.get(key, ""),
            save=self.texts.__setitem__,
            tell=lambda *event: self.told.append(event),
            clock=lambda: self.now,
        )

    def scrub_keys(self) -> list[str]:
        return self.keys

    def scrub_slice(
        self,
        key: str,
        *,
        load: Callable[[], str],
        save: Callable[[str], None],
        seconds: float,
        limiter: RateLimiter,
        cancel: threading.Event,
    ) -> Verification:
        """A slice is 2 MiB long; what differs stays so until it is repaired."""
        assert (seconds, limiter.rate) == (60.0, 50 * MIB)
        if self.error is not None:
            raise self.error
        position = Position.parse(load())
        begin = position.offset if position else 0
        self.slices.append((key, begin))
        end = min(begin + 2 * MIB, SIZE)
        found = Verification(end, SIZE)
        found.blocks.add_blocks(block for block in self.differ if block * BLOCK < end)
        save("" if end == SIZE else Position("g", end).text())
        return found

    def scrub_repair(self, key: str, blocks: BlockSet) -> None:
        self.repairs.append((key, set(blocks)))

    def later(self, seconds: float) -> float:
        self.now += seconds
        return self.scrubber.step()


@dataclasses.dataclass(frozen=True)
class Settings:
    """The defaults, without msgspec."""

    every: Seconds | None = VerifySection().every
    rate: int = VerifySection().rate
    slice: Seconds = VerifySection().slice
    repair: bool = VerifySection().repair


def test_a_pass_goes_slice_by_slice_and_then_rests() -> None:
    bench = Bench()
    assert bench.later(0) == 30 * DAY
    assert bench.slices == []
    assert bench.later(30 * DAY) == 1.0
    assert bench.later(1) == 1.0
    assert bench.later(1) == 30 * DAY
    assert bench.slices == [("m", 0), ("m", 2 * MIB), ("m", 4 * MIB)]
    assert bench.told == [
        ("info", "m", "compared", "5.0 MiB were compared in 2.0 s: both ends are the same")
    ]
    assert bench.later(29 * DAY) == DAY
    assert bench.later(DAY) == 1.0
    assert bench.slices[3:] == [("m", 0)]


def test_a_daemon_started_anew_goes_on() -> None:
    bench = Bench()
    bench.later(0)
    bench.later(30 * DAY)
    again = Bench()
    again.texts, again.now = bench.texts, bench.now + 5
    again.scrubber.step()
    assert again.slices == [("m", 2 * MIB)]


def test_what_differs_is_told_once_and_sent_again() -> None:
    bench = Bench()
    bench.differ = {3, 1100}
    bench.later(0)
    bench.later(30 * DAY)
    assert bench.repairs == [("m", {3})]
    bench.later(1)
    assert len(bench.told) == 1, "the same again is no news"
    bench.differ.remove(3)
    bench.later(1)
    assert bench.repairs[1:] == [("m", {3}), ("m", {1100})], "asked for until it is the same"
    assert [event[:3] for event in bench.told] == [
        ("error", "m", "differs"),
        ("error", "m", "differs"),
        ("warning", "m", "compared"),
    ]
    assert (
        "4.0 KiB differ at the replica, the first at byte 12288; the next cycle"
        in (bench.told[0][3])
    )


def test_what_still_differs_at_the_end_is_a_warning() -> None:
    bench = Bench(repair=False)
    bench.differ = {1100}
    bench.later(0)
    for _ in range(3):
        bench.later(30 * DAY)
    assert bench.repairs == []
    assert bench.told[0][3].endswith("the first at byte 4505600")
    assert bench.told[1][0] == "warning"
    assert bench.told[1][3].endswith(": 4.0 KiB differ")


def test_a_failure_is_told_once_and_tried_again_later() -> None:
    bench = Bench()
    bench.later(0)
    bench.error = Corrupt("the store is damaged")
    assert bench.later(30 * DAY) == RETRY_SECONDS
    assert bench.later(RETRY_SECONDS / 2) == RETRY_SECONDS / 2
    assert bench.later(RETRY_SECONDS) == RETRY_SECONDS
    assert [event[:3] for event in bench.told] == [("warning", "m", "Corrupt")]
    bench.error = PeerUnreachable("away")
    bench.later(RETRY_SECONDS)
    assert len(bench.told) == 1, "that a replica is away is told by its mirror"
    bench.error = None
    assert bench.later(RETRY_SECONDS) == 1.0


def test_each_volume_has_its_own_turn() -> None:
    bench = Bench()
    bench.keys = ["a", "b"]
    bench.later(0)
    bench.later(30 * DAY)
    bench.later(1)
    assert bench.slices == [("a", 0), ("b", 0), ("a", 2 * MIB), ("b", 2 * MIB)]


def test_never_is_never() -> None:
    bench = Bench(every=None)
    bench.later(0)
    bench.later(1000 * DAY)
    assert bench.slices == []
    assert bench.texts == {}


def test_the_thread_ends_when_told() -> None:
    bench = Bench()
    stepped = threading.Event()

    def keys() -> list[str]:
        stepped.set()
        raise RuntimeError("one bad look ends nothing")

    bench.scrub_keys = keys  # type: ignore[method-assign]
    bench.scrubber.start()
    assert stepped.wait(20)
    assert bench.scrubber.is_alive()
    bench.scrubber.stop()
    bench.scrubber.join(20)
    assert not bench.scrubber.is_alive()
