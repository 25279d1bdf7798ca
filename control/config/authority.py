"""The configuration's section of the authority, and what must hold between its keys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from msgspec import Meta

from control.addresses import parse_address
from control.config.errors import BadValue
from control.config.section import Section
from control.units_text import Seconds
from dm_tables.errors import Usage

AuthorityKind = Literal["none", "etcd"]
Prefix = Annotated[str, Meta(pattern=r"^(/[A-Za-z0-9_.-]+)+$")]


class AuthoritySection(Section, frozen=True):
    """Which host may give a group's heads to applications, decided by a distributed store.

    By default every host decides for itself, and promote is a person's or an orchestrator's act.
    """

    kind: Annotated[
        AuthorityKind, Meta(description='"none", or "etcd": leases and keys of an etcd cluster.')
    ] = "none"
    endpoints: Annotated[
        tuple[str, ...],
        Meta(
            description="URLs of the cluster's members, tried in turn, such as "
            '"https://10.0.0.5:2379"; http:// on loopback only.'
        ),
    ] = ()
    ca: Annotated[
        Path | None,
        Meta(
            description="The authority that signed the members' certificates (PEM); by default "
            "those that the system trusts.",
            extra={"text": "path", "example": '"/etc/frazil/etcd-ca.pem"'},
        ),
    ] = None
    cert: Annotated[
        Path | None,
        Meta(
            description="The certificate that this host shows them (PEM), where they ask for one.",
            extra={"text": "path", "example": '"/etc/frazil/etcd.pem"'},
        ),
    ] = None
    key: Annotated[
        Path | None,
        Meta(
            description="Its private key (PEM).",
            extra={"text": "path", "example": '"/etc/frazil/etcd.key"'},
        ),
    ] = None
    prefix: Annotated[
        Prefix,
        Meta(description="What the keys begin with; the same on all hosts that mirror each other."),
    ] = "/frazil"
    ttl: Annotated[
        Seconds,
        Meta(
            description="How long an owner that is not heard of stays the owner; renewed three "
            "times as often.",
            extra={"text": "duration", "least": 5, "most": 3600},
        ),
    ] = Seconds(30.0)
    auto_promote: Annotated[
        bool,
        Meta(
            description="This host's replicas become sources by themselves when their owner's "
            "lease has ended and they have what it committed last."
        ),
    ] = False


def check_authority(section: AuthoritySection) -> None:
    """:raises BadValue: two keys contradict each other, or one needs another."""
    if section.kind == "none":
        for name in ("endpoints", "auto_promote"):
            if getattr(section, name):
                raise BadValue(f"authority.{name}", "means nothing", 'it needs kind = "etcd"')
        return
    if not section.endpoints:
        raise BadValue("authority.endpoints", "is missing", 'kind = "etcd" needs it')
    for place, endpoint in enumerate(section.endpoints):
        _check_endpoint(endpoint, f"authority.endpoints[{place}]")
    if (section.cert is None) != (section.key is None):
        missing, given = ("key", "cert") if section.key is None else ("cert", "key")
        raise BadValue(f"authority.{missing}", "is missing", f"{given} needs it")
    if not float(section.ttl).is_integer():
        raise BadValue("authority.ttl", f"{section.ttl} is no whole number of seconds")


def _check_endpoint(endpoint: str, key: str) -> None:
    hint = 'write a URL with a port and no path, such as "https://10.0.0.5:2379"'
    scheme, separator, address = endpoint.partition("://")
    if scheme not in ("http", "https") or not separator or urlsplit(endpoint).path:
        raise BadValue(key, f'"{endpoint}" is no endpoint', hint)
    try:
        where = parse_address(address)
    except Usage:
        raise BadValue(key, f'"{endpoint}" is no endpoint', hint) from None
    if not where.port or set(address) & set("@?#"):
        raise BadValue(key, f'"{endpoint}" is no endpoint', hint)
    if scheme == "http" and not where.is_loopback:
        raise BadValue(
            key,
            f'"{endpoint}" can be reached from other hosts, and http is for loopback only',
            "write https://, and give ca, cert and key",
        )
