"""Who may write and read which replica volumes: the configuration's [[replica.allow]]."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Protocol

import grpc

from control.wire.errors import ReplicaRefused
from dm_tables.units import Bytes

LOOPBACK = "loopback"
"""The identity of whoever comes over plaintext, which never leaves the host."""


class AllowRule(Protocol):
    """One [[replica.allow]]."""

    @property
    def identity(self) -> str:
        """The client's name."""

    @property
    def volumes(self) -> Sequence[str]:
        """Shell patterns of replica volume names."""

    @property
    def discard(self) -> bool:
        """Whether the client may have given up what was written to them here after a promote."""

    @property
    def quota(self) -> Bytes | None:
        """What all replica volumes that the client writes may take, in bytes; None: any."""


@dataclass(frozen=True, slots=True)
class Client:
    """Who calls: the names its certificate gives it, the common name first."""

    names: tuple[str, ...]

    @property
    def identity(self) -> str:
        """The name to show where no rule has chosen one."""
        return self.names[0] if self.names else ""


def client_of(context: grpc.ServicerContext) -> Client:
    """The client behind a call, as TLS proved it, or loopback without TLS.

    :raises ReplicaRefused: a certificate without a name.
    """
    auth = context.auth_context()
    if auth.get("transport_security_type", [b""])[0] != b"ssl":
        return Client((LOOPBACK,))
    found = [*auth.get("x509_common_name", ()), *auth.get("x509_subject_alternative_name", ())]
    names = tuple(dict.fromkeys(name.decode("utf-8", "replace") for name in found if name))
    if not names:
        raise ReplicaRefused("the client's certificate has no name", "give it a common name")
    return Client(names)


def is_allowed(rules: Sequence[AllowRule], identity: str, volume: str) -> bool:
    """Whether a rule lets ``identity`` write ``volume``."""
    return any(
        rule.identity == identity and any(fnmatchcase(volume, glob) for glob in rule.volumes)
        for rule in rules
    )


def allowed_identity(rules: Sequence[AllowRule], client: Client, volume: str) -> str:
    """The name under which ``client`` may use ``volume``. :raises ReplicaRefused: it may not."""
    for name in client.names:
        if is_allowed(rules, name, volume):
            return name
    who = " or ".join(client.names)
    raise ReplicaRefused(
        f"{who} may not use the replica volume {volume}",
        f'allow it at the replica: [[replica.allow]] identity = "{client.identity}"',
    )


def check_may_discard(rules: Sequence[AllowRule], identity: str, volume: str) -> None:
    """:raises ReplicaRefused: no rule lets ``identity`` have writes to ``volume`` given up."""
    if not is_allowed([rule for rule in rules if rule.discard], identity, volume):
        raise ReplicaRefused(
            f"{identity} may not have given up here what was written to {volume}",
            f"run it there: frazil volume demote NAME --identity {identity} --force; or allow it "
            f'there for good: [[replica.allow]] identity = "{identity}", discard = true',
        )
