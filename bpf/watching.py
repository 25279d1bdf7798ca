"""The layers that are traced: which device each is on, and what was counted and marked of it."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from dataclasses import dataclass

from bpf.layout import (
    REGION,
    Counters,
    device_key,
    new_layer,
    parse_key,
    parse_layer,
)
from bpf.syscalls import Map

DETACHED = "the program was detached"


class Refused(Exception):
    """A request that cannot be met; ``kind`` is for programs, the text for people."""

    def __init__(self, kind: str, why: str) -> None:
        super().__init__(why)
        self.kind = kind


@dataclass(slots=True)
class Watch:
    """A layer under its trace. ``since`` in seconds since the epoch."""

    trace: int
    devno: str
    layer: str
    since: float
    missed_before: int
    broken: str = ""


@dataclass(frozen=True, slots=True)
class Reading:
    """A layer's trace as it stands.

    :ivar why_lost: why its blocks are not all that was written; empty when they are.
    :ivar regions: see :data:`bpf.layout.REGION`; empty when blocks were not asked for.
    """

    watch: Watch
    counters: Counters
    why_lost: str
    regions: bytes


class Watched:
    """The layers of one program. A trace's number is never used again.

    :param missed: gives how often the kernel left the program out, so far.
    :param attached: whether it is run still.
    """

    def __init__(
        self,
        layers: Map,
        regions: Map,
        missed: Callable[[], int],
        attached: Callable[[], bool],
    ) -> None:
        self._layers = layers
        self._regions = regions
        self._missed = missed
        self.attached = attached
        self._watches: dict[int, Watch] = {}
        self._last = 0

    def add(self, devno: str, layer: str) -> Watch:
        """Trace a layer from now on: its device has no writes yet.

        A layer that had the same device before is gone from it: its trace ends, broken.

        :raises Refused: it is no device, too many layers are traced, or the program is detached.
        """
        if not self.attached():
            raise Refused("detached", DETACHED)
        try:
            key = device_key(devno)
        except ValueError:
            raise Refused("device", f"{devno!r} is no device number") from None
        for other in self._watches.values():
            if other.devno == devno and not other.broken:
                self._unhook(other, f"its device {devno} was given to {layer}")
        self._last += 1
        watch = Watch(self._last, devno, layer, time.time(), self._missed())
        try:
            self._layers.add(key, new_layer(watch.trace))
        except OSError as error:
            if error.errno == errno.E2BIG:
                raise Refused("full", "too many layers are traced at once") from None
            raise
        self._watches[watch.trace] = watch
        return watch

    def read(self, trace: int, *, blocks: bool) -> Reading:
        """What a trace has. Exact once its layer gets no more writes.

        :raises Refused: there is no such trace.
        """
        watch = self._watch(trace)
        value = None if watch.broken else self._layers.get(device_key(watch.devno))
        if value is None:
            return Reading(watch, Counters(), watch.broken or "its device is not traced", b"")
        _, counters = parse_layer(value)
        missed = self._missed() - watch.missed_before
        reasons = [counters.why_lost()]
        if missed:
            reasons.append(f"the kernel left the program out ({missed} times)")
        if not self.attached():
            reasons.append(DETACHED)
        why = ", ".join(filter(None, reasons))
        return Reading(watch, counters, why, self._blocks(trace) if blocks else b"")

    def _blocks(self, trace: int) -> bytes:
        found = []
        for key, bits in self._regions.items():
            owner, region = parse_key(key)
            if owner == trace:
                found.append((region, bits))
        found.sort()
        return b"".join(REGION.pack(region, bits) for region, bits in found)

    def drop(self, trace: int) -> None:
        """End a trace and give its room back. One that is not there is no error."""
        watch = self._watches.pop(trace, None)
        if watch is None:
            return
        if not watch.broken:
            self._unhook(watch, "dropped")
        keys = [key for key, _ in self._regions.items() if parse_key(key)[0] == trace]
        self._regions.remove(keys)

    def _unhook(self, watch: Watch, why: str) -> None:
        watch.broken = why
        self._layers.remove([device_key(watch.devno)])

    def _watch(self, trace: int) -> Watch:
        watch = self._watches.get(trace)
        if watch is None:
            raise Refused("unknown", f"there is no trace {trace}")
        return watch

    @property
    def watches(self) -> list[Watch]:
        """Every trace, oldest first."""
        return list(self._watches.values())
