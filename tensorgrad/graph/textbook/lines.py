"""The lines of all ops whose source is none for a textbook, by op and argument."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgrad.graph.textbook.call import Call, Line
from tensorgrad.graph.textbook.losses import LOSSES
from tensorgrad.ops.products import factors_of_vjp


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


def _getitem(call: Call) -> str:
    written = _write_index(call.params["index"])
    return f"scatter_add(g, index={f'np.s_[{written}]' if written else 'index'}, shape=x.shape)"


def _scatter_add(call: Call) -> str:
    return f"g[{_write_index(call.params['index']) or 'index'}]"


def _write_index(index: Any) -> str:
    """An index of numbers and slices as it is written; nothing of one with arrays."""
    texts = []
    for part in index if isinstance(index, tuple) else (index,):
        if isinstance(part, slice):
            ends = [part.start, part.stop] + [part.step] * (part.step is not None)
            texts.append(":".join("" if x is None else str(x) for x in ends))
        elif part is None or part is Ellipsis:
            texts.append("..." if part else "None")
        elif isinstance(part, (int, np.integer)) and not isinstance(part, bool):
            texts.append(str(int(part)))
        else:
            return ""
    return ", ".join(texts)


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


LINES: dict[str, dict[str, Line]] = LOSSES | {
    "arccos": {"x": "-g / np.sqrt(1 - x**2)"},
    "arccosh": {"x": "g / np.sqrt(x**2 - 1)"},
    "arcsin": {"x": "g / np.sqrt(1 - x**2)"},
    "arcsinh": {"x": "g / np.sqrt(1 + x**2)"},
    "arctan": {"x": "g / (1 + x**2)"},
    "arctan2": {"y": "g * x / (x**2 + y**2)", "x": "-g * y / (x**2 + y**2)"},
    "arctanh": {"x": "g / (1 - x**2)"},
    "astype": {"x": "g.astype(x.dtype)"},
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
    "getitem": {"x": _getitem},
    "hypot": {"x": "g * x / out", "y": "g * y / out"},
    "inv": {"a": _transposed("-out.T @ g @ out.T")},
    "leaky_relu": {"x": "g * np.where(x > 0, 1, slope)"},
    "log10": {"x": "g / (x * np.log(10))"},
    "log2": {"x": "g / (x * np.log(2))"},
    "log_softmax": {"x": "g - np.exp(out) * np.sum(g, axis, keepdims=True)"},
    "logaddexp": {"x": "g * np.exp(x - out)", "y": "g * np.exp(y - out)"},
    "logaddexp2": {"x": "g * np.exp2(x - out)", "y": "g * np.exp2(y - out)"},
    "logsumexp": {"x": _reduced("[g] * np.exp(x - [out])")},
    "matmul": {"x": _matmul, "y": _matmul},
    "max": {"x": _reduced("[g] * (x == [out]) / np.sum(x == [out], axis, keepdims=True)")},
    "max_pool": {"x": "overlap_add(g[..., None, None] * first_max(windows(x)))"},
    "max_pool_images": {"y": "np.sum(windows(g) * first_max(windows(images)), axis=(-2, -1))"},
    "mean": {"x": _reduced("np.broadcast_to([g] / [n], x.shape)")},
    "median": {"x": _reduced("[g] * middle(x, axis)")},
    "min": {"x": _reduced("[g] * (x == [out]) / np.sum(x == [out], axis, keepdims=True)")},
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
    "recompute": {"inputs": lambda call: f"vjp(f)(g)[{call.i}]"},
    "relu": {"x": "g * (x > 0)"},
    "remainder": {"y": "-g * np.floor(x / y)"},
    "reshape": {
        "x": lambda call: "g.reshape(x.shape" + ", order=order" * (call.params["order"] != "C") + ")"
    },
    "roll": {"x": "np.roll(g, np.negative(shift), axis)"},
    "scatter_add": {"x": _scatter_add},
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
