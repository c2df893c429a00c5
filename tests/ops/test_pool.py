"""Pooling and its adjoints, against loops, PyTorch and finite differences; ties, NaN and infinities."""

import numpy as np
import pytest
from helpers import assert_refused, refused_calls
from hypothesis import given, settings
from hypothesis import strategies as st

import tensorgrad as tg
from tensorgrad.core import parallel
from tensorgrad.ops.pool import (
    avg_pool,
    avg_pool_images,
    gather_windows,
    global_avg_pool,
    global_max_pool,
    max_pool,
    scatter_windows,
)


def arrays(*shapes, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def distinct(shape, seed=0):
    """Values 0.1 apart and more: a maximum does not change place under a finite difference."""
    return np.random.default_rng(seed).permutation(np.prod(shape)).reshape(shape) * 0.1 - 1.0


def windows_by_loops(x, size, stride, padding, dilation=(1, 1)):
    """For every window (n, i, j, c) of full extent the list of its pixels' indices, in row-major order."""
    (top, bottom), (left, right) = padding
    n, h, w, c = x.shape
    oh = (h + top + bottom - dilation[0] * (size[0] - 1) - 1) // stride[0] + 1
    ow = (w + left + right - dilation[1] * (size[1] - 1) - 1) // stride[1] + 1
    found = {}
    for image, i, j, channel in np.ndindex(n, oh, ow, c):
        pixels = []
        for k, m in np.ndindex(*size):
            row = i * stride[0] - top + k * dilation[0]
            column = j * stride[1] - left + m * dilation[1]
            if 0 <= row < h and 0 <= column < w:
                pixels.append((image, row, column, channel))
        found[image, i, j, channel] = pixels
    return (n, oh, ow, c), found


# size, stride, padding, dilation of images (2, 7, 6, 3)
OPTIONS = [
    ((2, 2), (2, 2), ((0, 0), (0, 0)), (1, 1)),
    ((3, 2), (1, 1), ((0, 0), (0, 0)), (1, 1)),
    ((3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1)),
    ((2, 3), (3, 1), ((1, 0), (0, 1)), (1, 1)),
    ((2, 2), (1, 2), ((1, 1), (0, 1)), (2, 3)),
    ((1, 1), (2, 3), ((0, 0), (0, 0)), (1, 1)),
    ((7, 6), (1, 1), ((0, 0), (0, 0)), (1, 1)),
]


def in_memory(x, order):
    """``x``, which is (N, H, W, C), with its axes in memory in that order, the first outermost."""
    axes = ["NHWC".index(axis) for axis in order]
    return x.transpose(axes).copy().transpose(np.argsort(axes))


@pytest.mark.parametrize(("size", "stride", "padding", "dilation"), OPTIONS)
@pytest.mark.parametrize("values", ["normal", "tied", "NaN"])
@pytest.mark.parametrize(
    ("order", "order_of_g"), [("NHWC", "CHWN"), ("CHWN", "NHWC"), ("NCHW", "NHWC"), ("WHCN", "CWNH")]
)
@pytest.mark.parametrize("part_bytes", [parallel.PART_BYTES, 200])
def test_max_pool_is_the_definition(
    monkeypatch, size, stride, padding, dilation, values, order, order_of_g, part_bytes
):
    monkeypatch.setattr(parallel, "PART_BYTES", part_bytes)
    (x,) = arrays((2, 7, 6, 3))
    if values != "normal":
        x = np.round(x)
    if values == "NaN":
        x[0, 1, 1, 0] = x[1, 3, 2, 2] = x[1, 3, 3, 2] = np.nan
    x = in_memory(x, order)
    shape, windows = windows_by_loops(x, size, stride, padding, dilation)
    (g,) = arrays(shape, seed=1)
    g = in_memory(g, order_of_g)
    expected, gradient = np.empty(shape), np.zeros(x.shape)
    for place, pixels in windows.items():
        # the first of the largest; NaN counts as the largest
        best = max(range(len(pixels)), key=lambda i: np.inf if np.isnan(x[pixels[i]]) else x[pixels[i]])
        expected[place] = x[pixels[best]]
        gradient[pixels[best]] += g[place]
    t = tg.Tensor(x, requires_grad=True)
    out = max_pool(t, size=size, stride=stride, padding=padding, dilation=dilation)
    out.backward(g)
    np.testing.assert_array_equal(out.numpy(), expected)
    np.testing.assert_allclose(t.grad, gradient, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("size", "stride", "padding", "dilation"), [o for o in OPTIONS if o[3] == (1, 1)])
@pytest.mark.parametrize("count_include_pad", [True, False])
def test_avg_pool_is_the_definition(size, stride, padding, dilation, count_include_pad):
    (x,) = arrays((2, 7, 6, 3))
    shape, windows = windows_by_loops(x, size, stride, padding)
    expected = np.empty(shape)
    for place, pixels in windows.items():
        count = size[0] * size[1] if count_include_pad else len(pixels)
        expected[place] = sum(x[pixel] for pixel in pixels) / count
    out = avg_pool(x, size=size, stride=stride, padding=padding, count_include_pad=count_include_pad)
    np.testing.assert_allclose(out, expected, rtol=1e-12)


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize(("size", "stride", "padding", "dilation"), OPTIONS)
def test_derivatives_pass_gradcheck(size, stride, padding, dilation, ceil_mode):
    x = distinct((1, 7, 6, 2))
    options = {"size": size, "stride": stride, "padding": padding, "ceil_mode": ceil_mode}
    tg.gradcheck(lambda x: max_pool(x, dilation=dilation, **options), x, order=2)
    tg.gradcheck(lambda x: avg_pool(x, **options), x, order=2)
    tg.gradcheck(lambda x: avg_pool(x, count_include_pad=False, **options), x, order=2)


def test_second_derivative_of_a_function_of_the_maxima():
    tg.gradcheck(
        lambda x: (max_pool(x, size=3, stride=2, padding=1) ** 3).sum(), distinct((1, 5, 5, 2)), order=3
    )


def test_derivatives_of_the_adjoints_pass_gradcheck():
    options = {"size": 3, "stride": 2, "padding": ((1, 0), (1, 1)), "ceil_mode": True}
    x = distinct((2, 6, 7, 2))
    (y,) = arrays(max_pool(x, **options).shape)
    index = np.random.default_rng(1).integers(0, 9, y.shape)
    tg.gradcheck(lambda x: gather_windows(x, index, **options), x, order=2)
    tg.gradcheck(lambda y: scatter_windows(y, index, shape=x.shape, **options), y, order=2)
    tg.gradcheck(lambda y: avg_pool_images(y, shape=x.shape, **options), y, order=2)


@st.composite
def cases(draw):
    """An image and options that PyTorch takes: padding at most half the size."""
    size, stride, dilation = (tuple(draw(st.integers(1, 4)) for _ in "hw") for _ in range(3))
    padding = tuple(draw(st.integers(0, k // 2)) for k in size)
    spare = [draw(st.integers(0, 6)) for _ in "hw"]
    lengths = [max(1, dilation[i] * (size[i] - 1) + 1 - 2 * padding[i] + spare[i]) for i in range(2)]
    options = {
        "size": size,
        "stride": draw(st.sampled_from([None, stride])),
        "padding": padding,
        "dilation": dilation,
        "ceil_mode": draw(st.booleans()),
    }
    return (draw(st.integers(1, 2)), *lengths, draw(st.integers(1, 3))), options


def same_as_torch(case, count_include_pad, tied):
    """Value, gradient of <g, y>, and the gradient of <u, dx> for g."""
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    shape, options = case
    x = np.random.default_rng(0).integers(-2, 2, shape).astype(float) if tied else distinct(shape)

    def compare(pool, peer):
        x_leaf = tg.Tensor(x, requires_grad=True)
        y = pool(x_leaf)
        g, u = arrays(y.shape, shape, seed=1)
        g_leaf = tg.Tensor(g, requires_grad=True)
        y.backward(g_leaf, create_graph=True)
        (x_leaf.grad * u).sum().backward()
        ours = [y.numpy(), x_leaf.grad.numpy(), g_leaf.grad]

        x_leaf, g_leaf = (torch.tensor(a, requires_grad=True) for a in (x, g))
        y = peer(x_leaf.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        (dx,) = torch.autograd.grad(y, x_leaf, g_leaf, create_graph=True)
        theirs = [y, dx, torch.autograd.grad((dx * torch.tensor(u)).sum(), g_leaf)[0]]
        for a, e in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, e.detach().numpy(), rtol=1e-12, atol=1e-12)

    spatial = (options["size"], options["stride"], options["padding"])
    rest = {"dilation": options["dilation"], "ceil_mode": options["ceil_mode"]}
    maxima = functional.max_pool2d(torch.tensor(x).permute(0, 3, 1, 2), *spatial, **rest)
    if torch.isinf(maxima).any():
        with pytest.raises(ValueError, match="nothing but padding"):
            max_pool(x, **options)
    else:
        compare(lambda t: max_pool(t, **options), lambda p: functional.max_pool2d(p, *spatial, **rest))
    options = {key: value for key, value in options.items() if key != "dilation"}
    rest = {"ceil_mode": options["ceil_mode"], "count_include_pad": count_include_pad}
    compare(
        lambda t: avg_pool(t, **options, count_include_pad=count_include_pad),
        lambda p: functional.avg_pool2d(p, *spatial, **rest),
    )


@given(cases(), st.booleans(), st.booleans())
@settings(max_examples=100, derandomize=True, deadline=None)
def test_values_and_derivatives_are_torchs(case, count_include_pad, tied):
    same_as_torch(case, count_include_pad, tied)


@pytest.mark.slow
@given(cases(), st.booleans(), st.booleans())
@settings(max_examples=5000, derandomize=True, deadline=None)
def test_values_and_derivatives_are_torchs_in_thousands_of_cases(case, count_include_pad, tied):
    same_as_torch(case, count_include_pad, tied)


@given(cases(), st.integers(0, 2**32 - 1))
@settings(max_examples=100, derandomize=True, deadline=None)
def test_adjoints_satisfy_their_identities(case, seed):
    shape, options = case
    x, rng = distinct(shape), np.random.default_rng(seed)
    averages = {key: value for key, value in options.items() if key != "dilation"}
    out = avg_pool(x, **averages)
    (y,) = arrays(out.shape, seed=1)
    np.testing.assert_allclose(
        np.vdot(avg_pool_images(y, shape=shape, **averages), x), np.vdot(out, y), atol=1e-9
    )
    try:
        shape_of_maxima = max_pool(x, **options).shape
    except ValueError:
        return
    (y,) = arrays(shape_of_maxima, seed=1)
    index = rng.integers(0, options["size"][0] * options["size"][1], y.shape)
    chosen = gather_windows(x, index, **options)
    back = scatter_windows(y, index, shape=shape, **options)
    np.testing.assert_allclose(np.vdot(back, x), np.vdot(chosen, y), atol=1e-9)


def gradient(f, x):
    t = tg.Tensor(x, requires_grad=True)
    y = f(t)
    y.backward(np.ones(y.shape))
    return t.grad


def test_first_of_equal_maxima_takes_the_gradient():
    x = np.array([[[0.0, 7.0, 7.0], [7.0, 7.0, 0.0]]]).reshape(1, 2, 3, 1)
    np.testing.assert_array_equal(
        gradient(lambda x: max_pool(x, size=(2, 3)), x)[0, :, :, 0], [[0, 1, 0], [0, 0, 0]]
    )
    constant = gradient(lambda x: max_pool(x, size=2), np.zeros((1, 4, 4, 1)))[0, :, :, 0]
    np.testing.assert_array_equal(constant, [[1, 0, 1, 0], [0, 0, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]])


def test_padding_never_wins():
    x = np.full((1, 2, 2, 1), -1.0)  # a zero in the padding would be the maximum
    assert (max_pool(x, size=2, stride=1, padding=1) == -1).all()
    assert gradient(lambda x: max_pool(x, size=2, stride=1, padding=1), x).sum() == 9


def test_infinite_windows():
    x = np.full((1, 4, 4, 1), -np.inf)
    assert (max_pool(x, size=3, stride=2, padding=1) == -np.inf).all()
    np.testing.assert_array_equal(
        gradient(lambda x: max_pool(x, size=3, stride=2, padding=1), x)[0, :, :, 0],
        [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]],
    )
    x[0, 1, 1] = np.inf
    assert (max_pool(x, size=2) == np.inf).sum() == 1
    assert gradient(lambda x: max_pool(x, size=2), x)[0, 1, 1, 0] == 1


@pytest.mark.parametrize("place", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_nan_shows_in_value_and_gradient(place):
    x = distinct((1, 4, 4, 1))
    x[0, *place] = np.nan
    out = max_pool(x)
    assert np.isnan(out[0, 0, 0, 0])
    assert np.isfinite(out).sum() == 3
    d = gradient(max_pool, x)[0, :2, :2, 0]
    assert d[place] == 1
    assert d.sum() == 1
    assert np.isnan(avg_pool(x)[0, 0, 0, 0])


def test_first_nan_takes_the_gradient():
    x = np.array([np.inf, np.nan, 1.0, np.nan]).reshape(1, 2, 2, 1)
    np.testing.assert_array_equal(gradient(max_pool, x).ravel(), [0, 1, 0, 0])


def test_infinite_cotangent_goes_to_the_maximum_alone():
    x = tg.Tensor(distinct((1, 2, 2, 1)), requires_grad=True)
    max_pool(x).backward(np.full((1, 1, 1, 1), np.inf))
    np.testing.assert_array_equal(np.sort(x.grad.ravel()), [0, 0, 0, np.inf])


def test_many_taps_are_counted():
    x = np.zeros((1, 20, 20, 1))
    x[0, 19, 18] = 1
    d = gradient(lambda x: max_pool(x, size=20), x)
    assert d[0, 19, 18, 0] == 1
    assert d.sum() == 1


def test_window_numbers_of_any_integer_type():
    x, index = distinct((1, 2, 4, 1)), np.array([0, 3]).reshape(1, 1, 2, 1)
    for dtype in (np.uint8, np.int16, np.int64):
        np.testing.assert_array_equal(
            gather_windows(x, index.astype(dtype)).ravel(), [x[0, 0, 0, 0], x[0, 1, 3, 0]]
        )


@pytest.mark.parametrize("pool", [max_pool, avg_pool, global_avg_pool, global_max_pool])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_is_kept_forward_and_backward(pool, dtype):
    x = tg.Tensor(distinct((2, 5, 4, 3)).astype(dtype), requires_grad=True)
    out = pool(x)
    assert out.dtype == dtype
    (out * out).sum().backward(create_graph=True)
    g = x.grad
    assert g.dtype == dtype
    x.zero_grad()
    (g * g).sum().backward()
    assert x.grad.dtype == dtype


@pytest.mark.parametrize("pool", [max_pool, avg_pool])
@pytest.mark.parametrize("options", [{}, {"size": 3, "stride": 1, "padding": 1}, {"size": 1}])
def test_inputs_may_lie_anyhow_and_stay_as_they_are(pool, options):
    x = distinct((2, 6, 4, 3))
    expected = pool(x, **options)
    (g,) = arrays(expected.shape)
    t = tg.Tensor(x, requires_grad=True)
    pool(t, **options).backward(g)
    reverse = tuple(slice(None, None, -1) for _ in x.shape)
    for lie in (
        np.asfortranarray,
        lambda a: a[reverse].copy()[reverse],
        lambda a: a.swapaxes(0, 3).copy().swapaxes(0, 3),
        lambda a: np.repeat(a, 2, axis=2)[:, :, ::2],
    ):
        laid, laid_g = lie(x), lie(g)
        laid.flags.writeable = laid_g.flags.writeable = False
        out = pool(laid, **options)
        np.testing.assert_allclose(out, expected, rtol=1e-14)
        assert not np.shares_memory(out, laid)
        u = tg.Tensor(x, requires_grad=True)
        of_this_order = tg.Op(lambda x, laid=laid: laid, "laid", ("x",), elementwise=False, native=True)
        of_this_order.defvjp(x=lambda g, out, x: g)
        pool(of_this_order(u), **options).backward(laid_g)
        np.testing.assert_allclose(u.grad, t.grad, rtol=1e-14)
        np.testing.assert_array_equal(laid, x)
        np.testing.assert_array_equal(laid_g, g)


def test_results_lie_in_memory_as_the_images_do():
    x = distinct((3, 4, 6, 2)).swapaxes(0, 3).copy().swapaxes(0, 3)
    for pool in (max_pool, avg_pool):
        assert pool(x).swapaxes(0, 3).flags.c_contiguous


def test_global_pools_reduce_each_channel():
    x = distinct((2, 3, 4, 5))
    np.testing.assert_allclose(global_avg_pool(x), x.reshape(2, 12, 5).mean(1))
    np.testing.assert_array_equal(global_max_pool(x), x.reshape(2, 12, 5).max(1))
    tg.gradcheck(global_avg_pool, x[:1], order=2)
    tg.gradcheck(global_max_pool, x[:1], order=2)


X = np.ones((8, 28, 28, 3))


@refused_calls(
    ("max_pool(X[0])", ValueError, r"max_pool: expected images \(N, H, W, C\).*got \(28, 28, 3\)"),
    ("max_pool(X[:0])", ValueError, r"max_pool: expected images.*no axis empty, got \(0, 28, 28, 3\)"),
    ("max_pool(X.astype(int))", TypeError, r"max_pool: expected images of one floating dtype, got int64"),
    ("max_pool(X.astype(bool))", TypeError, r"max_pool: expected images of one floating dtype, got bool"),
    ("max_pool(X.tolist())", TypeError, r"max_pool: expected images to be an array, got list"),
    ("max_pool(X, size=0)", ValueError, r"max_pool: expected size to be at least 1, got 0"),
    ("max_pool(X, size=2.0)", TypeError, r"max_pool: expected size to be an integer or a pair of them"),
    ("max_pool(X, size=(2, 2, 2))", TypeError, r"max_pool: expected size.*got \(2, 2, 2\)"),
    ("max_pool(X, stride=0)", ValueError, r"max_pool: expected stride to be at least 1, got 0"),
    ("max_pool(X, dilation=0)", ValueError, r"max_pool: expected dilation to be at least 1, got 0"),
    ("max_pool(X, padding=-1)", ValueError, r"max_pool: expected padding to be at least 0, got -1"),
    ("max_pool(X, padding=True)", TypeError, r"max_pool: expected padding to be an integer.*got True"),
    ("max_pool(X, padding='full')", ValueError, r"max_pool: expected padding in pixels.*got 'full'"),
    ("max_pool(X, ceil_mode=1)", TypeError, r"max_pool: expected ceil_mode to be True or False, got 1"),
    (
        "max_pool(X, size=29)",
        ValueError,
        r"max_pool: a window spans 29 rows, the padded images have 28 \(images \(8, 28, 28, 3\)\)",
    ),
    (
        "max_pool(X, size=2, padding=2)",
        ValueError,
        r"max_pool: a window of size 2 would see nothing but padding 2 \(images \(8, 28, 28, 3\)\)",
    ),
    ("max_pool(X[:, :1], size=2, dilation=2, padding=1)", ValueError, r"nothing but padding 1"),
    ("avg_pool(X[0])", ValueError, r"avg_pool: expected images \(N, H, W, C\)"),
    ("avg_pool(X, size=2, padding=2)", ValueError, r"avg_pool: a window of size 2 would see nothing but"),
    ("avg_pool(X.astype(int))", TypeError, r"avg_pool: expected images of one floating dtype, got int64"),
    (
        "avg_pool(X, count_include_pad=None)",
        TypeError,
        r"avg_pool: expected count_include_pad to be True or False, got None",
    ),
    (
        "avg_pool_images(X, shape=X.shape)",
        ValueError,
        r"avg_pool_images: expected a cotangent of shape \(8, 14, 14, 3\), got \(8, 28, 28, 3\)",
    ),
    (
        "tg.ops.pool.max_pool_images(X, images=X, maxima=X[:, ::2, ::2])",
        ValueError,
        r"max_pool_images: expected a cotangent of shape \(8, 14, 14, 3\), got \(8, 28, 28, 3\)",
    ),
    (
        "tg.ops.pool.max_pool_images(X[:, ::2, ::2], images=X, maxima=X)",
        ValueError,
        r"max_pool_images: expected maxima of shape \(8, 14, 14, 3\), got \(8, 28, 28, 3\)",
    ),
    (
        "gather_windows(X, np.zeros((8, 14, 14, 3)))",
        TypeError,
        r"gather_windows: expected an index of integers, got float64",
    ),
    (
        "gather_windows(X, np.zeros((8, 14, 14), int))",
        ValueError,
        r"gather_windows: expected an index of shape \(8, 14, 14, 3\), got \(8, 14, 14\)",
    ),
    ("gather_windows(X, [0])", TypeError, r"gather_windows: expected an index of integers, got list"),
    (
        "scatter_windows(X, np.zeros((8, 14, 14, 3), int), shape=X.shape)",
        ValueError,
        r"scatter_windows: expected a cotangent of shape \(8, 14, 14, 3\), got \(8, 28, 28, 3\)",
    ),
    (
        "scatter_windows(X, np.zeros((8, 14, 14, 3), int), shape=(28, 28))",
        ValueError,
        r"scatter_windows: expected images \(N, H, W, C\).*got \(28, 28\)",
    ),
    ("global_avg_pool(X[0])", ValueError, r"global_avg_pool: expected images \(N, H, W, C\)"),
    ("global_max_pool(X[0])", ValueError, r"global_max_pool: expected images \(N, H, W, C\)"),
)
def test_what_does_not_fit_is_refused_with_what_was_expected(call, error, message):
    assert_refused(call, error, message, **globals())


@pytest.mark.parametrize(("shape", "options"), [
    ((1, 1, 2, 1), {"size": (1, 2), "padding": (0, 1), "dilation": (1, 2)}),
    ((1, 2, 1, 1), {"size": (2, 1), "padding": (1, 0), "dilation": (2, 1)}),
    ((1, 4, 4, 1), {"size": 2, "padding": 1, "stride": 2, "dilation": 1}),
    ((1, 4, 2, 1), {"size": 2, "padding": ((1, 0), (0, 0)), "stride": 2, "ceil_mode": True}),
    ((2, 4, 6, 3), {"size": 2}),
])  # fmt: skip
def test_pixels_outside_of_every_window_get_no_gradient(shape, options):
    """Memory that no window reaches must be zeroed, whatever was in it before."""
    x = distinct(shape)
    for _ in range(3):
        np.full(shape, np.nan).copy()  # what the next array may find in its memory
        out, pull_back = tg.vjp(lambda x: max_pool(x, **options), x)
        (g,) = pull_back(np.ones(out.shape))
        assert g.sum() == out.size
        assert set(np.unique(g)) <= {0.0, 1.0}
