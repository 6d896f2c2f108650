"""The Mamba mixers of transformers on the kernels beside transformers' own forward."""

from __future__ import annotations

import copy
import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
import torch
import transformers
from torch import Tensor, nn
from torch.nn.utils import parametrize

import xrnn.torch
from tests.torch.conftest import Fallbacks
from tests.torch.pairs import agree
from xrnn.arrays.select import get_backend

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated and will be removed:FutureWarning")
IS_4: Final = transformers.__version__.startswith("4.")
_SIZES: Final = {"vocab_size": 50, "hidden_size": 20, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": None}


_MAMBA: Final = {"num_hidden_layers": 2, "state_size": 5, "use_bias": True}
_ATTENTION: Final = {"num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 24}
_HEADS: Final = {"mamba_n_heads": 8, "mamba_d_head": 5, "mamba_n_groups": 2, "mamba_d_state": 6, "mamba_chunk_size": 8}

# Each model has two mixers.
_OF_MAMBA: Final[dict[str, dict[str, Any]]] = {
    "Mamba": _MAMBA,
    "FalconMamba": _MAMBA,
    "Jamba": {
        "num_hidden_layers": 4,
        "mamba_d_state": 5,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "intermediate_size": 24,
        "num_experts": 2,
        "use_mamba_kernels": not IS_4,  # True raises an error on the CPU in transformers 4.57
    },
}
_OF_MAMBA2: Final[dict[str, dict[str, Any]]] = {
    "Mamba2": {
        "num_hidden_layers": 2,
        "num_heads": 8,
        "head_dim": 5,
        "n_groups": 2,
        "state_size": 6,
        "chunk_size": 8,
        "time_step_limit": (0.05, 0.6),
    },
    "Bamba": _ATTENTION | _HEADS | {"num_hidden_layers": 3, "attn_layer_indices": [1]},
    "FalconH1": _ATTENTION
    | _HEADS
    | {
        "num_hidden_layers": 2,
        "mamba_d_ssm": 40,
        "ssm_in_multiplier": 0.7,
        "ssm_multipliers": [0.5, 1.5, 0.7, 1.2, 0.8],
    },
    "GraniteMoeHybrid": _ATTENTION
    | _HEADS
    | {
        "num_hidden_layers": 3,
        "layer_types": ["mamba", "attention", "mamba"],
        "shared_intermediate_size": 24,
        "num_local_experts": 2,
    },
    "NemotronH": _ATTENTION
    | {
        "layers_block_type": ["mamba", "attention", "mamba", "mlp"],
        "head_dim": 10,
        "mamba_num_heads": 8,
        "mamba_head_dim": 5,
        "n_groups": 2,
        "ssm_state_size": 6,
        "chunk_size": 8,
    },
    "Zamba2": {
        "num_attention_heads": 4,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "layers_block_type": ["mamba", "hybrid"],
        "mamba_d_state": 6,
        "mamba_ngroups": 2,
        "n_mamba_heads": 8,
        "chunk_size": 8,
        "adapter_rank": 4,
    },
}
_MODELS: Final = _OF_MAMBA | _OF_MAMBA2
# transformers 4.57 has no NemotronH, and the kernels do not run its Zamba2.
_NEW: Final = ("NemotronH", "Zamba2")


def new_model(kind: str, **changed: Any) -> Any:
    config = getattr(transformers, f"{kind}Config")(**(_SIZES | _MODELS[kind] | changed))
    return getattr(transformers, f"{kind}ForCausalLM")(config)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """transformers logs that it computes without CUDA kernels, once in a process."""
    before = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    yield
    transformers.logging.set_verbosity(before)


@pytest.fixture(params=[kind for kind in _MODELS if not (IS_4 and kind in _NEW)])
def model(request: pytest.FixtureRequest) -> Any:
    return _varied(new_model(request.param)).eval()


def _varied(model: Any) -> Any:
    """Biases, norms and D away from their initial values of zeros and ones."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter += 0.3 * torch.randn_like(parameter)
    return model


def accelerated(model: Any) -> Any:
    """A copy of the model, on the kernels."""
    ours = copy.deepcopy(model)
    where = xrnn.torch.accelerate(ours)
    assert len(where) == 2
    assert set(where.values()) == {"kernels"}
    return ours


def is_mamba2(model: Any) -> bool:
    return hasattr(mixer_of(model), "dt_bias")


def tokens(rows: int = 3, steps: int = 19) -> Tensor:
    return torch.randint(1, 50, (rows, steps))


def padded_left(ids: Tensor) -> Tensor:
    """A mask in which the rows begin at different steps."""
    begins = torch.arange(len(ids))[:, None] * 4 % 9
    return (torch.arange(ids.shape[1]) >= begins).long()


def logits_and_gradients(model: Any, ids: Tensor, mask: Tensor | None) -> list[Tensor]:
    model.zero_grad()
    out = model(ids, attention_mask=mask, labels=ids, use_cache=False)
    out.loss.backward()
    # an expert of Jamba that no token chose has no gradient
    return [out.logits.detach(), *(p.grad for p in model.parameters() if p.grad is not None)]


@pytest.mark.parametrize("masked", ["no mask", "padded left", "with holes"])
@pytest.mark.parametrize("training", [False, True])
def test_logits_and_gradients_are_those_of_transformers(model: Any, training: bool, masked: str) -> None:
    ids = tokens()
    masks = {"no mask": None, "padded left": padded_left(ids), "with holes": (torch.rand(ids.shape) < 0.7).long()}
    ours = accelerated(model).train(training)
    want = logits_and_gradients(model.train(training), ids, masks[masked])
    agree(logits_and_gradients(ours, ids, masks[masked]), want)


@pytest.mark.parametrize("steps", [1, 2, 11])
def test_generated_tokens_are_those_of_transformers(model: Any, steps: int) -> None:
    """The first call fills the cache; fewer steps than the convolution has taps are filled up with zeros."""
    ids = tokens(steps=steps)
    mask = padded_left(ids) if steps > 9 else torch.ones_like(ids)
    ours = accelerated(model)
    options = {"max_new_tokens": 7, "do_sample": False, "return_dict_in_generate": True, "output_scores": True}
    for beams in (1, 2):
        want = model.generate(ids, attention_mask=mask, num_beams=beams, **options)
        got = ours.generate(ids, attention_mask=mask, num_beams=beams, **options)
        assert torch.equal(got.sequences, want.sequences)
        agree(list(got.scores), list(want.scores))


@pytest.mark.parametrize(
    ("kind", "changed"),
    [
        ("Mamba", {"conv_kernel": 3, "use_conv_bias": False, "use_bias": False, "state_size": 1}),
        ("FalconMamba", {"conv_kernel": 2, "use_conv_bias": False, "use_bias": False, "mixer_rms_eps": 0.1}),
        ("Jamba", {"mamba_d_conv": 5, "mamba_conv_bias": False, "mamba_proj_bias": True, "mamba_dt_rank": 3}),
        ("Mamba", {"hidden_act": "swish", "time_step_rank": 7}),
        ("Mamba2", {"conv_kernel": 3, "use_conv_bias": False, "use_bias": True, "n_groups": 1, "state_size": 1}),
        ("Mamba2", {"head_dim": 1, "num_heads": 40, "n_groups": 8, "time_step_limit": (0.0, float("inf"))}),
        ("FalconH1", {"mamba_rms_norm": True, "mamba_norm_before_gate": False, "mamba_proj_bias": True}),
        ("FalconH1", {"mamba_rms_norm": True, "mamba_d_conv": 1, "mamba_conv_bias": False}),
    ],
)
def test_other_sizes_and_options(kind: str, changed: dict[str, Any]) -> None:
    model = _varied(new_model(kind, **changed)).eval()
    ids = tokens(2, 7)
    ours = accelerated(model)
    agree(logits_and_gradients(ours, ids, None), logits_and_gradients(model, ids, None))
    want = model.generate(ids, max_new_tokens=4, do_sample=False)
    assert torch.equal(ours.generate(ids, max_new_tokens=4, do_sample=False), want)


def test_the_kernels_compute_each_call(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    kind = type(get_backend("numpy"))

    def counting(name: str) -> Callable[..., Any]:
        original = getattr(kind, name)

        def counted(*arguments: Any, **options: Any) -> Any:
            calls.append(name)
            return original(*arguments, **options)

        return counted

    scan = "matrix_memory" if is_mamba2(model) else "selective_scan"
    names = [f"{each}_{direction}" for each in (scan, "causal_convolution") for direction in ("forward", "backward")]
    for name in names:
        monkeypatch.setattr(kind, name, counting(name))
    ours = accelerated(model)
    logits_and_gradients(ours, tokens(), None)
    assert {name: calls.count(name) for name in calls} == dict.fromkeys(names, 2)
    calls.clear()
    ours.generate(tokens(), max_new_tokens=3, do_sample=False)  # the prompt, and two tokens that are fed back
    assert calls.count(f"{scan}_forward") == (2 if is_mamba2(model) else 6)  # one token of Mamba-2 runs in PyTorch
    assert calls.count("causal_convolution_forward") == 2


def test_hooks_run(model: Any) -> None:
    def with_hooks(model: Any) -> tuple[Any, list[str]]:
        calls: list[str] = []
        mixers = [m for m in model.modules() if hasattr(m, "A_log")]
        for name in projections:
            getattr(mixers[0], name).register_forward_hook(lambda *_, name=name: calls.append(name))
        mixers[1].register_forward_pre_hook(lambda *_: calls.append("mixer"))
        mixers[1].out_proj.register_full_backward_hook(lambda *_: calls.append("backward"))
        mixers[1].register_forward_hook(lambda module, given, out: 2 * out)
        return model, calls

    projections = [name for name in ("in_proj", "x_proj", "out_proj") if hasattr(mixer_of(model), name)]
    ids = tokens()
    ours = accelerated(model)
    theirs, want = with_hooks(model)
    ours, calls = with_hooks(ours)
    agree(logits_and_gradients(ours, ids, None), logits_and_gradients(theirs, ids, None))
    assert calls == want == [*projections, "mixer", "backward"]


@pytest.mark.needs("peft", "bench")
@pytest.mark.parametrize("first", ["accelerate", "adapters"])
def test_adapters_of_peft_are_trained(model: Any, first: str) -> None:
    """In transformers 5.24 an adapter of dt_proj has no effect, since mixers do not call dt_proj."""
    from peft import LoraConfig, get_peft_model

    adapted_modules = ["in_proj"] if is_mamba2(model) else ["in_proj", "x_proj", "dt_proj"]

    def with_adapters(model: Any) -> Any:
        torch.manual_seed(1)
        adapted: Any = get_peft_model(model, LoraConfig(r=2, target_modules=adapted_modules))
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                nn.init.normal_(parameter)
        return adapted

    if first == "accelerate":
        ours = with_adapters(accelerated(model))
    else:
        ours = with_adapters(copy.deepcopy(model))
        assert set(xrnn.torch.accelerate(ours).values()) == {"kernels"}
    theirs = with_adapters(model)
    ids = tokens()
    mask = padded_left(ids)
    want = logits_and_gradients(theirs, ids, mask)
    agree(logits_and_gradients(ours, ids, mask), want, factor=3)
    trained = {name for name, p in ours.named_parameters() if p.grad is not None}
    assert trained == {name for name, p in theirs.named_parameters() if p.grad is not None}
    assert any("in_proj" in name for name in trained)
    assert is_mamba2(model) or any("x_proj" in name for name in trained)


def test_the_model_is_otherwise_unchanged(model: Any) -> None:
    ours = accelerated(model)
    ids = tokens()
    assert repr(ours) == repr(model)
    assert list(ours.state_dict()) == list(model.state_dict())
    assert [type(m) for m in ours.modules()] == [type(m) for m in model.modules()]
    want = ours(ids).logits
    copied = copy.deepcopy(ours)
    assert set(xrnn.torch.explain(copied).values()) == {"kernels"}
    with torch.no_grad():
        for mixer in (m for m in ours.modules() if hasattr(m, "A_log")):
            mixer.D.zero_()
    assert torch.equal(copied(ids).logits, want)  # the copy has weights of its own
    assert not torch.equal(ours(ids).logits, want)
    file = io.BytesIO()
    torch.save(copied, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    assert set(xrnn.torch.explain(loaded).values()) == {"kernels"}
    assert torch.equal(loaded(ids).logits, want)
    assert set(xrnn.torch.accelerate(loaded, freeze=True).values()) == {"kernels"}
    names = list(xrnn.torch.explain(loaded))
    assert xrnn.torch.restore(loaded) == names
    assert set(xrnn.torch.explain(loaded).values()) == {"PyTorch: call xrnn.torch.accelerate(model) first"}
    assert not any("forward" in vars(module) for module in loaded.modules())
    agree([loaded(ids).logits], [want])


def test_gradient_checkpointing(model: Any) -> None:
    ids = tokens()
    ours = accelerated(model).train()
    ours.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    agree(logits_and_gradients(ours, ids, None), logits_and_gradients(model.train(), ids, None))


def mixer_of(model: Any) -> Any:
    return next(module for module in model.modules() if hasattr(module, "A_log"))


def test_compile_calls_the_kernels_and_export_records_transformers(model: Any, fallbacks: Fallbacks) -> None:
    theirs, ours = mixer_of(model), mixer_of(accelerated(model))
    x = torch.randn(2, 5, 20)
    agree([torch.compile(ours, backend="eager")(x)], [theirs(x)])
    exported = torch.export.export(ours, (x,))
    assert not any("xrnn" in str(node.target) for node in exported.graph.nodes)
    if not hasattr(ours, "b_c_rms"):  # Falcon's in transformers 4.57: its exported program has this attribute twice
        agree([exported.module()(x)], [theirs(x)])
    assert set(fallbacks.take()) <= {
        f"{type(ours).__name__} runs in PyTorch: the model is being traced, compiled or exported"
    }


def test_unsupported_calls_run_in_transformers(fallbacks: Fallbacks) -> None:
    model = new_model("Mamba").eval()
    x = torch.randn(2, 5, 20)

    def runs_there(changed: Any, x: Tensor, why: str) -> None:
        theirs = mixer_of(changed)
        ours = copy.deepcopy(mixer_of(changed))
        xrnn.torch.accelerate(ours)
        assert torch.equal(ours(x), theirs(x))
        assert fallbacks.take() == [f"MambaMixer runs in PyTorch: {why}"]

    in_float32 = "the kernels take a model in float32, as of model.float()"
    runs_there(copy.deepcopy(model).bfloat16(), x.bfloat16(), f"A_log is torch.bfloat16: {in_float32}")
    runs_there(copy.deepcopy(model).double(), x.double(), f"A_log is torch.float64: {in_float32}")
    runs_there(new_model("Mamba", hidden_act="gelu"), x, "its activation is gelu, not silu")
    with torch.autocast("cpu", torch.bfloat16):
        runs_there(model, x, "autocast is on")
    hooked = copy.deepcopy(model)
    mixer_of(hooked).conv1d.register_forward_hook(lambda *_: None)
    runs_there(hooked, x, "conv1d has hooks")
    parametrized = copy.deepcopy(model)
    parametrize.register_parametrization(mixer_of(parametrized).conv1d, "weight", nn.Identity())
    runs_there(parametrized, x, "its conv1d is a ParametrizedConv1d")


def test_unsupported_calls_of_mamba2_run_in_transformers(fallbacks: Fallbacks) -> None:
    theirs = mixer_of(new_model("Mamba2"))
    x = torch.randn(2, 5, 20)
    ours = copy.deepcopy(theirs)
    xrnn.torch.accelerate(ours)
    with torch.no_grad():
        ours.dt_bias.data = ours.dt_bias.data.double()
        theirs.dt_bias.data = theirs.dt_bias.data.double()
    assert torch.equal(ours(x), theirs(x))
    why = "dt_bias is torch.float64: the kernels take a model in float32, as of model.float()"
    assert fallbacks.take() == [f"Mamba2Mixer runs in PyTorch: {why}"]
    assert xrnn.torch.explain(ours) == {"": f"PyTorch: {why}; ran in PyTorch: {why} (1 times)"}


def test_a_call_for_several_sequences_in_a_row_raises_the_error_of_transformers(fallbacks: Fallbacks) -> None:
    mixer = mixer_of(accelerated(new_model("Bamba")))
    x = torch.randn(2, 5, 20)
    names = torch.zeros(2, 5, dtype=torch.int32)
    with pytest.raises(NotImplementedError if IS_4 else ValueError, match="seq"):
        mixer(x, seq_idx=names)
    assert fallbacks.take() == ["BambaMixer runs in PyTorch: it was called with seq_idx"]


def test_weights_may_be_parametrised() -> None:
    model = new_model("Mamba")
    parametrize.register_parametrization(mixer_of(model).in_proj, "weight", nn.Tanh())
    parametrize.register_parametrization(mixer_of(model), "A_log", nn.Tanh())
    ids = tokens()
    ours = copy.deepcopy(model)
    assert set(xrnn.torch.accelerate(ours).values()) == {"kernels"}
    agree(logits_and_gradients(ours, ids, None), logits_and_gradients(model, ids, None))


def test_explain_gives_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    class Own(type(mixer_of(new_model("Mamba")))):  # type: ignore[misc]
        pass

    derived, patched = mixer_of(new_model("Mamba")), mixer_of(new_model("Mamba"))
    derived.__class__ = Own
    patched.forward = lambda x: x
    assert xrnn.torch.accelerate(nn.ModuleList([derived, patched])) == {
        "0": f"PyTorch: its type is {Own.__module__}.{Own.__qualname__}, not a mixer of transformers itself",
        "1": "PyTorch: its forward was replaced",
    }
    model = mixer_of(accelerated(new_model("Mamba")))
    with torch.autocast("cpu", torch.bfloat16):
        assert xrnn.torch.explain(model) == {"": "PyTorch: autocast is on"}
    meta = "PyTorch: it is on the device meta, where transformers has its own kernels"
    assert xrnn.torch.explain(copy.deepcopy(model).to("meta")) == {"": meta}
    kind: Any = type(model)
    monkeypatch.setattr(kind, "forward", lambda self, hidden_states: hidden_states)
    assert xrnn.torch.accelerate(mixer_of(new_model("Mamba"))) == {"": "PyTorch: its forward was replaced"}


if IS_4:

    def test_a_jamba_that_asks_for_cuda_kernels_raises_the_error_of_transformers(fallbacks: Fallbacks) -> None:
        mixer = mixer_of(new_model("Jamba", use_mamba_kernels=True))
        why = "use_mamba_kernels=True needs CUDA: set it to False in the config before you make the model"
        assert xrnn.torch.accelerate(mixer) == {"": f"PyTorch: {why}"}
        with pytest.raises(ValueError, match="Fast Mamba kernels are not available"):
            mixer(torch.randn(2, 5, 20))
        assert fallbacks.take() == [f"JambaMambaMixer runs in PyTorch: {why}"]

    def test_a_mixer_without_a_form_for_this_version_runs_in_transformers() -> None:
        """In 4.57, Zamba2's sums over chunks of steps are others than in 5.24: its results depend on chunk_size."""
        why = "PyTorch: its forward takes other arguments than in transformers 5.24"
        assert set(xrnn.torch.accelerate(new_model("Zamba2")).values()) == {why}

    def test_a_cache_of_mamba2_in_another_dtype_runs_in_transformers(fallbacks: Fallbacks) -> None:
        from transformers.models.mamba2.modeling_mamba2 import Mamba2Cache

        ours = mixer_of(accelerated(new_model("Mamba2")))
        theirs = copy.deepcopy(ours)
        x = torch.randn(2, 5, 20)
        xrnn.torch.restore(theirs)
        at = torch.arange(5)
        caches = [Mamba2Cache(new_model("Mamba2").config, 2, torch.float64) for _ in range(2)]
        with torch.no_grad():
            results = [each(x, cache, at) for each, cache in zip((ours, theirs), caches, strict=True)]
        agree([results[0]], [results[1]])
        agree([caches[0].ssm_states, caches[0].conv_states], [caches[1].ssm_states, caches[1].conv_states])
        why = "the cache is torch.float64 on cpu, the input torch.float32 on cpu"
        assert fallbacks.take() == [f"Mamba2Mixer runs in PyTorch: {why}"]

else:

    def test_several_steps_continue_a_cache(model: Any, fallbacks: Fallbacks) -> None:
        """Mamba-1 then runs in transformers, which starts the scan from zeros, not from the cached state."""
        ids = tokens(2, 9)
        results = []
        for each in (model, accelerated(model)):
            cache = transformers.DynamicCache(config=each.config)
            with torch.no_grad():
                results.append([each(part, cache=cache).logits for part in (ids[:, :6], ids[:, 6:])])
        agree(results[1], results[0])
        assert len(fallbacks.take()) == (0 if is_mamba2(model) else 2)

    def test_gradients_flow_through_the_cache_of_mamba2() -> None:
        """In transformers the backward pass through a single token raises an error: it changes the state in place."""
        model = _varied(new_model("Mamba2"))
        ids = tokens(2, 11)

        def logits_and_gradients_of_two_calls(model: Any) -> list[Tensor]:
            cache = transformers.DynamicCache(config=model.config)
            logits = [model(part, cache=cache).logits for part in (ids[:, :6], ids[:, 6:])]
            logits[1].sin().sum().backward()
            return [*(each.detach() for each in logits), *(p.grad for p in model.parameters())]

        ours = accelerated(model)
        agree(logits_and_gradients_of_two_calls(ours), logits_and_gradients_of_two_calls(model))

    def test_a_cache_of_mamba2_that_records_the_past_runs_in_transformers(fallbacks: Fallbacks) -> None:
        model = new_model("Mamba2").eval()
        ids = tokens(2, 9)
        results = []
        for each in (model, accelerated(model)):
            cache = transformers.DynamicCache(config=each.config)
            cache.activate_past_recording()
            with torch.no_grad():
                results.append([each(part, cache=cache).logits for part in (ids[:, :6], ids[:, 6:])])
        agree(results[1], results[0])
        assert set(fallbacks.take()) == {"Mamba2Mixer runs in PyTorch: the cache records the past"}


def test_transformers_is_not_imported() -> None:
    accelerate = "import sys, torch, xrnn.torch; xrnn.torch.accelerate(torch.nn.GRU(2, 3))"
    program = f"{accelerate}; assert 'transformers' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
