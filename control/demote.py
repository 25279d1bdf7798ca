"""Demote: a source becomes a replica, so that another host's writes can come back to it.

The head goes; the layers up to the newest generation that the host has which will write it become
the replica's, over the volume's own spans. What lies above that generation that host lacks: it is
kept as a recovery point, and the volume builds on the common generation. So nothing is copied to go
back but what the other side changed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import msgspec

from control.authority.claims import source_claim
from control.authority.ownership import Claim
from control.common import common_generations
from control.group import Group
from control.host import Host
from control.mirror import MirrorWorker
from control.pool.joined import REPLICA, SOURCE, handed
from control.records import GenerationRecord, LayerRecord, LayerState, VolumeState
from control.remembered import remember
from control.replica import records as there
from control.replica.handover import check_free
from control.replica.side import ReplicaSide
from control.turning import DEMOTING as NOTE
from control.turning import Turning, begun, check_not_promoting, unfinished_demote
from control.volume import Volume
from dm_tables.errors import FrazilError, Precondition, Unavailable, Usage
from dm_tables.status import Usage as Room
from dm_tables.units import Bytes, bytes_to_sectors


@dataclass(frozen=True, slots=True)
class Diverged:
    """What a volume has above the common generation: layers, and bytes in them."""

    volume: str
    layers: tuple[LayerRecord, ...]
    size: int


class Demoter:
    """Makes replicas of this host's sources."""

    def __init__(self, host: Host, replicas: ReplicaSide, turning: Turning | None = None) -> None:
        self._host = host
        self._replicas = replicas
        self._journal = host.context.journal
        self._turning = turning or Turning()

    def resume(self) -> None:
        """Go on with what a crash or a failure cut short: every step can be repeated."""
        left = begun(self._journal, NOTE)
        if left:
            self._go_on(left)

    def demote(
        self,
        name: str,
        identity: str,
        *,
        force: bool,
        mirror: str = "",
        wanted: Callable[[], bool] = lambda: True,
    ) -> list[str]:
        """Make a replica of a volume by itself, or of all volumes of a group.

        One that was begun and has not ended goes on where it stopped.

        :param identity: who will write the replica: a certificate's name.
        :param force: also when something is here that the other host does not have.
        :param mirror: leads to that host; empty: the one that fits ``identity``.
        :param wanted: whether who asked still waits for it. It is asked last: merges, which may
            take long, are waited for.
        :return: the names of the replica volumes.
        :raises Precondition: a head is in use, something would be lost, or another change of
            roles has not ended.
        :raises VolumeNameTaken: a replica here has the name.
        :raises NoCommonGeneration: only a copy of what differs by digest can help.
        :raises Unavailable: another change of roles is under way; or it is not wanted any more,
            and nothing was changed.
        """
        if not identity:
            raise Usage("who will write the replica is not said", "--identity NAME")
        with self._turning.alone(f"the demote of {name}"):
            left = begun(self._journal, NOTE)
            if left and (
                name not in (left["mirrored"], *left["volumes"]) or identity != left["by"]
            ):
                raise unfinished_demote(left)
            left = left or self._prepare(name, identity, mirror, force=force, wanted=wanted)
            self._go_on(left)
            return list(left["names"].values())

    def _prepare(
        self, name: str, identity: str, mirror: str, *, force: bool, wanted: Callable[[], bool]
    ) -> dict[str, Any]:
        """Write down what is to be done. :return: that."""
        group = self._host.roster.conductor(name).group
        check_not_promoting(self._journal, [volume.name for volume in group.volumes])
        for volume in group.volumes:
            volume.check_idle()
        every = self._host.roster.workers_in(group.name)
        leading = [worker for worker in every if mirror in ("", worker.mirror)]
        with ExitStack() as stack:
            # What both sides have must not become more, nor be merged over, from here on.
            for worker in every:
                stack.enter_context(worker.quiet())
            for volume in group.volumes:
                stack.enter_context(volume.merging)
                with volume.tables:
                    volume.settle_left()
            common, worker = common_generations(group, leading, identity)
            for volume in group.volumes:
                volume.check_idle()
            if not wanted():
                raise Unavailable(f"nobody waits for the demote of {name} any more", "ask again")
            self._decide(group, worker, common, identity, force=force)
            for worker in every:
                worker.stop()
        return begun(self._journal, NOTE)

    def _decide(
        self,
        group: Group,
        worker: MirrorWorker,
        common: dict[str, GenerationRecord],
        identity: str,
        *,
        force: bool,
    ) -> None:
        """Write down what is to be done; nothing is, if something would be lost unsaid."""
        lost = [self._above(volume, common[volume.name]) for volume in group.volumes]
        if any(one.size for one in lost) and not force:
            raise Precondition(
                f"{sum(one.size for one in lost)} bytes of {group.name} were written since "
                f"generation {common[lost[0].volume].number}, and {worker.record.peer or identity} "
                "does not have them",
                "with --force they are kept here as a recovery point, and given up",
            )
        # The other side will send it back under the name that it calls it by.
        names = {volume.name: worker.record.replica_of(volume.name) for volume in group.volumes}
        for volume in group.volumes:
            check_free(self._replicas.store, names[volume.name], volume.uuid)
        with self._journal.transaction():
            self._write_down(group, names, identity, common)
            uuids = [volume.uuid for volume in group.volumes]
            remember(self._journal, uuids, group.record, worker.record)
            for volume in group.volumes:
                self._journal.keep(volume.uuid, [common[volume.name].layer])

    def _go_on(self, left: dict[str, Any]) -> None:
        """Do what is written down, from its begin: every step can be repeated."""
        try:
            self._turn_all(left)
        except FrazilError as error:
            again = unfinished_demote(left).hint
            error.hint = f"{error.hint}; {again}" if error.hint else again
            raise

    def _turn_all(self, left: dict[str, Any]) -> None:
        group = left["group"]
        for worker in self._host.roster.workers_in(left["mirrored"]):
            self._host.roster.remove_mirror(worker.mirror)
        for name, number in left["volumes"].items():
            if self._journal.volume(name) is not None:
                volume, there = self._host.volume(name), left["names"][name]
                self._turn(volume, there, left["by"], number, group)
        if group:
            self._host.roster.forget_group(group)
        self._host.context.authority.released(msgspec.convert(left["claim"], Claim))
        self._journal.set_note(NOTE, "")

    def _write_down(
        self,
        group: Group,
        names: dict[str, str],
        identity: str,
        common: dict[str, GenerationRecord],
    ) -> None:
        note = {
            "mirrored": group.name,
            "group": "" if group.record.implicit else group.name,
            "volumes": {volume.name: common[volume.name].number for volume in group.volumes},
            "names": names,
            "by": identity,
            "claim": msgspec.to_builtins(source_claim(self._journal, group.name)),
        }
        self._journal.set_note(NOTE, json.dumps(note))

    def _above(self, volume: Volume, common: GenerationRecord) -> Diverged:
        above = tuple(layer for layer in volume.layers if layer.sequence > common.layer)
        return Diverged(volume.name, above, sum(_written(volume, layer) for layer in above))

    # Turning.

    def _turn(self, volume: Volume, name: str, identity: str, number: int, group: str) -> None:
        """One volume; again after a crash."""
        with volume.merging, volume.tables:
            volume.check_idle()
            common = next(
                made for made in self._journal.generations(volume.name) if made.number == number
            )
            volume.stack.head.remove()
            self._journal.set_volume_state(volume.name, VolumeState.REMOVING)
            volume.take_down()
            above = [layer for layer in volume.layers if layer.sequence > common.layer]
            replica, layers = as_replica(volume, name, identity, common)
            history = history_of(volume, common, group)
            self._replicas.take_in(replica, layers, history)
            size = sum(_stored(volume, layer) for layer in above)
            if size:
                self._replicas.keep_diverged(name, common.number, kept_of(above))
            else:
                volume.delete_layers(above)
            self._journal.remove_volume(volume.name)
            self._host.forget_volume(volume)
        told = f"a replica at generation {number}; {size} bytes are kept that no other host has"
        self._host.context.events.add("info", name, "demoted", told)


