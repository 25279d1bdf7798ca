"""Device-mapper names and UUIDs: how a volume's devices are called, and how to tell whose they are.

A name is for people and may be read by scripts; the UUID is the identity, by which devices
are found again after a restart and by which the udev rules know them.

====== ============================ ==============================
device name                         UUID
====== ============================ ==============================
head   ``frazil-VOLUME``            ``FRAZIL-<32 hex>-head``
layer  ``frazil-VOLUME-<s>``        ``FRAZIL-<32 hex>-layer-<s>``
held   ``frazil-VOLUME-g<n>``       ``FRAZIL-<32 hex>-held-<n>``
test   ``frazil-VOLUME-g<n>-test``  ``FRAZIL-<32 hex>-test-<n>``
====== ============================ ==============================
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from uuid import UUID

from dm_tables.errors import Usage

NAME_LIMIT = 127
"""Bytes in a device's name: DM_NAME_LEN of ``linux/dm-ioctl.h`` less the final zero."""

UUID_LIMIT = 128
"""Bytes in a device's UUID: DM_UUID_LEN less the final zero."""

NAME_PREFIX = "frazil-"
UUID_PREFIX = "FRAZIL-"
VOLUME_NAME_LIMIT = 64

# What libdevmapper leaves as it is: anything else it would mangle into \xNN in /dev/mapper.
_PLAIN = re.compile(r"[A-Za-z0-9#+\-.:=@_]+")
_VOLUME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_SUFFIX = re.compile(r"-(?:g?[0-9]+|g[0-9]+-test)$")
_UUID = re.compile(r"FRAZIL-([0-9a-f]{32})-(head|layer|held|test)(?:-(0|[1-9][0-9]*))?")


class BadName(Usage):
    """A name or UUID that device-mapper, or frazil's naming, cannot carry."""


class DmName(str):
    """The name of a device-mapper device. :raises BadName: the kernel or udev would not take it."""

    __slots__ = ()

    def __new__(cls, text: str) -> DmName:
        """Check ``text`` and keep it."""
        return super().__new__(cls, _checked("name", text, NAME_LIMIT))


class DmUuid(str):
    """The UUID of a device-mapper device, any plain text. :raises BadName: it does not fit."""

    __slots__ = ()

    def __new__(cls, text: str) -> DmUuid:
        """Check ``text`` and keep it."""
        return super().__new__(cls, _checked("UUID", text, UUID_LIMIT))


class Role(Enum):
    """What a device is for in its volume's stack."""

    HEAD = "head"
    LAYER = "layer"
    HELD = "held"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Identity:
    """What a device's UUID says: whose it is, and which; ``number`` is None for the head."""

    volume: UUID
    role: Role
    number: int | None = None


def volume_name(text: str) -> str:
    """``text``, once it is known to be a volume's name whose devices' names cannot be confused.

    A volume called ``db-1`` would have the head that layer 1 of ``db`` is called.

    :raises BadName: not of ``[A-Za-z0-9][A-Za-z0-9_.-]*``, too long, or ends as a layer does.
    """
    if not _VOLUME.fullmatch(text) or len(text) > VOLUME_NAME_LIMIT:
        raise BadName(
            f"{text!r} cannot be the name of a volume",
            f"1 to {VOLUME_NAME_LIMIT} of A-Z a-z 0-9 _ . -, a letter or digit first",
        )
    if ending := _SUFFIX.search(text):
        raise BadName(
            f"a volume's name cannot end in {ending[0]!r} as {text!r} does",
            "layers are called that; write it without the hyphen",
        )
    return text


def head_name(volume: str) -> DmName:
    """The device that applications open."""
    return DmName(f"{NAME_PREFIX}{volume_name(volume)}")


def layer_name(volume: str, sequence: int) -> DmName:
    """The device of layer ``sequence``: rsv_s of the patent's figure 8."""
    return DmName(f"{NAME_PREFIX}{volume_name(volume)}-{_counted(sequence)}")


def held_name(volume: str, generation: int) -> DmName:
    """A read-only view of one generation, for as long as somebody holds it."""
    return DmName(f"{NAME_PREFIX}{volume_name(volume)}-g{_counted(generation)}")


def test_name(volume: str, generation: int) -> DmName:
    """A writable head on one generation, whose writes are thrown away."""
    return DmName(f"{held_name(volume, generation)}-test")


def head_uuid(volume: UUID | str) -> DmUuid:
    """The UUID of a volume's head."""
    return DmUuid(f"{UUID_PREFIX}{_hex(volume)}-{Role.HEAD.value}")


def layer_uuid(volume: UUID | str, sequence: int) -> DmUuid:
    """The UUID of a volume's layer ``sequence``."""
    return DmUuid(f"{UUID_PREFIX}{_hex(volume)}-{Role.LAYER.value}-{_counted(sequence)}")


def held_uuid(volume: UUID | str, generation: int) -> DmUuid:
    """The UUID of a held generation's device."""
    return DmUuid(f"{UUID_PREFIX}{_hex(volume)}-{Role.HELD.value}-{_counted(generation)}")


def test_uuid(volume: UUID | str, generation: int) -> DmUuid:
    """The UUID of the device that :func:`test_name` names."""
    return DmUuid(f"{UUID_PREFIX}{_hex(volume)}-{Role.TEST.value}-{_counted(generation)}")


def parse_uuid(text: str) -> Identity | None:
    """Whose device this UUID names; None when it is not one of frazil's."""
    match = _UUID.fullmatch(text)
    if match is None:
        return None
    role, number = Role(match[2]), match[3]
    if (role is Role.HEAD) != (number is None):
        return None
    return Identity(UUID(match[1]), role, None if number is None else int(number))


def _checked(what: str, text: str, limit: int) -> str:
    if not _PLAIN.fullmatch(text) or text in (".", ".."):
        raise BadName(
            f"{text!r} cannot be a device-mapper {what}", "letters, digits and #+-.:=@_ are allowed"
        )
    if len(text) > limit:
        raise BadName(f"the device-mapper {what} {text!r} is longer than {limit} characters")
    return text


def _hex(volume: UUID | str) -> str:
    if isinstance(volume, UUID):
        return volume.hex
    try:
        return UUID(volume).hex
    except ValueError:
        raise BadName(f"{volume!r} is not the UUID of a volume") from None


def _counted(number: int) -> int:
    if number < 0:
        raise BadName(f"{number} cannot number a layer or a generation")
    return number
