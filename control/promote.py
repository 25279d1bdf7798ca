"""Promote: a replica becomes a source of this host, with a writable head, within seconds.

The replica's base and committed layers become the stack of a source volume with the same UUID,
as they are: nothing is copied, and nothing waits for a merge, so the volume's size does not matter
(claim 15 says of the copy only that it is stored). A live layer on top takes the head's writes.
What is frozen from then on builds on the newest generation that was committed here, so the old
source, once demoted, gets only what changed.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from control.authority.claims import PROMOTING as NOTE
from control.authority.claims import replica_claim
from control.chunk_size import DEFAULT_CHUNK
from control.host import Host
from control.onward import bringing_on, standing_here
from control.pool.joined import REPLICA, SOURCE, handed
from control.records import (
    GenerationRecord,
    GroupRecord,
    LayerRecord,
    LayerState,
    MirrorRecord,
    MirrorState,
    Origin,
    Promotion,
    StandingRecord,
    VolumeRecord,
    VolumeState,
)
from control.replica.handover import HandedOver
from control.replica.records import ROLE_PROMOTED, CommittedRecord
from control.replica.side import ReplicaSide
from control.volume import Volume
from dm_tables.errors import Exists, Precondition
from dm_tables.units import Bytes

BACK = ".back"
"""The ending of the mirror that leads back to the old source."""

Report = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class WayBack:
    """Where the old source listens as a replica; empty: not known yet."""

    peer: str = ""
    plaintext: bool = False


class Promoter:
    """Makes sources of this host's replicas."""

    def __init__(self, host: Host, replicas: ReplicaSide) -> None:
        self._host = host
        self._replicas = replicas
        self._journal = host.context.journal

    def resume(self) -> None:
        """Go on with what a crash cut short: every step can be repeated."""
        note = self._journal.note(NOTE)
        if note:
            left = json.loads(note)
            self._own(left["names"], left["group"], force=left.get("force", False))
            self._take(left["names"], left["group"], WayBack(*left["back"]), lambda *_: None)

    def members(self, name: str) -> tuple[list[str], str]:
        """The replica volumes that a name stands for, and their group; empty for one by itself.

        :raises ReplicaNotFound: neither a replica volume nor a group that was committed here.
        """
        store = self._replicas.store
        of_group = [
            volume.name
            for volume in store.journal.volumes()
            if (newest := store.journal.newest(volume.name)) is not None and newest.group == name
        ]
        if of_group:
            return of_group, name
        volume = store.volume(name)
        newest = store.journal.newest(volume.name)
        group = newest.group if newest is not None else ""
        if group:
            others = store.journal.members(group, newest.generation.uuid) if newest else []
            if len(others) > 1:
                raise Precondition(
                    f"{name} was committed together with {', '.join(set(others) - {name})}",
                    f"promote all of them: frazil replica promote {group}",
                )
        return [name], ""

    def promote(
        self, name: str, *, force: bool = False, back: WayBack | None = None, progress: Report
    ) -> list[Path]:
        """Make a source of a replica volume, or of all volumes of a group.

        :param force: end a copy that comes in at this moment, although its source is alive.
        :return: the heads.
        :raises GenerationNotFound: nothing is committed. :raises ReplicaHeld: it is mounted.
        :raises ReplicaBusy: its source is sending. :raises Exists: a volume has the name.
        :raises OwnedElsewhere, NotTheStamped, AuthorityUnavailable: without ``force``, where there
            is an authority.
        """
        names, group = self.check(name, force=force)
        back = back or WayBack()
        self._write_note(names, group, back, force=force)
        try:
            self._own(names, group, force=force)
            for member in names:
                self._replicas.hand_over(member, end_copy=force)
        except BaseException:
            if not any(self._is_promoted(member) for member in names):
                self._journal.set_note(NOTE, "")
            raise
        return self._take(names, group, back, progress)

    def check(self, name: str, *, force: bool) -> tuple[list[str], str]:
        """See that :meth:`promote` would do it; nothing is changed. :return: the members."""
        names, group = self.members(name)
        self._check(names, group)
        for member in names:
            self._replicas.check_promotable(member, end_copy=force)
        return names, group

    def _check(self, names: Sequence[str], group: str) -> None:
        self._host.context.dmsetup.version()
        for name in (*names, *([group] if group else [])):
            if self._journal.volume(name) is not None or self._journal.group(name) is not None:
                raise Exists(
                    f"there is already a volume or group {name} on this host",
                    "remove it first, or demote it",
                )
        store = self._replicas.store
        newest = {
            name: found.generation.uuid if (found := store.journal.newest(name)) else ""
            for name in names
        }
        if len(set(newest.values())) > 1:
            raise Precondition(
                f"the volumes of {group} are not at one generation", "see frazil replica list"
            )

    def _write_note(self, names: Sequence[str], group: str, back: WayBack, *, force: bool) -> None:
        note = {
            "names": names,
            "group": group,
            "back": [back.peer, back.plaintext],
            "uuids": [self._replicas.store.volume(name).volume_uuid for name in names],
            "force": force,
        }
        self._journal.set_note(NOTE, json.dumps(note))

    def _own(self, names: Sequence[str], group: str, *, force: bool) -> None:
        claim = replica_claim(self._replicas.store, names, group)
        self._host.context.authority.promoting(claim, force=force)

    def _is_promoted(self, name: str) -> bool:
        return self._replicas.store.volume(name).role == ROLE_PROMOTED

    def _take(
        self, names: Sequence[str], group: str, back: WayBack, progress: Report
    ) -> list[Path]:
        heads, taken = [], []
        for done, name in enumerate(names):
            progress(done, len(names))
            given = self._replicas.hand_over(name, end_copy=True)
            volume = self._host.adopt_stack(name, functools.partial(self._write_down, given))
            heads.append(volume.stack.head.link)
            taken.append(given)
        if group and self._journal.group(group) is None:
            self._host.roster.create_group(GroupRecord(group, implicit=False), names)
        self._bring_on(taken, group or names[0])
        for given in taken:
            self._journal.keep(given.volume.volume_uuid, ())
        self._lead_back(names, group, back)
        self._journal.set_note(NOTE, "")
        progress(len(names), len(names))
        return heads

    # What the journal gets.

    def _write_down(self, given: HandedOver) -> VolumeRecord:
        """The volume, its layers and its generations; the journal has them all or none."""
        volume = given.volume
        layers, images = stack_of(given)
        newest = given.history[0].generation.number
        record = VolumeRecord(
            volume.name,
            volume.volume_uuid,
            given.base,
            volume.size,
            Bytes(0),
            VolumeState.CREATING,
            bottom=volume.base_number,
        )
        self._journal.add_volume(record)
        for layer in layers:
            self._journal.save_layer(layer)
        for committed in reversed(given.history):
            self._journal.save_generation(generation_of(volume.name, committed, images))
        live = LayerRecord(
            volume.name,
            newest + 1,
            f"{volume.name}.{newest + 1}",
            DEFAULT_CHUNK,
            LayerState.LIVE,
            volume.size,
        )
        self._journal.save_layer(live)
        # What further hosts lack of it is not known to be theirs before their mirrors are.
        self._journal.keep(record.uuid, (record.bottom, live.sequence))
        since = self._replicas.store.volume(volume.name).role_since
        self._journal.note_promotion(record.uuid, Promotion(newest, since))
        Volume(record, self._host.context).allocate(live)
        return record

    def _bring_on(self, taken: Sequence[HandedOver], group: str) -> None:
        """Mirrors that brought the replicas on to further hosts go on as the group's own."""
        for mirror in bringing_on(self._journal.mirrors(), taken):
            known = {one.volume: one for one in self._journal.standings(mirror=mirror.name)}
            with self._journal.transaction():
                for given in taken:
                    standing = known.pop(given.volume.name, None)
                    if standing is not None:
                        layers = self._journal.layers(given.volume.name)
                        there = {layer.sequence for layer in layers}
                        self._journal.save_standing(standing_here(standing, given, there))
                for left in known:
                    self._journal.remove_standing(mirror.name, left)
                self._journal.change_mirror(mirror.name, origin=Origin.GROUP, group_name=group)
            self._host.roster.begin_anew(mirror.name)

    def _lead_back(self, names: Sequence[str], group: str, back: WayBack) -> None:
        """A mirror to the old source, which has the newest generation too: no full copy."""
        name = f"{group or names[0]}{BACK}"
        if self._journal.mirror(name) is not None:
            return
        state = MirrorState.RUNNING if back.peer else MirrorState.STOPPED
        record = MirrorRecord(
            name,
            group or names[0],
            back.peer,
            "{volume}",
            state,
            0,
            0,
            False,
            back.plaintext,
            False,
        )
        with self._journal.transaction():
            self._journal.save_mirror(record)
            for member in names:
                newest = self._journal.generations(member)[0]
                self._journal.save_standing(
                    StandingRecord(
                        name,
                        member,
                        newest.uuid,
                        newest.number,
                        newest.layer,
                        newest.frozen_at or 0.0,
                    )
                )
        self._host.roster.take_up(record)


