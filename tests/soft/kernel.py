"""What else of a kernel frazil leans on: the freeze window's processes, and the tracer."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from bpf.client import Attached, LayerTrace, TraceGone
from bpf.layout import REGION, REGION_BLOCKS, REGION_BYTES, Counters
from dm_tables.freezer import FreezeFailed
from dm_tables.window import FreezePlan, FreezeResult, HeadPlan, Token, Window
from tests.soft.mapper import SoftMapper

NEVER = 1 << 62


class SoftFreezer:
    """The freeze window itself, run here.

    ``written_out`` is called before anybody is kept off the heads, ``frozen`` at the instant: all
    heads are suspended, none moved. ``inside`` tells whether a window is open. ``apart``: the
    broken one, where each head has a window of its own.
    """

    def __init__(self, mapper: SoftMapper) -> None:
        self._mapper = mapper
        self.written_out: Callable[[], None] = lambda: None
        self.frozen: Callable[[], None] = lambda: None
        self.inside = False
        self.apart = False

    def start(self) -> None:
        """It needs no processes."""

    def close(self) -> None:
        """Nor ends any."""

    def freeze(self, plan: FreezePlan, before: Callable[[], None] = lambda: None) -> FreezeResult:
        """See :meth:`dm_tables.freezer.Freezer.freeze`."""
        self.written_out()
        before()
        windows = [[head] for head in plan.heads] if self.apart else [list(plan.heads)]
        self.inside = True
        results = [self._window(heads, first=heads is windows[0]) for heads in windows]
        self.inside = False
        return results[-1]

    def _window(self, heads: Sequence[HeadPlan], *, first: bool) -> FreezeResult:
        layers = [Path(head.rsv_path).name for head in heads]

        def flush(index: int) -> None:
            if first and index == 0:
                self.frozen()
            self._mapper.flush(layers[index])

        token = Token.create()
        token.put()
        try:
            names = [head.name for head in heads]
            window = Window(self._mapper, names, range(len(names)), token, NEVER, fsync=flush)
            window.run()
        finally:
            os.close(token.fd)
        if window.failure is not None:
            self.inside = False
            raise FreezeFailed("the freeze failed", "", window.failure.step, ())
        return window.result(0)


class SoftTracer:
    """A tracer that knows what the mapper was told; every third trace is lost."""

    def __init__(self, mapper: SoftMapper) -> None:
        self._mapper = mapper
        self._life = 1
        self._layers: list[str] = []

    def begin_anew(self) -> None:
        """A new life: the traces of the former one are gone."""
        self._life += 1

    def add(self, devno: str, layer: str) -> Attached:
        """See :class:`bpf.client.TracerClient`."""
        self._layers += [n for n, one in self._mapper.devices.items() if one.uuid == layer]
        return Attached(f"life {self._life}", len(self._layers), 1.0)

    def read(self, epoch: str, trace: int, *, blocks: bool = True) -> LayerTrace:
        """See :class:`bpf.client.TracerClient`."""
        name = self._layers[trace - 1]
        if epoch != f"life {self._life}" or name not in self._mapper.stores:
            raise TraceGone("it is gone")
        lost = "the map was full" if trace % 3 == 0 else ""
        regions = _regions(self._mapper.stores[name].written) if blocks else b""
        return LayerTrace(name, "", 1.0, lost, Counters(), regions)

    def drop(self, epoch: str, trace: int) -> None:
        """It keeps them all."""

    def close(self) -> None:
        """Nothing to end."""


def _regions(blocks: set[int]) -> bytes:
    made: dict[int, bytearray] = {}
    for block in sorted(blocks):
        region, bit = divmod(block, REGION_BLOCKS)
        bits = made.setdefault(region, bytearray(REGION_BYTES))
        bits[bit // 8] |= 1 << bit % 8
    return b"".join(REGION.pack(region, bytes(bits)) for region, bits in made.items())
