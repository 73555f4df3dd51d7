"""Tests, run by trial: the folders mirror cadtwist/.

Hypothesis takes the time that a busy machine needs: what a test asserts never is a time.
"""

from hypothesis import HealthCheck, settings

from tests.seeds import EXPLORES

settings.register_profile(
    "calm",
    deadline=None,
    database=None,
    print_blob=True,
    derandomize=not EXPLORES,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("calm")
