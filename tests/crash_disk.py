"""A disk that forgets: a plain file whose writes are recorded, and every state in which a
power cut could leave it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from control.store.direct import DirectFile

SECTOR = 512
Operation = tuple[str, int, bytes]
"""("write", offset, data), ("size", bytes, b"") or ("sync", 0, b"")."""


@dataclass
class Recording:
    """What was done to one file since it was empty, in order."""

    operations: list[Operation] = field(default_factory=list)

    def opener(self) -> type[DirectFile]:
        """A DirectFile that records what it does, for monkeypatching."""
        log = self.operations

        class Recorded(DirectFile):
            def write(self, data: bytes | memoryview, at: int) -> None:
                log.append(("write", at, bytes(data)))
                super().write(data, at)

            def truncate(self, size: int) -> None:
                log.append(("size", size, b""))
                super().truncate(size)

            def fsync(self) -> None:
                # Not passed on: nothing here depends on the machine's own disk.
                log.append(("sync", 0, b""))

        return Recorded

    def after_cut(self, at: int, survives: Callable[[], bool]) -> bytes:
        """The file after a power cut behind the first ``at`` operations.

        What was synced is there; of the rest each sector and each change of size is there when
        ``survives`` says so, whatever came before it.
        """
        done = self.operations[:at]
        synced = max((i for i, op in enumerate(done) if op[0] == "sync"), default=-1)
        content = bytearray()
        for i, (kind, place, data) in enumerate(done):
            if kind == "size" and (i < synced or survives()):
                _resize(content, place)
            elif kind == "write":
                for start in range(0, len(data), SECTOR):
                    if i < synced or survives():
                        piece = data[start : start + SECTOR]
                        if len(content) < place + start + len(piece):
                            _resize(content, place + start + len(piece))
                        content[place + start : place + start + len(piece)] = piece
        return bytes(content)

    def begin_with(self, path: Path) -> None:
        """Forget everything; ``path`` is as it should be, durably."""
        self.operations[:] = [("write", 0, path.read_bytes()), ("sync", 0, b"")]


def _resize(content: bytearray, size: int) -> None:
    if len(content) > size:
        del content[size:]
    else:
        content.extend(bytes(size - len(content)))
