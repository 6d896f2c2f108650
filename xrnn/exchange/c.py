"""Write a model as one C99 file, for microcontrollers and for programs without Python."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from xrnn.exchange.model import ExportedLayers, Model, cell_row, host, is_int8, is_recurrent, model_of
from xrnn.files import write_own
from xrnn.layers.bidirectional import Bidirectional
from xrnn.layers.embedding import Embedding
from xrnn.layers.layer_norm import LayerNorm
from xrnn.layers.linear import Linear
from xrnn.ops.cell import Cell
from xrnn.ops.cells.gru import GRUCell, GRUResetBeforeCell
from xrnn.ops.cells.lru import LRUCell
from xrnn.ops.cells.lstm import LSTMCell
from xrnn.ops.cells.minimal import MinGRUCell, MinLSTMCell
from xrnn.ops.cells.rnn import NONLINEARITIES, LeakyRNNCell, RNNCell, TrainedLeakRNNCell
from xrnn.ops.cells.slstm import SLSTMCell
from xrnn.typing import HostArray

_LARGEST: Final = 2**20  # the largest size of a layer, and number of steps: the size of z must fit C's int
_BYTES: Final = {"float": 4, "int": 4, "double": 8, "int8_t": 1}


class CCell(NamedTuple):
    """A cell in C: a function that computes the states after a step from z and the states before it.

        static void @_NAME(int H, …, float *z, float *h, float *c)

    name    of the function; @_ becomes the prefix of the file
    code    the function; by default, that of this name in cells.c. z has its `pre` blocks (H,) in order; then come the
            states, in the order of the cell
    extra   of a cell and its `coefficients`, by name: the arguments between H and z. An int stays a number, None is a
            null pointer; other numbers and arrays (H,) become arrays (H,). Default: the coefficients
    recur   the statements that add the recurrent term, for a cell with `recurs`; the default is one product. z then has
            one more block, for scratch
    """

    name: str
    code: str = ""
    extra: Callable[[Any, Sequence[Any]], Mapping[str, Any]] = lambda cell, own: dict(
        zip(cell.params, own, strict=True)
    )
    recur: Callable[[Any, int], Sequence[str]] | None = None


def to_c(
    layers: ExportedLayers,
    path: str | os.PathLike[str],
    name: str = "model",
    *,
    scale: tuple[Any, Any] | None = None,
    mean: bool = False,
    last: int = 0,
    softmax: bool = False,
    overwrite: bool = False,
) -> None:
    """Write a C99 file that computes one time step of the model per call. It needs only the C library (and -lm).

    C++17 compilers accept the file too.

    layers     built-in recurrent layers, also quantized ones, LayerNorm, Linear, Embedding, a Stack, or a list or dict
               of these in the order in which they run. Recurrent layers must run forward
    name       the first part of each identifier in the file; characters that C does not allow become _
    scale      (mean, deviation): standardise each feature of x. NaN is a missing value, and is replaced by the last
               known value of the feature, or by the mean
    mean       give the next layer the mean of the last recurrent layer's h over the steps so far
    last       compute y from the last `last` steps alone, as if the signal began with them; 0: from all steps so far.
               The state then keeps these x, and each y takes the time of `last` steps. `model_step(&state, x, NULL)`
               only keeps x: a program that needs no y after each step saves the time
    softmax    the result is the softmax of the last layer
    overwrite  replace any file at `path`. By default, only an empty file or one that `to_c` wrote is replaced

    The file defines, for the name `model`:

        enum { model_INPUT = 3, model_OUTPUT = 5 };  /* and model_LAST, if `last` is not 0 */
        typedef struct model_state model_state;
        void model_init(model_state *state);
        void model_step(model_state *state, const float *x, float *y);

    With an Embedding as the first layer, x is a `const int *`. The weights are float32, or int8 with float32 scales for
    a quantized layer. Nothing is allocated, and no variable changes outside of `state`, so each thread or signal may
    have its own state.

    Raises TypeError for other layers; ValueError for layers that run in reverse, sizes above 2²⁰, weights that are not
    finite float32 numbers, and a name without an ASCII letter or digit; FileExistsError for a file that it may not
    replace, and OSError if the file can't be written.

    >>> to_c([GRU.init(3, 8, rng=0), Linear.init(8, 2, rng=0)], "gesture.c", name="gesture")
    """
    model = model_of(layers, scale=scale, mean=mean, last=last, softmax=softmax, quantized=True)
    content = source(model, identifier(name))
    write_own(path, content.encode("ascii"), "xrnn.to_c", _has_first_line, overwrite=overwrite)


def _has_first_line(path: Path) -> bool:
    first = _cells_c()[0].splitlines()[0].encode("ascii")
    with path.open("rb") as file:
        return file.read(len(first)) == first


def identifier(name: str) -> str:
    """`name` as the beginning of C identifiers: no leading digit, and no leading _, which C reserves."""
    made = re.sub("[^0-9A-Za-z]+", "_", name).strip("_")
    if not made:
        raise ValueError(f"name is {name!r}: expected an ASCII letter or digit, as in name='gesture'")
    return made if made[0].isalpha() else f"m{made}"


def source(model: Model, name: str) -> str:
    """The content of the file."""
    for i, layer in enumerate(model.layers):
        if type(layer) is Bidirectional or getattr(layer, "reverse", False):
            raise ValueError(
                f"layers[{i}] is a {layer.title} that runs in reverse, from the last step to the first: expected "
                "layers that run forward, because the program gets one step at a time; train a model without "
                "Bidirectional and reverse=True"
            )
        if max(layer.input_size, layer.output_size) > _LARGEST:
            raise ValueError(f"layers[{i}] has a size above {_LARGEST:,}: expected smaller layers for a C program")
        if is_recurrent(layer):
            cell_row(CELLS, layer, f"layers[{i}]", "to_c", "xrnn.exchange.c.CELLS")
    if model.last > _LARGEST:
        raise ValueError(
            f"last is {model.last:,}, but a C program keeps up to {_LARGEST:,} steps; take a smaller number"
        )
    main = "\n".join([*_constants(model), *_state(model), *_step(model)])
    helpers: list[str] = []
    head, functions = _cells_c()
    functions |= {row.name: row.code.strip() for row in CELLS.values() if row.code}
    for helper, code in reversed(functions.items()):  # a helper calls only earlier ones; an unused one is a warning
        if f"@_{helper}(" in main + "".join(helpers):
            helpers.insert(0, f"{code}\n\n")
    return f"{head}\n\n{''.join(helpers)}{main}\n".replace("@_", f"{name}_")


def _cells_c() -> tuple[str, dict[str, str]]:
    """The beginning of cells.c, and its functions by name, with @_ for the prefix of their names."""
    text = Path(__file__).with_name("cells.c").read_text(encoding="ascii").strip().replace("xrnn_", "@_")
    head, *functions = re.split(r"\n\n(?=/\*|static )", text)
    return head, {re.findall(r"^static \w+ @_(\w+)\(", code, re.MULTILINE)[0]: code for code in functions}


def _sizes(model: Model) -> tuple[int, int]:
    """The number of values that a step reads, and that it writes."""
    first = model.layers[0]
    inputs = 1 if type(first) is Embedding else first.input_size
    return inputs, model.layers[-1].output_size


def _constants(model: Model) -> Iterator[str]:
    """The arrays of the model."""
    if model.scale is not None:
        for part, values in zip(("mean", "deviation"), model.scale, strict=True):
            yield _array(f"scale_{part}", values, "double")
    for i, layer in enumerate(model.layers):
        for part, values in _ordered(layer).items():
            if values.dtype == np.int8:
                yield _array(f"{part}{i}", values.T, "int8_t")  # by columns, as _add_int8 reads them
                continue
            with np.errstate(over="ignore"):  # infinity is refused
                single = values.astype(np.float32)
            if not np.isfinite(single).all():
                raise ValueError(
                    f"{part} of layers[{i}] holds NaN, infinity or a number above float32's range: expected finite "
                    "weights; look for NaN in the data, or train again with a lower learning rate"
                )
            yield _array(f"{part}{i}", single, "float")


def _ordered(layer: Any) -> dict[str, HostArray]:
    """The arrays of a layer that have elements. In a recurrent layer, the columns are sorted by the block of z."""
    arrays = {name: host(values) for name, values in layer.named_params.items() if values.size}
    if not is_recurrent(layer):
        return arrays
    cell, H = layer.cell, layer.output_size
    extra = {name: value for name, value in _extra(layer).items() if not _is_literal(value)}
    arrays = {name: values for name, values in arrays.items() if name not in cell.params}
    for name, blocks in (("Wx", cell.from_x), ("Wh", cell.from_h), ("b", cell.from_b)):
        if name in arrays and arrays[name].ndim == 3:  # heads
            continue
        for part in {name, f"{name}_scale"} & arrays.keys():
            gates = arrays[part].reshape(-1, len(blocks), H)
            arrays[part] = gates[:, np.argsort(blocks)].reshape(arrays[part].shape)
    return arrays | {name: np.broadcast_to(host(value), np.shape(value) or H) for name, value in extra.items()}


def _extra(layer: Any) -> Mapping[str, Any]:
    cell, params = layer.cell, layer.named_params
    return CELLS[type(cell)].extra(cell, cell.coefficients(np, [host(params[name]) for name in cell.params]))


def _is_literal(extra: Any) -> bool:
    return extra is None or isinstance(extra, int)


def _array(name: str, values: HostArray, kind: str) -> str:
    if kind == "int8_t":
        texts = [str(value) for value in values.ravel().tolist()]
    else:
        suffix = "f" if kind == "float" else ""
        # Hexadecimal: exact, and independent of the compiler's rounding.
        texts = [re.sub(r"\.?0*p", "p", value.hex()) + suffix for value in values.ravel().tolist()]
    rows = ",\n".join("    " + ", ".join(texts[at : at + 8]) for at in range(0, len(texts), 8))
    return f"static const {kind} @_{name}[{len(texts)}] = {{\n{rows}\n}};\n"


def _state(model: Model) -> Iterator[str]:
    """The sizes, the labels, the type of the state, and the function that initialises it."""
    inputs, outputs = _sizes(model)
    yield f"enum {{ @_INPUT = {inputs}, @_OUTPUT = {outputs} }};\n"
    if model.labels:
        labels = ",\n".join(f"    {_literal(label)}" for label in model.labels)
        yield f"/* The names of the outputs, in UTF-8. */\nconst char *const @_labels[@_OUTPUT] = {{\n{labels}\n}};\n"
    fields = _fields(model)
    size = _size_of(fields)
    if model.last:
        yield f"enum {{ @_LAST = {model.last} }};\n"
        lines = _declared(fields)
        yield f"/* One pass over the last steps. */\ntypedef struct @_pass {{\n{lines}}} @_pass;\n"
        kind = "int" if type(model.layers[0]) is Embedding else "float"
        kept = [(kind, "rows", model.last * inputs), ("int", "next", 0), ("int", "count", 0)]
        size = _size_of([*fields, *kept])
        lines = f"    @_pass pass;\n{_declared(kept)}"
    else:
        lines = _declared(fields)
    yield (
        f"/* The state of one signal, and scratch memory: {size:,} bytes, if a double has 8. */\n"
        f"typedef struct @_state {{\n{lines}}} @_state;\n"
    )
    yield "/* To call before the first step of a signal. */\nvoid @_init(@_state *state);"
    yield "void @_init(@_state *state) { memset(state, 0, sizeof *state); }\n"


def _fields(model: Model) -> list[tuple[str, str, int]]:
    """The variables of a run over steps: type, name and number of elements, 0 for a scalar."""
    fields: list[tuple[str, str, int]] = []
    if model.mean:
        width = model.layers[model.last_recurrent].output_size
        fields += [("double", "steps", 0), ("double", "total", width), ("float", "mean", width)]
    if model.scale is not None:
        fields.append(("float", "x", model.layers[0].input_size))
    for i, layer in enumerate(model.layers):
        if is_recurrent(layer):
            fields += [("float", f"{state}{i}", layer.output_size) for state in layer.cell.states]
        elif type(layer) is not Embedding and i < len(model.layers) - 1:
            fields.append(("float", f"y{i}", layer.output_size))
    fields.append(("float", "z", max((_z_size(layer) for layer in model.layers if is_recurrent(layer)), default=1)))
    rounded = [max(layer.input_size, layer.output_size) for layer in model.layers if is_int8(layer)]
    return fields + ([("int8_t", "q", max(rounded))] if rounded else [])


def _declared(fields: Sequence[tuple[str, str, int]]) -> str:
    return "".join(f"    {kind} {name}{f'[{count}]' if count else ''};\n" for kind, name, count in fields)


def _size_of(fields: Sequence[tuple[str, str, int]]) -> int:
    """The size of a struct with these fields."""
    size = 0
    for kind, _, count in fields:
        size += -size % _BYTES[kind] + _BYTES[kind] * max(count, 1)
    return size + -size % max(_BYTES[kind] for kind, _, _ in fields)


def _literal(text: str) -> str:
    """A string literal: every byte that may have a meaning in C as an octal escape."""
    plain = b" ._-+:/()%#" + bytes(byte for byte in range(128) if chr(byte).isalnum())
    return (
        '"'
        + "".join(chr(byte) if byte in plain else f"\\{byte:03o}" for byte in text.encode("utf-8", "surrogateescape"))
        + '"'
    )


def _step(model: Model) -> Iterator[str]:
    """The function that runs one step."""
    inputs, outputs = _sizes(model)
    first = model.layers[0]
    kind = "int" if type(first) is Embedding else "float"
    if type(first) is Embedding:
        meaning = f"one index in 0 to {first.input_size - 1}; another number counts as 0"
    else:
        meaning = f"{inputs} numbers" + ("; NaN for a missing one" if model.scale is not None else "")
    signature = f"void @_step(@_state *state, const {kind} *x, float *y)"
    reads, answers = _statements(model)
    if not model.last:
        yield f"/* The next step.   x: {meaning}; y: {outputs} numbers */\n{signature};\n{signature} {{"
        yield "    (void)state;"  # some models without a recurrent layer do not use it
        yield from [*reads, *answers, "}"]
        return
    flag, argument = (", int first", ", i == @_LAST - state->count") if model.changes else ("", "")
    yield f"/* One of the last steps. */\nstatic void @_read(@_pass *state, const {kind} *x{flag}) {{"
    yield from [*reads, "}\n"]
    yield "/* The result of the last steps. */\nstatic void @_answer(@_pass *state, float *y) {"
    yield from [*answers, "}\n"]
    yield f"/* The next step.   x: {meaning};"
    yield f"   y: {outputs} numbers, computed from the last @_LAST steps alone; or NULL: x is only kept */"
    yield f"{signature};\n{signature} {{"
    yield f"    memcpy(state->rows + (size_t)state->next * {inputs}, x, {inputs} * sizeof *x);"
    yield "    state->next = (state->next + 1) % @_LAST;"
    yield "    if (state->count < @_LAST) state->count++;"
    yield "    if (!y) return;"
    yield "    memset(&state->pass, 0, sizeof state->pass);"
    yield "    for (int i = @_LAST - state->count; i < @_LAST; i++)"
    yield f"        @_read(&state->pass, state->rows + (size_t)((state->next + i) % @_LAST) * {inputs}{argument});"
    yield "    @_answer(&state->pass, y);"
    yield "}"


def _statements(model: Model) -> tuple[list[str], list[str]]:
    """The statements up to the last recurrent layer, and the mean after it; and those that compute y from there."""
    reads: list[str] = []
    answers: list[str] = []
    inputs, outputs = _sizes(model)
    x = "x"
    if model.scale is not None:
        reads.append(f"    @_scaled({inputs}, @_scale_mean, @_scale_deviation, x, state->x);")
        if model.last and model.changes:  # 0 is the mean
            start = model.changes.start
            count = len(model.changes)
            reads.append(f"    if (first) memset(state->x + {start}, 0, {count} * sizeof *state->x);")
        x = "state->x"
    for i, layer in enumerate(model.layers):
        y = "y" if i == len(model.layers) - 1 else f"state->y{i}"
        calls, x = _call(layer, i, x, y)
        (reads if i <= model.last_recurrent else answers).extend(calls)
        if model.mean and i == model.last_recurrent:
            reads.append(f"    @_average({layer.output_size}, ++state->steps, {x}, state->total, state->mean);")
            x = "state->mean"
    if x != "y":
        answers.append(f"    memcpy(y, {x}, {outputs} * sizeof *y);")
    if model.softmax:
        answers.append(f"    @_softmax({outputs}, y);")
    return reads, answers


def _call(layer: Any, i: int, x: str, y: str) -> tuple[list[str], str]:
    """The statements of a layer, and its result as an expression.   x: its input; y: where a result may be written"""
    D, C = layer.input_size, layer.output_size
    match layer:
        case Embedding():
            return [], f"(@_W{i} + {C} * (*x >= 0 && *x < {D} ? *x : 0))"
        case Linear():
            return [f"    memcpy({y}, @_b{i}, sizeof @_b{i});", f"    @_add({D}, {C}, {C}, @_W{i}, {x}, {y});"], y
        case LayerNorm():
            return [
                f"    @_normalized({D}, {float(np.float32(layer.eps)).hex()}f, @_gamma{i}, @_beta{i}, {x}, {y});"
            ], y
    return [f"    {line}" for line in _recurrent(layer, i, x)], f"state->h{i}"


def _z_size(layer: Any) -> int:
    scratch = CELLS[type(layer.cell)].recur is not None
    return (layer.cell.pre + scratch) * layer.output_size


def _recurrent(layer: Any, i: int, x: str) -> Iterator[str]:
    """z = x @ Wx + h @ Wh + b, then the cell's step."""
    cell = layer.cell
    H = layer.output_size
    row = CELLS[type(layer.cell)]
    states = [f"state->{state}{i}" for state in cell.states]
    yield f"memcpy(state->z, @_b{i}, sizeof @_b{i});"
    yield _product(layer, i, "Wx", cell.from_x, x)
    if row.recur is not None:
        yield from row.recur(layer, i)
    elif layer.heads:
        yield from _products_of_heads(layer, i, states[0])
    elif cell.from_h:
        yield _product(layer, i, "Wh", cell.from_h, states[0])
    extra = [str(int(value or 0)) if _is_literal(value) else f"@_{name}{i}" for name, value in _extra(layer).items()]
    yield f"@_{row.name}({', '.join([str(H), *extra, 'state->z', *states])});"


