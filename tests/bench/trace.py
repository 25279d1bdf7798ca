"""What tracing costs the head: throughput and latency with and without the probe, side by side.

``make bench-trace``. In one guest the program is detached, attached for another device, and
attached for this layer, a quarter of a second each, in turn, so that what else the host does falls
on all three alike. Each figure is the median over the slices; the fastest tenth of the writes are
those that nothing else disturbed.
"""

from __future__ import annotations

import statistics
import sys
from typing import Any

from vagrant.lab import Lab

INSIDE = "tests.bench.inside.trace"
STATES = {
    "detached": "no probe",
    "elsewhere": "probe, layer not traced",
    "traced": "probe, layer traced",
}


def table(workload: str, slices: list[dict[str, Any]]) -> str:
    """Medians over the slices, and what they are of those without the probe."""
    lines = [
        f"| {workload} | writes/s | fastest tenth | | median | 99 % |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    base = 0.0
    for state, words in STATES.items():
        found = [one for one in slices if one["state"] == state]
        names = ("iops", "p10_us", "median_us", "p99_us")
        rate, fast, middle, slow = (statistics.median(o[name] for o in found) for name in names)
        base = base or fast
        more = f"{100 * (fast / base - 1):+.1f} %"
        lines.append(
            f"| {words} | {rate:.0f} | {fast:.1f} µs | {more} | {middle:.1f} µs | {slow:.0f} µs |"
        )
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """``python -m tests.bench.trace [ROUNDS]``."""
    rounds = int(arguments[0]) if arguments else 30
    with Lab() as lab:
        (guest,) = lab.start("bench")
        found = guest.call(f"{INSIDE}:measure", rounds, timeout=1800)
    for workload, results in found["workloads"].items():
        print(table(workload, results), end="\n\n")
    print(f"The program itself: {found['events']} runs of {found['ns']:.0f} ns.")
    print(f"{found['compile_seconds']:.1f} s to compile, load and attach it.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
