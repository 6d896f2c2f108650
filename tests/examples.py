"""Hypothesis: the same examples in every run, so that a failure is never one of chance. `--hypothesis-profile=long`, as
in .ci/nightly, draws many others."""

from hypothesis import HealthCheck, settings

# The fixtures hold nothing that an example changes.
settings.register_profile(
    "xrnn",
    max_examples=40,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.register_profile("long", settings.get_profile("xrnn"), max_examples=100_000, derandomize=False)
settings.load_profile("xrnn")
