"""Read-only devices of committed generations (claim 15: the stored, complete mirrored copy).

One stack of layer devices a base, as high as the highest generation that is shown; over it one
read-only linear device for each. The journal names what is shown before it is made, and forgets
it after it is gone: what a crash leaves is found again.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from uuid import UUID, uuid5

from control.replica.bases import base_of
from control.replica.records import Chain, Generation, base_key
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

    def attach(self, name: str, number: int = 0) -> tuple[Path, Generation]:
        """A read-only device of a generation, the newest without ``number``; it is held.

        Repeating it gives the same device.

        :raises DeviceMapperMissing, DmsetupMissing: the host has no device-mapper.
        :raises ReplicaNotFound, GenerationNotFound: nothing to show.
        :raises DmsetupFailed, LoopFailed: it could not be made; nothing is left behind.
        """
        with self._lock:
            self._dmsetup.version()
            held = {chain.generation.number for chain in self._store.journal.held(name)}
            chain = self._store.hold(name, number)
            try:
                return self._show(chain), chain.generation
            except FrazilError:
                if chain.generation.number not in held:
                    self._hide(chain)
                raise

    def detach(self, name: str, number: int = 0) -> None:
        """Take a generation's device away; the only one's without ``number``.

        Nothing to do when it is not there.

        :raises WhichGeneration: several are shown. :raises DeviceBusy: it is in use.
        :raises ReplicaNotFound: no such volume.
        """
        with self._lock:
            self._store.volume(name)
            shown = self._store.journal.held(name)
            if not number and len(shown) > 1:
                numbers = ", ".join(str(chain.generation.number) for chain in shown)
                raise WhichGeneration(f"generations {numbers} of {name} are shown", "name one")
            for chain in shown:
                if number in (0, chain.generation.number):
                    self._hide(chain)

    def reconcile(self) -> None:
        """After a start: let go of what is held for devices that are not there any more."""
        with self._lock:
            for volume in self._store.journal.volumes():
                for chain in self._store.journal.held(volume.name):
                    try:
                        if not self._device(chain).exists():
                            self._hide(chain)
                    except (DeviceMapperMissing, DmsetupMissing):
                        # Without device-mapper there are no devices.
                        self._store.release(volume.name, chain.generation.number)
                    except FrazilError as error:
                        log.warning("%s: %s", volume.name, error)

    def _show(self, chain: Chain) -> Path:
        self._check_size(chain)
        stack = self._stack(chain)
        layers = _layers(chain)
        stack.assemble(BOTTOM, layers, head=False, scrub=False)
        top = stack.layer(BOTTOM + len(layers))
        device = self._device(chain)
        device.ensure(stack.linear_over(top), readonly=True)
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

    def _hide(self, chain: Chain) -> None:
        """Remove the device, and those below it that no other one stands on; then let go."""
        self._device(chain).remove()
        others = [
            len(other.layers)
            for other in self._store.journal.held(chain.volume)
            if base_key(other) == base_key(chain)
            and other.generation.number != chain.generation.number
        ]
        stack = self._stack(chain)
        if others:
            self._lower(stack, _layers(chain)[max(others) :])
        else:
            stack.disassemble(BOTTOM, _layers(chain))
        self._store.release(chain.volume, chain.generation.number)

    def _lower(self, stack: StackDevices, layers: list[StackLayer]) -> None:
        for layer in reversed(layers):
            stack.layer(layer.sequence).remove()
            self._store.pool.open(layer.object_name).detach()

    def _stack(self, chain: Chain) -> StackDevices:
        base = base_of(self._store.pool, chain)
        identity = self._identity(chain)
        stem = f"replica.{identity.hex}"
        return StackDevices(stem, str(identity), base, self._store.pool, self._dmsetup)

    def _device(self, chain: Chain) -> Device:
        number = chain.generation.number
        return Device(
            self._dmsetup,
            names.held_name(chain.volume, number),
            names.held_uuid(self._identity(chain), number),
        )

    def _identity(self, chain: Chain) -> UUID:
        """One for each base: a whole copy makes a new one, with a stack of its own."""
        return uuid5(NAMESPACE, f"{self._directory}/{base_key(chain)}")


def _layers(chain: Chain) -> list[StackLayer]:
    return [
        StackLayer(BOTTOM + index, layer.object_name, layer.chunk)
        for index, layer in enumerate(chain.layers, 1)
    ]
