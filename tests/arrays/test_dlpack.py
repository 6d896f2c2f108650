"""`asarray` of arrays of other libraries: it shares their memory if the backend can use it, or raises one line."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests import standin as cp
from tests.conftest import GPU_PARAMS, STANDIN
from tests.errors import one_line
from xrnn import RNN, SGD, asarray, backend_of, get_backend, to_numpy
from xrnn.backend import Backend


class Foreign:
    """Another library's array, which has DLPack and nothing else."""

    def __init__(self, array: Any) -> None:
        self._array = array

    def __dlpack_device__(self) -> Any:
        return self._array.__dlpack_device__()

    def __dlpack__(self, **options: Any) -> Any:
        return self._array.__dlpack__(**options)


class Old(Foreign):
    """Of a library without DLPack 1.0, which can't mark an array as read-only."""

    def __dlpack__(self, *, stream: Any = None) -> Any:  # type: ignore[override]
        return self._array.__dlpack__()


class Elsewhere(Foreign):
    """On a device that no backend reaches: DLPack's kDLMetal."""

    def __dlpack_device__(self) -> tuple[int, int]:
        return 8, 0


class Pinned(Foreign):
    """In pinned host memory: DLPack's kDLCUDAHost."""

    def __dlpack_device__(self) -> tuple[int, int]:
        return 3, 0


class Broken(Foreign):
    def __dlpack_device__(self) -> Any:
        raise NotImplementedError("this array has no device.\nIt never had.")


def address(array: Any) -> int:
    return array.ctypes.data if isinstance(array, np.ndarray) else array.data.ptr


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int64", "int32", "bool"])
def test_memory_of_the_backends_kind_is_shared(backend: Backend, dtype: str) -> None:
    array = backend.asarray(np.arange(6).reshape(2, 3), dtype)[:, ::2]
    taken = asarray(Foreign(array), backend=backend)
    assert backend.owns(taken)
    assert address(taken) == address(array)
    assert (taken.dtype, taken.shape, taken.strides) == (array.dtype, array.shape, array.strides)
    array[0, 0] = 1
    assert taken[0, 0] == 1
    assert asarray(Foreign(array), "float32", backend=backend).dtype == np.float32


def test_host_memory_is_copied_to_the_device(backend: Backend) -> None:
    for kind in (Foreign, Pinned):
        taken = asarray(kind(np.arange(3.0)), backend=backend)
        assert backend.owns(taken)
        np.testing.assert_array_equal(to_numpy(taken), np.arange(3.0))


def test_an_unreachable_device() -> None:
    for array, backend in [(Foreign(cp.ones(3)), get_backend("numpy")), (Elsewhere(cp.ones(3)), STANDIN)]:
        where = array.__dlpack_device__()[0]
        words = f"Foreign on the DLPack device {where}: expected one on the CPU or on a device of the {backend.name}"
        with one_line(ValueError, words.replace("Foreign", type(array).__name__), "copy it to the CPU with its own"):
            asarray(array, backend=backend)


def test_a_read_only_array_stays_read_only() -> None:
    weights = [np.array(param) for param in RNN.init(2, 3, rng=0, backend="numpy").params]
    for weight in weights:
        weight.flags.writeable = False
    taken = [asarray(Foreign(weight), backend="numpy") for weight in weights]
    assert not any(weight.flags.writeable for weight in taken)
    rnn = RNN(*taken)
    rnn.backward(rnn.forward(np.ones((4, 1, 2), "float32")))
    with one_line(ValueError, "params[0] of layers[1] is read-only: expected", "make the layer of copies"):
        SGD([RNN.init(2, 3, backend="numpy"), rnn])
    refusal = "Old that can't be taken over (Cannot export readonly array"
    with one_line(TypeError, refusal, "convert or copy it with its own library first"):
        asarray(Old(weights[0]), backend="numpy")


def test_an_error_of_the_other_library_is_shown_in_one_line(backend: Backend) -> None:
    with one_line(TypeError, "Broken that can't be taken over (this array has no device.): expected a dense array"):
        asarray(Broken(np.ones(3)), backend=backend)


