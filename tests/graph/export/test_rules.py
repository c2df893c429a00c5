"""The rules of the exporter: each gives the bits of its op's forward, laid out as there."""

import inspect

import numpy as np
import pytest
from helpers import is_floating, leaf
from test_numpy_code import assert_same_bits

import tensorgrad as tg
from tensorgrad.audit import SAMPLES
from tensorgrad.core import OPS, parallel
from tensorgrad.graph.export.lowerings import NUMPY_RULES, lower
from tensorgrad.graph.export.trace import Script


def layout(x):
    """The strides of the axes that have some."""
    return [stride for length, stride in zip(x.shape, x.strides, strict=True) if length > 1]


def assert_writes(name, *args, **params):
    """Hold what a rule writes for a call against the forward: the values, and their layout in memory."""
    script = Script()
    traced = [script.argument(x) if is_floating(x) else x for x in args]
    found = np.asarray(lower(NUMPY_RULES, OPS[name], *traced, **params).step.value)
    truth = np.asarray(OPS[name].forward(*args, **params))
    assert_same_bits(found, truth)
    assert layout(found) == layout(truth)


@pytest.mark.parametrize("name", NUMPY_RULES)
def test_every_rule_gives_what_its_forward_gives(name):
    for sample in SAMPLES[name]:
        for dtype in (np.float32, np.float64):
            args = [x.astype(dtype) if is_floating(x) else x for x in sample.args(np.random.default_rng(0))]
            params = {k: x.astype(dtype) if is_floating(x) else x for k, x in sample.params.items()}
            assert_writes(name, *args, **params)


@pytest.mark.parametrize("name", NUMPY_RULES)
def test_every_rule_takes_what_its_forward_takes(name):
    rule, forward = (inspect.signature(f).parameters for f in (NUMPY_RULES[name], OPS[name].forward))
    assert [n for n in forward if n in OPS[name].arrays] == [n for n in rule if n in OPS[name].arrays]
    takes_all = any(p.kind is p.VAR_KEYWORD for p in rule.values())
    assert set(rule) <= {*forward, "options"}
    assert takes_all or set(rule) == set(forward)


# Convolution and pooling: written by functions of their own, which must not change alone

LAYOUTS = (np.ascontiguousarray, lambda x: np.ascontiguousarray(x.swapaxes(0, 3)).swapaxes(0, 3))


def draw(rng, shape, dtype, lay=None):
    """An array with ties, in row-major order or with the first axis innermost, as convolution leaves it."""
    lay = lay or LAYOUTS[rng.integers(2)]
    return lay((rng.standard_normal(shape) * 4).round(1).astype(dtype))


def draw_case(seed):
    """A generator, a dtype, and the shape of some images."""
    rng = np.random.default_rng(seed)
    groups = int(rng.choice([1, 1, 1, 2]))
    height, width = (int(n) for n in rng.integers(4, 13, 2))
    shape = (int(rng.choice([1, 2, 3, 17])), height, width, groups * int(rng.integers(1, 5)))
    return rng, [np.float32, np.float64][seed % 2], shape, groups


def pick(rng, *choices):
    return choices[rng.integers(len(choices))]


def assert_convolution_is_written(seed):
    rng, dtype, shape, groups = draw_case(seed)
    filters = (groups * int(rng.integers(1, 5)), shape[3] // groups, *map(int, rng.integers(1, 4, 2)))
    options = {"groups": groups}
    if seed % 3:
        options |= {
            "stride": pick(rng, 1, 2, (1, 2)),
            "padding": pick(rng, 0, 1, "same", ((1, 0), (2, 1))),
            "dilation": pick(rng, 1, 1, 2, (1, 2)),
        }
    x, w, bias = draw(rng, shape, dtype), draw(rng, filters, dtype), rng.standard_normal(filters[0])
    try:
        out = tg.conv2d(x, w, **options)
    except ValueError:  # the windows are too large
        return
    assert_writes("conv2d", x, w, bias.astype(dtype) if seed % 2 else None, **options)
    y = draw(rng, out.shape, dtype)
    assert_writes("conv2d_images", y, w, shape=shape, **options)
    assert_writes("conv2d_filters", x, y, shape=filters, **options)


def assert_pooling_is_written(seed):
    rng, dtype, shape, _ = draw_case(seed)
    options = {
        "size": pick(rng, 1, 2, 2, (2, 1), 3),
        "stride": pick(rng, None, None, 1, 2, (1, 2)),
        "padding": pick(rng, 0, 0, 1, ((0, 1), (0, 0))),
        "ceil_mode": bool(rng.integers(2)),
    }
    lay = pick(rng, *LAYOUTS)  # of images and cotangents: where they differ, the engine makes 0.0 of -0.0
    x = draw(rng, shape, dtype, lay)
    try:
        y = draw(rng, tg.max_pool(x, **options).shape, dtype, lay)
    except ValueError:
        return
    for count_include_pad in (False, True):
        assert_writes("avg_pool", x, **options, count_include_pad=count_include_pad)
        assert_writes("avg_pool_images", y, **options, shape=shape, count_include_pad=count_include_pad)
    x[rng.random(shape) < 0.02] = np.nan
    options["dilation"] = pick(rng, 1, 1, 2)
    try:
        maxima = tg.max_pool(x, **options)
    except ValueError:
        return
    y = draw(rng, maxima.shape, dtype, lay)
    assert_writes("max_pool", x, **options)
    assert_writes("reshape", maxima, shape=(len(maxima), -1))
    assert_writes("max_pool_images", y, images=x, maxima=maxima, **options)
    taps = np.prod(options["size"]) ** (2 if isinstance(options["size"], int) else 1)
    index = lay(rng.integers(0, taps, y.shape))
    assert_writes("gather_windows", x, index, **options)
    assert_writes("scatter_windows", y, index, shape=shape, **options)


both = pytest.mark.parametrize("check", [assert_convolution_is_written, assert_pooling_is_written])


@both
@pytest.mark.parametrize("part_bytes", [parallel.PART_BYTES, 3000])
def test_windows_of_all_kinds(monkeypatch, check, part_bytes):
    monkeypatch.setattr(parallel, "PART_BYTES", part_bytes)  # small ones ask for blocks of rows
    for seed in range(100):
        check(seed)


@pytest.mark.slow
@both
@pytest.mark.parametrize("hundred", range(1, 10))
def test_windows_of_many_more_kinds(monkeypatch, check, hundred):
    monkeypatch.setattr(parallel, "PART_BYTES", [parallel.PART_BYTES, 3000, 1][hundred % 3])
    for seed in range(100 * hundred, 100 * hundred + 100):
        check(seed)


# Rules are asked


def test_nothing_is_exchanged_while_it_works():
    before, seen = {name: op.forward for name, op in OPS.items()}, []

    @tg.op
    def doubled(x):
        seen.append({name: op.forward for name, op in OPS.items() if name in before})
        return 2 * x

    doubled.defvjp(x=lambda g, out, x: 2 * g)
    tg.to_numpy(np.sum(doubled(leaf([1.0, 2.0], name="x"))))
    assert seen == [before] * 2


def test_plain_arrays_are_computed_in_the_meantime():
    """An op that a formula calls on arrays of its own is no part of the program."""

    @tg.op
    def shifted(x):
        return x + tg.reshape(np.arange(4.0), shape=(2, 2))[0]

    shifted.defvjp(x=lambda g, out, x: g)
    code = tg.to_numpy(np.sum(shifted(leaf([1.0, 2.0], name="x"))))
    assert "shifted = x + np.array([0.0, 1.0])" in code.source
