"""What only a GPU can show, in one command: `make gpu-check`; benchmarks/README.md says what it does."""
