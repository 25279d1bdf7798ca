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
from typing import Any

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
from control.remembered import group_as_it_was, mirror_as_it_was
from control.replica.handover import HandedOver
from control.replica.records import ROLE_PROMOTED, CommittedRecord
from control.replica.side import ReplicaSide
from control.replica.together import called, members_of, together
from control.turning import Turning, begun, check_not_demoting, unfinished_promote
from control.volume import Volume, room_of_layer
from dm_tables.errors import Exists, FrazilError, Precondition
from dm_tables.names import VOLUME_NAME_LIMIT
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

    def __init__(self, host: Host, replicas: ReplicaSide, turning: Turning | None = None) -> None:
        self._host = host
        self._replicas = replicas
        self._journal = host.context.journal
        self._turning = turning or Turning()

    def resume(self) -> None:
        """Go on with what a crash or a failure cut short: every step can be repeated."""
        left = self._left()
        if left:
            self._finish(left, force=left["force"], progress=lambda *_: None)

    def _left(self) -> dict[str, Any]:
        """What was begun and has not ended, of the replicas that are still there."""
        left = begun(self._journal, NOTE)
        if not left:
            return {}
        known = self._replicas.store.journal
        names = [name for name in left["names"] if known.volume(name) is not None]
        if not names:
            self._journal.set_note(NOTE, "")
            return {}
        return {**left, "names": names, "force": left.get("force", False)}

    def members(self, name: str) -> tuple[list[str], str]:
        """The replica volumes that a name stands for, and their group; empty for one by itself.

        :raises ReplicaNotFound: neither a replica volume nor a group that was committed here.
        :raises Precondition: a group that is not the only one of its name, or a part of one.
        """
        store = self._replicas.store
        of_group = members_of(store, name)
        if of_group:
            return of_group, name
        volume = store.volume(name)
        names = together(store, volume.name)
        if len(names) == 1:
            return names, ""
        group = self.called(name)
        if group != name:
            raise Precondition(
                f"{name} was committed together with {', '.join(set(names) - {name})}",
                f"promote all of them: frazil replica promote {group}",
            )
        newest = store.journal.newest(name)
        assert newest is not None
        return names, self._free(newest.group)

    def called(self, volume: str) -> str:
        """By which name to promote a volume and those that go together with it."""
        name = called(self._replicas.store, together(self._replicas.store, volume))
        return name if name and self._is_free(name) else volume

    def _free(self, group: str) -> str:
        """The group's name, or one like it where another group or a volume has it here."""
        short = group[: VOLUME_NAME_LIMIT - 3]
        names = (group, *(f"{short}.{number}" for number in range(2, 100)))
        return next(name for name in names if self._is_free(name))

    def _is_free(self, name: str) -> bool:
        return self._journal.volume(name) is None and self._journal.group(name) is None

    def promote(
        self, name: str, *, force: bool = False, back: WayBack | None = None, progress: Report
    ) -> list[Path]:
        """Make a source of a replica volume, or of all volumes of a group.

        One that was begun and has not ended goes on where it stopped.

        :param force: end a copy that comes in at this moment, although its source is alive.
        :return: the heads.
        :raises GenerationNotFound: nothing is committed. :raises ReplicaHeld: it is mounted.
        :raises ReplicaBusy: its source is sending. :raises Exists: a volume has the name.
        :raises PoolFull: there is no room for what is written from now on.
        :raises OwnedElsewhere, NotTheStamped, AuthorityUnavailable: without ``force``, where there
            is an authority.
        :raises Precondition: it is a replica of this host's own.
        :raises Precondition, Unavailable: another change of roles is under way, or has not ended.
        """
        with self._turning.alone(f"the promote of {name}"):
            left = self._left()
            if left and name not in (left["group"], *left["names"]):
                raise unfinished_promote(left)
            if not left:
                names, group = self.check(name, force=force)
                left = self._write_note(names, group, back or WayBack(), force=force)
            try:
                return self._finish(left, force=force or left["force"], progress=progress)
            except BaseException:
                if not any(self._is_promoted(member) for member in left["names"]):
                    self._journal.set_note(NOTE, "")
                raise

    def _finish(self, left: dict[str, Any], *, force: bool, progress: Report) -> list[Path]:
        """Do what is written down, from its begin: every step can be repeated."""
        names, group = left["names"], left["group"]
        self._own(names, group, force=force)
        for member in names:
            self._replicas.hand_over(member, end_copy=force)
        try:
            return self._take(names, group, WayBack(*left["back"]), progress)
        except FrazilError as error:
            again = f"frazil replica promote {group or names[0]} goes on where it stopped"
            error.hint = f"{error.hint}; then {again}" if error.hint else again
            raise

    def check(self, name: str, *, force: bool) -> tuple[list[str], str]:
        """See that :meth:`promote` would do it; nothing is changed. :return: the members."""
        left = self._left()
        if left:
            raise unfinished_promote(left)
        self._host.context.dmsetup.version()
        self._check_free(name)
        names, group = self.members(name)
        for member in names:
            self._check_free(member)
            self._check_elsewhere(member)
        check_not_demoting(self._journal, names)
        for member in names:
            self._replicas.check_promotable(member, end_copy=force)
        self._check_room(names)
        return names, group

    def _check_free(self, name: str) -> None:
        if not self._is_free(name):
            raise Exists(
                f"there is already a volume or group {name} on this host",
                "remove it first, or demote it; another group of that name is promoted by the "
                "name of one of its volumes",
            )

    def _check_elsewhere(self, name: str) -> None:
        uuid = self._replicas.store.volume(name).volume_uuid
        own = next((one.name for one in self._journal.volumes() if one.uuid == uuid), "")
        if own:
            raise Precondition(
                f"{name} is a replica of {own}, a volume of this very host",
                f"frazil replica test {name} gives a head to write; to have it in the place of "
                f"{own}, remove that one first: frazil volume remove {own}",
            )

    def _check_room(self, names: Sequence[str]) -> None:
        """:raises PoolFull: there is no room for the live layers."""
        context = self._host.context
        free = context.pool.free()
        for name in names:
            volume = self._replicas.store.volume(name)
            size = room_of_layer(context, volume.volume_uuid, volume.size, DEFAULT_CHUNK, free)
            free = Bytes(free - size)

    def _write_note(
        self, names: Sequence[str], group: str, back: WayBack, *, force: bool
    ) -> dict[str, Any]:
        note = {
            "names": names,
            "group": group,
            "back": [back.peer, back.plaintext],
            "uuids": [self._replicas.store.volume(name).volume_uuid for name in names],
            "force": force,
        }
        self._journal.set_note(NOTE, json.dumps(note))
        return note

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
        uuids = [given.volume.volume_uuid for given in taken]
        led = self._journal.group(group or names[0])
        assert led is not None
        # Unchecked: a program for hooks that is gone fails freezes, and no promote.
        self._journal.save_group(group_as_it_was(self._journal, uuids, led))
        self._bring_on(taken, group or names[0])
        for given in taken:
            self._journal.keep(given.volume.volume_uuid, ())
        self._lead_back(names, group, back, uuids)
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
        self._journal.note_promotion(record.uuid, Promotion(newest, since, given.volume.identity))
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

    def _lead_back(
        self, names: Sequence[str], group: str, back: WayBack, uuids: Sequence[str]
    ) -> None:
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
        record = mirror_as_it_was(self._journal, uuids, record)
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
