"""``frazil activate``: stacks assembled without the daemon, before filesystems are mounted."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from control.config import Config
from control.host import StateLock, free_leftovers, open_context
from control.volume import Volume
from dm_tables.errors import FrazilError, Kind, NotFound


def main(config: Config, volumes: Sequence[str] = ()) -> int:
    """Assemble the named volumes, or all; one that fails does not keep the others back.

    :return: the exit code: the kind of the first failure.
    :raises AlreadyRunning: the daemon keeps them already.
    """
    config.paths.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = StateLock(config.paths.lock)
    context = open_context(config)
    failed = Kind.OK
    try:
        records = {record.name: record for record in context.journal.volumes()}
        for name in volumes:
            if name not in records:
                known = ", ".join(sorted(records)) or "none"
                raise NotFound(f"there is no volume {name!r}", f"there are: {known}")
        free_leftovers(context)
        for name in volumes or sorted(records):
            volume = Volume(records[name], context)
            try:
                volume.activate()
                print(volume.stack.head.path)
            except FrazilError as error:
                failed = failed or error.kind
                print(f"frazil: {name}: {error}", file=sys.stderr)
    finally:
        context.freezer.close()
        context.events.close()
        context.journal.close()
        lock.release()
    return int(failed)
