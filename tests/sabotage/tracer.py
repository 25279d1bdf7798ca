"""frazil-tracer with something broken in it: ``python3 -m tests.sabotage.tracer FAULT... -- ...``.

What stands behind ``--`` is the tracer's own. The product has no switch for any of this.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from bpf import tracer
from bpf.compiling import SOURCE, Program, compile_here
from tests.sabotage.faults import replace

MARKING = "\tmark(layer, sector >> BLOCK_SECTORS_SHIFT,"
DROPPING = """\tif (sector >> BLOCK_SECTORS_SHIFT & 1) {
\t\tCOUNT(layer->busy, 1);
\t\treturn 0;
\t}
"""


class DroppingProgram:
    """In place of the compilation: a program that drops writes which begin in odd blocks.

    It counts them as lost, as the real one does with what it cannot mark.
    """

    def __init__(self, regions: int) -> None:
        text = SOURCE.read_text()
        assert text.count(MARKING) == 1
        source = Path(tempfile.mkdtemp()) / "dropping.c"
        source.write_text(text.replace(MARKING, DROPPING + MARKING))
        self._program = compile_here(regions, source=source)
        # At the end of its channel the tracer asks for the outcome.
        self.channel, other = socket.socketpair()
        other.close()

    def outcome(self) -> Program:
        """The program."""
        self.channel.close()
        return self._program

    def stop(self) -> None:
        """It is through."""


def drops_odd_blocks() -> None:
    """Drop events, and count them."""
    vars(tracer)["Compilation"] = DroppingProgram


def hides_losses() -> None:
    """Look at no counter of losses: what the negative control has instead of the check."""
    replace("bpf.layout:Counters.why_lost", lambda real: lambda counters: "")


def detaches_on_signal() -> None:
    """At SIGUSR1 let the program's attachment go, and live on."""

    def make(real: Callable[..., Any]) -> Callable[..., Any]:
        def compiled(self: tracer.Tracer) -> None:
            real(self)
            if self.program is not None:
                attachment = self.program.attachment
                signal.signal(signal.SIGUSR1, lambda *_: os.close(attachment))

        return compiled

    replace("bpf.tracer:Tracer.compiled", make)


FAULTS: Final[dict[str, Callable[[], None]]] = {
    "drops-odd-blocks": drops_odd_blocks,
    "hides-losses": hides_losses,
    "detaches-on-signal": detaches_on_signal,
}


if __name__ == "__main__":
    end = sys.argv.index("--")
    for fault in sys.argv[1:end]:
        FAULTS[fault]()
    sys.exit(tracer.main(sys.argv[end + 1 :]))
