"""What can go wrong between this host and the authority."""

from __future__ import annotations

from dm_tables.errors import Corrupt, Denied, Precondition, Unavailable


class AuthorityUnavailable(Unavailable):
    """No endpoint answered in time."""


class AuthorityDenied(Denied):
    """It answered that this host may not, or one of the two does not trust the other."""


class AuthorityDamaged(Corrupt):
    """A key holds something that frazil did not write."""


class OwnedElsewhere(Precondition):
    """Another host owns the group, and its lease lives."""


class NotTheStamped(Precondition):
    """The generation that the owner stamped last is not committed here."""
