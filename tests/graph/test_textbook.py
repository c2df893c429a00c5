"""The lines of the vjps, as drawings and steps print them: each is evaluated and held against the vjp."""

import math
import re

import numpy as np
import pytest
from helpers import SHIPPED

import tensorgrad as tg
from tensorgrad.audit import SAMPLES
from tensorgrad.audit.sample import is_floating
from tensorgrad.core import OPS
from tensorgrad.core.recompute import recompute
from tensorgrad.graph.recorded import Recorded
from tensorgrad.graph.textbook.lines import LINES
from tensorgrad.graph.textbook.write import write_vjp

# The words of the lines, by other means than the package's


def windows_of(options, shape, kernel):
    """The places in the padded image of all windows, as (OH, KH) and (OW, KW), and the padding before."""

    def pair(x):
        return tuple(x) if isinstance(x, (tuple, list)) else (x, x)

    places = []
    for k, n in enumerate(shape[1:3]):
        size, dilation = kernel[k], pair(options.get("dilation", 1))[k]
        stride = options.get("stride")
        stride = kernel[k] if stride is None else pair(stride)[k]
        padding = options.get("padding", 0)
        span = dilation * (size - 1) + 1
        if padding == "same":
            total = max((math.ceil(n / stride) - 1) * stride + span - n, 0)
            before, after = total // 2, total - total // 2
        else:
            before, after = pair(pair(padding)[k])
        free = n + before + after - span
        count = (math.ceil if options.get("ceil_mode") else math.floor)(free / stride) + 1
        if options.get("ceil_mode") and (count - 1) * stride >= n + before:
            count -= 1
        places.append(np.arange(count)[:, None] * stride + np.arange(size) * dilation - before)
    return places


def image_words(options, shape, kernel, pad):
    rows, columns = windows_of(options, shape, kernel)

    def taps():
        for i, j in np.ndindex(len(rows), len(columns)):
            for k, m in np.ndindex(rows.shape[1], columns.shape[1]):
                yield (i, j, k, m), rows[i, k], columns[j, m]

    def windows(x):
        found = np.full((len(x), len(rows), len(columns), x.shape[-1], *kernel), pad)
        for (i, j, k, m), r, c in taps():
            if 0 <= r < x.shape[1] and 0 <= c < x.shape[2]:
                found[:, i, j, :, k, m] = x[:, r, c, :]
        return found

    def overlap_add(y):
        total = np.zeros(shape)
        for (i, j, k, m), r, c in taps():
            if 0 <= r < shape[1] and 0 <= c < shape[2]:
                total[:, r, c, :] += y[:, i, j, :, k, m]
        return total

    def first_max(p):
        flat = p.reshape(*p.shape[:-2], -1)
        return (np.arange(flat.shape[-1]) == np.argmax(flat, -1)[..., None]).reshape(p.shape)

    return {"windows": windows, "overlap_add": overlap_add, "first_max": first_max}


def later(g, x, axis):
    """By its definition, in loops."""
    g, x = np.moveaxis(g, axis, -1), np.moveaxis(x, axis, -1)
    found = np.zeros_like(x)
    for i in range(x.shape[-1]):
        for j in range(i, x.shape[-1]):
            others = [k for k in range(j + 1) if k != i]
            found[..., i] += g[..., j] * np.prod(x[..., others], axis=-1)
    return np.moveaxis(found, -1, axis)


def others(x, axis):
    axes = range(x.ndim) if axis is None else np.atleast_1d(axis) % x.ndim
    found = np.empty_like(x)
    for place in np.ndindex(x.shape):
        mine = x[tuple(slice(None) if k in axes else i for k, i in enumerate(place))].copy()
        mine[tuple(i for k, i in enumerate(place) if k in axes)] = 1
        found[place] = np.prod(mine)
    return found


def middle(x, axis):
    axes = tuple(range(x.ndim)) if axis is None else axis
    lower = np.quantile(x, 0.5, axis=axes, keepdims=True, method="lower")
    return 0.5 * (x == lower) + 0.5 * (x == np.quantile(x, 0.5, axis=axes, keepdims=True, method="higher"))


