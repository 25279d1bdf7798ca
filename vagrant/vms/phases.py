"""What takes how long: a line when a phase begins and ends, and all of them at the end."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Phases:
    """The phases of one run, in order."""

    done: list[tuple[str, float, bool]] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time what happens inside."""
        say(f"{name} ...")
        start = time.monotonic()
        well = False
        try:
            yield
            well = True
        finally:
            seconds = time.monotonic() - start
            self.done.append((name, seconds, well))
            say(f"{name}: {'done' if well else 'FAILED'} after {seconds:.0f} s")

    def summary(self) -> str:
        """A line a phase, and the sum."""
        lines = [
            f"{name:<28} {'ok' if well else 'FAILED':<6} {seconds:6.0f} s"
            for name, seconds, well in self.done
        ]
        total = f"{'in all':<28} {'':<6} {time.monotonic() - self.began:6.0f} s"
        return "\n".join([*lines, total])


def say(text: str) -> None:
    """One line on stderr, marked as of the VMs."""
    print(f"[vms] {text}", file=sys.stderr, flush=True)
