"""The merger: one thread that folds layers into their spans, in the background."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from control.context import Context
from control.limiter import Interrupted, RateLimiter
from control.volume import Volume
from dm_tables.errors import FrazilError

log = logging.getLogger("frazil.merger")

LOOK_AGAIN_SECONDS = 5.0


class Merger(threading.Thread):
    """Merges whatever may be merged, volume by volume, throttled by the configuration.

    :param volumes: gives the volumes there are now.
    :param before: called before a volume's lowest layer is merged, which is its end.
    """

    def __init__(
        self,
        context: Context,
        volumes: Callable[[], Sequence[Volume]],
        before: Callable[[Volume], None],
    ) -> None:
        super().__init__(name="merger", daemon=True)
        self._stopped = threading.Event()
        self.limiter = RateLimiter(context.config.merge.rate, self._stopped)
        self._context = context
        self._volumes = volumes
        self._before = before
        self._wanted = threading.Event()

    def wake(self) -> None:
        """Something was committed: look again."""
        self._wanted.set()

    def stop(self) -> None:
        """End after the chunk at hand; what is not merged is merged again after a restart."""
        self._stopped.set()
        self._wanted.set()

    def run(self) -> None:
        """Merge, then sleep until woken."""
        while not self._stopped.is_set():
            self._wanted.clear()
            merged = [self._merge_one(volume) for volume in self._volumes()]
            if not any(merged):
                self._wanted.wait(LOOK_AGAIN_SECONDS)

    def _merge_one(self, volume: Volume) -> bool:
        """:return: whether a layer was merged, so that there may be another."""
        try:
            with volume.tables:
                volume.drop_merged()
            layer = volume.next_merge()
            if layer is None:
                return False
            self._before(volume)
            volume.merge_lowest(layer, self.limiter)
        except Interrupted:
            return False
        except FrazilError as error:
            if str(error) != volume.problem:
                volume.problem = str(error)
                self._context.events.add("error", volume.name, error.name, str(error))
            return False
        except Exception:
            log.exception("merging volume %s", volume.name)
            return False
        volume.problem = ""
        return True
