"""``python3 -m tests.sabotage FAULT...``, where no lab starts it."""

from __future__ import annotations

import sys

from tests.sabotage.faults import main

if __name__ == "__main__":
    sys.exit(main())