def stack_of(given: HandedOver) -> tuple[list[LayerRecord], dict[int, int]]:
    """A replica's layers as a source has them, and which layer device shows which generation.

    A layer's sequence is one above the generation that it builds on; the bottom's is the
    generation of the base.
    """
    name, sizes = given.volume.name, {}
    for committed in given.history:
        sizes[committed.generation.number] = committed.size
    numbers = [given.volume.base_number, *(layer.number for layer in given.layers)]
    layers, images = [], {}
    if numbers[0] in given.images:
        images[numbers[0]] = given.volume.base_number
    for (below, number), layer in zip(pairwise(numbers), given.layers, strict=True):
        layers.append(
            LayerRecord(
                name,
                below + 1,
                handed(layer.object_name, REPLICA, SOURCE),
                layer.chunk,
                LayerState.FROZEN,
                sizes.get(number) or given.volume.size,
            )
        )
        images[number] = below + 1
    return layers, images


def generation_of(
    volume: str, committed: CommittedRecord, images: dict[int, int]
) -> GenerationRecord:
    """A committed generation as a source has it; without an image it is history only."""
    made = committed.generation
    return GenerationRecord(
        volume,
        made.number,
        made.uuid,
        made.parent_uuid,
        made.frozen_at / 1e9,
        images.get(made.number, -1),
    )
