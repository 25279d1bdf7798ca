"""Where a comparison ended, so that it can go on there; and where such texts are kept."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from control.blocks import BlockSet


@dataclass(frozen=True, slots=True)
class Position:
    """How far a comparison came.

    :ivar generation: the UUID of the one that was compared. :ivar offset: everything below it, in
        bytes. :ivar blocks: what differed there, a serialised :class:`control.blocks.BlockSet`.
    """

    generation: str
    offset: int
    blocks: bytes = b""

    def text(self) -> str:
        """As JSON."""
        differ = base64.b64encode(self.blocks).decode()
        return json.dumps({"generation": self.generation, "offset": self.offset, "blocks": differ})

    @classmethod
    def parse(cls, text: str) -> Position | None:
        """What :meth:`text` gave; None for anything else, which costs no more than beginning."""
        with suppress(ValueError, KeyError, TypeError):
            said = json.loads(text)
            blocks = base64.b64decode(said["blocks"], validate=True)
            BlockSet(blocks)
            offset = int(said["offset"])
            return cls(str(said["generation"]), offset, blocks) if offset >= 0 else None
        return None


class KeptTexts:
    """Small texts by name, a file each, replaced as a whole.

    Losing one loses work and no data: nothing is flushed to the disk, and what cannot be written
    is not kept.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def load(self, name: str) -> str:
        """The text; empty if there is none."""
        try:
            return (self.directory / f"{name}.json").read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return ""

    def save(self, name: str, text: str) -> None:
        """Keep a text in place of the one before; an empty one is forgotten."""
        place = self.directory / f"{name}.json"
        with suppress(OSError):
            if not text:
                place.unlink(missing_ok=True)
                return
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            fresh = self.directory / f".{name}.new"
            fresh.write_text(text, encoding="utf-8")
            fresh.replace(place)
