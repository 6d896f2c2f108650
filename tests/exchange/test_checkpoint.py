"""Checkpoints come back as they were; damaged, foreign and forged files are refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import xrnn
from tests import standin
from tests.conftest import STANDIN
from tests.errors import one_line, refused
from tests.exchange.layers import Scaled, assert_alike, checkpoint_file
from tests.safetensors_bytes import Forgery, Tensor, changed, little_memory, tensor, without
from xrnn import EMA, GRU, LSTM, RNN, SGD, Adam, Checkpoint, Linear, Network, Stack, load_checkpoint, save_checkpoint
from xrnn.backend import Backend
from xrnn.files import FileError
from xrnn.optim import Optimizer

V, D, H, T, N = 7, 3, 4, 5, 2


def fresh(backend: Backend) -> Checkpoint:
    """A small training loop: all that its next update depends on."""
    options: dict[str, Any] = {"rng": 0, "backend": backend}
    norm, gru = xrnn.LayerNorm.init(H, backend=backend), GRU.init(H, H, **options)
    rnn = Stack([LSTM.init(D, H, **options), Stack([norm, gru])])
    rnn.layers[0].needs_grads = False
    embedding, readout = xrnn.Embedding.init(V, D, **options), Linear.init(H, 1, **options)
    groups: list[Any] = [
        norm,
        {"layers": [gru, readout], "params": ["Wh", "W"], "lr": 0.003},
        {"layers": [gru, readout], "params": ["Wx", "b"], "weight_decay": 0.0},
    ]
    optimizer = {
        "table": SGD([embedding], 0.1, momentum=0.9, nesterov=True),
        "rest": Adam(groups, 0.01, betas=(0.8, 0.9), weight_decay=0.1, decay_biases=False),
        "average": EMA([rnn], 0.7),
    }
    layers = Network(embedding=embedding, rnn=rnn, dropout=xrnn.Dropout(0.3), readout=readout)
    return Checkpoint(layers, optimizer, {"states": None, "rng": np.random.default_rng(5).bit_generator.state})


def update(c: Checkpoint, backend: Backend) -> None:
    rng, layers = np.random.default_rng(), c.layers
    rng.bit_generator.state = c.extra["rng"]
    index = backend.asarray(rng.integers(0, V, (T, N)))
    target = backend.asarray(rng.standard_normal((T, N, 1)).astype("float32"))
    h, states = layers["rnn"].forward(layers["embedding"].forward(index), c.extra["states"])
    _, dy = xrnn.mean_squared_error(layers["readout"].forward(layers["dropout"].forward(h)), target)
    dh, _ = layers["rnn"].backward(layers["dropout"].backward(layers["readout"].backward(dy)))
    layers["embedding"].backward(dh)
    c.optimizer["rest"].lr *= 0.9
    for optimizer in (c.optimizer["table"], c.optimizer["rest"]):
        optimizer.step()
    c.optimizer["average"].update()
    c.extra.update(states=states, rng=rng.bit_generator.state)


def test_a_resumed_loop_equals_an_uninterrupted_one(backend: Backend, tmp_path: Path) -> None:
    straight, path = fresh(backend), tmp_path / "checkpoint"
    for count in range(7):
        if count == 4:
            save_checkpoint(path, straight.layers, optimizer=straight.optimizer, extra=straight.extra)
        update(straight, backend)
    c = load_checkpoint(path, backend=backend)
    assert list(c.layers) == list(straight.layers)
    assert c.optimizer["table"].layers == [c.layers["embedding"]]
    assert [each.state["count"] for each in c.optimizer.values()] == [4, 4, 4]
    norm, gru = c.layers["rnn"].layers[1].layers
    assert c.optimizer["rest"].layers == [norm, gru, c.layers["readout"]]
    for got, want in zip(c.optimizer["rest"].groups, straight.optimizer["rest"].groups, strict=True):
        assert (got.names, got.scale, got.weight_decay) == (want.names, want.scale, want.weight_decay)
    for _ in range(3):
        update(c, backend)
    got, want = ([*each.layers.params, *each.optimizer["average"].params] for each in (c, straight))
    for ours, theirs in zip(got, want, strict=True):
        assert_array_equal(backend.to_numpy(ours), backend.to_numpy(theirs))
    assert c.optimizer["rest"].lr == straight.optimizer["rest"].lr


def test_one_optimizer_and_none(tmp_path: Path) -> None:
    layer = Linear.init(2, 3, rng=0, backend="numpy")
    optimizer = SGD([layer], 0.5)
    optimizer.lr = 0  # the end of a schedule
    optimizer.step()
    save_checkpoint(tmp_path / "file", {"only": layer}, optimizer=optimizer)
    c = load_checkpoint(str(tmp_path / "file"), backend="numpy")
    assert_alike(c.layers["only"], layer)
    assert (type(c.optimizer), c.optimizer.lr, c.optimizer.steps, c.extra) == (SGD, 0, 1, {})
    other = Linear.init(2, 3, backend="numpy")
    save_checkpoint(tmp_path / "file", {"a": layer, "b": other}, optimizer=SGD([layer, {"layers": [other]}]))
    assert len(load_checkpoint(tmp_path / "file", backend="numpy").optimizer.groups) == 2
    save_checkpoint(tmp_path / "file", {"only": layer})  # replaces the file
    assert load_checkpoint(tmp_path / "file", backend="numpy").optimizer is None
    save_checkpoint(tmp_path / "file", {}, extra={"state": layer.W})  # a stream's state alone
    c = load_checkpoint(tmp_path / "file", backend="numpy")
    assert_array_equal(c.extra["state"], layer.W)
    assert c.layers == {}
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_own_cells(tmp_path: Path) -> None:
    layer = xrnn.Recurrent.init(Scaled(0.5), D, H, rng=0, backend="numpy")
    save_checkpoint(tmp_path / "file", {"rnn": layer}, optimizer=Adam([layer]))
    c = load_checkpoint(tmp_path / "file", cells={"Scaled": Scaled}, backend="numpy")
    assert_alike(c.layers["rnn"], layer)


EXTRA: dict[str, Any] = {
    "nothing": None,
    "numbers": [1, -(2**127), 0.1, True, math.inf],
    "text": "a\n\x1b\N{SNOWMAN}",
    "": {"dict": 1, "array": "x", "tuple": []},
    "nested": {"a": [{"b": (1, (2, ()), [])}]},
    "philox": np.random.Generator(np.random.Philox(3)).bit_generator.state,
    "mersenne": np.random.Generator(np.random.MT19937(3)).bit_generator.state,
}


def test_other_values_come_back(tmp_path: Path) -> None:
    layer = Linear.init(2, 3, backend="numpy")
    arrays = {dtype: np.arange(6).reshape(2, 3).astype(dtype) for dtype in ("?", "i1", "u2", "i4", "u8", "f2", "f8")}
    given = EXTRA | {"arrays": arrays, "scalars": [np.float32(0.5), np.int64(3), np.bool_(True)]}
    save_checkpoint(tmp_path / "file", {"a": layer}, extra=given)
    extra = load_checkpoint(tmp_path / "file", backend="numpy").extra
    for dtype, array in extra.pop("arrays").items():
        assert_array_equal(array, arrays[dtype], strict=True)
    assert extra.pop("scalars") == [0.5, 3, True]
    for name, kind in {"philox": np.random.Philox, "mersenne": np.random.MT19937}.items():
        generator = np.random.Generator(kind(9))
        generator.bit_generator.state = extra.pop(name)
        assert generator.random() == np.random.Generator(kind(3)).random()
    assert extra == {name: EXTRA[name] for name in ("nothing", "numbers", "text", "", "nested")}


def test_arrays_go_to_the_backend_that_loads(tmp_path: Path) -> None:
    layer = RNN.init(2, 3, leak=[0.1, 0.5, 1], rng=0, backend=STANDIN)
    extra = {"state": standin.ones(3), "history": np.arange(3)}
    save_checkpoint(tmp_path / "file", {"a": layer}, optimizer=Adam([layer]), extra=extra)
    for backend in ("numpy", STANDIN):
        c = load_checkpoint(tmp_path / "file", backend=backend)
        assert_alike(c.layers["a"], layer)
        assert type(c.extra["history"]) is np.ndarray
        assert c.layers["a"].backend.owns(c.extra["state"])
        c.layers["a"].backward(c.layers["a"].forward(c.layers["a"].backend.xp.ones((1, 4, 2), "float32")))
        c.optimizer.step()


def test_nan_is_loaded_with_a_warning(tmp_path: Path) -> None:
    linear = Linear.init(2, 3, backend="numpy")
    linear.W[0, 0] = math.nan
    xrnn.save(tmp_path / "layer", linear)
    save_checkpoint(tmp_path / "checkpoint", {"a": linear})
    for read, name, array in ((xrnn.load, "layer", "W"), (load_checkpoint, "checkpoint", "layers.a.W")):
        with pytest.warns(UserWarning, match=f"holds {array} with NaN or infinity: the layer computes") as caught:
            read(tmp_path / name, backend="numpy")
        assert [warning.filename for warning in caught] == [__file__]


def test_extra_may_be_nested_32_deep(tmp_path: Path) -> None:
    def nested(levels: int) -> Any:
        return json.loads("[" * levels + "1" + "]" * levels)

    layers = {"a": Linear.init(2, 3, backend="numpy")}
    save_checkpoint(tmp_path / "file", layers, extra={"a": nested(31)})
    assert load_checkpoint(tmp_path / "file", backend="numpy").extra == {"a": nested(31)}
    with one_line(ValueError, "nested more than 32 deep"):
        save_checkpoint(tmp_path / "file", layers, extra={"a": nested(32)})


def test_a_leak_of_another_dtype_is_refused(tmp_path: Path) -> None:
    layer = RNN.init(2, 3, leak=np.full(3, 0.5, "float32"), backend="numpy")
    save_checkpoint(tmp_path / "file", {"a": layer})
    forgery = Forgery.of((tmp_path / "file").read_bytes())
    forgery.tensors["layers.0.leak"] = Tensor.of(np.full(3, 0.5))
    with one_line(FileError, "dtype"):
        load_checkpoint(forgery.write(tmp_path / "file"), backend="numpy")


class Own(Optimizer):
    pass


def test_unsupported_content_is_not_saved(tmp_path: Path) -> None:
    layer, other = (Linear.init(2, 3, backend="numpy") for _ in range(2))
    rnn = RNN.init(2, 3, backend="numpy")
    buffer = np.zeros((3, 3), "float32")
    overlapping = {"a": Linear(buffer[:2], np.zeros(3, "f4")), "b": Linear(buffer[1:], np.zeros(3, "f4"))}
    pending, steps, nesterov = SGD([layer]), SGD([layer]), SGD([layer], momentum=0.9, nesterov=True)
    pending.accumulate()
    steps.steps = -5
    nesterov.momentum = 0.0
    endless: dict[str, Any] = {}
    endless["a"] = endless

    def saving(layers: Any, **more: Any) -> Callable[[], None]:
        return lambda: save_checkpoint(tmp_path / "file", layers, **more)

    def with_optimizer(optimizer: Any) -> Callable[[], None]:
        return saving({"a": layer}, optimizer=optimizer)

    def with_extra(extra: Any) -> Callable[[], None]:
        return saving({"a": layer}, extra=extra)

    stacks = {"a": Stack([rnn]), "b": Stack([RNN(*rnn.params)])}
    refused(
        (TypeError, saving([layer]), "layers is a list: expected a dict of layers by name"),
        (TypeError, saving({1: layer}), "expected a dict of layers by name"),
        (ValueError, saving(stacks), "params[0] of layers['b.0'] is the same array as params[0] of layers['a.0']"),
        (ValueError, saving(overlapping), "params[0] of layers['b'] overlaps params[0] of"),
        (TypeError, with_optimizer(Own([layer], 0.1)), "expected SGD, Adam, EMA, or a dict of them"),
        (TypeError, with_optimizer({"a": 3}), "optimizer['a'] is a int: expected SGD, Adam, EMA"),
        (ValueError, with_optimizer(SGD([layer, other])), "Linear that is not in layers: add this one"),
        (ValueError, with_optimizer(pending), "accumulated gradients, which are not saved: call step()"),
        (ValueError, with_optimizer(steps), "count is -5: expected an integer, at least 0"),
        (ValueError, with_optimizer(nesterov), "nesterov is True, but momentum is 0"),
        (TypeError, with_extra([1]), "extra is a list: expected a dict of values by name"),
        (TypeError, with_extra({"a": [object()]}), "extra['a'][0] is a object: expected JSON values"),
        (TypeError, with_extra({"a": {1: 2}}), "extra['a'] has the key 1: expected strings"),
        (TypeError, with_extra({"a": np.zeros(2, complex)}), "extra['a'] has dtype complex128: expected num"),
        (TypeError, with_extra({"a": np.array([None])}), "extra['a'] has dtype object"),
        (TypeError, with_extra({"a": np.zeros(2, ">f4")}), "extra['a'] has dtype >f4"),
        (TypeError, with_extra({"a": SimpleNamespace(dtype=np.dtype("f4"))}), "expected JSON values"),
        (ValueError, with_extra(endless), "nested more than 32 deep"),
        (ValueError, with_extra({"a": "x" * 2**24}), "characters: expected at most 16,777,216; put long lists"),
    )
    assert not list(tmp_path.iterdir())


# ---- forged files ----


def described(change: Callable[[dict[str, Any]], object]) -> Callable[[Forgery], None]:
    return changed("checkpoint", change)


def of_optimizer(**changes: Any) -> Callable[[Forgery], None]:
    return described(lambda d: d["optimizers"][0][1].update(changes))


def group(**changes: Any) -> Callable[[Forgery], None]:
    return of_optimizer(
        layers=[], groups=[{"layers": ["readout"], "params": None, "scale": 1.0, "weight_decay": None} | changes]
    )


def option(**changes: Any) -> Callable[[Forgery], None]:
    return described(lambda d: d["optimizers"][0][1]["options"].update(changes))


def extra(value: Any) -> Callable[[Forgery], None]:
    return described(lambda d: d.update(extra=value))


def deep(opened: str, closed: str, innermost: str = "") -> Callable[[Forgery], None]:
    """Nest `extra` 100 levels deep."""
    text = '{"layers": [], "optimizers": [], "extra": ' + opened * 100 + innermost + closed * 100 + "}"
    return lambda forgery: forgery.metadata.update(checkpoint=text)


ARRAY = {"array": "extra.0", "host": True}
FORGED: dict[str, tuple[Callable[[Forgery], object], str]] = {
    "no layers": (described(lambda d: d.pop("layers")), "layers is not a list of names and descriptions"),
    "layers by number": (described(lambda d: d["layers"][0].__setitem__(0, 3)), "layers is not a list of names"),
    "no optimizers": (described(lambda d: d.pop("optimizers")), "optimizers is not a list of names"),
    "an unknown entry": (described(lambda d: d.update(more=1)), "save_checkpoint writes a different description"),
    "an unknown optimizer": (of_optimizer(kind="Lion"), "the kind of an optimizer is Lion: expected one of SGD, Adam"),
    "an unknown place": (of_optimizer(layers=[["readout", 0]]), "an optimizer has layers that the file lacks"),
    "groups in words": (of_optimizer(layers=[], groups="all"), "groups is a str in the description: expected a list"),
    "a group without scale": (group(scale=None), "scale is None: expected a finite number"),
    "a decay in words": (group(weight_decay="none"), "weight_decay is 'none': expected a finite number"),
    "the default group": (group(), "save_checkpoint writes a different description"),
    "a group and more": (group(scale=2.0, more=1), "save_checkpoint writes a different description"),
    "no options": (of_optimizer(options=None), "options is a NoneType in the description: expected a dict"),
    "an unknown option": (option(amsgrad=True), "unexpected keyword argument 'amsgrad'"),
    "a negative rate": (option(lr=-1.0), "lr is -1.0: expected a finite number of at least 0"),
    "a left-out option": (described(lambda d: d["optimizers"][0][1]["options"].pop("eps")), "save_checkpoint writes a"),
    "a negative count": (of_optimizer(count=-1), "count is -1: expected an integer, at least 0"),
    "a count beyond 64 bits": (of_optimizer(count=2**63), "describes no checkpoint"),
    "a missing moment": (without("optimizer.0.v.1"), "there is no array optimizer.0.v.1"),
    "a moment too many": (tensor("optimizer.0.v.2", "F32", [1], bytes(4)), "there is an array optimizer.0.v.2"),
    "a moment of another shape": (tensor("optimizer.0.v.1", "F32", [2], bytes(8)), "an array of an optimizer does"),
    "a moment of another dtype": (tensor("optimizer.0.v.1", "F64", [3], bytes(24)), "an array of an optimizer does"),
    "a weight of integers": (tensor("layers.0.W", "I32", [2, 3], bytes(24)), "W has dtype int32"),
    "an array too many": (tensor("more", "F32", [1], bytes(4)), "there is an array more: expected only those"),
    "extra is a number": (extra(3), "extra is a int: expected a dict"),
    "an unknown object": (extra({"dict": {"a": {"pickle": "x"}}}), "extra holds an unknown object"),
    "a dict and more": (extra({"dict": {}, "more": 1}), "extra holds an unknown object"),
    "a tuple and more": (extra({"dict": {"a": {"tuple": [], "more": 1}}}), "extra holds an unknown object"),
    "an array and more": (extra({"dict": {"a": ARRAY | {"more": 1}}}), "extra holds an unknown object"),
    "an array twice": (extra({"dict": {"a": ARRAY, "b": ARRAY}}), "extra holds an unknown object"),
    "a weight in extra": (extra({"dict": {"a": ARRAY | {"array": "layers.0.W"}}}), "extra holds an unknown object"),
    "deep lists": (deep("[", "]"), "extra is nested more than 32 deep"),
    "deep tuples": (deep('{"tuple": [', "]}"), "extra is nested more than 32 deep"),
    "deep dicts": (deep('{"dict": {"a": ', "}}", "1"), "extra is nested more than 32 deep"),
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_files_with_a_right_digest_are_refused(tmp_path: Path, name: str) -> None:
    forge, words = FORGED[name]
    forgery = checkpoint_file()
    forge(forgery)
    path = forgery.write(tmp_path / "file")
    with little_memory(path, 2**20), one_line(FileError, str(path), words):
        load_checkpoint(path, backend="numpy")
