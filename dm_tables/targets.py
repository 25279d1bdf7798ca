"""Device-mapper targets: what stands behind ``start length`` in a table's line.

One frozen dataclass a target. ``params()`` renders what ``dmsetup`` takes, :func:`parse` reads
what the kernel prints, and the two are equal when they mean the same: devices are compared as
``major:minor`` after :meth:`Target.resolved`. Parameters are as in the kernel's
``Documentation/admin-guide/device-mapper`` and each target's ``*_ctr``/``*_status``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

from dm_tables.errors import Corrupt
from dm_tables.units import Sectors

Resolver = Callable[[str], str]
"""Turns a device's path into ``major:minor``."""

Persistence = Literal["P", "PO", "N"]
"""A snapshot's exception store: persistent, persistent with overflow, in memory only."""


class BadParameters(Corrupt):
    """A table line whose parameters are not those of its target."""


@dataclass(frozen=True, slots=True)
class Target:
    """What every target has: a kind, parameters, and perhaps devices."""

    kind: ClassVar[str]
    device_fields: ClassVar[tuple[str, ...]] = ()

    def params(self) -> str:
        """The parameters as a table's line carries them; empty when there are none."""
        return ""

    @classmethod
    def from_words(cls, words: Sequence[str]) -> Self:
        """Read the parameters, split at blanks. :raises ValueError: they are not of this kind."""
        if words:
            raise ValueError("takes no parameters")
        return cls()

    def devices(self) -> tuple[str, ...]:
        """The devices it maps to, in the order its parameters name them."""
        return tuple(getattr(self, field) for field in self.device_fields)

    def resolved(self, resolver: Resolver) -> Self:
        """The same target with every device as ``major:minor``, as the kernel prints it."""
        changes = {field: resolver(getattr(self, field)) for field in self.device_fields}
        return dataclasses.replace(self, **changes)


@dataclass(frozen=True, slots=True)
class Error(Target):
    """Every read and write fails with EIO."""

    kind: ClassVar[str] = "error"


@dataclass(frozen=True, slots=True)
class Zero(Target):
    """Reads zeroes, drops writes."""

    kind: ClassVar[str] = "zero"


@dataclass(frozen=True, slots=True)
class Linear(Target):
    """A stretch of another device, from ``offset`` on."""

    kind: ClassVar[str] = "linear"
    device_fields: ClassVar[tuple[str, ...]] = ("device",)
    device: str
    offset: Sectors

    def params(self) -> str:
        """``device offset``."""
        return f"{self.device} {self.offset}"

    @classmethod
    def from_words(cls, words: Sequence[str]) -> Self:
        """Read ``device offset``."""
        device, offset = words
        return cls(device, Sectors(int(offset)))


@dataclass(frozen=True, slots=True)
class Snapshot(Target):
    """``origin`` with the chunks in ``cow`` in place of its own; writes go to ``cow``.

    ``chunk`` is the size of a chunk; a store already on disk keeps its own. Never use the
    feature ``discard_passdown_origin`` on a frozen origin.
    """

    kind: ClassVar[str] = "snapshot"
    device_fields: ClassVar[tuple[str, ...]] = ("origin", "cow")
    origin: str
    cow: str
    chunk: Sectors
    persistent: Persistence = "PO"
    features: tuple[str, ...] = ()

    def params(self) -> str:
        """``origin cow P|PO|N chunk [count features]``."""
        text = f"{self.origin} {self.cow} {self.persistent} {self.chunk}"
        return text + _counted(self.features) if self.features else text

    @classmethod
    def from_words(cls, words: Sequence[str]) -> Self:
        """Read ``origin cow P|PO|N chunk [count features]``."""
        origin, cow, store, chunk, *rest = words
        stores: dict[str, Persistence] = {"P": "P", "PO": "PO", "N": "N"}
        if store not in stores:
            raise ValueError(f"{store!r} is no exception store")
        return cls(origin, cow, Sectors(int(chunk)), stores[store], _features(rest))


@dataclass(frozen=True, slots=True)
class SnapshotMerge(Snapshot):
    """A snapshot that the kernel folds back into its origin."""

    kind: ClassVar[str] = "snapshot-merge"


@dataclass(frozen=True, slots=True)
class SnapshotOrigin(Target):
    """A writable origin whose snapshots are kept whole."""

    kind: ClassVar[str] = "snapshot-origin"
    device_fields: ClassVar[tuple[str, ...]] = ("device",)
    device: str

    def params(self) -> str:
        """``device``."""
        return self.device

    @classmethod
    def from_words(cls, words: Sequence[str]) -> Self:
        """Read ``device``."""
        (device,) = words
        return cls(device)


@dataclass(frozen=True, slots=True)
class Flakey(Target):
    """Works for ``up`` seconds, misbehaves for ``down`` seconds, again and again."""

    kind: ClassVar[str] = "flakey"
    device_fields: ClassVar[tuple[str, ...]] = ("device",)
    device: str
    offset: Sectors
    up: int
    down: int
    features: tuple[str, ...] = ()

    def params(self) -> str:
        """``device offset up down [count features]``; features e.g. ``drop_writes``."""
        text = f"{self.device} {self.offset} {self.up} {self.down}"
        return text + _counted(self.features) if self.features else text

    @classmethod
    def from_words(cls, words: Sequence[str]) -> Self:
        """Read ``device offset up down [count features]``."""
        device, offset, up, down, *rest = words
        return cls(device, Sectors(int(offset)), int(up), int(down), _features(rest))


