"""Tests, run by trial: the folders mirror cadtwist/.

Hypothesis takes the time that a busy machine needs: what a test asserts never is a time.
"""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "calm", deadline=None, database=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("calm")
