"""How the property tests run: the same everywhere, whatever else the machine has to do."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# A busy machine is no failure: there is no deadline for one example.
settings.register_profile(
    "frazil", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("frazil")
