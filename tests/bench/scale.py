"""A cycle costs what changed, not what there is: 1,000 changed chunks on 4 GiB and on 4 TiB.

    python -m tests.bench.scale

Prints a line a size, and the ratios; times are of this machine and its guests.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import sys
from dataclasses import dataclass

from tests.pair import Pair, Volume, running_pair
from vagrant.cluster import FrazilHost

GIB = 1 << 30
SIZES = {"gib4": 4 * GIB, "tib4": 4096 * GIB}
CHUNK = 16384
CHANGED = 1000
CYCLES = 3


@dataclass(frozen=True, slots=True)
class Cost:
    """What a cycle of one volume cost; medians of its cycles.

    :param seconds: from the freeze to the commit. :param sent: bytes on the wire.
    :param source_rss: the most memory the source's daemon had, bytes; ``replica_rss`` likewise.
    """

    size: int
    chunks: int
    seconds: float
    pause: float
    sent: int
    source_rss: int
    replica_rss: int


def measure(pair: Pair, name: str, size: int) -> Cost:
    """Cycles with ``CHANGED`` changed chunks each, on a sparse volume of ``size`` bytes."""
    volume = _sparse_volume(pair, name, size)
    hosts = (pair.source, pair.replica)
    cycles = []
    for number in range(CYCLES):
        words = (volume.head, CHUNK, CHANGED, number)
        pair.source.guest.call("tests.workload.scatter:scatter", *words, timeout=300.0)
        for host in hosts:
            _forget_peak(host)
        cycles.append(volume.sync(timeout=300.0))
        pair.source.until("it is merged", lambda: _layers(volume) == 1)
    source_rss, replica_rss = (_peak(host) for host in hosts)
    return Cost(
        size=size,
        chunks=cycles[-1].chunks,
        seconds=statistics.median(cycle.lag for cycle in cycles),
        pause=statistics.median(cycle.pause for cycle in cycles),
        sent=cycles[-1].sent,
        source_rss=source_rss,
        replica_rss=replica_rss,
    )


def _sparse_volume(pair: Pair, name: str, size: int) -> Volume:
    """A volume on a sparse file, with its empty first generation at the replica."""
    file = f"/var/lib/frazil/{name}.img"
    pair.source.guest.run(["truncate", "-s", str(size), file])
    pair.source.frazil("volume", "create", name, file, "--chunk", str(CHUNK))
    volume = Volume(pair, name, size, CHUNK)
    volume.mirror()
    volume.sync(timeout=300.0)
    return volume


def _layers(volume: Volume) -> int:
    return len(volume.pair.source.json("volume", "show", volume.name)["layers"])


def _forget_peak(host: FrazilHost) -> None:
    host.guest.run(f"echo 5 >/proc/{host.daemon.pid}/clear_refs")


def _peak(host: FrazilHost) -> int:
    """VmHWM of the daemon, in bytes."""
    status = host.guest.run(["cat", f"/proc/{host.daemon.pid}/status"]).text
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def main() -> int:
    """Measure both sizes; a JSON document on stdout, the summary on stderr."""
    with running_pair() as pair:
        costs = [measure(pair, name, size) for name, size in SIZES.items()]
    small, large = costs
    print(json.dumps([dataclasses.asdict(cost) for cost in costs], indent=2))
    for cost in costs:
        print(
            f"{cost.size // GIB:5} GiB: {cost.chunks} chunks, {cost.seconds:.2f} s, "
            f"{cost.pause * 1e3:.1f} ms paused, {cost.sent} bytes sent, memory "
            f"{cost.source_rss >> 20} MiB and {cost.replica_rss >> 20} MiB",
            file=sys.stderr,
        )
    print(
        f"{large.size // small.size} times the size: {large.seconds / small.seconds:.2f} times "
        f"the time, {large.source_rss / small.source_rss:.2f} and "
        f"{large.replica_rss / small.replica_rss:.2f} times the memory",
        file=sys.stderr,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
