"""A character-level language model, trained by truncated BPTT: what `xrnn train` and `xrnn generate` run."""