def cofactors(a):
    found = np.empty_like(a)
    for *stack, i, j in np.ndindex(a.shape):
        minor = np.delete(np.delete(a[tuple(stack)], i, 0), j, 1)
        found[(*stack, i, j)] = (-1) ** (i + j) * (np.linalg.det(minor) if minor.size else 1.0)
    return found


def gaps(s):
    difference = s[..., None, :] - s[..., :, None]
    return np.where(np.eye(s.shape[-1], dtype=bool), np.inf, difference)


def diag(s):
    return s[..., None] * np.eye(s.shape[-1])


WORDS = {
    "np": np,
    "onehot": lambda t: np.eye(3)[t],
    "half_tril": lambda a: np.tril(a) - diag(np.diagonal(a, axis1=-2, axis2=-1)) / 2,
    "plus_transpose": lambda a: a + a.mT,
    "values": lambda x: x[..., 0, :],
    "vectors": lambda x: x[..., 1:, :],
    "later": later,
    "others": others,
    "middle": middle,
    "cofactors": cofactors,
    "gaps": gaps,
    "diag": diag,
    **{
        name: getattr(tg, name)
        for name in ("softmax", "sigmoid", "log_softmax", "softplus", "erfc", "sum_to")
    },
    **{name: getattr(tg, name) for name in ("huber", "cross_entropy", "binary_cross_entropy", "scatter_add")},
    **{name: op for name, op in OPS.items() if name.isidentifier() and name not in tg.__all__},
}
WORDS |= {name: OPS[name] for name in OPS if not hasattr(np, name) and name not in WORDS}


def words_for(node):
    """The words that depend on the call: of images, and the parts of a factorization."""
    x, params = np.asarray(node.inputs[0].data if isinstance(node.inputs[0], tg.Tensor) else 0), node.params
    if node.op.name == "svd_":
        m = x.shape[-2]
        parts = slice(m), m, slice(m + 1, None)
        return {name: lambda a, part=part: a[..., part, :] for name, part in zip("USV", parts, strict=True)}
    if node.op.name == "qr_":
        m = x.shape[-2]
        return {"Q": lambda a: a[..., :m, :], "R": lambda a: a[..., m:, :]}
    if node.op.name == "conv2d":
        return image_words({"stride": 1, **params}, x.shape, node.inputs[1].shape[2:], 0.0)
    if node.op.name in ("max_pool", "max_pool_images"):
        size = params["size"]
        kernel = tuple(size) if isinstance(size, tuple) else (size, size)
        shape = params["images"].shape if "images" in params else x.shape
        pad = -np.inf if node.op.name == "max_pool" else np.nan
        words = image_words(params, shape, kernel, pad)
        if node.op.name == "max_pool_images":  # zeros around g, and minus infinity around images
            zeros, low = (image_words(params, shape, kernel, p)["windows"] for p in (0.0, -np.inf))
            words["windows"] = lambda a: (low if a is params["images"] else zeros)(a)
        return words
    return {}


PRIVATE = re.compile(r"(?<!\w)_\w")


def cases():
    for name in SHIPPED:
        for sample in SAMPLES.get(name, ()):
            yield pytest.param(OPS[name], sample, id=f"{name}: {sample.label}")


def recorded(op, sample):
    """A call of the op on variables with the names of its arguments."""
    args = sample.args(np.random.default_rng(0))
    names = op.arrays * len(args) if op.variadic else op.arrays
    tensors = [
        tg.Tensor(x, requires_grad=True, name=name + str(k) * op.variadic) if is_floating(x) else x
        for k, (x, name) in enumerate(zip(args, names, strict=False))
    ]
    node = op(*tensors, **sample.params)
    node.name = "out"
    return node


