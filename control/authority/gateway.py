"""etcd's version 3 interface as JSON: leases, reading, and transactions that compare revisions.

See "gRPC gateway" in etcd's documentation: numbers of 64 bits are text, bytes are base64, and what
is zero or empty is left out.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from control.authority.errors import AuthorityDamaged

Ask = Callable[[str, Mapping[str, Any]], Mapping[str, Any]]
"""Path and message to answer: :class:`control.authority.post.Post`."""


@dataclass(frozen=True, slots=True)
class KeyValue:
    """A key as it was read. ``lease`` 0: it is bound to none."""

    key: str
    value: str
    revision: int
    lease: int


@dataclass(frozen=True, slots=True)
class Put:
    """Write a key, bound to a lease if that is not 0."""

    key: str
    value: str
    lease: int = 0

    def message(self) -> Mapping[str, Any]:
        """As the gateway takes it."""
        put = {"key": _encoded(self.key), "value": _encoded(self.value), "lease": str(self.lease)}
        return {"request_put": put}


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a key."""

    key: str

    def message(self) -> Mapping[str, Any]:
        """As the gateway takes it."""
        return {"request_delete_range": {"key": _encoded(self.key)}}


class Gateway:
    """Each method is one request.

    :raises AuthorityUnavailable, AuthorityDenied: see :class:`control.authority.post.Post`.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def grant(self, ttl: int) -> int:
        """A new lease of ``ttl`` seconds; its number."""
        lease = _number(self._ask("/v3/lease/grant", {"TTL": str(ttl)}), "ID")
        if not lease:
            raise AuthorityDamaged("the authority grants a lease without a number")
        return lease

    def keep_alive(self, lease: int) -> int:
        """Begin a lease anew. :return: seconds that it has; 0: it has ended."""
        answer = self._ask("/v3/lease/keepalive", {"ID": str(lease)})
        return _number(answer.get("result", {}), "TTL")

    def revoke(self, lease: int) -> None:
        """End a lease, and delete what is bound to it."""
        self._ask("/v3/lease/revoke", {"ID": str(lease)})

    def below(self, prefix: str) -> list[KeyValue]:
        """All keys that begin with ``prefix``, at one revision, as most members have it."""
        end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
        message = {"key": _encoded(prefix), "range_end": _encoded(end)}
        answer = self._ask("/v3/kv/range", message)
        return [_key_value(one) for one in answer.get("kvs", [])]

    def change(self, unchanged: Mapping[str, int], steps: Sequence[Put | Delete]) -> bool:
        """Do all steps or none.

        :param unchanged: the revision that each key must have still; 0: it must not be there.
        :return: whether they had.
        """
        compare = [
            {
                "key": _encoded(key),
                "target": "MOD",
                "result": "EQUAL",
                "mod_revision": str(revision),
            }
            for key, revision in unchanged.items()
        ]
        message = {"compare": compare, "success": [step.message() for step in steps]}
        return bool(self._ask("/v3/kv/txn", message).get("succeeded", False))


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _number(found: Mapping[str, Any], name: str) -> int:
    try:
        return int(found.get(name, 0))
    except (TypeError, ValueError):
        raise AuthorityDamaged(f"the authority answers with no number for {name}") from None


def _key_value(found: Mapping[str, Any]) -> KeyValue:
    try:
        return KeyValue(
            base64.b64decode(found["key"]).decode(),
            base64.b64decode(found.get("value", "")).decode(),
            int(found["mod_revision"]),
            int(found.get("lease", 0)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise AuthorityDamaged(f"the authority answers with a key that is none: {error}") from None
