"""xLSTM models of transformers on the kernels beside transformers' own backend."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from transformers.utils import is_xlstm_available

import xrnn.torch
from tests.torch.conftest import Fallbacks
from tests.torch.pairs import agree
from xrnn.arrays.select import get_backend

pytestmark = pytest.mark.skipif(
    is_xlstm_available() or transformers.__version__.startswith("4."),
    reason="the kernels run the xLSTM of transformers 5.24 without the package xlstm, whose layers would replace it",
)
N, H, T, K, V = 2, 3, 9, 4, 5


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    before = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    yield
    transformers.logging.set_verbosity(before)


def new_model(**changed: Any) -> Any:
    """Gates that depend on x, and input gates that are open: those of a new model store hardly anything."""
    options: dict[str, Any] = {
        "vocab_size": 50,
        "hidden_size": 128,
        "num_heads": 4,
        "num_hidden_layers": 2,
        "chunk_size": 8,
    }
    options |= {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": None, "autocast_kernel_dtype": "float32"}
    model = transformers.xLSTMForCausalLM(transformers.xLSTMConfig(**(options | changed)))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "gate_preact" in name:
                parameter.copy_(torch.randn_like(parameter) * (1 if parameter.dim() == 1 else 0.1))
    return model.eval()


def accelerated(model: Any) -> Any:
    ours = copy.deepcopy(model)
    where = xrnn.torch.accelerate(ours)
    assert len(where) == 2
    assert set(where.values()) == {"kernels"}
    return ours


def logits_and_gradients(model: Any, ids: Tensor) -> list[Tensor]:
    model.zero_grad()
    out = model(ids, labels=ids, use_cache=False)
    out.loss.backward()
    return [out.logits.detach(), *(p.grad for p in model.parameters() if p.grad is not None)]


@pytest.mark.parametrize("steps", [1, 7, 8, 19])
def test_logits_and_gradients_are_those_of_transformers(steps: int) -> None:
    """Chunks of 8 steps in transformers, and a loop over the remaining ones."""
    model = new_model()
    ids = torch.randint(1, 50, (3, steps))
    want = logits_and_gradients(model, ids)
    assert len(want) == 1 + len(list(model.parameters()))
    agree(logits_and_gradients(accelerated(model), ids), want, factor=3)


@pytest.mark.parametrize("steps", [1, 2, 11])
def test_generated_tokens_are_those_of_transformers(steps: int) -> None:
    model = new_model()
    ids = torch.randint(1, 50, (3, steps))
    options = {"max_new_tokens": 7, "do_sample": False, "return_dict_in_generate": True, "output_scores": True}
    want = model.generate(ids, **options)
    got = accelerated(model).generate(ids, **options)
    assert torch.equal(got.sequences, want.sequences)
    agree(list(got.scores), list(want.scores), factor=3)


def backends(**changed: Any) -> tuple[Any, Any]:
    """A backend of transformers, and an accelerated one."""
    theirs = new_model(**changed).backbone.blocks[0].mlstm_layer.mlstm_backend
    ours = copy.deepcopy(theirs)
    assert xrnn.torch.accelerate(ours) == {"": "kernels"}
    return theirs, ours


def operands(steps: int = T) -> dict[str, Tensor]:
    shapes: dict[str, tuple[int, ...]] = {"query": (N, H, steps, K), "key": (N, H, steps, K), "value": (N, H, steps, V)}
    shapes |= {"igate": (N, H, steps), "fgate": (N, H, steps)}
    shapes |= {"c_initial": (N, H, K, V), "n_initial": (N, H, K), "m_initial": (N, H, 1)}
    return {name: torch.randn(shape) for name, shape in shapes.items()}


def values_and_gradients(backend: Any, given: dict[str, Tensor], **options: Any) -> list[Tensor]:
    """Of a loss of h and of all three states."""
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in given.items()}
    h, states = backend(**leaves, **options)
    generator = torch.Generator().manual_seed(1)
    results = [h, *states]
    loss = sum((r * torch.randn(r.shape, generator=generator, dtype=r.dtype)).sum() for r in results)
    return [*(r.detach() for r in results), *torch.autograd.grad(loss, list(leaves.values()))]


@pytest.mark.parametrize("shift", [-12.0, 0.0, 12.0])
@pytest.mark.parametrize("steps", [1, T, 24])
def test_states_and_all_gradients(steps: int, shift: float) -> None:
    """`shift` of the input gates: the bound of the normaliser is always reached, sometimes, or never; at 12 the bound
    is smaller than `eps`."""
    theirs, ours = backends(eps=1e-3)
    given = operands(steps)
    given["igate"] += shift
    given["m_initial"] += shift
    agree(values_and_gradients(ours, given), values_and_gradients(theirs, given), factor=10)


@pytest.mark.parametrize(("mode", "steps"), [("train", 24), ("train_with_padding", 13)])
def test_modes_of_training(mode: str, steps: int) -> None:
    theirs, ours = backends(mode=mode, return_last_states=mode == "train")
    given = {name: operands(steps)[name] for name in ("query", "key", "value", "igate", "fgate")}
    want = theirs(**given)
    got = ours(**given)
    if mode == "train":
        agree([got[0], *got[1]], [want[0], *want[1]], factor=3)
    else:
        agree([got], [want], factor=3)
    agree([ours(**given, mode="inference")[0]], [theirs(**given, mode="inference")[0]], factor=3)


def test_the_kernels_compute_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    kind = type(get_backend("numpy"))

    def counting(name: str) -> Callable[..., Any]:
        original = getattr(kind, name)

        def counted(*arguments: Any, **options: Any) -> Any:
            calls.append(name)
            return original(*arguments, **options)

        return counted

    for name in ("matrix_memory_forward", "matrix_memory_backward"):
        monkeypatch.setattr(kind, name, counting(name))
    ours = accelerated(new_model())
    logits_and_gradients(ours, torch.randint(1, 50, (2, 5)))
    assert calls == ["matrix_memory_forward"] * 2 + ["matrix_memory_backward"] * 2


def test_extreme_gates_stay_finite() -> None:
    _, ours = backends()
    for igate, fgate in ((1e4, -1e4), (-1e4, 1e4), (-1e4, -1e4)):
        given = operands()
        given["igate"][:], given["fgate"][:] = igate, fgate
        del given["c_initial"], given["n_initial"], given["m_initial"]
        assert all(torch.isfinite(each).all() for each in values_and_gradients(ours, given))


def test_unsupported_calls_run_in_transformers(fallbacks: Fallbacks) -> None:
    model = new_model()
    ids = torch.randint(1, 50, (2, 5))
    ours = accelerated(model)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ours(ids).logits, model(ids).logits)
        assert set(xrnn.torch.explain(ours).values()) == {
            "PyTorch: autocast is on; ran in PyTorch: autocast is on (1 times)"
        }
    assert set(fallbacks.take()) == {"xLSTMBackend runs in PyTorch: autocast is on"}
    with torch.no_grad():
        theirs = copy.deepcopy(model).bfloat16()
        assert torch.equal(ours.bfloat16()(ids).logits, theirs(ids).logits)
    (why,) = set(fallbacks.take())
    assert why.startswith("xLSTMBackend runs in PyTorch: query is torch.bfloat16")
    theirs, ours = backends(mode="train", return_last_states=False)
    given = operands()
    with pytest.raises(ValueError, match="not divisible"):
        ours(**given)
    (why,) = set(fallbacks.take())
    assert "which chunk_size=8 does not divide" in why
    theirs, ours = backends()
    theirs.step_kernel_fn = ours.step_kernel_fn = lambda *_: None
    agree([ours(**given)[0]], [theirs(**given)[0]])
    assert fallbacks.take() == ["xLSTMBackend runs in PyTorch: its step_kernel_fn was replaced"]
    assert xrnn.torch.restore(ours) == [""]


def test_compile_calls_the_kernels() -> None:
    theirs, ours = backends()
    given = operands()
    agree([torch.compile(ours, backend="eager")(**given)[0]], [theirs(**given)[0]], factor=3)
