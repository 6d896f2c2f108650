"""A Network: a dict of layers, with all their parameters, for optimizers and files."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import xrnn
from tests.errors import one_line, refused
from tests.exchange.layers import Scaled, assert_alike
from tests.safetensors_bytes import Forgery, changed
from xrnn import GRU, SGD, Adam, Linear, Network, Stack, load, load_checkpoint, save, save_checkpoint
from xrnn.backend import Backend
from xrnn.files import FileError


class Tagger(Network):
    stack: Stack
    readout: Linear

    def forward(self, x: Any) -> Any:
        return self.readout.forward(self.stack.forward(x)[0])


def tagger(backend: Any = "numpy") -> Tagger:
    stack = Stack.init(GRU, 3, 4, 2, rng=0, backend=backend)
    return Tagger(stack=stack, readout=Linear.init(4, 2, rng=1, backend=backend), dropout=xrnn.Dropout(0.5, seed=1))


def test_it_is_a_dict_with_the_parameters_of_its_layers() -> None:
    network = tagger()
    stack, readout, dropout = network.values()
    assert list(network) == ["stack", "readout", "dropout"]
    assert (network["stack"], network.readout, network.get("other"), len(network)) == (stack, readout, None, 3)
    for got, want in (
        (network.params, stack.params + readout.params),
        (network.grads, stack.grads + readout.grads),
        (list(network.named_params.values()), stack.params + readout.params),
    ):
        assert [id(array) for array in got] == [id(array) for array in want]
    assert list(network.named_params)[5:] == ["stack.1.b", "readout.W", "readout.b"]
    with pytest.raises(TypeError, match="positional argument"):  # mypy finds both errors too
        network.forward(0, 0)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="positional argument"):
        network.readout.forward()  # type: ignore[call-arg]
    assert network.needs_grads
    stack.layers[0].needs_grads = False
    assert not network.needs_grads
    assert repr(network) == f"Tagger(stack={stack!r}, readout={readout!r}, dropout={dropout!r})"
    for again in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert type(again) is Tagger
        for name, layer in network.items():
            assert_alike(again[name], layer)


def test_a_layer_with_two_names_counts_once(tmp_path: Path) -> None:
    stack, dropout = Stack.init(GRU, 3, 4, 2, rng=0, backend="numpy"), xrnn.Dropout(0.5)
    network = Network(stack=stack, top=stack.layers[1])
    assert [id(array) for array in network.params] == [id(array) for array in stack.params]
    assert [id(array) for array in network.grads] == [id(array) for array in stack.grads]
    assert list(network.named_params) == [f"stack.{name}" for name in stack.named_params]
    network = Network(top=stack.layers[1], stack=stack, again=stack, dropout=dropout)
    for made in (Adam(network), Adam([network]), SGD([{"layers": network, "lr": 1.0}]), xrnn.EMA(network)):
        assert made.layers == [stack, dropout]
        assert [p.shape for p in made.params] == [p.shape for p in stack.params]
    save_checkpoint(tmp_path / "file", network, optimizer=Adam(network))
    again = load_checkpoint(tmp_path / "file", backend="numpy")
    assert again.layers.stack is again.layers.again is again.optimizer.layers[0]
    with one_line(ValueError, "layers holds a layer twice"):
        Adam([stack, stack])


def test_layers_are_those_of_the_annotations(tmp_path: Path) -> None:
    stack, readout = tagger().stack, tagger().readout
    for layers, words in (
        ({"stack": stack}, "readout is missing: expected a Linear, as Tagger annotates it; pass readout=…"),
        ({"stack": readout, "readout": readout}, "stack is a xrnn.layers.linear.Linear: expected a Stack, as Tagger"),
    ):
        with one_line(TypeError, words):
            Tagger(**layers)
        save(tmp_path / "file", Network(**layers))
        with one_line(FileError, "holds no Tagger: ", words):
            load(tmp_path / "file", Tagger, backend="numpy")


def test_needs_grads_of_all_layers_can_be_set() -> None:
    network = tagger()
    for needed in (False, True):
        network.needs_grads = needed
        assert [each.needs_grads for each in (network, network.stack, network.readout)] == [needed] * 3
    with one_line(TypeError, "needs_grads is 1: expected True or False"):
        network.needs_grads = 1  # type: ignore[assignment]


def test_it_can_be_frozen() -> None:
    network = tagger()
    frozen = xrnn.freeze(network)
    assert type(frozen) is Tagger
    assert not any(param.flags.writeable for param in frozen.params)
    assert all(param.flags.writeable for param in network.params)
    x = np.ones((5, 2, 3), "float32")
    assert_array_equal(frozen.readout(frozen.stack(x)[0]), network.readout(network.stack(x)[0]))


@pytest.mark.parametrize("name", ["items", "keys", "values", "params", "grads", "forward", "needs_grads", "_layers"])
def test_names_of_attributes_are_refused(tmp_path: Path, name: str) -> None:
    readout = Linear.init(4, 2, rng=0, backend="numpy")
    with one_line(ValueError, f"{name} is an attribute of each Tagger: expected other names of layers; rename it"):
        Tagger(**{name: readout})
    if name != "forward":  # an attribute of Tagger only
        with one_line(ValueError, f"{name} is an attribute of each Network"):
            save_checkpoint(tmp_path / "file", {name: readout})


def test_optimizers_take_it(backend: Backend) -> None:
    network = tagger(backend)
    x = backend.asarray(np.random.default_rng(0).standard_normal((5, 2, 3)).astype("float32"))
    network.stack.backward(network.readout.backward(network.forward(x)))
    before = [backend.to_numpy(p).copy() for p in network.params]
    Adam(network).step()
    assert all((backend.to_numpy(p) != b).any() for p, b in zip(network.params, before, strict=True))
    network.readout.needs_grads = False
    with one_line(ValueError, "Linear with needs_grads=False: expected layers that are trained"):
        Adam([network])
    with one_line(ValueError, "has 'readout.W': expected names of parameters of its layers, 0.Wx, 0.Wh, "):
        SGD([{"layers": [network], "params": ["readout.W"]}])


def test_it_is_saved_and_loaded(tmp_path: Path) -> None:
    network, path = tagger(), tmp_path / "file"
    save(path, network)
    for again in (load(path, Tagger, backend="numpy"), load(path, backend="numpy")):
        assert list(again) == list(network)
        for name, layer in network.items():
            assert_alike(again[name], layer)
    assert (type(load(path, Tagger)), type(load(path))) == (Tagger, Network)
    with one_line(FileError, "holds a xrnn.layers.network.Network: expected a GRU; name another file"):
        load(path, GRU)
    save(path, GRU.init(3, 4))
    assert type(load(path, GRU)) is GRU
    for other in (xrnn.LSTM, Tagger):
        with one_line(FileError, f"holds a xrnn.layers.gru.GRU: expected a {other.__name__}; name another file"):
            load(path, other)
    own = Network(own=xrnn.Recurrent.init(Scaled(0.5), 3, 4, backend="numpy"), small=xrnn.quantize(GRU.init(3, 4)))
    save(path, own)
    again = load(path, Network, cells={"Scaled": Scaled})
    assert_alike(again.own, own.own)
    assert_alike(again.small, own.small)


@pytest.mark.parametrize("given", ["alone", "in a list", "in a group"])
def test_it_is_kept_in_a_checkpoint(tmp_path: Path, given: str) -> None:
    network, path = tagger(), tmp_path / "file"
    lists: dict[str, Any] = {
        "alone": network,
        "in a list": [network],
        "in a group": [{"layers": [network], "params": ["Wx", "Wh", "W", "b"], "lr": 0.5}],
    }
    optimizer = Adam(lists[given], 0.02)
    network.stack.backward(network.readout.backward(network.forward(np.ones((5, 2, 3), "float32"))))
    optimizer.step()
    save_checkpoint(path, network, optimizer=optimizer)
    checkpoint = load_checkpoint(path, backend="numpy")
    again = Tagger(**checkpoint.layers)
    assert checkpoint.optimizer.layers == list(again.values())
    for each in (network, again):
        each.stack.backward(each.readout.backward(each.forward(np.ones((5, 2, 3), "float32"))))
    for each_optimizer in (optimizer, checkpoint.optimizer):
        each_optimizer.step()
    for got, want in zip(again.params, network.params, strict=True):
        assert_array_equal(got, want)


def test_what_it_refuses(tmp_path: Path) -> None:
    network, gru = tagger(), GRU.init(3, 4, backend="numpy")
    layers: Any = network.stack.layers
    first = Linear.init(4, 2, rng=0, backend="numpy")
    second = Linear(first.W, first.b.copy())  # the same W, with another gradient
    same_name = {"a": network.stack, "a.0": gru}
    same_array = "second.W is the same array as first.W, with another gradient: expected one layer for"
    file: Any = {"inner": network}
    refused(
        (TypeError, lambda: Network(gru=layers), "gru is a tuple: expected a layer, as in Network(gru=GRU.init(3, 8))"),
        (TypeError, lambda: Network(inner=network), "inner is a Network: pass its layers, Network(*"),
        (AttributeError, lambda: network.gru, "this Tagger has no layer 'gru': expected one of stack, readout, drop"),
        (ValueError, lambda: Network(**same_name), "two parameters have the name a.0.Wx: rename a.0"),
        (ValueError, lambda: Network(first=first, second=second), same_array),
        (TypeError, lambda: save_checkpoint(tmp_path / "file", file), "layer is a tests.layers.test_network.Tagger"),
    )
    with one_line(AttributeError, "readout of this Tagger can't be replaced", "make another network"):
        network.readout = Linear.init(4, 2)
    network.threshold = 0.5  # other attributes are free


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d["names"].pop(), "zip"),
        (lambda d: d.pop("names"), "names is a NoneType in the description: expected a list"),
        (lambda d: d.update(names=["stack", 3, "dropout"]), "keywords must be strings"),
        (lambda d: d.update(names=["stack", "readout", "stack"]), "save would describe this Network differently"),
        (lambda d: d["layers"].__setitem__(2, {"kind": "Network", "layers": [], "names": []}), "expected a layer"),
    ],
)
def test_forged_files_are_refused(tmp_path: Path, change: Any, words: str) -> None:
    save(tmp_path / "file", tagger())
    forgery = Forgery.of((tmp_path / "file").read_bytes())
    changed("layer", change)(forgery)
    with one_line(FileError, "describes no layer that fits its arrays", words):
        load(forgery.write(tmp_path / "file"))
