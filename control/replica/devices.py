"""Devices of committed generations (claim 15: the stored, complete mirrored copy).

One stack of layer devices a base, as high as the highest generation that is shown; over it one
read-only linear device for each, and a snapshot for each that is tested on. The journal names
what is shown before it is made, and forgets it after it is gone: what a crash leaves is found
again.

Layer devices are numbered by their place in the chain. It is the same in every chain of a base
that is held: while one is, no layer of it is let go of, and none is squashed.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from uuid import UUID, uuid5

from control.replica import diverged
from control.replica.bases import base_of
from control.replica.records import Chain, Generation, base_key
from control.replica.scratch import forget_scratch, hold_for_test, make_scratch, scratch_table
from control.replica.store import ReplicaStore
from control.stack import StackDevices, StackLayer
from control.wire.errors import ReplicaHeld
from dm_tables import names
from dm_tables.device import Device
from dm_tables.dmsetup import DeviceMapperMissing, Dmsetup, DmsetupMissing
from dm_tables.errors import FrazilError, Usage

log = logging.getLogger("frazil.replica")

NAMESPACE = UUID("6d3b4a52-5b0e-4a55-9f0c-0b3f4a1f6f6e")

BOTTOM = 1
"""The sequence of the layer device that is the base itself."""


class WhichGeneration(Usage):
    """Several generations are shown, and none was named."""


class ReplicaDevices:
    """Attaches and detaches generations.

    :param directory: the replica's own, by which its devices differ from another daemon's.
    """

    def __init__(self, store: ReplicaStore, directory: Path, dmsetup: Dmsetup) -> None:
        self._store = store
        self._directory = directory.absolute()
        self._dmsetup = dmsetup
        self._lock = threading.Lock()

    def attach(
        self, name: str, number: int = 0, *, writable: bool = False
    ) -> tuple[Path, Generation]:
        """A device of a generation, the newest without ``number``; it is held.

        Repeating it gives the same device.

        :param writable: a head to test on, whose writes are thrown away with it; else read-only.
        :raises DeviceMapperMissing, DmsetupMissing: the host has no device-mapper.
        :raises ReplicaNotFound, GenerationNotFound: nothing to show.
        :raises PoolFull: there is no room for what a test head writes.
        :raises DmsetupFailed, LoopFailed: it could not be made; nothing is left behind.
        """
        with self._lock:
            self._dmsetup.check()
            self._check_branch(name, number)
            there = self._attached(name, writable)
            scratch = ""
            if writable:
                chain, scratch = hold_for_test(self._store, name, number)
            else:
                chain = self._store.hold(name, number)
                self._store.journal.points.set_shown(name, chain.generation.number, True)
            try:
                return self._show(chain, scratch), chain.generation
            except FrazilError:
                if chain.generation.number not in there:
                    self._hide(chain, writable=writable)
                raise

    def _check_branch(self, name: str, number: int) -> None:
        """What diverged and what came since cannot stand on the same layers at once.

        :raises ReplicaHeld: the other of them is shown.
        """
        branch = diverged.of(self._store, name)
        if branch is None:
            return
        mine = number == branch.generation.number
        for held in self._store.journal.held(name):
            if (held.generation.number == branch.generation.number) is not mine:
                raise ReplicaHeld(
                    f"generation {held.generation.number} of {name} is shown, and with it "
                    f"{'what diverged' if mine else 'another one'} cannot be",
                    f"frazil replica unmount {name}",
                )

    def detach(self, name: str, number: int = 0, *, writable: bool = False) -> None:
        """Take a generation's device away; the only one's without ``number``.

        Nothing to do when it is not there.

        :param writable: its test head, and all that was written to it; else the read-only one.
        :raises WhichGeneration: several are shown. :raises DeviceBusy: it is in use.
        :raises ReplicaNotFound: no such volume.
        """
        with self._lock:
            self._store.volume(name)
            shown = sorted(self._attached(name, writable))
            if not number and len(shown) > 1:
                numbers = ", ".join(map(str, shown))
                raise WhichGeneration(f"generations {numbers} of {name} are shown", "name one")
            for chain in self._store.journal.held(name):
                here = chain.generation.number
                if here in shown and number in (0, here):
                    self._hide(chain, writable=writable)

    def _attached(self, name: str, writable: bool) -> set[int]:
        """The generations that are shown in this way."""
        points = self._store.journal.points
        return set(points.scratches(name)) if writable else points.shown(name)

    def reconcile(self) -> None:
        """After a start: let go of what is held for devices that are not there any more.

        Test heads are thrown away, but for those that are in use.
        """
        with self._lock:
            for volume in self._store.journal.volumes():
                for chain in self._store.journal.held(volume.name):
                    try:
                        self._reconcile(chain)
                    except (DeviceMapperMissing, DmsetupMissing):
                        # Without device-mapper there are no devices.
                        self._let_go(chain)
                    except FrazilError as error:
                        log.warning("%s: %s", volume.name, error)

    def _reconcile(self, chain: Chain) -> None:
        number = chain.generation.number
        if number in self._attached(chain.volume, False) and not self._device(chain).exists():
            self._hide(chain, writable=False)
        if number in self._attached(chain.volume, True):
            self._hide(chain, writable=True)

    def _show(self, chain: Chain, scratch: str) -> Path:
        self._check_size(chain)
        stack = self._stack(chain)
        layers = _layers(chain)
        stack.assemble(BOTTOM, layers, head=False, scrub=False)
        top = stack.layer(BOTTOM + len(layers))
        device = self._device(chain, writable=bool(scratch))
        if not scratch:
            device.ensure(stack.linear_over(top), readonly=True)
        elif not device.exists():
            make_scratch(self._store, chain, scratch)
            device.ensure(scratch_table(stack, top, scratch))
        return device.path

    def _check_size(self, chain: Chain) -> None:
        """:raises ReplicaHeld: the stack is there, and as large as it was at another instant."""
        for other in self._store.journal.held(chain.volume):
            if base_key(other) == base_key(chain) and other.size != chain.size:
                raise ReplicaHeld(
                    f"generation {other.generation.number} of {chain.volume} is shown, with "
                    f"{other.size} bytes; generation {chain.generation.number} has {chain.size}",
                    "unmount the one before showing the other",
                )

    def _hide(self, chain: Chain, *, writable: bool) -> None:
        """Remove a device; with the generation's last one, those below it that no other one
        stands on, and let go."""
        name, number = chain.volume, chain.generation.number
        self._device(chain, writable=writable).remove()
        if number in self._attached(name, not writable):
            if writable:
                forget_scratch(self._store, name, number)
            else:
                self._store.journal.points.set_shown(name, number, False)
            return
        others = [
            len(other.layers)
            for other in self._store.journal.held(name)
            if base_key(other) == base_key(chain) and other.generation.number != number
        ]
        stack = self._stack(chain)
        if others:
            self._lower(stack, _layers(chain)[max(others) :])
        else:
            stack.disassemble(BOTTOM, _layers(chain))
        self._let_go(chain)

    def _let_go(self, chain: Chain) -> None:
        """Nothing shows the generation any more."""
        name, number = chain.volume, chain.generation.number
        forget_scratch(self._store, name, number)
        self._store.release(name, number)

    def _lower(self, stack: StackDevices, layers: list[StackLayer]) -> None:
        for layer in reversed(layers):
            stack.layer(layer.sequence).remove()
            self._store.pool.open(layer.object_name).detach()

    def _stack(self, chain: Chain) -> StackDevices:
        base = base_of(self._store.pool, chain)
        identity = self._identity(chain)
        stem = f"replica.{identity.hex}"
        return StackDevices(stem, str(identity), base, self._store.pool, self._dmsetup)

    def _device(self, chain: Chain, *, writable: bool = False) -> Device:
        number, identity = chain.generation.number, self._identity(chain)
        if writable:
            name, uuid = names.test_name(chain.volume, number), names.test_uuid(identity, number)
        else:
            name, uuid = names.held_name(chain.volume, number), names.held_uuid(identity, number)
        return Device(self._dmsetup, name, uuid)

    def _identity(self, chain: Chain) -> UUID:
        """One for each base: a whole copy makes a new one, with a stack of its own."""
        return uuid5(NAMESPACE, f"{self._directory}/{base_key(chain)}")


def _layers(chain: Chain) -> list[StackLayer]:
    return [
        StackLayer(BOTTOM + index, layer.object_name, layer.chunk)
        for index, layer in enumerate(chain.layers, 1)
    ]
