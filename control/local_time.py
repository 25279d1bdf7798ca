"""This host's local time, with the rules by which its clock jumps in spring and autumn."""

from __future__ import annotations

import os
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

LOCALTIME = Path("/etc/localtime")


def local_zone(localtime: Path = LOCALTIME) -> tzinfo:
    """The host's time zone: that of ``TZ``, else of ``/etc/localtime``, else UTC.

    Read anew each time: a zone that is changed counts without a restart.
    """
    named = os.environ.get("TZ", "").lstrip(":")
    try:
        if named:
            return ZoneInfo(named)
        with localtime.open("rb") as file:
            return ZoneInfo.from_file(file, key=None)
    except (OSError, ValueError, ZoneInfoNotFoundError):
        return UTC


def local_datetime(at: float, zone: tzinfo | None = None) -> datetime:
    """``at``, in seconds since the epoch, as this host's clocks show it."""
    return datetime.fromtimestamp(at, zone or local_zone())
