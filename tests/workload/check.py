"""The checkers from a command line in a guest: findings as JSON on stdout.

python3 -m tests.workload.check sqlite DIRECTORY
python3 -m tests.workload.check files DIRECTORY
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

from tests.workload.checksum_files import FilesFindings, check_files
from tests.workload.sqlite_writer import SqliteFindings, check_sqlite


def main() -> None:
    """Check one directory; exit status 1 when something is wrong with it."""
    kind, directory = sys.argv[1], Path(sys.argv[2])
    findings: SqliteFindings | FilesFindings
    findings = check_sqlite(directory) if kind == "sqlite" else check_files(directory)
    print(json.dumps(dataclasses.asdict(findings)))
    sys.exit(1 if findings.faults else 0)


if __name__ == "__main__":
    main()
