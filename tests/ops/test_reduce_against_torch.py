"""Reductions against PyTorch, over random shapes and axes."""

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from against_torch import assert_agrees_with_torch
from random_cases import many
from test_reduce import reductions

import tensorgrad as tg

torch = pytest.importorskip("torch", reason="PyTorch, the oracle, is not installed")


# Agreement with PyTorch, with zeros among the factors of products


def over_axes(f):
    """The PyTorch function of one axis, or of one after another."""

    def reduce(x, axis, keepdims):
        axes = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
        for i in sorted((i % x.ndim for i in axes), reverse=True) if x.ndim else ():
            x = f(x, i, keepdims)
        return x

    return reduce


def at_once(f):
    """The PyTorch function of all axes together, as the last of a reordered tensor."""

    def reduce(x, axis, keepdims):
        axes = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
        axes = sorted(i % x.ndim for i in axes) if x.ndim else []
        kept = [i for i in range(x.ndim) if i not in axes]
        out = f(x.permute((*kept, *axes)).reshape((*(x.shape[i] for i in kept), -1)))
        return out.reshape([1 if i in axes else n for i, n in enumerate(x.shape)]) if keepdims else out

    return reduce


REDUCTIONS = {
    "sum": over_axes(torch.sum),
    "prod": over_axes(lambda x, i, keepdims: torch.prod(x, i, keepdim=keepdims)),
    "mean": at_once(lambda x: x.mean(-1)),
    "max": at_once(lambda x: x.amax(-1)),
    "min": at_once(lambda x: x.amin(-1)),
    "median": at_once(lambda x: torch.quantile(x, 0.5, dim=-1)),
    "logsumexp": at_once(lambda x: torch.logsumexp(x, -1)),
    "var": at_once(lambda x: torch.var(x, -1, correction=0)),
    "ptp": at_once(lambda x: x.amax(-1) - x.amin(-1)),
    "nansum": at_once(lambda x: torch.nansum(x, -1)),
    "nanmean": at_once(lambda x: torch.nanmean(x, -1)),
}

CUMULATIVE = {
    "cumsum": torch.cumsum,
    "cumprod": torch.cumprod,
    "softmax": lambda x, i: torch.softmax(x, i),
    "log_softmax": lambda x, i: torch.log_softmax(x, i),
}


def reduction_agrees(name):
    """A check of one reduction: at elements far apart, at zeros too for products."""
    ours = getattr(tg, name)

    def check(rng, case):
        x, params = case
        if name == "prod":
            x = np.where(rng.random(x.shape) < 0.3, 0, x)
        assert_agrees_with_torch(lambda x: ours(x, **params), lambda x: REDUCTIONS[name](x, **params), x)

    return check


def cumulative_agrees(name):
    """A check of one function along an axis."""
    ours = getattr(tg, name)

    def check(rng, shape):
        axis = int(rng.integers(-len(shape), len(shape)))
        x = rng.standard_normal(shape)
        if name == "cumprod":
            x = np.where(rng.random(shape) < 0.3, 0, x)
        assert_agrees_with_torch(lambda x: ours(x, axis=axis), lambda x: CUMULATIVE[name](x, axis), x)

    return check


line_shapes = hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=4)


@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions_agree_with_torch(name):
    assert many(reduction_agrees(name), reductions(), 20)


@pytest.mark.parametrize("name", CUMULATIVE)
def test_cumulative_functions_agree_with_torch(name):
    assert many(cumulative_agrees(name), line_shapes, 20)


@pytest.mark.slow
def test_many_reductions_agree_with_torch(capsys):
    counts = [many(reduction_agrees(name), reductions(), 300) for name in REDUCTIONS]
    counts += [many(cumulative_agrees(name), line_shapes, 300) for name in CUMULATIVE]
    with capsys.disabled():
        print(f"\n{len(counts)} reductions, {sum(counts)} cases agree to 1e-9")
    assert sum(counts) > 3000
