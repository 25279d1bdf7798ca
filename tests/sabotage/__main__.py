"""Break what the arguments name, then be frazild."""

from __future__ import annotations

import sys

from tests.sabotage.faults import apply

if __name__ == "__main__":
    for words in sys.argv[1:]:
        apply(words.split())
    from control.daemon import main

    sys.exit(main([]))
