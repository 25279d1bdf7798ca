"""A replica in this process and a source's images as files, to be compared."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from control.blocks import BLOCK, BlockSet
from control.config import Config
from control.records import GenerationRecord, MirrorRecord, MirrorState
from control.replica.server import PeerServer
from control.store.direct import DirectFile
from control.verify import Verification, verify_generation
from control.verify_position import KeptTexts
from control.wire.deltas import ImageDelta
from dm_tables.units import KIB, MIB, Bytes
from tests.replica_tools import Replica, generation, messages, say, whole

CHUNK = 64 * KIB
SIZE = 5 * MIB + 6 * KIB
"""The last block is partial in every size."""


class Ends:
    """A replica in this process, and what a source has of the generations as files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "replica").mkdir()
        self.replica = Replica(directory / "replica")
        self.peer = f"unix:{directory}/peer"
        self.kept = KeptTexts(directory / "kept")
        self.cancel = threading.Event()
        self.seen: list[int] = []

    @contextmanager
    def serving(self) -> Iterator[None]:
        server = PeerServer(self.replica.service, self.peer, plaintext=True)
        server.start()
        try:
            yield
        finally:
            server.stop(0)
            self.replica.store.close()

    def image(self, number: int) -> Path:
        return self.directory / f"image.{number}"

    def record(self, number: int) -> GenerationRecord:
        return GenerationRecord("data", number, generation(number).uuid, "", 1.0, number - 1)

    def bring(
        self, number: int, image: bytes, base: int = 0, changed: BlockSet | None = None
    ) -> None:
        """A generation at both ends; with ``changed``, only those blocks are sent."""
        self.image(number).write_bytes(image)
        delta: Any = whole(image, CHUNK)
        if changed is not None:
            extents = list(changed.extents(Bytes(BLOCK), Bytes(len(image))))
            delta = ImageDelta(
                lambda at, length: image[at : at + length], extents, Bytes(BLOCK), Bytes(SIZE)
            )
        say(self.replica, messages(number, delta, base=base))

    def rot(self, *addresses: int) -> None:
        """Change bytes of the replica's base behind its back."""
        base = self.replica.store.object_path(self.replica.store.volume("data").base_object)
        with base.open("r+b") as file:
            for address in addresses:
                file.seek(address)
                byte = file.read(1)
                file.seek(address)
                file.write(bytes([byte[0] ^ 1]))

    def verify(self, number: int = 1, *, resume: bool = False, **options: Any) -> Verification:
        volume = SimpleNamespace(
            name="data",
            open_image=lambda record: DirectFile(self.image(record.number)),
            size=Bytes(SIZE),
        )
        mirror = MirrorRecord(
            "m", "data", self.peer, "data", MirrorState.RUNNING, 0, 0, False, True, False
        )

        def progress(done: int, total: int) -> None:
            self.seen.append(done)
            assert total == SIZE
            options.get("watch", lambda done: None)(done)

        return verify_generation(
            cast(Any, volume),
            mirror,
            cast(Any, SimpleNamespace(config=Config())),
            self.record(number),
            progress=progress,
            load=(lambda: self.kept.load("m")) if resume else None,
            save=lambda text: self.kept.save("m", text),
            cancel=self.cancel,
            **{name: value for name, value in options.items() if name != "watch"},
        )

    def stopping_at(self, address: int) -> Callable[[int], None]:
        """Interrupts the comparison there."""

        def watch(done: int) -> None:
            if done >= address:
                self.cancel.set()

        return watch


def blocks(*numbers: int) -> BlockSet:
    made = BlockSet()
    made.add_blocks(numbers)
    return made
