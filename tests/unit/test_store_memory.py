"""Reading takes memory for what changed, not for how much of it there is to hold at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from control.store.writer import StoreWriter
from dm_tables.units import Bytes

COUNT = 600_000
SIZE = Bytes(4096 * (1 << 30))

PROGRAM = """
import sys
from control.store.reader import StoreReader
from dm_tables.units import Bytes

def peak():
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024

with StoreReader(sys.argv[1], Bytes(int(sys.argv[2]))) as store:
    before = peak()
    if sys.argv[3] == "keep":
        kept = list(store.exceptions())
    else:
        assert sum(len(area) for area in store.areas()) == int(sys.argv[4])
        assert sum(run.count for run in store.runs(limit=256)) == int(sys.argv[4])
    print(peak() - before)
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("memory") / "store"
    with StoreWriter(path, Bytes(4096), SIZE) as it:
        it.create()
        it.append(1000, COUNT // 2, None)
        for i in range(COUNT // 2):
            it.append(1_000_000 + i * 1009, 1, None)
        it.finish()
    return path


def growth(store: Path, how: str) -> int:
    command = [sys.executable, "-c", PROGRAM, str(store), str(SIZE), how, str(COUNT)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=200)
    return int(done.stdout)


def test_reading_area_by_area_stays_small(store: Path) -> None:
    assert growth(store, "pass") < 16 << 20


def test_negative_control_keeping_every_exception_does_not(store: Path) -> None:
    assert growth(store, "keep") > 32 << 20