@dataclass(frozen=True, slots=True)
class Leg:
    """One class of I/O of a :class:`Delay`: where it goes, and how many milliseconds late."""

    device: str
    offset: Sectors
    milliseconds: int


@dataclass(frozen=True, slots=True)
class Delay(Target):
    """Delays reads, writes and flushes; writes follow reads, and flushes writes, when not given."""

    kind: ClassVar[str] = "delay"
    read: Leg
    write: Leg | None = None
    flush: Leg | None = None

    def _legs(self) -> list[Leg]:
        return [leg for leg in (self.read, self.write, self.flush) if leg is not None]

    def params(self) -> str:
        """``device offset ms``, once, twice or three times."""
        return " ".join(f"{leg.device} {leg.offset} {leg.milliseconds}" for leg in self._legs())

    @classmethod
    def from_words(cls, words: Sequence[str]) -> Self:
        """Read one, two or three of ``device offset ms``."""
        if len(words) not in (3, 6, 9):
            raise ValueError("takes 3, 6 or 9 parameters")
        legs = [
            Leg(words[i], Sectors(int(words[i + 1])), int(words[i + 2]))
            for i in range(0, len(words), 3)
        ]
        return cls(*legs)

    def devices(self) -> tuple[str, ...]:
        """The device of every leg."""
        return tuple(leg.device for leg in self._legs())

    def resolved(self, resolver: Resolver) -> Self:
        """The same delays with every leg's device as ``major:minor``."""
        legs = [dataclasses.replace(leg, device=resolver(leg.device)) for leg in self._legs()]
        return type(self)(*legs)


@dataclass(frozen=True, slots=True)
class LogWrites(Target):
    """Passes everything on and records every write and flush on ``log``."""

    kind: ClassVar[str] = "log-writes"
    device_fields: ClassVar[tuple[str, ...]] = ("device", "log")
    device: str
    log: str

    def params(self) -> str:
        """``device log``."""
        return f"{self.device} {self.log}"

    @classmethod
    def from_words(cls, words: Sequence[str]) -> Self:
        """Read ``device log``."""
        device, log = words
        return cls(device, log)


@dataclass(frozen=True, slots=True)
class Thin(Target):
    """A thin volume of a pool."""

    kind: ClassVar[str] = "thin"
    device_fields: ClassVar[tuple[str, ...]] = ("pool",)
    pool: str
    number: int

    def params(self) -> str:
        """``pool number``."""
        return f"{self.pool} {self.number}"

    @classmethod
    def from_words(cls, words: Sequence[str]) -> Self:
        """Read ``pool number``."""
        pool, number = words
        return cls(pool, int(number))


@dataclass(frozen=True, slots=True)
class ThinPool(Target):
    """A pool of thinly provisioned blocks."""

    kind: ClassVar[str] = "thin-pool"
    device_fields: ClassVar[tuple[str, ...]] = ("metadata", "data")
    metadata: str
    data: str
    block: Sectors
    low_water: int
    features: tuple[str, ...] = ()

    def params(self) -> str:
        """``metadata data block low_water [count features]``."""
        text = f"{self.metadata} {self.data} {self.block} {self.low_water}"
        return text + _counted(self.features) if self.features else text

    @classmethod
    def from_words(cls, words: Sequence[str]) -> Self:
        """Read ``metadata data block low_water [count features]``."""
        metadata, data, block, low_water, *rest = words
        return cls(metadata, data, Sectors(int(block)), int(low_water), _features(rest))


@dataclass(frozen=True, slots=True)
class Other(Target):
    """A target of a kind that frazil neither makes nor reads, kept word for word."""

    kind: ClassVar[str] = "?"
    name: str
    text: str

    def params(self) -> str:
        """The parameters as they were read."""
        return self.text


KINDS: dict[str, type[Target]] = {
    target.kind: target
    for target in (
        Error,
        Zero,
        Linear,
        Snapshot,
        SnapshotMerge,
        SnapshotOrigin,
        Flakey,
        Delay,
        LogWrites,
        Thin,
        ThinPool,
    )
}


def kind_of(target: Target) -> str:
    """The word that names the target in a table's line."""
    return target.name if isinstance(target, Other) else target.kind


def parse(kind: str, params: str) -> Target:
    """The target of a table's line; an :class:`Other` when the kind is not one of these.

    :raises BadParameters: the kind is known and the parameters are not its own.
    """
    target = KINDS.get(kind)
    if target is None:
        return Other(kind, params)
    try:
        return target.from_words(params.split())
    except ValueError as error:
        raise BadParameters(f"{params!r} are not the parameters of {kind}: {error}") from error


def _counted(features: tuple[str, ...]) -> str:
    return " ".join(["", str(len(features)), *features])


def _features(words: Sequence[str]) -> tuple[str, ...]:
    if not words:
        return ()
    count, *features = words
    if int(count) != len(features):
        raise ValueError(f"{count} features announced, {len(features)} found")
    return tuple(features)
