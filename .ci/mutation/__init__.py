"""The parts of `make mutants`: the changes, the tests that reach a line, and running those tests on a change."""
