"""The authority that the configuration names."""

from __future__ import annotations

from control.authority.authority import NO_AUTHORITY, Authority
from control.config import Config
from control.events import Events
from control.journal import Journal


def open_authority(config: Config, journal: Journal, events: Events) -> Authority:
    """Nothing is asked yet; without one nothing is imported either."""
    if config.authority.kind == "none":
        return NO_AUTHORITY
    from control.authority.etcd import etcd_authority

    return etcd_authority(config.authority, config.host.name, journal, events)