def _written(volume: Volume, layer: LayerRecord) -> int:
    """Bytes of chunks in a layer, as the kernel has it."""
    status = volume.layer_status(layer)
    if not isinstance(status, Room):
        return layer.chunk
    return status.exceptions(bytes_to_sectors(layer.chunk)) * layer.chunk


def _stored(volume: Volume, layer: LayerRecord) -> int:
    """Bytes of chunks in a layer, by its store: its device may be gone.

    If it held none, its store may be gone too: a demote was cut short after it.
    """
    there = layer.object_name in volume.context.pool.list()
    if layer.state is LayerState.PREPARED or not there:
        return 0
    return volume.frozen_chunks(layer) * layer.chunk


def as_replica(
    volume: Volume, name: str, identity: str, common: GenerationRecord
) -> tuple[there.VolumeRecord, list[there.LayerRecord]]:
    """A source's spans and its layers up to ``common``, as the replica's journal has them."""
    record = volume.record
    leads_to = {made.layer: made.number for made in reversed(volume.images())}
    layers = [
        there.LayerRecord(
            name,
            leads_to.get(layer.sequence, layer.sequence + 1),
            handed(layer.object_name, SOURCE, REPLICA),
            layer.chunk,
            volume.frozen_chunks(layer),
        )
        for layer in volume.layers
        if layer.sequence <= common.layer
    ]
    made = there.VolumeRecord(
        name,
        volume.uuid,
        identity,
        record.size,
        base_number=leads_to.get(record.bottom, 0),
        base_spans=record.spans,
    )
    return made, layers


def history_of(volume: Volume, common: GenerationRecord, group: str) -> list[there.CommittedRecord]:
    """The generations that both sides have.

    :param group: what its volumes are promoted by again, together; empty for one by itself.
    """
    journal = volume.context.journal
    return [
        there.CommittedRecord(
            volume.name,
            there.Generation(
                made.number, made.uuid, made.parent_uuid, int((made.frozen_at or 0.0) * 1e9)
            ),
            0,
            Bytes(0),
            b"",
            int((made.frozen_at or 0.0) * 1e9),
            volume.record.size,
            group,
        )
        for made in journal.generations(volume.name)
        if made.frozen_at is not None and made.number <= common.number
    ]


def kept_of(above: Sequence[LayerRecord]) -> list[there.ChainLayer]:
    """The layers that only this host has, lowest first, as part of an image."""
    return [
        there.ChainLayer(handed(layer.object_name, SOURCE, REPLICA), layer.chunk) for layer in above
    ]
