"""The historian: keeps how each layer was written, once it is frozen and before it is merged."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from bpf.layout import Counters
from control.blocks import BlockSet
from control.context import Context
from control.history import CycleWrites
from control.pattern import pattern_of, region_counts
from control.records import LayerRecord, LayerState
from control.volume import Volume
from dm_tables.errors import FrazilError

log = logging.getLogger("frazil.history")

LOOK_SECONDS = 1.0


class Historian(threading.Thread):
    """Looks for newly frozen layers once a second; nothing waits for it but a merge.

    :param volumes: gives the volumes there are now.
    """

    def __init__(self, context: Context, volumes: Callable[[], Sequence[Volume]]) -> None:
        super().__init__(name="historian", daemon=True)
        self._context = context
        self._volumes = volumes
        self._recording = threading.Lock()
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()

    def run(self) -> None:
        """Look, and look again."""
        while not self._stopped.wait(LOOK_SECONDS):
            for volume in self._volumes():
                self.record(volume)

    def record(self, volume: Volume) -> None:
        """Keep what was written to the volume's frozen layers; each is kept once.

        Never fails: a layer that cannot be read, or is merged at this moment, is left out.
        """
        with self._recording:
            try:
                for layer in volume.layers:
                    frozen = layer.state is LayerState.FROZEN
                    if frozen and not self._context.history.has(volume.uuid, layer.sequence):
                        self._context.history.add(volume.uuid, frozen_cycle(volume, layer))
            except FrazilError as error:
                log.info("volume %s: a layer is not in its history: %s", volume.name, error)
            except Exception:
                log.exception("keeping the history of volume %s", volume.name)


def frozen_cycle(volume: Volume, layer: LayerRecord) -> CycleWrites:
    """What was written to a frozen layer.

    :raises FrazilError: it is untraced, and its store cannot be read.
    """
    tracing = volume.context.tracing
    blocks = tracing.blocks_of(layer)
    return _cycle(volume, layer, blocks, tracing.view(layer).counters)


def live_cycle(volume: Volume, layer: LayerRecord) -> CycleWrites:
    """What was written to a live layer so far; of an untraced one what its disk has.

    :raises FrazilError: as above.
    """
    view = volume.context.tracing.view(layer, blocks=True)
    return _cycle(volume, layer, view.blocks if view.traced else None, view.counters)


def _cycle(
    volume: Volume, layer: LayerRecord, blocks: BlockSet | None, counters: Counters
) -> CycleWrites:
    traced = blocks is not None
    if blocks is None:
        # Its counters may lack writes, and say nothing of when they began.
        blocks, counters = _stored(volume, layer), Counters()
    pattern = pattern_of(blocks, counters)
    generations = volume.context.journal.generations(volume.name)
    began = {generation.number: generation.frozen_at or 0.0 for generation in generations}
    ended = {generation.layer: generation.frozen_at or 0.0 for generation in generations}
    return CycleWrites(
        layer.sequence,
        began.get(layer.sequence, 0.0),
        ended.get(layer.sequence, 0.0) if layer.state is not LayerState.LIVE else 0.0,
        layer.chunk,
        traced,
        pattern.chunks(layer.chunk),
        pattern,
        tuple(region_counts(blocks, volume.record.size)),
    )


def _stored(volume: Volume, layer: LayerRecord) -> BlockSet:
    blocks = BlockSet()
    with volume.reader(layer) as store:
        for area in store.areas():
            blocks.add_chunks(area.old, layer.chunk)
    return blocks
