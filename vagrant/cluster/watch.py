"""A mirror followed from outside: one ``frazil mirror status --watch --json`` that goes on."""

from __future__ import annotations

import json
import signal
from typing import Final

from .cycles import Cycle, MirrorNow
from .host import FrazilHost

TAIL_LINES: Final = 2


class MirrorWatch:
    """What a mirror does, a second old at most, at a hundredth of a command's cost."""

    def __init__(self, host: FrazilHost, mirror: str) -> None:
        self._host = host
        self._log = f"/run/watch-{mirror}.json"
        words = ["frazil", "mirror", "status", mirror, "--watch", "--json"]
        self._process = host.guest.spawn(words, log=self._log)

    def now(self) -> MirrorNow | None:
        """What was told last; None while nothing was."""
        tail = ["tail", "-n", str(TAIL_LINES), self._log]
        # The last line may still be on its way.
        lines = self._host.guest.run(tail, check=False).stdout.splitlines(keepends=True)
        whole = [line for line in lines if line.endswith(b"\n") and line.startswith(b"{")]
        if not whole:
            return None
        return MirrorNow.of(json.loads(whole[-1])["mirrors"][0])

    def midway(self, share: float, beyond: float = 0.0) -> Cycle | None:
        """The cycle that is copying, if the share of it that was sent is between the two."""
        now = self.now()
        running = now.midway(share) if now else None
        return running if running and running.done > beyond * running.total else None

    def close(self) -> None:
        """End it."""
        self._process.kill(signal.SIGINT)
        self._process.wait()
