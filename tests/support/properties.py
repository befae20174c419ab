"""Settings of property tests that run on busy machines."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

#: What is tested is what comes out, not how long it takes.
PATIENT = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
