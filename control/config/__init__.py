"""The host's configuration: one TOML file, read once at start."""

from control.config.authority import AuthoritySection
from control.config.errors import ConfigError
from control.config.example import default_config_text
from control.config.reading import ConfigMissing, ConfigUnreadable, load, read, salvage
from control.config.sections import (
    AllowSection,
    Config,
    CopySection,
    FreezeSection,
    HostSection,
    ListenSection,
    MergeSection,
    PoolSection,
    ReplicaSection,
    RunSection,
    StateSection,
    TlsSection,
    TraceSection,
    VerifySection,
)

__all__ = [
    "AllowSection",
    "AuthoritySection",
    "Config",
    "ConfigError",
    "ConfigMissing",
    "ConfigUnreadable",
    "CopySection",
    "FreezeSection",
    "HostSection",
    "ListenSection",
    "MergeSection",
    "PoolSection",
    "ReplicaSection",
    "RunSection",
    "StateSection",
    "TlsSection",
    "TraceSection",
    "VerifySection",
    "default_config_text",
    "load",
    "read",
    "salvage",
]
