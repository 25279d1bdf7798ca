"""The freezer, without the fsync of the frozen layer inside the window."""

from __future__ import annotations

import sys

from dm_tables import freezing
from dm_tables.window import Window

if __name__ == "__main__":
    keywords = Window.__init__.__kwdefaults__
    assert keywords is not None and "fsync" in keywords
    keywords["fsync"] = lambda descriptor: None
    sys.exit(freezing.main(sys.argv[1:]))
