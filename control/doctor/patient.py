"""The host as the doctor sees it: its configuration and what its journal says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from control.config import Config, load
from control.doctor.findings import Finding, Level, ok, problem
from control.journal import Journal
from control.paths import DEFAULT_CONFIG
from control.records import LayerRecord, MirrorRecord, VolumeRecord
from dm_tables.errors import FrazilError


@dataclass(frozen=True, slots=True)
class Patient:
    """What the checks look at; nothing of it is changed by them.

    :ivar sound: whether the configuration could be read; else ``config`` is the default one.
    :ivar root: where the host's files are looked for; ``/`` but for tests.
    """

    config: Config
    sound: bool = True
    volumes: tuple[VolumeRecord, ...] = ()
    layers: tuple[LayerRecord, ...] = ()
    mirrors: tuple[MirrorRecord, ...] = ()
    host_uuid: str = ""
    root: Path = Path("/")

    def at(self, path: str) -> Path:
        """An absolute path of the host."""
        return self.root / path.lstrip("/")


def admit(source: Path | None) -> tuple[Patient, list[Finding]]:
    """Read configuration and journal; what is wrong with them are the first findings."""
    path = source or DEFAULT_CONFIG
    try:
        config = load(source)
    except FrazilError as error:
        return Patient(Config(), sound=False), [problem("configuration", error)]
    findings = [configured(path, config)]
    if not config.paths.journal.exists():
        return Patient(config), findings
    try:
        journal = Journal(config.paths.journal)
    except FrazilError as error:
        return Patient(config), [*findings, problem("journal", error)]
    try:
        volumes = tuple(journal.volumes())
        layers = _layers(journal)
        mirrors = tuple(journal.mirrors())
        patient = Patient(config, True, volumes, layers, mirrors, journal.host_uuid)
    finally:
        journal.close()
    counts = f"{len(volumes)} volumes, {len(mirrors)} mirrors"
    return patient, [*findings, ok("journal", f"{config.paths.journal}: {counts}")]


def layers_now(patient: Patient) -> tuple[LayerRecord, ...]:
    """The layers as they are in the journal by now; without one, as they were.

    :raises FrazilError: it cannot be read.
    """
    path = patient.config.paths.journal
    if not path.exists():
        return patient.layers
    journal = Journal(path)
    try:
        return _layers(journal)
    finally:
        journal.close()


def _layers(journal: Journal) -> tuple[LayerRecord, ...]:
    return tuple(layer for one in journal.volumes() for layer in journal.layers(one.name))


def configured(path: Path, config: Config) -> Finding:
    """Whether there is a configuration, and whether peers may come."""
    if not path.exists():
        return Finding(
            "configuration",
            Level.NOTE,
            f"there is no {path}: the defaults hold, and no peer can connect",
            f"to be a replica, write {path}: see /usr/share/frazil/config.toml.example",
        )
    where = config.listen.address
    if where is None:
        return ok("configuration", f"{path}: no [listen] address, so this host is no replica")
    if not config.replica.allow:
        return Finding(
            "configuration",
            Level.WARNING,
            f"{path}: frazild listens on {where}, and nobody may write a replica",
            '[[replica.allow]] with identity = "NAME" lets a peer of that certificate in',
        )
    return ok("configuration", f"{path}: listens on {where}")
