"""`cupy.cuda.driver`: what can be asked about kernels."""

__all__ = ["occupancyMaxActiveBlocksPerMultiprocessor"]


def occupancyMaxActiveBlocksPerMultiprocessor(func: int, blockSize: int, dynamicSMemSize: int) -> int:
    """One: the kernels here are compiled for as many registers as that leaves."""
    return 1
