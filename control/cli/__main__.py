"""``python -m control.cli``: frazil where no command of that name is installed."""

from __future__ import annotations

import sys

from control.cli import main

if __name__ == "__main__":
    sys.exit(main())
