"""Damaged and forged files without end, for everything that xrnn reads: `python -m tests.fuzz_files`."""
