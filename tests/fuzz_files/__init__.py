"""Random damaged and forged files of each kind that xrnn reads."""
