"""``frazil activate``: stacks assembled without the daemon, before filesystems are mounted."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from control.bypass import bypasses
from control.config import Config
from control.context import Context
from control.folding import finish_merges
from control.host import StateLock, free_leftovers, open_context
from control.records import VolumeRecord
from control.volume import Volume
from dm_tables.errors import FrazilError, Kind, NotFound

POLL_SECONDS = 0.5


def main(config: Config, volumes: Sequence[str] = (), *, wait: float = 0.0) -> int:
    """Assemble the named volumes, or all; one that fails does not keep the others back.

    :param wait: seconds for which a volume that lacks something is tried again: at boot, disks
        come one by one.
    :return: the exit code: the kind of the first failure.
    :raises AlreadyRunning: the daemon keeps them already.
    """
    config.paths.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = StateLock(config.paths.lock)
    context = open_context(config)
    try:
        records = {record.name: record for record in context.journal.volumes()}
        for name in volumes:
            if name not in records:
                known = ", ".join(sorted(records)) or "none"
                raise NotFound(f"there is no volume {name!r}", f"there are: {known}")
        if not records:
            return int(Kind.OK)
        finish_merges(context)
        free_leftovers(context)
        return assemble([records[name] for name in volumes or sorted(records)], context, wait)
    finally:
        context.freezer.close()
        context.history.close()
        context.events.close()
        context.journal.close()
        lock.release()


def assemble(records: Sequence[VolumeRecord], context: Context, wait: float) -> int:
    """Each volume as soon as what it needs is there. :return: the first failure's kind."""
    deadline = time.monotonic() + wait
    left = [Volume(record, context) for record in records]
    failures: dict[str, FrazilError] = {}
    while left:
        failures = {}
        for volume in list(left):
            try:
                volume.activate()
            except FrazilError as error:
                failures[volume.name] = error
            else:
                left.remove(volume)
                print(volume.stack.head.link, flush=True)
                _warn(volume.record)
        if not left or time.monotonic() >= deadline:
            break
        time.sleep(POLL_SECONDS)
    for name, failure in failures.items():
        _say(f"volume {name}: {failure.what}", failure.hint)
    return int(next((failure.kind for failure in failures.values()), Kind.OK))


def _warn(record: VolumeRecord) -> None:
    """A head is there for whom it is for; who uses the disk below it is told."""
    for found in bypasses([record]):
        _say(found.what, found.hint)


def _say(what: str, hint: str) -> None:
    print(f"frazil: {what}", file=sys.stderr)
    if hint:
        print(f"  {hint}", file=sys.stderr)
