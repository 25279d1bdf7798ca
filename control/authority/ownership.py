"""Who owns a group, as it is written down, and what a host brings to own it. Values only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from control.authority.errors import AuthorityDamaged


@dataclass(frozen=True, slots=True)
class Stamp:
    """A committed generation; number 0 for none."""

    number: int = 0
    uuid: str = ""


@dataclass(frozen=True, slots=True)
class Owner:
    """The value of both of a group's keys.

    ``owner`` is bound to its lease; ``last`` stays when the lease has ended, and says whether it
    was given up on purpose. ``since`` is in seconds since the epoch.
    """

    host_uuid: str
    host: str
    stamp: Stamp
    since: float
    released: bool = False

    def text(self) -> str:
        """As JSON."""
        return json.dumps(
            {
                "host_uuid": self.host_uuid,
                "host": self.host,
                "generation": self.stamp.number,
                "generation_uuid": self.stamp.uuid,
                "since": self.since,
                "released": self.released,
            }
        )

    @property
    def told(self) -> str:
        """``since`` for people, in UTC."""
        return f"{datetime.fromtimestamp(self.since, UTC):%Y-%m-%d %H:%M:%S} UTC"


def read_owner(key: str, text: str) -> Owner:
    """:raises AuthorityDamaged: the value is not one of frazil's."""
    try:
        found = json.loads(text)
        return Owner(
            str(found["host_uuid"]),
            str(found["host"]),
            Stamp(int(found["generation"]), str(found["generation_uuid"])),
            float(found["since"]),
            bool(found["released"]),
        )
    except (ValueError, TypeError, KeyError) as error:
        raise AuthorityDamaged(
            f"{key} at the authority holds no owner: {error}", "see who wrote it, then delete it"
        ) from None


@dataclass(frozen=True, slots=True)
class Standing:
    """Both keys of a group at one revision. Revision 0: there is no such key."""

    owner: Owner | None = None
    owner_revision: int = 0
    lease: int = 0
    last: Owner | None = None
    last_revision: int = 0


@dataclass(frozen=True, slots=True)
class Claim:
    """What a host brings: a group by its volumes' UUIDs, and the generations that it has.

    ``stamp`` is the newest committed one: at a source, by any of its replicas. ``known`` is number
    by UUID of all that it knows of.
    """

    group: str
    volumes: tuple[str, ...]
    stamp: Stamp = Stamp()
    known: Mapping[str, int] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The digest that names the group wherever it is, whatever it is called there."""
        return digest_of(self.volumes)

    def has(self, stamp: Stamp) -> bool:
        """Whether a stamped generation is not newer than what is here.

        One older than all that is remembered of the history was forgotten in due course.
        """
        if not stamp.uuid or stamp.uuid in self.known:
            return True
        return stamp.number < min(self.known.values(), default=0)


def digest_of(volumes: Iterable[str]) -> str:
    """Of the sorted UUIDs: 32 hexadecimal digits."""
    text = "\n".join(sorted(volumes))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def stamp_of(claim: Claim, last: Owner | None) -> Stamp:
    """What an owner stamps: never an older one, unless what is stamped is not in its history."""
    if last is None:
        return claim.stamp
    newer = claim.has(last.stamp) and last.stamp.number > claim.stamp.number
    return last.stamp if newer or not claim.stamp.uuid else claim.stamp
