"""The compiled kernels of the NumPy backend."""

def compiler() -> str:
    """The compiler that built this module, with its version."""
