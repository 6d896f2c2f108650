"""`cupy.cuda.nccl`."""

available = True
