"""``frazil activate``: stacks assembled without the daemon, before filesystems are mounted."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Sequence

from control.authority.errors import AuthorityUnavailable
from control.bypass import bypasses
from control.config import Config
from control.context import Context
from control.fence import Fenced, Unanswered
from control.folding import finish_merges
from control.fstab import fstab_of, waits_for_network
from control.host import StateLock, free_leftovers, open_context
from control.records import VolumeRecord
from control.volume import Volume
from dm_tables.errors import FrazilError, Kind, NotFound

POLL_SECONDS = 0.5
ASKED_LATER = "frazild asks once the network is there: /etc/fstab mounts it with _netdev"


def main(config: Config, volumes: Sequence[str] = (), *, wait: float = 0.0) -> int:
    """Assemble the named volumes, or all; one that fails does not keep the others back.

    :param wait: seconds for which a volume that lacks something is tried again: at boot, disks
        come one by one.
    :return: the exit code: the kind of the first failure. A head that waits for the network
        because its mounts do, and was not named, is none.
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
        unfinished = finish_merges(context)
        free_leftovers(context, unfinished)
        wanted = [records[name] for name in volumes or sorted(records)]
        lines = [] if volumes else fstab_of()
        later = {name for name in records if waits_for_network(name, lines)}
        code = assemble(wanted, context, wait, later)
        if unfinished:
            free_leftovers(context, finish_merges(context))
        return code
    finally:
        context.freezer.close()
        context.history.close()
        context.events.close()
        context.journal.close()
        lock.release()


def assemble(
    records: Sequence[VolumeRecord], context: Context, wait: float, later: Collection[str] = ()
) -> int:
    """Each volume as soon as what it needs is there.

    :param later: those of which nobody needs the head before the network is there: who may have
        taken them over is asked first, if need be by the daemon.
    :return: the first failure's kind.
    """
    deadline = time.monotonic() + wait
    left = [Volume(record, context) for record in records]
    failures: dict[str, FrazilError] = {}
    while left:
        for volume in list(left):
            failures.pop(volume.name, None)
            try:
                _activate(volume, certain=volume.name in later)
            except Fenced as error:
                left.remove(volume)
                failures[volume.name] = error
            except FrazilError as error:
                failures[volume.name] = error
            else:
                left.remove(volume)
        if not left or time.monotonic() >= deadline:
            break
        time.sleep(POLL_SECONDS)
    for name, failure in failures.items():
        _say(f"volume {name}: {failure.what}", failure.hint)
    return int(next((failure.kind for failure in failures.values()), Kind.OK))


def _activate(volume: Volume, *, certain: bool) -> None:
    """:param certain: the head is given out now only if who may have taken it over did not."""
    try:
        volume.activate(certain=certain)
    except (Unanswered, AuthorityUnavailable) as error:
        if not certain:
            raise
        _say(f"volume {volume.name}: {error.what}", ASKED_LATER)
    else:
        print(volume.stack.head.link, flush=True)
        _warn(volume.record)


def _warn(record: VolumeRecord) -> None:
    """A head is there for whom it is for; who uses the disk below it is told."""
    for found in bypasses([record]):
        _say(found.what, found.hint)


def _say(what: str, hint: str) -> None:
    print(f"frazil: {what}", file=sys.stderr)
    if hint:
        print(f"  {hint}", file=sys.stderr)
