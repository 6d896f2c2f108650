"""One folder an array library, imported as `xrnn.backends`. Each has `load() -> Backend`."""
