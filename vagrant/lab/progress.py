"""Lines that say what the lab is doing, for the person who waits."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


def say(text: str) -> None:
    """Print one line on stderr, marked as the lab's."""
    print(f"[lab] {text}", file=sys.stderr, flush=True)


@contextmanager
def step(text: str, about_s: int = 0) -> Iterator[None]:
    """Announce a step, with its usual length in seconds, and say how long it took."""
    say(f"{text} (about {about_s} s) ..." if about_s else f"{text} ...")
    begin = time.monotonic()
    try:
        yield
    except BaseException:
        say(f"{text}: failed after {time.monotonic() - begin:.1f} s")
        raise
    say(f"{text}: done in {time.monotonic() - begin:.1f} s")
