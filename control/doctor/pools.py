"""The pools, and whether what the journal names is in them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from control.doctor.findings import Finding, Level, ok, problem
from control.doctor.patient import Patient, layers_now
from control.pool.choose import open_pool, open_replica_pool
from control.pool.pool import Pool
from control.pool.presence import missing_objects
from control.units_text import human_size
from dm_tables.errors import FrazilError
from dm_tables.units import MIB

AREA = "pool"
LITTLE = 256 * MIB


def check_pools(patient: Patient) -> Iterator[Finding]:
    """This host's own pool; the replicas' one where peers may come."""
    yield from check_pool(patient, open_pool(patient.config))
    if patient.config.listen.address is not None:
        yield from check_room(open_replica_pool(patient.config), "replicas")


def check_pool(patient: Patient, pool: Pool) -> Iterator[Finding]:
    """Nothing is missing that the journal names; there is room."""
    try:
        lost = missing_objects(pool, patient.layers)
        if lost:
            # Since the journal was read, a daemon at work may have merged layers, and deleted them.
            still = missing_objects(pool, layers_now(patient))
            lost = [name for name in lost if name in still]
    except FrazilError as error:
        yield problem(AREA, error)
        return
    if lost:
        yield Finding(
            AREA,
            Level.PROBLEM,
            f"the pool {pool.location} lacks what volumes need: {', '.join(lost)}",
            "mount or attach the pool's disk; frazild then goes on by itself",
        )
    yield from check_room(pool, "auxiliary volumes")
    if pool.kind == "files":
        yield from check_place(patient, Path(pool.location))


def check_room(pool: Pool, purpose: str) -> Iterator[Finding]:
    """Whether there is room for anything."""
    try:
        free = pool.free()
    except FrazilError as error:
        yield problem(AREA, error)
        return
    text = f"{pool.kind} {pool.location}, for {purpose}: {human_size(free)} free"
    if free < LITTLE:
        yield Finding(
            AREA, Level.WARNING, text, "give it more room; without any, mirrors are sacrificed"
        )
    else:
        yield ok(AREA, text)


def check_place(patient: Patient, directory: Path) -> Iterator[Finding]:
    """A pool must not lie on a volume that it serves: its writes would feed on themselves."""
    place = next((one for one in (directory, *directory.parents) if one.is_dir()), Path("/"))
    device = place.stat().st_dev
    name = patient.at(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/dm/uuid")
    if name.is_file() and name.read_text().startswith("FRAZIL-"):
        yield Finding(
            AREA,
            Level.PROBLEM,
            f"the pool {directory} lies on a volume that is mirrored",
            "set [pool] directory to a place on another disk",
        )
