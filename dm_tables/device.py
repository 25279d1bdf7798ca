"""One device-mapper device: brought to a wanted table, whatever state it is found in."""

from __future__ import annotations

from contextlib import suppress
from enum import Enum
from pathlib import Path

from dm_tables.dmsetup import DeviceMissing, Dmsetup
from dm_tables.errors import Exists, FrazilError, NotFound
from dm_tables.names import DmName, DmUuid
from dm_tables.status import DeviceInfo, StatusLine
from dm_tables.table import Table, devno_of
from dm_tables.targets import Resolver, Snapshot

BLOCK = Path("/sys/class/block")


class ForeignDevice(Exists):
    """The name is taken by a device with another UUID."""


class NoDevice(NotFound):
    """The device is not there."""


class Change(Enum):
    """What :meth:`Device.ensure` had to do."""

    NOTHING = "nothing"
    CREATED = "created"
    SWAPPED = "swapped"
    RESUMED = "resumed"


class Device:
    """A device known by its name and UUID; it may or may not exist.

    It can be given to ``open()``: its path is /dev/dm-N, which is there as soon as the device.
    """

    def __init__(
        self, dmsetup: Dmsetup, name: DmName, uuid: DmUuid, *, resolver: Resolver = devno_of
    ) -> None:
        self._dmsetup = dmsetup
        self._resolver = resolver
        self.name = name
        self.uuid = uuid

    def __fspath__(self) -> str:
        """The path of its node."""
        return str(self.path)

    def __repr__(self) -> str:
        """The name is enough to know it by."""
        return f"Device({self.name})"

    def info(self) -> DeviceInfo | None:
        """The kernel's view; None when it is not there.

        :raises ForeignDevice: another device has the name.
        """
        info = self._dmsetup.info(self.name)
        if info is not None and info.uuid != self.uuid:
            raise ForeignDevice(
                f"the device {self.name} has the UUID {info.uuid or '(none)'}, not {self.uuid}",
                "another volume, or a leftover: look with dmsetup info",
            )
        return info

    def exists(self) -> bool:
        """Whether it is there. :raises ForeignDevice: another device has the name."""
        return self.info() is not None

    @property
    def devno(self) -> str:
        """``major:minor``. :raises NoDevice: it is not there."""
        return self._known().devno

    @property
    def link(self) -> Path:
        """/dev/mapper/NAME, which people know it by; udev may be late with it."""
        return Path("/dev/mapper") / self.name

    @property
    def path(self) -> Path:
        """/dev/dm-N, or /dev/mapper/NAME without devtmpfs. :raises NoDevice: it is not there."""
        node = Path(f"/dev/dm-{self._known().minor}")
        return node if node.exists() else self.link

    def table(self) -> Table | None:
        """The live table, None without one."""
        return self._dmsetup.table(self.name)

    def matches(self, table: Table) -> bool:
        """Whether it is there and its live table means the same as ``table``."""
        live = self._dmsetup.table(self.name) if self.exists() else None
        return live is not None and table.matches(live, self._resolver)

    def status(self) -> tuple[StatusLine, ...]:
        """Every target's status. :raises DeviceMissing: it is not there."""
        return self._dmsetup.status(self.name)

    def ensure(self, table: Table, *, readonly: bool = False) -> Change:
        """Bring the device to ``table``, and to running; twice is the same as once.

        A table left in the inactive slot is cleared, so that no later resume swaps it in.

        :raises ForeignDevice: another device has the name.
        """
        info = self.info()
        if info is None:
            self._dmsetup.create(self.name, self.uuid, table, readonly=readonly)
            return Change.CREATED
        if info.inactive:
            self._dmsetup.clear(self.name)
        live = self._dmsetup.table(self.name) if info.live else None
        same = live is not None and table.matches(live, self._resolver)
        if not same or info.readonly != readonly:
            self.swap(table, readonly=readonly)
            return Change.SWAPPED
        if info.suspended:
            self._dmsetup.resume(self.name)
            return Change.RESUMED
        return Change.NOTHING

    def announce(self) -> None:
        """Have udev look at it again, now that it has its links; where that cannot be, nothing.

        LVM looks at a device that comes before udev has made its links: a filter that names
        /dev/mapper/NAME rejects it then, and accepts it now.

        :raises NoDevice: it is not there.
        """
        with suppress(OSError):
            (BLOCK / f"dm-{self._known().minor}" / "uevent").write_text("add")

    def swap(self, table: Table, *, readonly: bool = False, lockfs: bool = True) -> None:
        """Put ``table`` in place of the live one, under whatever I/O there is.

        A snapshot's store is read when its table is loaded, so such a table is loaded with the
        device suspended: what is written between load and resume would be lost from view.
        Any other table is loaded first, and one call of the kernel swaps it in.

        :raises DmsetupFailed: of whichever step failed; the device runs on its old table then.
        """
        nolockfs = not lockfs
        try:
            if any(isinstance(segment.target, Snapshot) for segment in table.segments):
                self._dmsetup.suspend(self.name, nolockfs=nolockfs)
            self._dmsetup.load(self.name, table, readonly=readonly)
            self._dmsetup.resume(self.name, nolockfs=nolockfs)
        except BaseException as error:
            self._release(error)
            raise

    def remove(self) -> None:
        """Remove it; nothing to do when it is not there.

        :raises ForeignDevice: another device has the name.
        :raises DeviceBusy: something has it open.
        """
        if self.exists():
            try:
                self._dmsetup.remove(self.name)
            except DeviceMissing:
                return

    def _known(self) -> DeviceInfo:
        info = self.info()
        if info is None:
            raise NoDevice(f"there is no device {self.name}")
        return info

    def _release(self, cause: BaseException) -> None:
        # A refused table leaves the device suspended on the old one: a plain resume frees it.
        try:
            self._dmsetup.clear(self.name)
            self._dmsetup.resume(self.name)
        except FrazilError as error:
            cause.add_note(f"and {self.name} may still be suspended: {error}")