def lines_of(op, sample):
    """Each line of a call: what it says, what it is worth, and what the vjp gives."""
    node = recorded(op, sample)
    graph = Recorded(node)
    g = np.asarray(np.random.default_rng(1).standard_normal(node.shape))
    (step,) = [step for step in node.backward_steps(g) if step.output is node]
    known = {"g": g, "out": node.data, **node.params, **words_for(node)}
    for i, x in enumerate(node.inputs):
        if x is not None:
            known[graph.name_of_input(node, i)] = x.data if isinstance(x, tg.Tensor) else x
    for i, cotangent in enumerate(step.outgoing):
        if cotangent is not None:
            line = graph.write_vjp(node, i)
            options = {k: v for k, v in node.params.items() if k != "shape"}
            with np.errstate(all="ignore"):
                value = eval(line, {**WORDS, **known, "options": options})
            yield line, tg.sum_to(np.asarray(value), shape=cotangent.shape), cotangent, node.inputs[i]


@pytest.mark.parametrize(("op", "sample"), list(cases()))
def test_every_line_says_what_the_vjp_computes(op, sample):
    for line, value, cotangent, _ in lines_of(op, sample):
        assert not PRIVATE.search(line), line
        np.testing.assert_allclose(value, cotangent, rtol=1e-6, atol=1e-9, err_msg=line)


def test_no_op_tells_a_private_name_without_a_call_either():
    for op in OPS.values():
        for i in range(len(op.arrays)):
            if op.name in SHIPPED and op.arrays[i] in op.vjps:
                assert not PRIVATE.search(write_vjp(op, i)), op.name
    assert write_vjp(tg.tanh, 0) == "g * (1 - out ** 2)"
    assert write_vjp(OPS["sum"], 0) == ""  # which depends on the axis


def test_lines_are_of_ops_and_arguments_that_there_are():
    ops = {**OPS, "recompute": recompute}
    for name, lines in LINES.items():
        assert lines.keys() <= set(ops[name].arrays), name


def test_a_checkpoint_tells_the_function_whose_vjp_is_taken():
    w, x = tg.Tensor(0.3, requires_grad=True, name="w"), tg.Tensor([1.0, 2.0], requires_grad=True, name="x")

    def scaled(x):
        return np.tanh(w * x)

    (step,) = tg.checkpoint(scaled)(x).backward_steps(np.ones(2))
    assert step.formulas == ("vjp(scaled)(g)[0]", "vjp(scaled)(g)[1]")
    found = tg.vjp(lambda w, x: np.tanh(w * x), w.data, x.data)[1](np.ones(2))
    for value, cotangent in zip(found, step.outgoing, strict=True):
        np.testing.assert_allclose(value, cotangent)


def test_an_index_of_numbers_and_slices_is_written_out():
    x = tg.Tensor(np.ones((4, 5)), requires_grad=True, name="x")
    for part, index in ((x[1], "1"), (x[1:, ::-2], "1:, ::-2"), (x[..., None, -1], "..., None, -1")):
        (step,) = part.backward_steps(np.ones(part.shape))
        assert step.formulas == (f"scatter_add(g, index=np.s_[{index}], shape=x.shape)",)
    (step,) = x[[1, 2]].backward_steps(np.ones((2, 5)))
    assert step.formulas == ("scatter_add(g, index=index, shape=x.shape)",)


def test_a_formula_of_ones_own_is_told_as_it_stands():
    @tg.op(elementwise=True)
    def own_tanh(x):
        return np.tanh(x)

    own_tanh.defvjp(x=lambda g, out, x: g * (1.0 - out * out))
    x = tg.Tensor(1.0, requires_grad=True, name="x")
    assert own_tanh(x).backward_steps()[0].formulas == ("g * (1.0 - own_tanh * own_tanh)",)
    before = dict(tg.tan.vjps)
    try:
        tg.tan.defvjp(x=lambda g, out, x: g / np.cos(x) ** 2)
        assert write_vjp(tg.tan, 0) == "g / np.cos(x) ** 2"
    finally:
        tg.tan.defvjp(**before)
        del OPS["own_tanh"]
