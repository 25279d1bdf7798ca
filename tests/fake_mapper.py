"""A device-mapper in memory, for tests of everything that stands on it.

It keeps the rules that the code must live with: two table slots a device, resume swaps, suspend
and resume wait for each other. The kernel checks some things only at the swap (a device too small
for its target, say) and then leaves the device suspended on its old table: here a table of
another size stands for all of these. It speaks two ways: :class:`dm_tables.ioctl.DeviceMapper`, and
dmsetup's command line (:meth:`FakeMapper.dmsetup`).
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from dm_tables.dmsetup import Dmsetup
from dm_tables.ioctl import State
from dm_tables.running import Completed
from dm_tables.table import Table


@dataclass(slots=True)
class FakeDevice:
    """One device's slots and state."""

    uuid: str
    minor: int
    live: Table | None = None
    inactive: Table | None = None
    suspended: bool = False
    readonly: bool = False
    readonly_next: bool = False
    open_count: int = 0
    busy: threading.Lock = field(default_factory=threading.Lock)


class FakeMapper:
    """Devices by name, a log of what was done to them, and hooks to make a step fail or hang."""

    def __init__(self) -> None:
        self.devices: dict[str, FakeDevice] = {}
        self.log: list[str] = []
        self.before: dict[str, Callable[[], None]] = {}
        self.prepared: tuple[tuple[str, ...], bool] = ((), True)
        self._minor = 0

    def add(self, name: str, live: str, inactive: str = "", uuid: str = "") -> FakeDevice:
        """A device that is there already; tables as text."""
        device = FakeDevice(uuid or f"FRAZIL-{name}", self._minor, Table.parse(live))
        device.inactive = Table.parse(inactive) if inactive else None
        self._minor += 1
        self.devices[name] = device
        return device

    def fail(self, step: str, number: int) -> None:
        """Make ``step`` ("suspend NAME") fail with an errno, every time."""

        def raising() -> None:
            raise OSError(number, os.strerror(number))

        self.before[step] = raising

    def steps(self, *kinds: str) -> list[str]:
        """The log, only the kinds asked for."""
        return [step for step in self.log if step.split()[0] in kinds]

    # As the ioctl.

    def prepare(self, names: Sequence[str], *, lockfs: bool) -> None:
        self.prepared = (tuple(names), lockfs)

    def suspend(self, name: str) -> None:
        device = self._step("suspend", name)
        with device.busy:
            device.suspended = True

    def resume(self, name: str) -> None:
        device = self._step("resume", name)
        with device.busy:
            wanted, device.inactive = device.inactive, None
            if wanted is not None:
                if device.live is not None and not self._may_be(wanted.size, device.live.size):
                    device.suspended = True
                    raise OSError(errno.EINVAL, "size")
                device.live, device.readonly = wanted, device.readonly_next
            device.suspended = False

    def _may_be(self, size: int, now: int) -> bool:
        return size == now

    def clear(self, name: str) -> None:
        self._step("clear", name).inactive = None

    def state(self, name: str) -> State:
        device = self._device(name)
        return State(
            name,
            device.uuid,
            f"253:{device.minor}",
            device.suspended,
            device.live is not None,
            device.inactive is not None,
        )

    def table(self, name: str) -> tuple[str, ...]:
        live = self._device(name).live
        return live.lines() if live else ()

    def names(self) -> tuple[str, ...]:
        return tuple(self.devices)

    def close(self) -> None:
        self.log.append("close")

    def _device(self, name: str) -> FakeDevice:
        if name not in self.devices:
            raise OSError(errno.ENXIO, os.strerror(errno.ENXIO))
        return self.devices[name]

    def _step(self, what: str, name: str) -> FakeDevice:
        step = f"{what} {name}"
        self.log.append(step)
        if step in self.before:
            self.before[step]()
        return self._device(name)

    # As dmsetup.

    def dmsetup(self) -> Dmsetup:
        """The wrapper, running against this instead of the tool."""
        return Dmsetup(self.run, udev_running=lambda: False)

    def run(
        self, argv: Sequence[str], *, stdin: str, timeout: float, env: Mapping[str, str]
    ) -> Completed:
        """A runner in place of dmsetup."""
        words = [word for word in argv[2:] if not word.startswith("--")]
        options = [word for word in argv[2:] if word.startswith("--")]
        try:
            text = getattr(self, f"_run_{argv[1]}")(words, options, stdin)
        except OSError as error:
            return Completed(
                1, "", f"device-mapper: {argv[1]} ioctl on x failed: {error.strerror}\n"
            )
        return Completed(0, text or "", "")

    def _run_create(self, words: list[str], options: list[str], stdin: str) -> None:
        name, uuid = words
        self.log.append(f"create {name}")
        if name in self.devices or any(d.uuid == uuid for d in self.devices.values()):
            raise OSError(errno.EBUSY, "Device or resource busy")
        device = self.add(name, stdin, uuid=uuid)
        device.readonly = "--readonly" in options

    def _run_load(self, words: list[str], options: list[str], stdin: str) -> None:
        device = self._step("load", words[0])
        device.inactive, device.readonly_next = Table.parse(stdin), "--readonly" in options

    def _run_clear(self, words: list[str], options: list[str], stdin: str) -> None:
        self.clear(words[0])

    def _run_suspend(self, words: list[str], options: list[str], stdin: str) -> None:
        self.suspend(words[0])

    def _run_resume(self, words: list[str], options: list[str], stdin: str) -> None:
        self.resume(words[0])

    def _run_remove(self, words: list[str], options: list[str], stdin: str) -> None:
        device = self._step("remove", words[0])
        if device.open_count:
            raise OSError(errno.EBUSY, "Device or resource busy")
        del self.devices[words[0]]

    def _run_table(self, words: list[str], options: list[str], stdin: str) -> str:
        device = self._device(words[0])
        table = device.inactive if "--inactive" in options else device.live
        return table.text() if table else ""

    def _run_info(self, words: list[str], options: list[str], stdin: str) -> str:
        # The first two words belong to --separator and -o.
        wanted = [word for word in words if word in self.devices]
        if not wanted and "--sort" not in options:
            raise OSError(errno.ENXIO, "No such device or address")
        names = wanted or sorted(self.devices)
        return "".join(self._row(name) for name in names) or "No devices found\n"

    def _row(self, name: str) -> str:
        device = self.devices[name]
        slots = {(True, True): "Both", (True, False): "Live", (False, True): "Inactive"}
        tables = slots.get((device.live is not None, device.inactive is not None), "None")
        state = "Suspended" if device.suspended else "Active"
        mode = "Read-only" if device.readonly else "Writeable"
        return (
            f"{name}|{device.uuid}|253|{device.minor}|{tables}|{state}|{mode}"
            f"|{device.open_count}|0\n"
        )
