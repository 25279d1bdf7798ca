"""A whole frazil without a kernel and without threads: each step is called by a test."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, cast
from unittest import mock

import msgspec

from control.brake import Brake
from control.chunk_size import Choice
from control.conductor import Conductor
from control.config import Config
from control.context import Context
from control.events import Events
from control.historian import Historian
from control.history import History
from control.host import Host
from control.journal import Journal
from control.merger import Merger
from control.mirror import MirrorWorker
from control.pool.choose import open_replica_pool
from control.pool.files import FileObject, FilesPool
from control.pool.joined import REPLICA, JoinedPool
from control.rates import Rates
from control.replica.merging import ReplicaMerger
from control.room import RoomKeeper
from control.scrubber import Scrubber
from control.trace import Tracing
from control.volume import Volume
from dm_tables.device import Device
from dm_tables.errors import FrazilError
from dm_tables.guard import leftovers
from dm_tables.units import KIB
from tests.replica_tools import Rule
from tests.soft.kernel import SoftFreezer, SoftTracer
from tests.soft.mapper import Loops, SoftMapper

LOOPS = ("attach_loop", "find_loop", "detach_loop")
STILL = (MirrorWorker, Conductor, Merger, ReplicaMerger, RoomKeeper, Historian, Scrubber, Brake)


def mapper_of(device: Any) -> SoftMapper:
    """The mapper that a device, or a dmsetup, speaks to."""
    dmsetup = getattr(device, "_dmsetup", device)
    return cast(SoftMapper, dmsetup._runner.__self__)


def _drawn(volume: Volume) -> Choice:
    return Choice(mapper_of(volume.context.dmsetup).chunk, "a test's choice")


def _freed(context: Any, but: Collection[str] = ()) -> None:
    leftovers(mapper_of(context.dmsetup), but=but)


@contextmanager
def soft_kernel(loops: Loops) -> Iterator[None]:
    """No kernel, no threads of frazil's own, and everything in small pieces."""

    def still(*_: object, **__: object) -> None:
        """A thread that is neither started nor ended."""

    settings: dict[str, object] = {
        "control.stack.attach_loop": loops.attach,
        "control.stack.find_loop": loops.find,
        "control.stack.detach_loop": loops.detach,
        "control.volume.mountpoints_of": lambda device: (),
        "control.group.mountpoints_of": lambda device: (),
        "control.host.free_leftovers": _freed,
        "control.adopt.SMALLEST_VOLUME": 4 * KIB,
        "control.wire.batches.MAX_BATCH_RUNS": 2,
        "control.wire.send.TICK_SECONDS": 0.02,
        "control.merge.BATCH": 64 * KIB,
        "control.merge.LARGEST_WRITE": 64 * KIB,
    }
    with ExitStack() as stack:
        for name, value in settings.items():
            stack.enter_context(mock.patch(name, value))
        attributes: list[tuple[type, str, object]] = [
            (FileObject, "attach", lambda self: loops.attach(self.path)),
            (FileObject, "detach", lambda self: loops.detach(self.path)),
            (Device, "path", property(lambda self: mapper_of(self).show(self.name))),
            (Tracing, "start", still),
            (Volume, "next_chunk", _drawn),
        ]
        attributes += [(thread, what, still) for thread in STILL for what in ("start", "join")]
        for owner, name, value in attributes:
            stack.enter_context(mock.patch.object(owner, name, value))
        yield


class Complaints(logging.Handler):
    """What frazil's threads swallow and only log: a bug, in a test."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self.found.append(self.format(record))


class SoftHost:
    """One host's frazil, on a device-mapper in memory that outlives it.

    :param keep_layers: see the configuration's key of that name.
    """

    def __init__(self, directory: Path, mapper: SoftMapper, keep_layers: int = 0) -> None:
        self.directory = directory
        self.mapper = mapper
        self.freezer = SoftFreezer(mapper)
        self.tracer = SoftTracer(mapper)
        defaults = Config()
        self.config = msgspec.structs.replace(
            defaults,
            state=msgspec.structs.replace(defaults.state, directory=directory / "state"),
            run=msgspec.structs.replace(defaults.run, directory=directory / "run"),
            copy=msgspec.structs.replace(defaults.copy, keep_layers=keep_layers),
            listen=msgspec.structs.replace(
                defaults.listen, address=f"unix:{directory}/peer", plaintext=True
            ),
            replica=msgspec.structs.replace(defaults.replica, allow=(Rule(discard=True),)),
        )
        directory.mkdir()
        (directory / "state").mkdir()
        self.start()

    def start(self) -> None:
        """As the daemon does."""
        state = self.config.paths.state
        journal, events = Journal(self.config.paths.journal), Events(state / "events.db")
        self.pool = FilesPool(self.config.pool_directory)
        pool = JoinedPool(self.pool, open_replica_pool(self.config), REPLICA)
        context = Context(
            config=self.config,
            journal=journal,
            events=events,
            pool=pool,
            dmsetup=self.mapper.dmsetup(),
            freezer=cast(Any, self.freezer),
            tracing=Tracing(journal, events, pool, cast(Any, self.tracer)),
            history=History(self.config.paths.history),
            rates=Rates(),
        )
        self.host = Host(context)
        self.host.room._brake._dm = cast(Any, self.mapper)
        self.host.start()
        assert not self.host.device_mapper_missing, self.host.device_mapper_missing

    def stop(self) -> None:
        """As the daemon does."""
        self.host.stop()

    def kill(self) -> None:
        """As kill -9: nothing is written any more."""
        context = self.host.context
        for database in (context.journal, context.history, context.events):
            database._db.close()

    @property
    def journal(self) -> Journal:
        """Its journal."""
        return self.host.context.journal

    def volume(self, name: str) -> Volume:
        """One of its volumes."""
        return self.host.volume(name)

    def head(self, name: str) -> str:
        """The device's name of a volume's head."""
        return str(self.volume(name).stack.head.name)

    def keep_room(self) -> None:
        """The room keeper looks after those whose writers wait."""
        for volume in self.host.volumes():
            if volume.stalled:
                self.host.room._look(volume)
                assert not volume.stalled, f"{volume.name}: its writers wait, and there is room"

    def step(self, mirror: str) -> FrazilError | None:
        """What a mirror's thread does next. :return: why it failed."""
        worker = self.host.roster.worker(mirror)
        worker._cancel.clear()
        failed: FrazilError | None = None
        began = time.monotonic()
        try:
            worker._step()
        except FrazilError as error:
            worker._failed(error, began)
            failed = error
        finally:
            for joiner in worker._joiners:
                threading.Thread.join(joiner)
        return failed or worker.now.error
