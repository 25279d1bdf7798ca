"""Unpacks frazil's code, sent by the host, to where Python finds it."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
import zlib
from pathlib import Path

CODE = Path("/opt/frazil")
ARCHIVE = Path("/run/frazil-code.tar.zlib")


def unpack() -> None:
    """Replace the code with what the archive holds."""
    for old in CODE.iterdir():
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    data = zlib.decompress(ARCHIVE.read_bytes())
    ARCHIVE.unlink()
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        made: set[Path] = set()
        for entry in archive:
            path = CODE / entry.name
            if path.parent not in made:
                path.parent.mkdir(parents=True, exist_ok=True)
                made.add(path.parent)
            content = archive.extractfile(entry)
            if content is not None:
                path.write_bytes(content.read())
                # The host's compiled files name this as their source's time.
                if path.suffix == ".py":
                    os.utime(path, (0, 0))