def _product(layer: Any, i: int, W: str, blocks: Sequence[int], x: str, part: int = 0) -> str:
    """z += x @ W, in adjacent blocks of z.   part: the first part of W, of as many as `blocks`"""
    H = layer.output_size
    rows, columns = layer.named_params[W].shape
    z = _at("state->z", min(blocks) * H)
    first = part * H
    if is_int8(layer):  # the file has its matrices by columns
        values, scale = _at(f"@_{W}{i}", first * rows), _at(f"@_{W}_scale{i}", first)
        return f"@_add_int8({rows}, {len(blocks) * H}, {values}, {scale}, {x}, state->q, {z});"
    return f"@_add({rows}, {len(blocks) * H}, {columns}, {_at(f'@_{W}{i}', first)}, {x}, {z});"


def _products_of_heads(layer: Any, i: int, h: str) -> Iterator[str]:
    """z += h @ Wh: for each head, and each gate of its columns."""
    H = layer.output_size
    k, K, columns = layer.Wh.shape
    for j in range(k):
        for part, block in enumerate(layer.cell.from_h):
            W, z = _at(f"@_Wh{i}", j * K * columns + part * K), _at("state->z", block * H + j * K)
            yield f"@_add({K}, {K}, {columns}, {W}, {_at(h, j * K)}, {z});"


