"""Hypothesis: the same examples in every run, so that a failure is never one of chance."""

from hypothesis import HealthCheck, settings

# The fixtures hold nothing that an example changes.
settings.register_profile(
    "xrnn",
    max_examples=40,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.load_profile("xrnn")
