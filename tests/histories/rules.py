"""Steps as hypothesis draws them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import rule

from tests.histories.steps import Domains


def as_rule(step: Callable[..., None], domains: Domains) -> Any:
    """A step as a rule of a state machine."""
    # Its overloads are for arguments that are known beforehand.
    make: Any = rule
    return make(**{name: st.sampled_from(domain) for name, domain in domains.items()})(step)
