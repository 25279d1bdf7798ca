"""This host as a replica: store, receiver, merger and listener, brought up and down together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

from control import VERSION
from control.certificates import check_certificates
from control.config import ReplicaSection
from control.context import Context
from control.pool.choose import open_pool, open_replica_pool
from control.pool.joined import SOURCE, JoinedPool
from control.pool.presence import check_present, mark
from control.records import GenerationRecord
from control.replica.admission import Source
from control.replica.claims import Claims
from control.replica.describe import describe
from control.replica.devices import ReplicaDevices
from control.replica.diverged import check_none_diverged, drop, keep
from control.replica.handover import HandedOver, hand_over, take_in
from control.replica.merging import ReplicaMerger
from control.replica.quota import quota_of
from control.replica.receive import Receiver
from control.replica.records import (
    ChainLayer,
    CommittedRecord,
    Generation,
    LayerRecord,
    VolumeRecord,
)
from control.replica.retention import Retention
from control.replica.seeds import seed
from control.replica.server import PeerServer
from control.replica.service import ReplicaService
from control.replica.store import ReplicaStore
from control.replica.together import members_of
from control.replica.writer import check_writer, set_writer, written_together
from control.spans import Span
from control.wire.errors import ReplicaBusy, ReplicaNotFound
from control.wire.peers import Me
from dm_tables.errors import FrazilError, Precondition, Unavailable
from proto.frazil.v1 import replica_pb2

STOP_SECONDS = 10.0


TakeOver = Callable[[replica_pb2.TakeOverRequest], list[str]]
GiveUp = Callable[[Sequence[str], str, Callable[[], bool]], list[str]]


def _nobody(*_: object) -> list[str]:
    raise Unavailable("this host is only just starting", "try again")


def _default_retention(config: ReplicaSection) -> Retention:
    return Retention(config.keep_last, config.keep_hourly, config.keep_daily, config.keep_weekly)


def _made(record: GenerationRecord) -> Generation:
    frozen_at = int((record.frozen_at or 0.0) * 1e9)
    return Generation(record.number, record.uuid, record.parent_uuid, frozen_at)


class ReplicaSide:
    """Everything that other hosts' volumes need here.

    :raises ReplicaDamaged: what is kept here cannot be read.
    :raises PoolAbsent: the disk that it is kept on is not there.
    """

    def __init__(self, context: Context) -> None:
        config = context.config
        pool = JoinedPool(open_replica_pool(config), open_pool(config), SOURCE)
        check_present(context.journal, pool)
        pool.check()
        mark(context.journal, pool)
        self.store = ReplicaStore(
            config.replica_directory, pool, retention=_default_retention(config.replica)
        )
        self.merger = ReplicaMerger(
            self.store,
            config.merge.rate,
            self._merge_failed,
            self._given_up,
            lambda identity: quota_of(config.replica.allow, identity),
        )
        self._claims = Claims()
        self._devices = ReplicaDevices(self.store, config.replica_directory, context.dmsetup)
        self._context = context
        self._server: PeerServer | None = None
        self.take_over: TakeOver = _nobody
        self.give_up: GiveUp = _nobody
        self.on_commit: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Let go of devices that are gone, and go on merging."""
        self._devices.reconcile()
        self.merger.start()

    def listen(self) -> None:
        """Take calls, where the configuration says so; nothing happens if that is so already.

        :raises PlaintextRefused, TlsUnusable, CannotListen: the listener cannot be, for now.
        """
        config = self._context.config
        if self._server is not None or config.listen.address is None:
            return
        if config.tls is not None and not config.listen.plaintext:
            check_certificates(config.tls)
        me = Me(self._context.journal.host_uuid, config.host.name, VERSION)
        receiver = Receiver(self.store, self._claims, self._received)
        service = ReplicaService(
            self.store,
            receiver,
            self.merger,
            me,
            lambda: config.replica.allow,
            source=self._source,
            take_over=self.take_over,
            give_up=self.give_up,
        )
        server = PeerServer(service, config.listen.address, config.tls, config.listen.plaintext)
        server.start()
        self._server = server

    def stop(self) -> None:
        """End; what was received durably stays."""
        if self._server is not None:
            self._server.stop()
        self._claims.end_all(STOP_SECONDS)
        self.merger.stop()
        if self.merger.is_alive():
            self.merger.join(STOP_SECONDS)
        self.store.close()

    def _source(self, volume_uuid: str) -> Source | None:
        journal = self._context.journal
        for volume in journal.volumes():
            if volume.uuid == volume_uuid:
                return Source(volume.name, tuple(map(_made, journal.generations(volume.name))))
        return None

    def _received(self, name: str) -> None:
        newest = self.store.journal.newest(name)
        if newest is not None:
            number = newest.generation.number
            self._context.events.add(
                "info", name, "received", f"generation {number} is committed here"
            )
        self.on_commit()

    def _merge_failed(self, name: str, error: Exception) -> None:
        kind = error.name if isinstance(error, FrazilError) else type(error).__name__
        self._context.events.add("error", name, kind, f"merging is tried again: {error}")

    def _given_up(self, name: str, number: int) -> None:
        self._context.events.add(
            "warning",
            name,
            "point-given-up",
            f"generation {number} is not kept any longer: there is too little room here",
            generation=number,
        )

    def attach(
        self, name: str, number: int, *, writable: bool = False
    ) -> tuple[str, replica_pb2.Generation]:
        """A device of a generation, held; the newest for number 0.

        Read-only, or a head to test on whose writes are thrown away when it is detached.
        """
        path, generation = self._devices.attach(name, number, writable=writable)
        return str(path), generation.message()

    def detach(self, name: str, number: int, *, writable: bool = False) -> None:
        """Release it."""
        self._devices.detach(name, number, writable=writable)

    def set_retention(self, name: str, wanted: replica_pb2.Retention) -> None:
        """Keep these generations of a volume from now on.

        :raises ReplicaNotFound: there is none of that name. :raises TooManyPoints: as it says.
        """
        kept = Retention(wanted.last, wanted.hourly, wanted.daily, wanted.weekly)
        self.store.set_retention(name, kept)
        said = f"last {kept.last}, {kept.hourly} hourly, {kept.daily} daily, {kept.weekly} weekly"
        self._context.events.add("info", name, "retention", f"kept from now on: {said}")

    def seed(self, name: str, spans: tuple[Span, ...], identity: str) -> VolumeRecord:
        """See :func:`control.replica.seeds.seed`: content of this host, to be mirrored onto."""
        made = seed(self.store, name, spans, identity, self._context.journal.volumes())
        self._context.events.add("info", name, "seeded", f"of {made.size} bytes, for {identity}")
        return made

    def set_writer(self, name: str, identity: str) -> list[str]:
        """Let another host write a volume by itself, or all of a group, from now on.

        :return: the volumes.
        :raises ReplicaBusy: a copy comes in; it goes on.
        :raises ReplicaNotFound, ReplicaPromoted, NotAWriter, Precondition: see
            :mod:`control.replica.writer`. Nothing was changed.
        """
        names = written_together(self.store, name)
        check_writer(self._context.config.replica.allow, identity, names)
        with ExitStack() as claims:
            for member in names:
                claims.enter_context(self._claims.unwritten(member))
            changed = set_writer(self.store, names, identity)
        for volume in changed:
            told = f"written by {identity} from now on, no longer by {volume.identity}"
            self._context.events.add("info", volume.name, "writer", told)
        return names

    def check_promotable(self, name: str, *, end_copy: bool) -> None:
        """See that :meth:`hand_over` would do it; nothing is changed.

        :raises GenerationNotFound, ReplicaHeld, ReplicaBusy: as there.
        """
        self.store.chain(name)
        with self.store.keeper.quiet(name):
            self.store.check_removable(name)
        check_none_diverged(self.store, name)
        if self._claims.is_claimed(name) and not end_copy:
            raise ReplicaBusy(
                f"the source of {name} is sending at this moment",
                "switch roles there, with frazil mirror switch; or promote with --force",
            )

    def hand_over(self, name: str, *, end_copy: bool = False) -> HandedOver:
        """See :func:`control.replica.handover.hand_over`; merging it is interrupted.

        :param end_copy: end a copy that comes in, as after its source's death; else it is refused.
        :raises ReplicaBusy: a copy comes in, or did not end in time.
        """
        claim = self._claims.claim(name, lambda: None) if end_copy else self._claims.unwritten(name)
        with self.store.keeper.quiet(name), claim, self.merger.leaving_alone(name):
            given = hand_over(self.store, name)
        number = given.history[0].generation.number
        self._context.events.add("info", name, "handed-over", f"a source from generation {number}")
        return given

    def take_in(
        self,
        volume: VolumeRecord,
        layers: Sequence[LayerRecord],
        history: Sequence[CommittedRecord],
    ) -> VolumeRecord:
        """See :func:`control.replica.handover.take_in`.

        :raises ReplicaBusy: a copy comes in under this name.
        """
        with self._claims.unwritten(volume.name):
            made = take_in(self.store, volume, layers, history)
        self._context.events.add("info", volume.name, "taken-in", f"for {made.identity}")
        return made

    def keep_diverged(self, name: str, common: int, layers: Sequence[ChainLayer]) -> None:
        """See :func:`control.replica.diverged.keep`."""
        keep(self.store, name, common, layers)
        told = "what no other host has is kept as a recovery point"
        self._context.events.add("info", name, "diverged", told)

    def drop_diverged(self, name: str) -> None:
        """Give up what no other host has. :raises ReplicaHeld: a device shows it."""
        drop(self.store, name)
        self._context.events.add("warning", name, "diverged", "what no other host had is gone")

    def description(self, name: str) -> replica_pb2.ReplicaVolume:
        """Where a volume stands. :raises ReplicaNotFound: there is none of that name."""
        return describe(self.store, name, self.merger.progress(name))

    def descriptions(self) -> list[replica_pb2.ReplicaVolume]:
        """Where every volume stands, by name."""
        return [self.description(volume.name) for volume in self.store.journal.volumes()]

    def group(self, name: str) -> list[replica_pb2.ReplicaVolume]:
        """Where a group's members stand, as one moment shows them; by name.

        :raises ReplicaNotFound: nothing was committed under this name.
        :raises Precondition: see :func:`control.replica.together.members_of`.
        """
        with self.store.lock, self.store.journal.transaction():
            try:
                members = members_of(self.store, name)
            except Precondition as error:
                raise Precondition(error.what, "name its replicas one by one") from None
            if not members:
                raise ReplicaNotFound(
                    f"there is no replica or group {name!r} here", "see: frazil replica list"
                )
            return [self.description(member) for member in members]

    def remove(self, name: str) -> None:
        """Forget a replica volume and give its room back; a copy that comes in is ended.

        :raises ReplicaNotFound: there is none. :raises ReplicaHeld: something reads it.
        :raises ReplicaBusy: the copy did not end in time.
        """
        self.store.check_removable(name)
        self.store.keeper.check_unused(name)
        with self._claims.claim(name, lambda: None):
            self.store.remove(name)
        self._context.events.add("info", name, "replica-removed", "its bytes are gone")