def _at(array: str, offset: int) -> str:
    return f"{array} + {offset}" if offset else array


def _reset_before(layer: Any, i: int) -> list[str]:
    """The reset gate multiplies h before the product for n."""
    H = layer.output_size
    h = f"state->h{i}"
    reset = f"state->z + {3 * layer.output_size}"
    return [
        _product(layer, i, "Wh", (0, 1), h),
        f"@_reset({H}, state->z, {h}, {reset});",
        _product(layer, i, "Wh", (2,), reset, part=2),
    ]


def _rnn(cell: Any, own: Sequence[Any]) -> Mapping[str, Any]:
    return {"leak": own[0] if own else None, "f": NONLINEARITIES.index(cell.nonlinearity)}


def _minimal(cell: Any, own: Sequence[Any]) -> Mapping[str, Any]:
    return {"positive": int(cell.candidate == "positive")}


def _slstm(cell: Any, own: Sequence[Any]) -> Mapping[str, Any]:
    return {"exponential": int(cell.forget_gate == "exp")}


def _lru(cell: Any, own: Sequence[Any]) -> Mapping[str, Any]:
    return dict(zip(("re", "im", "gain"), own, strict=True))


# By the class of the cell. A subclass may compute something else, and needs its own row.
CELLS: Final[dict[type[Cell], CCell]] = {
    RNNCell: CCell("rnn", extra=_rnn),
    LeakyRNNCell: CCell("rnn", extra=_rnn),
    TrainedLeakRNNCell: CCell("rnn", extra=_rnn),
    LSTMCell: CCell("lstm"),
    GRUCell: CCell("gru"),
    GRUResetBeforeCell: CCell("gru_reset_before", recur=_reset_before),
    MinGRUCell: CCell("min_gru", extra=_minimal),
    MinLSTMCell: CCell("min_lstm", extra=_minimal),
    SLSTMCell: CCell("slstm", extra=_slstm),
    LRUCell: CCell("lru", extra=_lru),
}
