"""Runs CUDA C kernels on a CPU: the same source, compiled by g++, every CUDA thread a fiber."""

from tests.cuda_emulator.module import MISSING, EmulatorError, Kernel, Module, run_under

__all__ = ["MISSING", "EmulatorError", "Kernel", "Module", "run_under"]