# ---- PyTorch ----


@pytest.mark.needs("torch", "torch")
def test_tensors_are_shared() -> None:
    import torch

    tensor = torch.arange(6.0).reshape(2, 3).T
    array = asarray(tensor, backend="numpy")
    assert address(array) == tensor.data_ptr()
    array[0, 0] = 7
    assert tensor[0, 0] == 7
    rnn, x = RNN.init(3, 4, backend="numpy"), torch.ones(5, 2, 3)
    np.testing.assert_array_equal(rnn(asarray(x, backend="numpy")), rnn(np.ones((5, 2, 3), "float32")))
    assert backend_of(asarray(tensor, backend=STANDIN)) is STANDIN


@pytest.mark.needs("torch", "torch")
def test_tensors_that_can_not_be_shared() -> None:
    import torch

    unread = "array is a torch.Tensor that computes its values when it is read: expected values"
    detach = "use xrnn.asarray(x.detach()), or the modules of xrnn.torch, through which"
    convert = "convert or copy it with its own library first"
    for tensor, words in [
        (torch.ones(3, requires_grad=True), "array is a torch.Tensor that requires grad: expected values alone"),
        (torch.nn.Parameter(torch.ones(3)), "array is a torch.nn.parameter.Parameter that requires grad: expected"),
        (torch.ones(3, dtype=torch.bfloat16), "torch.Tensor of dtype torch.bfloat16 that can't be taken over ("),
        (torch.ones(3).to(torch.float8_e4m3fn), "torch.Tensor of dtype torch.float8_e4m3fn that can't be taken over ("),
        (torch.eye(3).to_sparse(), "that can't be taken over (Can't export tensors with layout other than"),
        (torch.ones(3, dtype=torch.complex64).conj(), "that can't be taken over (Can't export tensors with the conj"),
        (torch.ones(3, device="meta"), "that can't be taken over (Unknown device type meta"),
    ]:
        with one_line(TypeError, words, detach if tensor.requires_grad else convert):
            asarray(tensor, backend="numpy")
    # PyTorch exports these anyway: the sign would be wrong, or the values undefined.
    for tensor in (torch.tensor([1 + 2j]).conj().imag, torch._efficientzerotensor(2)):
        with one_line(TypeError, unread):
            asarray(tensor, backend="numpy")


@pytest.mark.needs("torch", "torch")
def test_layers_refuse_a_tensor_with_the_remedy(backend: Backend) -> None:
    import torch

    remedy = "torch.Tensor: expected an array of cupy or numpy; use xrnn.asarray(x), or the modules of xrnn.torch"
    with one_line(TypeError, "x is a ", remedy):
        RNN.init(2, 3, rng=0, backend=backend)(torch.ones(4, 1, 2))


if GPU_PARAMS:  # else conftest.py says that tests on a GPU are left out

    @pytest.mark.gpu
    @pytest.mark.needs("torch", "torch")
    def test_tensors_on_a_gpu_are_shared() -> None:
        import torch

        if not torch.cuda.is_available():
            pytest.skip("this PyTorch has no CUDA: pip install torch, of PyTorch's index for CUDA")
        tensor = torch.arange(6.0, device="cuda").reshape(2, 3).T
        assert address(asarray(tensor, backend="cupy")) == tensor.data_ptr()
        with one_line(ValueError, "array is a torch.Tensor on cuda:0: expected one on the CPU or on a device of"):
            asarray(tensor, backend="numpy")


# ---- JAX ----


@pytest.mark.needs("jax", "bench")
def test_arrays_of_jax_are_shared_and_read_only() -> None:
    import jax.numpy as jnp

    array = jnp.arange(6.0).reshape(2, 3)
    taken = asarray(array, backend="numpy")
    assert address(taken) == array.unsafe_buffer_pointer()
    assert not taken.flags.writeable
    with one_line(TypeError, "of dtype bfloat16 that can't be taken over ("):
        asarray(array.astype(jnp.bfloat16), backend="numpy")
