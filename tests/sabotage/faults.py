"""The faults, each a name and a function that puts it in place."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final


def main() -> int:
    """Put the faults that the arguments name in place, then be frazild."""
    for argument in sys.argv[1:]:
        name, *words = argument.split()
        FAULTS[name](*words)
    from control.daemon import main as frazild

    return frazild([])


def replace(target: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Replace ``module:path`` by what ``make`` makes of it."""
    module, _, path = target.partition(":")
    owner: Any = importlib.import_module(module)
    *outer, last = path.split(".")
    for name in outer:
        owner = getattr(owner, name)
    setattr(owner, last, make(getattr(owner, last)))


def _die() -> None:
    """kill -9, from within: no other thread gets any further either."""
    os.kill(os.getpid(), signal.SIGKILL)


def die_before(target: str, call: str = "1") -> None:
    """Die when ``target`` is called, for the ``call``-th time."""
    left = int(call)

    def make(real: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(real)
        def dying(*args: Any, **keywords: Any) -> Any:
            nonlocal left
            left -= 1
            if not left:
                _die()
            return real(*args, **keywords)

        return dying

    replace(target, make)


def die_after(target: str) -> None:
    """Die when ``target`` has done its work, before its caller knows."""

    def make(real: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(real)
        def dying(*args: Any, **keywords: Any) -> Any:
            real(*args, **keywords)
            _die()

        return dying

    replace(target, make)


class _OneLess:
    """A store's reader that overlooks its last exception."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    def areas(self, start_exception: int = 0) -> Iterator[Any]:
        """The exceptions, without the last."""
        found = list(self._reader.areas(start_exception))
        if found and len(found[-1]):
            del found[-1].old[-1:], found[-1].new[-1:]
        return iter(found)

    def count(self) -> int:
        """How many there seem to be."""
        return max(0, int(self._reader.count()) - 1)


def one_chunk_less() -> None:
    """The source sends one chunk less than changed, and counts it so; it merges all of them."""

    def make(real: Callable[..., Any]) -> Callable[..., Any]:
        return lambda self, reader, *others: real(self, _OneLess(reader), *others)

    replace("control.wire.deltas:StoreDelta.__init__", make)


def swapped_payloads() -> None:
    """The source takes two neighbouring chunks' bytes for each other's, before any checksum."""

    def make(real: Callable[..., Any]) -> Callable[..., Any]:
        def group(data: bytes, chunks: Sequence[int], chunk: int, size: int) -> Any:
            if len(chunks) > 1:
                data = data[chunk : 2 * chunk] + data[:chunk] + data[2 * chunk :]
            return real(data, chunks, chunk, size)

        return group

    replace("control.wire.deltas:Group", make)


def delta_lost_on_the_wire() -> None:
    """The source sends nothing of a generation and takes it for committed."""
    from control.copying import CopyResult

    def make(real: Callable[..., Any]) -> Callable[..., Any]:
        return lambda self, *others: CopyResult(0, 0, 0, 0, 0.0, 0)

    replace("control.copying:Copier.run", make)


def nothing_is_merged() -> None:
    """The source takes auxiliary volumes for merged that it never copied into the spans."""

    def make(real: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **keywords: None

    replace("control.volume:Volume.copy_into_spans", make)


def any_base_fits() -> None:
    """The replica applies a delta whatever it stands on."""

    def make(real: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args: None

    replace("control.replica.admission:_check_base", make)
    replace("control.replica.store:ReplicaStore._check_newest", make)


def members_one_by_one() -> None:
    """A group's heads are frozen one after another, each by itself, with time in between."""

    def make(real: Callable[..., Any]) -> Callable[..., Any]:
        def freeze(self: Any, plan: Any, before: Callable[[], None]) -> Any:
            for head in plan.heads:
                last = real(self, dataclasses.replace(plan, heads=(head,)), before)
                before = lambda: None  # noqa: E731
                time.sleep(0.1)
            return last

        return freeze

    replace("dm_tables.freezer:Freezer.freeze", make)


def other_protocol() -> None:
    """Speak another version of the protocol."""
    for module in ("control.wire.frames", "control.wire.peers", "control.replica.service"):
        vars(importlib.import_module(module))["PROTOCOL"] = 99


FAULTS: Final[dict[str, Callable[..., None]]] = {
    "die-before": die_before,
    "die-after": die_after,
    "one-chunk-less": one_chunk_less,
    "swapped-payloads": swapped_payloads,
    "delta-lost-on-the-wire": delta_lost_on_the_wire,
    "nothing-is-merged": nothing_is_merged,
    "any-base-fits": any_base_fits,
    "members-one-by-one": members_one_by_one,
    "other-protocol": other_protocol,
}
