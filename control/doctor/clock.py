"""The clock: lag is a difference between two hosts' clocks, and certificates have dates."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from control.doctor.findings import Finding, Level, ok

AREA = "time"
STA_UNSYNC = 0x40
LOOSE_SECONDS = 1.0
PLAUSIBLE = datetime(2024, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Clock:
    """What the kernel knows of its clock: adjtimex(2). ``off``: at most, in seconds."""

    synchronised: bool
    off: float


class _Timex(ctypes.Structure):
    """``struct timex`` up to what is read here; the rest is room that the kernel fills."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 256),
    )


def read_clock() -> Clock:
    """:raises OSError: the kernel does not say."""
    answer = _Timex()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.adjtimex(ctypes.byref(answer)) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return Clock(not answer.status & STA_UNSYNC, answer.maxerror / 1e6)


def check_clock() -> Iterator[Finding]:
    """Whether something keeps the clock right."""
    try:
        yield judge_clock(read_clock(), datetime.now(UTC))
    except OSError as error:
        yield Finding(AREA, Level.NOTE, f"the kernel does not tell of its clock: {error.strerror}")


def judge_clock(clock: Clock, now: datetime) -> Finding:
    """A wrong clock harms no data: it makes lag and certificates look wrong."""
    remedy = "run one of chrony, ntpsec, systemd-timesyncd: apt install chrony"
    if now < PLAUSIBLE:
        what = f"here it is {now:%Y-%m-%d}: certificates are not valid yet"
        return Finding(AREA, Level.PROBLEM, what, remedy)
    if not clock.synchronised:
        what = "nothing keeps this clock right: lag and ages between hosts cannot be relied on"
        return Finding(AREA, Level.WARNING, what, remedy)
    if clock.off > LOOSE_SECONDS:
        what = f"the clock may be {clock.off:.1f} s off: lag and ages between hosts are, too"
        return Finding(AREA, Level.WARNING, what, "see what chronyc tracking or timedatectl say")
    return ok(AREA, "the clock is synchronised")
