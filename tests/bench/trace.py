"""What tracing costs the head: throughput and latency with and without the probe, side by side.

``make bench-trace``. One guest, one head over one layer; the program is detached, attached for
another device, and attached for this layer, in turn, so that what else the host does falls on all
three alike.
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


def table(workload: str, rounds: list[dict[str, Any]]) -> str:
    """Medians over the rounds, and what they are of those without the probe."""
    lines = [
        f"| {workload} | IOPS | of no probe | mean latency | 99 % latency |",
        "|---|---|---|---|---|",
    ]
    base = 0.0
    for state, words in STATES.items():
        found = [one for one in rounds if one["state"] == state]
        iops = statistics.median(one["iops"] for one in found)
        base = base or iops
        mean = statistics.median(one["mean_us"] for one in found)
        slow = statistics.median(one["p99_us"] for one in found)
        lines.append(
            f"| {words} | {iops:.0f} | {100 * iops / base:.1f} % | {mean:.0f} µs | {slow:.0f} µs |"
        )
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """``python -m tests.bench.trace [ROUNDS]``."""
    rounds = int(arguments[0]) if arguments else 5
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
