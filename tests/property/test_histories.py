"""Whatever befalls a source and its replicas, every one of them holds a whole instant.

Everything that frazil decides and moves is real; only device-mapper is a model of it in memory
(:mod:`tests.soft.mapper`), and no thread of frazil's runs by itself.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

from tests.soft.histories import Histories

Histories.TestCase.settings = settings(
    max_examples=int(os.environ.get("FRAZIL_HISTORIES", "25")),
    stateful_step_count=30,
    derandomize="FRAZIL_HISTORIES" not in os.environ,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestHistories = Histories.TestCase
_ = Phase
