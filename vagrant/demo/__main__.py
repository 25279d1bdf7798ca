"""``python -m vagrant.demo``: exit status 0 only if everything was as it must be."""

from __future__ import annotations

import statistics
import sys

from control.units_text import human_size
from vagrant.cluster import FrazilFailed
from vagrant.lab import Lab, LabError

from . import story
from .screen import Screen
from .story import Demo, DemoFailed


def main() -> int:
    """Show it all. :return: the exit status."""
    screen = Screen()
    screen.title(
        "frazil: a volume in use, mirrored to another host; then its host loses power",
        "two virtual machines on this one; nothing of this one is changed",
    )
    demo: Demo | None = None
    try:
        with Lab() as lab:
            try:
                demo = story.begin(screen, lab)
                _play(demo)
            except (DemoFailed, FrazilFailed, LabError) as error:
                screen.failure(str(error))
                _last_words(demo)
                return 1
    except (LabError, OSError) as error:
        screen.failure(str(error))
        return 1
    except KeyboardInterrupt:
        screen.failure("interrupted")
        return 130
    return _summary(demo)


def _play(demo: Demo) -> None:
    story.make_volume(demo)
    story.mirror(demo)
    committed = story.cut(demo)
    story.judge(demo, committed)


def _last_words(demo: Demo | None) -> None:
    """The end of each daemon's log, for whoever looks for the cause."""
    for host in (demo.source, demo.replica) if demo else ():
        print(f"--- frazild on {host.name}\n{host.log_tail()}", file=sys.stderr)


def _summary(demo: Demo) -> int:
    screen = demo.screen
    screen.phase("Summary")
    done = [cycle for cycle in demo.seen.values() if cycle.state == "committed"]
    deltas = [cycle for cycle in done if cycle.kind == "delta"]
    evidence = demo.evidence
    screen.note(
        f"{len(done)} generations committed; the application paused for "
        f"{statistics.median(cycle.pause for cycle in done) * 1e3:.1f} ms at a freeze (median), "
        f"{max(cycle.pause for cycle in done) * 1e3:.1f} ms at most"
    )
    screen.note(
        f"{human_size(sum(cycle.sent for cycle in deltas))} sent for "
        f"{human_size(sum(cycle.changed for cycle in deltas))} changed, after the first copy"
    )
    screen.note(f"{len(evidence.sqlite)} transactions and {len(evidence.files)} file operations")
    for text in demo.wrong:
        screen.bad(text)
    if not demo.wrong:
        screen.good(f"the replica is one instant of the source, in {screen.seconds:.0f} s")
    return 1 if demo.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
