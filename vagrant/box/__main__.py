"""``python -m vagrant.box``: build the box where it is missing, and print its path."""

from __future__ import annotations

import sys

from vagrant.box.disk import box
from vagrant.lab.errors import LabError


def main() -> int:
    """:return: the exit code."""
    try:
        print(box() / "frazil.box")
    except LabError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
