"""The vjps as a textbook prints them, where the source takes more care: of rounding, of speed, of zeros.

Besides NumPy's functions and the ops they use some words, in which ``x`` has any number of axes before those
that are named:

- ``onehot(t)``: 1 at the label ``t`` among the classes, 0 elsewhere
- ``windows(x)``: the windows of images, (N, OH, OW, C, KH, KW); ``overlap_add`` adds them up again, which is
  its adjoint; ``first_max(p)`` has 1 at the first maximum of each window, 0 elsewhere
- ``middle(x, axis)``: 1 at the median, or 0.5 at each of the two middle elements
- ``others(x, axis)``: for each element the product of all others
- ``later(g, x, axis)``: sum over j >= i of g_j times the product of the x_k with k <= j but k = i
- ``half_tril(a)``: the lower triangle with half of its diagonal; ``plus_transpose(a)`` = a + a^T;
  ``diag(s)``: a vector as a diagonal matrix; ``cofactors(a)``: signed determinants without row i and column j
- ``values(x)``, ``vectors(x)`` of an `eigh`, ``U(x)``, ``S(x)``, ``V(x)`` of an `svd`, ``Q(x)``, ``R(x)`` of
  a `qr`; ``gaps(s)``: s_j - s_i, infinite on the diagonal
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from tensorgrad.core import Op
from tensorgrad.core.checks import NDArray
from tensorgrad.graph.formulas import argument_names, formula_text, rename
from tensorgrad.ops.products import factors_of_vjp


@dataclass(frozen=True)
class Call:
    """A call of an op, whose cotangent for the argument ``i`` is told."""

    op: Op[...]
    i: int
    g: NDArray
    out: NDArray
    inputs: tuple[Any, ...]
    params: Mapping[str, Any]


Line: TypeAlias = str | Callable[[Call], str]


def write_vjp(
    op: Op[...],
    i: int,
    arguments: tuple[Any, ...] = (),
    params: Mapping[str, Any] | None = None,
    called: Sequence[str] = (),
) -> str:
    """The vjp of an op for its argument ``i``: as a textbook prints it, or as it stands in the source.

    ``arguments`` are g, out and the op's arrays, and ``called`` what to call them. Without arguments, a line
    that depends on them is empty.

    >>> from tensorgrad.graph.textbook import write_vjp
    >>> write_vjp(tg.tanh, 0, called=["g", "y", "x"])
    'g * (1 - y ** 2)'
    """
    params = params or {}
    count = max(len(arguments) - 2, len(op.arrays), i + 1)
    formula = op.joint or op.formulas_for(count)[i]
    if formula is None:
        return "0"
    line = LINES.get(op.name, {}).get(op.arrays[min(i, len(op.arrays) - 1)])
    if not _is_ours(formula):
        line = None
    if callable(line):
        g, out, *inputs = arguments or (None, None)
        if not inputs:
            return ""
        line = line(Call(op, i, g, out, tuple(inputs), params))
    if line is None:
        return formula_text(formula, arguments, params, called)
    known = {x: repr(value) for x, value in params.items() if isinstance(value, _PLAIN) and x != "index"}
    names = ("g", "out", *argument_names(op, count))
    return rename(line, known | dict(zip(names, called or names, strict=False)))


_PLAIN = (int, float, str, tuple, type(None))


def _is_ours(formula: Any) -> bool:
    while isinstance(formula, partial):
        formula = formula.func
    return str(getattr(inspect.unwrap(formula), "__module__", "")).startswith("tensorgrad.")


def _reduced(line: str) -> Callable[[Call], str]:
    """A line with [g] and [out] that have the reduced axes back, and n elements for each of these."""

    def write(call: Call) -> str:
        x, axis = call.inputs[0], call.params["axis"]
        lost = axis is not None and np.ndim(x) and not call.params["keepdims"]
        found = line
        for name in ("g", "out"):
            found = found.replace(f"[{name}]", f"np.expand_dims({name}, axis)" if lost else name)
        return found.replace("[n]", str(x.size // max(call.out.size, 1)))

    return write


def _transposed(line: str) -> Callable[[Call], str]:
    """A line in which .T becomes that of stacks; of one matrix [..., None, None] is left out."""

    def write(call: Call) -> str:
        stacks = max(map(np.ndim, call.inputs)) > 2
        found = line.replace(".T", ".mT") if stacks else line.replace("[..., None, None]", "")
        shape = np.shape(call.inputs[call.i])
        same = len({np.shape(x)[:-2] for x in call.inputs}) == 1
        return found if same else f"sum_to({found}, shape={shape})"

    return write


def _prod(call: Call) -> str:
    return _reduced("[g] * [out] / x" if np.all(call.inputs[0]) else "[g] * others(x, axis)")(call)


def _norm(call: Call) -> str:
    order = call.params["ord"]
    powers = {1: "np.sign(x)", 2: "x / [out]"}
    return _reduced(f"[g] * {powers.get(order, 'np.sign(x) * (np.abs(x) / [out]) ** (ord - 1)')}")(call)


def _cumsum(call: Call) -> str:
    if call.params["axis"] is None or not np.ndim(call.inputs[0]):
        return "np.flip(np.cumsum(np.flip(g))).reshape(x.shape)"
    return "np.flip(np.cumsum(np.flip(g, axis), axis), axis)"


def _cumprod(call: Call) -> str:
    flat = call.params["axis"] is None or not np.ndim(call.inputs[0])
    if not np.all(call.inputs[0]):
        return "later(g, x.ravel(), 0).reshape(x.shape)" if flat else "later(g, x, axis)"
    if flat:
        return "np.flip(np.cumsum(np.flip(g * out))).reshape(x.shape) / x"
    return "np.flip(np.cumsum(np.flip(g * out, axis), axis), axis) / x"


def _gelu(call: Call) -> str:
    if call.params["approximate"] == "tanh":  # out / x is the share of x that is let through
        return "g * (out / x + out * (1 - out / x) * np.sqrt(8 / np.pi) * (1 + 0.134145 * x ** 2))"
    return "g * (erfc(-x / np.sqrt(2)) / 2 + x * np.exp(-x ** 2 / 2) / np.sqrt(2 * np.pi))"


def _transpose(call: Call) -> str:
    axes = call.params["axes"]
    if axes is None:
        return "g.T"
    axes = np.atleast_1d(axes) % np.ndim(call.g)
    return f"np.transpose(g, {tuple(np.argsort(axes).tolist())})"


def _matmul(call: Call) -> str:
    x, y = call.inputs
    if np.ndim(x) == np.ndim(y) == 1:
        return ("g * y", "g * x")[call.i]
    if np.ndim(x) <= 2 and np.ndim(y) <= 2:
        line = ("g @ y.T", "x.T @ g")[call.i]
        if np.ndim(y) == 1:
            line = ("np.outer(g, y)", line)[call.i]
        return ("y @ g", "np.outer(x, g)")[call.i] if np.ndim(x) == 1 else line
    columns, rows = "g[..., None]" if np.ndim(y) == 1 else "g", "g[..., None, :]" if np.ndim(x) == 1 else "g"
    if call.i:
        line = f"np.sum(x * {columns}, axis={tuple(range(np.ndim(x) - 1))})" if np.ndim(y) == 1 else ""
        line = line or (f"x[:, None] * {rows}" if np.ndim(x) == 1 else "x.mT @ g")
    else:
        line = f"np.sum(y * {rows}, axis={(*range(np.ndim(y) - 2), -1)})" if np.ndim(x) == 1 else ""
        line = line or (f"{columns} * y" if np.ndim(y) == 1 else "g @ y.mT")
    own, needed = np.shape(call.inputs[call.i]), np.shape(call.inputs[call.i])[:-2]
    whole = line.startswith("np.sum") or needed == np.shape(call.out)[: np.ndim(call.out) - 2]
    return line if whole else f"sum_to({line}, shape={own})"


def _einsum(call: Call) -> str:
    subscripts, factors = factors_of_vjp(call.i, call.g, call.inputs, call.params["subscripts"])
    names = [f"operands[{k}]" for k in range(len(call.inputs)) if k != call.i]
    added = (f"np.{'eye' if x.ndim == 2 else 'ones'}({len(x)})" for x in factors[len(call.inputs) :])
    return f"np.einsum({subscripts!r}, {', '.join(['g', *names, *added])})"


def _concatenate(call: Call) -> str:
    axis = call.params["axis"] % np.ndim(call.g)
    start = sum(np.shape(x)[axis] for x in call.inputs[: call.i])
    stop = start + np.shape(call.inputs[call.i])[axis]
    return f"g[{':, ' * axis}{start}:{stop}]"


def _stack(call: Call) -> str:
    return f"g[{':, ' * (call.params['axis'] % np.ndim(call.g))}{call.i}]"


def _conv(line: str) -> Callable[[Call], str | None]:
    return lambda call: line if call.params["groups"] == 1 else None


def _pinv(call: Call) -> str | None:
    a, out = call.inputs[0], call.out
    if not np.allclose(a @ out @ a, a):  # singular values were cut off
        return "truncated_pinv_vjp(g, out, a)"
    line = "-out.T @ g @ out.T + (g.T - a @ out @ g.T) @ out @ out.T + out.T @ out @ (g.T - g.T @ out @ a)"
    return _transposed(line)(call)


def _svd(call: Call) -> str:
    m, n = np.shape(call.inputs[0])[-2:]
    turned = "plus_transpose({0}(out).T @ {0}(g) / gaps(S(out) ** 2))"
    inner = f"{turned.format('U')} @ diag(S(out)) + diag(S(out)) @ {turned.format('V')} + diag(S(g))"
    line = f"U(out) @ ({inner}) @ V(out).T"
    if m > n:
        line += " + (U(g) - U(out) @ U(out).T @ U(g)) @ diag(1 / S(out)) @ V(out).T"
    if n > m:
        line += " + U(out) @ diag(1 / S(out)) @ (V(g) - V(out) @ V(out).T @ V(g)).T"
    return _transposed(line)(call)


def _eigh(call: Call) -> str:
    inner = "vectors(out).T @ vectors(g) / gaps(values(out)) + diag(values(g))"
    line = f"half_tril(plus_transpose(vectors(out) @ ({inner}) @ vectors(out).T))"
    return _transposed(line if call.params["UPLO"] in "Ll" else f"{line}.T")(call)


# Losses: [w] are the weights of elements, [/n] divides by what the mean divides by.


def _rows(prediction: NDArray) -> str:
    """The weights of rows, as they are multiplied with elements."""
    return "weights" + f"[:{', None' * (np.ndim(prediction) - 1)}]" * (np.ndim(prediction) > 1)


def _total(call: Call, each: int) -> str:
    """The sum of the weights of all elements, of which a row has ``each``."""
    return "np.sum(weights)" if each == 1 else f"({each} * np.sum(weights))"


def _loss(line: str) -> Callable[[Call], str]:
    def write(call: Call) -> str:
        prediction, _, weights = call.inputs
        found = line.replace("[w]", "" if weights is None else f" * {_rows(prediction)}")
        total = str(np.size(prediction))
        if weights is not None:
            total = _total(call, np.size(prediction) // len(prediction))
        return found.replace("[/n]", f" / {total}" if call.params["reduction"] == "mean" else "")

    return write


def _loss_of_weights(line: str) -> Callable[[Call], str]:
    """From the losses of elements."""

    def write(call: Call) -> str:
        prediction = call.inputs[0]
        mean = bool(call.params["reduction"] == "mean")
        found = f"g * ({line} - out)" if mean else f"g * {line}"
        if np.ndim(prediction) > 1:
            found = f"np.sum({found}, axis={tuple(range(1, np.ndim(prediction)))})"
        each = np.size(prediction) // len(prediction)
        return found + f" / {_total(call, each)}" * mean

    return write


def _binary(call: Call) -> str:
    if np.all(np.equal(call.params["positive_weight"], 1)):
        return _loss("g[w] * (sigmoid(prediction) - target)[/n]")(call)
    yes = "positive_weight * target * sigmoid(-prediction)"
    return _loss(f"g[w] * ((1 - target) * sigmoid(prediction) - {yes})[/n]")(call)


def _binary_target(call: Call) -> str:
    if np.all(np.equal(call.params["positive_weight"], 1)):
        return _loss("-g[w] * prediction[/n]")(call)
    return _loss("g[w] * (positive_weight * softplus(-prediction) - softplus(prediction))[/n]")(call)


def _cross_entropy(line: str, plain: str) -> Callable[[Call], str]:
    """[t] is the target as shares of classes, smoothed, [k] the same with the weights of classes."""

    def write(call: Call) -> str:
        prediction, target, weights = call.inputs
        classes, params = np.shape(prediction)[-1], call.params
        labels, smooth = np.ndim(target) < np.ndim(prediction), bool(params["label_smoothing"])
        shares = "onehot(target)" if labels else "target"
        weighted = params["class_weights"] is not None
        counted, rows = f"class_weights * {shares}", _rows(prediction)
        smoothed = f"((1 - label_smoothing) * {shares} + label_smoothing / {classes})" if smooth else shares
        found = (line if weighted else plain).replace("[t]", smoothed)
        found = found.replace("[s]", "(1 - label_smoothing) * " * smooth)
        found = found.replace("[g]", "g" if params["reduction"] != "none" else "g[..., None]")
        found = found.replace("[w]", "" if weights is None else f" * {rows}")
        found = found.replace("[out]", " - out" if params["reduction"] == "mean" else "")
        total = str(math.prod(np.shape(prediction)[:-1]))
        if weights is not None:
            total = _total(call, np.size(prediction) // classes // len(prediction))
        if weighted:
            total = f"np.sum({counted}" + f" * {rows}" * (weights is not None) + ")"
        return found.replace("[/n]", f" / {total}" if params["reduction"] == "mean" else "")

    return write


def _cross_entropy_weights(call: Call) -> str:
    prediction, target, _ = call.inputs
    elements, params = np.ndim(prediction) - 1, call.params
    options = [f"{x}={x}, " for x in ("class_weights", "label_smoothing") if _is_given(params[x])]
    found = f'cross_entropy(prediction, target, {"".join(options)}reduction="none")'
    mean = bool(params["reduction"] == "mean")
    shares = "onehot(target)" if np.ndim(target) < np.ndim(prediction) else "target"
    weighted = params["class_weights"] is not None
    counts = f"np.sum(class_weights * {shares}, axis=-1)"
    found = f"g * ({found} - out{f' * {counts}' * weighted})" if mean else f"g * {found}"
    if elements > 1:
        found = f"np.sum({found}, axis={tuple(range(1, elements))})"
    each = np.size(prediction) // np.shape(prediction)[-1] // len(prediction)
    total = f"np.sum(class_weights * {shares} * {_rows(prediction)})" if weighted else _total(call, each)
    return found + f" / {total}" * mean


def _is_given(option: Any) -> bool:
    return option is not None and not (np.ndim(option) == 0 and option == 0)


LINES: dict[str, dict[str, Line | Callable[[Call], str | None]]] = {
    "arccos": {"x": "-g / np.sqrt(1 - x**2)"},
    "arccosh": {"x": "g / np.sqrt(x**2 - 1)"},
    "arcsin": {"x": "g / np.sqrt(1 - x**2)"},
    "arcsinh": {"x": "g / np.sqrt(1 + x**2)"},
    "arctan": {"x": "g / (1 + x**2)"},
    "arctan2": {"y": "g * x / (x**2 + y**2)", "x": "-g * y / (x**2 + y**2)"},
    "arctanh": {"x": "g / (1 - x**2)"},
    "astype": {"x": "g.astype(x.dtype)"},
    "binary_cross_entropy": {
        "prediction": _binary,
        "target": _binary_target,
        "weights": _loss_of_weights(
            'binary_cross_entropy(prediction, target, positive_weight=positive_weight, reduction="none")'
        ),
    },
    "cholesky_": {
        "x": _transposed(
            "half_tril(plus_transpose(np.linalg.inv(out).T @ half_tril(out.T @ g) @ np.linalg.inv(out)))"
        )
    },
    "concatenate_": {"arrays": _concatenate},
    "conv2d": {
        "x": _conv('overlap_add(np.einsum("nijf,fckl->nijckl", g, w))'),
        "w": _conv('np.einsum("nijf,nijckl->fckl", g, windows(x))'),
    },
    "cross_entropy": {
        "prediction": _cross_entropy(
            "[g][w] * (softmax(prediction) * np.sum(class_weights * [t], axis=-1, keepdims=True)"
            " - class_weights * [t])[/n]",
            "[g][w] * (softmax(prediction) - [t])[/n]",
        ),
        "target": _cross_entropy(
            "[g][w] * class_weights * (-[s]log_softmax(prediction)[out])[/n]",
            "-[g][w] * [s]log_softmax(prediction)[/n]",
        ),
        "weights": _cross_entropy_weights,
    },
    "cumprod": {"x": _cumprod},
    "cumsum": {"x": _cumsum},
    "det": {"a": _transposed("g[..., None, None] * cofactors(a)")},
    "eigh_": {"x": _eigh},
    "einsum_": {"operands": _einsum},
    "elu": {"x": "g * np.where(x > 0, 1, alpha * np.exp(x))"},
    "erf": {"x": "g * 2 / np.sqrt(np.pi) * np.exp(-x**2)"},
    "erfc": {"x": "-g * 2 / np.sqrt(np.pi) * np.exp(-x**2)"},
    "exp2": {"x": "g * out * np.log(2)"},
    "fmod": {"y": "-g * np.trunc(x / y)"},
    "gate": {"x": "g * condition"},
    "gelu": {"x": _gelu},
    "huber": {
        "prediction": _loss("g[w] * np.clip(prediction - target, -delta, delta)[/n]"),
        "target": _loss("g[w] * np.clip(target - prediction, -delta, delta)[/n]"),
        "weights": _loss_of_weights('huber(prediction, target, delta=delta, reduction="none")'),
    },
    "hypot": {"x": "g * x / out", "y": "g * y / out"},
    "inv": {"a": _transposed("-out.T @ g @ out.T")},
    "l2": {"parameters": lambda call: f"g * strength * parameters[{call.i}]"},
    "leaky_relu": {"x": "g * np.where(x > 0, 1, slope)"},
    "log10": {"x": "g / (x * np.log(10))"},
    "log2": {"x": "g / (x * np.log(2))"},
    "log_softmax": {"x": "g - np.exp(out) * np.sum(g, axis, keepdims=True)"},
    "logaddexp": {"x": "g * np.exp(x - out)", "y": "g * np.exp(y - out)"},
    "logaddexp2": {"x": "g * np.exp2(x - out)", "y": "g * np.exp2(y - out)"},
    "logsumexp": {"x": _reduced("[g] * np.exp(x - [out])")},
    "mae": {
        "prediction": _loss("g[w] * np.sign(prediction - target)[/n]"),
        "target": _loss("g[w] * np.sign(target - prediction)[/n]"),
        "weights": _loss_of_weights("np.abs(prediction - target)"),
    },
    "matmul": {"x": _matmul, "y": _matmul},
    "max": {"x": _reduced("[g] * (x == [out]) / np.sum(x == [out], axis, keepdims=True)")},
    "max_pool": {"x": "overlap_add(g[..., None, None] * first_max(windows(x)))"},
    "max_pool_images": {"y": "np.sum(windows(g) * first_max(windows(images)), axis=(-2, -1))"},
    "mean": {"x": _reduced("np.broadcast_to([g] / [n], x.shape)")},
    "median": {"x": _reduced("[g] * middle(x, axis)")},
    "min": {"x": _reduced("[g] * (x == [out]) / np.sum(x == [out], axis, keepdims=True)")},
    "mse": {
        "prediction": _loss("2 * g[w] * (prediction - target)[/n]"),
        "target": _loss("2 * g[w] * (target - prediction)[/n]"),
        "weights": _loss_of_weights("(prediction - target)**2"),
    },
    "norm_": {"x": _norm},
    "normalize": {"mean": "-g * gain"},
    "pinv": {"a": _pinv},
    "power": {"x": "g * y * x ** (y - 1)", "y": "g * out * np.log(x)"},
    "prod": {"x": _prod},
    "qr_": {
        "x": _transposed(
            "(Q(g) + Q(out) @ plus_transpose(half_tril(R(out) @ R(g).T - Q(g).T @ Q(out))))"
            " @ np.linalg.inv(R(out)).T"
        )
    },
    "relu": {"x": "g * (x > 0)"},
    "remainder": {"y": "-g * np.floor(x / y)"},
    "reshape": {
        "x": lambda call: "g.reshape(x.shape" + ", order=order" * (call.params["order"] != "C") + ")"
    },
    "roll": {"x": "np.roll(g, np.negative(shift), axis)"},
    "scatter_add": {"x": "g[index]"},
    "sigmoid": {"x": "g * out * (1 - out)"},
    "silu": {"x": "g * (sigmoid(x) + out * (1 - sigmoid(x)))"},
    "sinc": {"x": "g * (np.cos(np.pi * x) - out) / x"},
    "slogdet_": {"x": _transposed("g[..., 1][..., None, None] * np.linalg.inv(x).T")},
    "softmax": {"x": "out * (g - np.sum(g * out, axis, keepdims=True))"},
    "solve_": {
        "a": _transposed("-np.linalg.solve(a.T, g) @ out.T"),
        "b": _transposed("np.linalg.solve(a.T, g)"),
    },
    "square": {"x": "2 * g * x"},
    "stack_": {"arrays": _stack},
    "sum": {"x": _reduced("np.broadcast_to([g], x.shape)")},
    "sum_to": {"x": "np.broadcast_to(g, x.shape)"},
    "svd_": {"x": _svd},
    "swapaxes": {"x": "np.swapaxes(g, axis1, axis2)"},
    "tan": {"x": "g * (1 + out**2)"},
    "tanh": {"x": "g * (1 - out**2)"},
    "transpose": {"x": _transpose},
    "var": {"x": _reduced("[g] * 2 * (x - np.mean(x, axis, keepdims=True)) / ([n] - ddof)")},
}
