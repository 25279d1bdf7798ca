"""What can be wrong with an exception store, or with the file or device it lies on."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from dm_tables.errors import Corrupt, Denied, Exhausted, FrazilError, NotFound, Unavailable, Usage


class FileMissing(NotFound):
    """The file or device is not there."""


class FileDenied(Denied):
    """The file or device may not be opened."""


class NoRoom(Exhausted):
    """The device, or the filesystem under the file, is full."""


class DeviceFailed(Unavailable):
    """The file or device answered with an I/O error."""


class NotAligned(Usage):
    """A direct read or write that the device's logical blocks do not allow."""


class StoreCorrupt(Corrupt):
    """Bytes that are not an exception store.

    :param path: the store.
    :param area: the metadata area where it was found, from 0; none: the header.
    :param entry: the entry in that area, from 0.
    """

    def __init__(
        self, path: str | os.PathLike[str], what: str, area: int | None = None, entry: int = -1
    ) -> None:
        place = "" if area is None else f", area {area}" + (f", entry {entry}" * (entry >= 0))
        super().__init__(f"{os.fspath(path)}{place}: {what}", self.advice)
        self.path = Path(path)
        self.area = area
        self.entry = entry

    advice = "the layer cannot be trusted: catch up from an older generation"


class BadMagic(StoreCorrupt):
    """The header does not begin with ``SnAp``."""


class BlankStore(BadMagic):
    """The header is zero: the kernel has never activated this store."""

    advice = "nothing was ever written to this layer"


class BadVersion(StoreCorrupt):
    """A store of another disk version than 1."""


class BadChunkSize(StoreCorrupt):
    """The header's chunk size is impossible, or another than the layer's."""


class NotValid(StoreCorrupt):
    """The kernel has marked the snapshot invalid: it overflowed, or its device failed."""


class AddressPastDevice(StoreCorrupt):
    """An entry names a chunk that the volume or the store does not have."""


class MetadataAddress(StoreCorrupt):
    """An entry's data would lie on the header or on a metadata area."""


class DoubledChunk(StoreCorrupt):
    """Two entries for one chunk of the volume, or two that share one chunk of the store."""


class CutOff(StoreCorrupt):
    """The store ends before its terminator, or before what is known to be in it."""


def os_failure(error: OSError, path: str | os.PathLike[str], doing: str) -> FrazilError:
    """The typed error for what the system answered while ``doing`` something to ``path``."""
    what = f"{os.fspath(path)}: {doing}: {os.strerror(error.errno or 0)}"
    if error.errno in (errno.ENOENT, errno.ENXIO, errno.ENODEV):
        return FileMissing(what)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return FileDenied(what)
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return NoRoom(what, "make room in the pool")
    return DeviceFailed(what, "see the kernel's log for the device")
