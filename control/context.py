"""What every part of the daemon works with."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from control.authority.authority import NO_AUTHORITY, Authority
from control.config import Config
from control.events import Events
from control.history import History
from control.journal import Journal
from control.pool.pool import Pool
from control.rates import Rates
from control.trace import Tracing
from dm_tables.dmsetup import Dmsetup
from dm_tables.freezer import Freezer


@dataclass(frozen=True, slots=True)
class Context:
    """What a host has.

    Configuration, journal, events, pool, device-mapper, freezer and trace; how volumes were
    written before, and how fast they are now; who says which host may give heads out.
    """

    config: Config
    journal: Journal
    events: Events
    pool: Pool
    dmsetup: Dmsetup
    freezer: Freezer
    tracing: Tracing
    history: History
    rates: Rates
    authority: Authority = NO_AUTHORITY
    watching: threading.Event = field(default_factory=threading.Event)
    """Set when there is one more live layer that could overflow: the brake looks at once."""
