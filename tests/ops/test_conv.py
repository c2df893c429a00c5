"""conv2d, its adjoints and what is made of them, against loops, PyTorch and finite differences."""

import contextlib

import numpy as np
import pytest
from helpers import assert_refused, refused_calls
from hypothesis import given, settings
from hypothesis import strategies as st

import tensorgrad as tg
from tensorgrad.core import parallel
from tensorgrad.ops.conv import conv1d, conv2d, conv2d_filters, conv2d_images, conv_transpose2d
from tensorgrad.ops.pool import avg_pool_images


def arrays(*shapes, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def by_loops(x, w, bias, stride, padding, dilation, groups):
    """The definition, element by element; padding ((top, bottom), (left, right))."""
    x = np.pad(x, ((0, 0), *padding, (0, 0)))
    filters, depth, kh, kw = w.shape
    oh = (x.shape[1] - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    ow = (x.shape[2] - dilation[1] * (kw - 1) - 1) // stride[1] + 1
    out = np.empty((len(x), oh, ow, filters))
    for n, i, j, f in np.ndindex(out.shape):
        first = f // (filters // groups) * depth
        total = bias[f]
        for c, k, m in np.ndindex(depth, kh, kw):
            pixel = x[n, i * stride[0] + k * dilation[0], j * stride[1] + m * dilation[1], first + c]
            total += w[f, c, k, m] * pixel
        out[n, i, j, f] = total
    return out


def by_tensorflow_rule(length, size, stride):
    """The padding of SAME as TensorFlow's guide states it."""
    total = max(size - stride, 0) if length % stride == 0 else max(size - length % stride, 0)
    return total // 2, total - total // 2


# stride, padding, dilation, groups of images (2, 6, 7, 4) and filters (6, 4 / groups, 3, 2)
OPTIONS = [
    ((1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    ((2, 1), ((1, 1), (1, 1)), (1, 1), 1),
    ((2, 3), ((2, 0), (0, 1)), (1, 1), 2),
    ((1, 2), ((3, 1), (2, 4)), (2, 3), 1),
    ((3, 3), ((0, 1), (0, 0)), (2, 2), 2),
    ((4, 5), ((5, 5), (5, 5)), (1, 2), 1),
]


@pytest.mark.parametrize(("stride", "padding", "dilation", "groups"), OPTIONS)
@pytest.mark.parametrize("part_bytes", [parallel.PART_BYTES, 4000, 1])
def test_value_is_the_definition(monkeypatch, stride, padding, dilation, groups, part_bytes):
    monkeypatch.setattr(parallel, "PART_BYTES", part_bytes)
    x, w, b = arrays((2, 6, 7, 4), (6, 4 // groups, 3, 2), (6,))
    out = conv2d(x, w, b, stride=stride, padding=padding, dilation=dilation, groups=groups)
    np.testing.assert_allclose(
        out, by_loops(x, w, b, stride, padding, dilation, groups), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("part_bytes", [4000, 1])
@pytest.mark.parametrize(("stride", "rows"), [((2, 1), 5), ((1, 1), 9)])
def test_adjoints_do_not_depend_on_parts(monkeypatch, part_bytes, stride, rows):
    x, w, y = arrays((2, 9, 8, 4), (6, 2, 3, 2), (2, rows, 7, 6))
    options = {"stride": stride, "padding": (1, 0), "groups": 2}
    expected = [
        conv2d_images(y, w, shape=x.shape, **options),
        conv2d_filters(x, y, shape=w.shape, **options),
    ]
    monkeypatch.setattr(parallel, "PART_BYTES", part_bytes)
    np.testing.assert_allclose(conv2d_images(y, w, shape=x.shape, **options), expected[0], rtol=1e-12)
    np.testing.assert_allclose(conv2d_filters(x, y, shape=w.shape, **options), expected[1], rtol=1e-11)


@pytest.mark.parametrize("equal", [True, 1.0, (1.0, 1), (True, 1)])
def test_options_that_equal_those_of_the_last_call_are_still_checked(equal):
    x, w = arrays((1, 3, 3, 1), (1, 1, 2, 2))
    for plain in (1, (1, 1)):
        conv2d(x, w, stride=plain, dilation=plain)
        tg.max_pool(x, stride=plain)
    with pytest.raises(TypeError, match="expected stride to be an integer"):
        conv2d(x, w, stride=equal)
    with pytest.raises(TypeError, match="expected dilation to be an integer"):
        conv2d(x, w, dilation=equal)
    with pytest.raises(TypeError, match="expected stride to be an integer"):
        tg.max_pool(x, stride=equal)


def test_a_bad_shape_does_not_spoil_later_calls():
    y, w = arrays((1, 3, 3, 1), (1, 1, 2, 2))
    for bad in ((1, 4.0, 4.0, 1), (True, 4, 4, 1)):
        with contextlib.suppress(TypeError):
            conv2d_images(y, w, shape=bad)
        assert conv2d_images(y, w, shape=(1, 4, 4, 1)).shape == (1, 4, 4, 1)
    with pytest.raises(TypeError):
        avg_pool_images(y, shape=(1, 6.0, 6.0, 1))
    assert avg_pool_images(y, shape=(1, 6, 6, 1)).shape == (1, 6, 6, 1)


@pytest.mark.parametrize("lengths", [(6, 7), (5, 9), (1, 8)])
@pytest.mark.parametrize("size", [(1, 2), (3, 4), (5, 5)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 3), (4, 2)])
def test_same_padding_is_that_of_tensorflow(lengths, size, stride):
    x, w = arrays((1, *lengths, 1), (1, 1, *size))
    padding = tuple(by_tensorflow_rule(*axis) for axis in zip(lengths, size, stride, strict=True))
    out = conv2d(x, w, stride=stride, padding="same")
    assert out.shape[1:3] == tuple(-(-n // s) for n, s in zip(lengths, stride, strict=True))
    np.testing.assert_allclose(out, by_loops(x, w, np.zeros(1), stride, padding, (1, 1), 1), atol=1e-12)


def test_same_padding_counts_dilation():
    x, w = arrays((1, 7, 7, 1), (1, 1, 3, 2))
    out = conv2d(x, w, padding="same", dilation=2)
    np.testing.assert_allclose(
        out, by_loops(x, w, np.zeros(1), (1, 1), ((2, 2), (1, 1)), (2, 2), 1), atol=1e-12
    )


def test_ways_to_write_padding():
    x, w = arrays((1, 5, 6, 2), (3, 2, 3, 3))
    for short, full in [
        (0, ((0, 0), (0, 0))),
        ("valid", ((0, 0), (0, 0))),
        (2, ((2, 2), (2, 2))),
        ((1, 2), ((1, 1), (2, 2))),
        ([1, 2], ((1, 1), (2, 2))),
        (np.int64(1), ((1, 1), (1, 1))),
        ("same", ((1, 1), (1, 1))),
    ]:
        np.testing.assert_array_equal(conv2d(x, w, padding=short), conv2d(x, w, padding=full))


@pytest.mark.parametrize(("stride", "padding", "dilation", "groups"), OPTIONS)
def test_derivatives_pass_gradcheck(stride, padding, dilation, groups):
    x, w, b = arrays((1, 5, 6, 2), (4, 2 // groups, 2, 3), (4,))

    def f(x, w, b):
        return conv2d(x, w, b, stride=stride, padding=padding, dilation=dilation, groups=groups)

    tg.gradcheck(f, x, w, b, order=2)


def test_gradcheck_of_third_order():
    x, w = arrays((1, 3, 3, 1), (2, 1, 2, 2))
    tg.gradcheck(lambda x, w: conv2d(x, w, stride=2, padding="same"), x, w, order=3)


@pytest.mark.parametrize(("stride", "padding", "dilation", "groups"), OPTIONS)
def test_derivatives_of_the_adjoints_pass_gradcheck(stride, padding, dilation, groups):
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    x, w = arrays((1, 5, 6, 2), (4, 2 // groups, 2, 3))
    (y,) = arrays(conv2d(x, w, **options).shape, seed=1)
    tg.gradcheck(lambda y, w: conv2d_images(y, w, shape=x.shape, **options), y, w, order=2)
    tg.gradcheck(lambda x, y: conv2d_filters(x, y, shape=w.shape, **options), x, y, order=2)


@st.composite
def cases(draw):
    """Shapes of images and filters and the options of a convolution that fits them."""
    groups = draw(st.integers(1, 3))
    depth, share, batch = (draw(st.integers(1, 3)) for _ in range(3))
    size, stride, dilation = (tuple(draw(st.integers(1, 3)) for _ in "hw") for _ in range(3))
    padding = tuple(tuple(draw(st.integers(0, 3)) for _ in "ab") for _ in "hw")
    spare = [draw(st.integers(0, 5)) for _ in "hw"]
    lengths = [max(1, dilation[i] * (size[i] - 1) + 1 - sum(padding[i]) + spare[i]) for i in range(2)]
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return (batch, *lengths, groups * depth), (groups * share, depth, *size), options


def adjoint_identities(case):
    x_shape, w_shape, options = case
    x, w = arrays(x_shape, w_shape)
    out = conv2d(x, w, **options)
    (y,) = arrays(out.shape, seed=1)
    form = np.vdot(out, y)
    scale = np.linalg.norm(out) * np.linalg.norm(y) + 1
    assert abs(np.vdot(x, conv2d_images(y, w, shape=x.shape, **options)) - form) < 1e-13 * scale
    assert abs(np.vdot(w, conv2d_filters(x, y, shape=w.shape, **options)) - form) < 1e-13 * scale


def same_as_torch(case):
    """Value, gradients of <g, y>, and the gradients of <u, dx> + <v, dw> for x, w and g."""
    torch = pytest.importorskip("torch")
    x_shape, w_shape, options = case
    x, w, b = arrays(x_shape, w_shape, w_shape[:1])
    g, u, v = arrays(conv2d(x, w, **options).shape, x_shape, w_shape, seed=1)

    leaves = [tg.Tensor(a, requires_grad=True) for a in (x, w, g)]
    y = conv2d(*leaves[:2], b, **options)
    y.backward(leaves[2], create_graph=True)
    dx, dw = (t.grad for t in leaves[:2])
    for t in leaves:
        t.zero_grad()
    ((dx * u).sum() + (dw * v).sum()).backward()
    ours = [t.numpy() for t in (y, dx, dw)] + [t.grad for t in leaves]

    (top, bottom), (left, right) = options["padding"]
    rest = {key: value for key, value in options.items() if key != "padding"}
    leaves = [torch.tensor(a, requires_grad=True) for a in (x, w, g)]
    padded = torch.nn.functional.pad(leaves[0].permute(0, 3, 1, 2), (left, right, top, bottom))
    y = torch.nn.functional.conv2d(padded, leaves[1], torch.tensor(b), **rest).permute(0, 2, 3, 1)
    dx, dw = torch.autograd.grad(y, leaves[:2], leaves[2], create_graph=True)
    form = (dx * torch.tensor(u)).sum() + (dw * torch.tensor(v)).sum()
    theirs = [t.detach() for t in (y, dx, dw)] + list(torch.autograd.grad(form, leaves))
    for a, e in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, e.numpy(), rtol=1e-10, atol=1e-10)


@given(cases())
@settings(max_examples=150, derandomize=True, deadline=None)
def test_adjoints_satisfy_their_identities(case):
    adjoint_identities(case)


@given(cases())
@settings(max_examples=100, derandomize=True, deadline=None)
def test_values_and_derivatives_are_torchs(case):
    same_as_torch(case)


@pytest.mark.slow
@given(cases())
@settings(max_examples=5000, derandomize=True, deadline=None)
def test_values_and_derivatives_are_torchs_in_thousands_of_cases(case):
    adjoint_identities(case)
    same_as_torch(case)


@st.composite
def transposed_cases(draw):
    shape, w_shape, options = draw(cases())
    padding = tuple(draw(st.integers(0, 2)) for _ in "hw")
    output_padding = tuple(draw(st.integers(0, s - 1)) for s in options["stride"])
    lengths = []
    for i in range(2):
        n = draw(st.integers(1, 4))
        while (n - 1) * options["stride"][i] - 2 * padding[i] + options["dilation"][i] * (
            w_shape[2 + i] - 1
        ) + output_padding[i] + 1 < 1:
            n += 1
        lengths.append(n)
    options = {**options, "padding": padding, "output_padding": output_padding}
    return (shape[0], *lengths, w_shape[0]), w_shape, options


def transposed_same_as_torch(case):
    torch = pytest.importorskip("torch")
    x_shape, w_shape, options = case
    x, w, b = arrays(x_shape, w_shape, (w_shape[1] * options["groups"],))
    tensors = [tg.Tensor(a, requires_grad=True) for a in (x, w, b)]
    out = conv_transpose2d(*tensors, **options)
    (g,) = arrays(out.shape, seed=1)
    out.backward(g)

    peers = [torch.tensor(a, requires_grad=True) for a in (x, w, b)]
    y = torch.nn.functional.conv_transpose2d(peers[0].permute(0, 3, 1, 2), *peers[1:], **options)
    y = y.permute(0, 2, 3, 1)
    y.backward(torch.tensor(g))
    np.testing.assert_allclose(out.numpy(), y.detach().numpy(), rtol=1e-10, atol=1e-10)
    for a, e in zip(tensors, peers, strict=True):
        np.testing.assert_allclose(a.grad, e.grad.numpy(), rtol=1e-10, atol=1e-10)


@given(transposed_cases())
@settings(max_examples=60, derandomize=True, deadline=None)
def test_transposed_values_and_derivatives_are_torchs(case):
    transposed_same_as_torch(case)


@pytest.mark.slow
@given(transposed_cases())
@settings(max_examples=2000, derandomize=True, deadline=None)
def test_transposed_values_and_derivatives_are_torchs_in_thousands_of_cases(case):
    transposed_same_as_torch(case)


def test_transposed_convolution_is_the_adjoint():
    x, w = arrays((2, 7, 6, 4), (6, 2, 3, 2))
    options = {"stride": 2, "padding": ((1, 0), (0, 2)), "groups": 2}
    out = conv2d(x, w, **options)
    (y,) = arrays(out.shape, seed=1)
    back = conv_transpose2d(y, w, output_padding=(1, 0), **options)
    np.testing.assert_allclose(np.vdot(x, back), np.vdot(out, y), rtol=1e-12)


def test_transposed_gradcheck():
    x, w, b = arrays((1, 3, 2, 2), (2, 2, 3, 2), (2,))
    tg.gradcheck(
        lambda *args: conv_transpose2d(*args, stride=2, padding=1, output_padding=1), x, w, b, order=2
    )


@pytest.mark.parametrize("padding", [0, 2, (1, 3), "same", "valid"])
@pytest.mark.parametrize(("stride", "dilation", "groups"), [(1, 1, 1), (3, 1, 2), (1, 2, 1)])
def test_conv1d_is_the_definition(padding, stride, dilation, groups):
    x, w, b = arrays((2, 9, 4), (6, 4 // groups, 3), (6,))
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    before, after = {
        0: (0, 0),
        2: (2, 2),
        "same": by_tensorflow_rule(9, 2 * dilation + 1, stride),
        "valid": (0, 0),
    }.get(padding, padding)
    expected = by_loops(
        x[:, None], w[:, :, None], b, (1, stride), ((0, 0), (before, after)), (1, dilation), groups
    )
    np.testing.assert_allclose(conv1d(x, w, b, **options), expected[:, 0], rtol=1e-12, atol=1e-12)
    tg.gradcheck(lambda *args: conv1d(*args, **options), x, w, b)


def test_depthwise_filters_see_one_channel_each():
    x, w = arrays((2, 5, 5, 3), (3, 1, 3, 3))
    out = conv2d(x, w, groups=3)
    for c in range(3):
        np.testing.assert_allclose(out[..., c : c + 1], conv2d(x[..., c : c + 1], w[c : c + 1]), rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_is_kept_forward_and_backward(dtype):
    args = [tg.Tensor(a, requires_grad=True) for a in arrays((2, 5, 5, 2), (3, 2, 3, 3), (3,), dtype=dtype)]
    out = conv2d(*args, stride=2, padding=1)
    assert out.dtype == dtype
    out.sum().backward(create_graph=True)
    gradients = [t.grad for t in args]
    for t in args:
        t.zero_grad()
    assert [g.dtype for g in gradients] == [dtype] * 3
    (gradients[0] * gradients[0]).sum().backward()
    assert args[1].grad.dtype == dtype


def test_inputs_may_lie_anyhow_and_stay_as_they_are():
    x, w, b = arrays((2, 6, 7, 4), (6, 2, 3, 2), (6,))
    (y,) = arrays((2, 4, 6, 6), seed=1)
    expected = [
        conv2d(x, w, b, groups=2),
        conv2d_images(y, w, shape=x.shape, groups=2),
        conv2d_filters(x, y, shape=w.shape, groups=2),
    ]

    def backwards(a):
        return a[tuple(slice(None, None, -1) for _ in a.shape)].copy()[
            tuple(slice(None, None, -1) for _ in a.shape)
        ]

    def gappy(a):
        spread = np.full(tuple(2 * n for n in a.shape), np.nan)
        spread[tuple(slice(None, None, 2) for _ in a.shape)] = a
        return spread[tuple(slice(None, None, 2) for _ in a.shape)]

    for lie in (np.asfortranarray, backwards, gappy, lambda a: a.swapaxes(0, -1).copy().swapaxes(0, -1)):
        laid = [lie(a) for a in (x, w, b, y)]
        for a in laid:
            a.flags.writeable = False
        lx, lw, lb, ly = laid
        found = [
            conv2d(lx, lw, lb, groups=2),
            conv2d_images(ly, lw, shape=x.shape, groups=2),
            conv2d_filters(lx, ly, shape=w.shape, groups=2),
        ]
        for a, e in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, e, rtol=1e-12, atol=1e-12)
        for a, e in zip(laid, (x, w, b, y), strict=True):
            np.testing.assert_array_equal(a, e)


def test_result_is_memory_of_its_own():
    for kernel in (1, 2):
        x, w = arrays((2, 3, 3, 1), (1, 1, kernel, kernel))
        first, second = conv2d(x, w), conv2d(x, w)
        assert not np.shares_memory(first, x)
        assert not np.shares_memory(first, second)


def test_broadcast_cotangent():
    x, w = arrays((2, 5, 5, 2), (3, 2, 3, 3))
    ones = np.broadcast_to(np.float64(1), (2, 3, 3, 3))
    np.testing.assert_array_equal(
        conv2d_images(ones, w, shape=x.shape), conv2d_images(ones.copy(), w, shape=x.shape)
    )


def test_no_image_gradient_unless_it_is_wanted(monkeypatch):
    def refuse(*args, **options):
        raise AssertionError("conv2d_images was run")

    monkeypatch.setattr(conv2d_images, "forward", refuse)
    x, w = arrays((2, 5, 5, 2), (3, 2, 3, 3))
    w = tg.Tensor(w, requires_grad=True)
    conv2d(x, w).sum().backward()
    assert w.grad.shape == w.shape


X, W, B = np.ones((8, 28, 28, 3)), np.ones((32, 3, 3, 3)), np.ones(32)


@refused_calls(
    (
        "conv2d(X, np.ones((32, 16, 3, 3)))",
        ValueError,
        r"conv2d: images have 3 channels, filters expect 16 "
        r"\(images \(8, 28, 28, 3\), filters \(32, 16, 3, 3\)\)",
    ),
    ("conv2d(X[0], W)", ValueError, r"conv2d: expected images \(N, H, W, C\).*got \(28, 28, 3\)"),
    ("conv2d(X, W[0])", ValueError, r"conv2d: expected filters \(F, C, KH, KW\).*got \(3, 3, 3\)"),
    ("conv2d(X[:0], W)", ValueError, r"conv2d: expected images.*no axis empty, got \(0, 28, 28, 3\)"),
    ("conv2d(X, W[:0])", ValueError, r"conv2d: expected filters.*no axis empty, got \(0, 3, 3, 3\)"),
    ("conv2d(X.tolist(), W)", TypeError, r"conv2d: expected images to be an array, got list"),
    ("conv2d(X, W, B[:3])", ValueError, r"conv2d: expected a bias of shape \(32,\), float64, got \(3,\)"),
    ("conv2d(X, W, B[:, None])", ValueError, r"conv2d: expected a bias of shape \(32,\)"),
    ("conv2d(X, W, B.astype('f'))", TypeError, r"conv2d: expected a bias of.* float64, got float32"),
    ("conv2d(X, W, 1.0)", ValueError, r"conv2d: expected a bias of shape \(32,\), float64, got \(\)"),
    ("conv2d(X.astype(int), W)", TypeError, r"conv2d: .*one floating dtype, got int64 and float64"),
    ("conv2d(X.astype('f'), W)", TypeError, r"conv2d: .*one floating dtype, got float32 and float64"),
    ("conv2d(X, W, groups=2)", ValueError, r"conv2d: 2 groups do not divide 3 channels and 32 filters"),
    ("conv2d(X, W, groups=3)", ValueError, r"conv2d: 3 groups do not divide"),
    ("conv2d(X, W[:3], groups=3)", ValueError, r"1 channels in each of 3 groups, filters expect 3"),
    ("conv2d(X, W, groups=0)", ValueError, r"conv2d: expected groups to be at least 1, got 0"),
    ("conv2d(X, W, groups=True)", TypeError, r"conv2d: expected groups to be an integer, got True"),
    ("conv2d(X, W, groups=(1, 1))", TypeError, r"conv2d: expected groups to be an integer, got \(1, 1\)"),
    ("conv2d(X, W, stride=0)", ValueError, r"conv2d: expected stride to be at least 1, got 0"),
    ("conv2d(X, W, stride=(1, 0))", ValueError, r"conv2d: expected stride to be at least 1, got \(1, 0\)"),
    ("conv2d(X, W, stride=2.0)", TypeError, r"conv2d: expected stride to be an integer or a pair"),
    ("conv2d(X, W, stride=True)", TypeError, r"conv2d: expected stride to be an integer.*got True"),
    ("conv2d(X, W, stride=(1, 1, 1))", TypeError, r"conv2d: expected stride.*got \(1, 1, 1\)"),
    ("conv2d(X, W, dilation=0)", ValueError, r"conv2d: expected dilation to be at least 1, got 0"),
    ("conv2d(X, W, padding=-1)", ValueError, r"conv2d: expected padding to be at least 0, got -1"),
    ("conv2d(X, W, padding=((0, -1), (0, 0)))", ValueError, r"padding to be at least 0, got \(0, -1\)"),
    ("conv2d(X, W, padding=0.5)", TypeError, r"conv2d: expected padding to be an integer.*got 0.5"),
    ("conv2d(X, W, padding=None)", TypeError, r"conv2d: expected padding to be an integer.*got None"),
    (
        "conv2d(X, W, padding='full')",
        ValueError,
        r"conv2d: expected padding in pixels, 'same' or 'valid', got 'full'",
    ),
    (
        "conv2d(X[:, :2], W)",
        ValueError,
        r"conv2d: a window spans 3 rows, the padded images have 2 \(images \(8, 2, 28, 3\), filters",
    ),
    ("conv2d(X, W, dilation=(1, 14))", ValueError, r"a window spans 29 columns, the padded images have 28"),
    (
        "conv2d_images(np.ones((8, 9, 9, 32)), W, shape=X.shape)",
        ValueError,
        r"conv2d_images: expected a cotangent of shape \(8, 26, 26, 32\), got \(8, 9, 9, 32\)",
    ),
    ("conv2d_images(X, W, shape=(28, 28))", ValueError, r"conv2d_images: expected shapes of four"),
    (
        "conv2d_filters(X, np.ones((8, 26, 26, 5)), shape=W.shape)",
        ValueError,
        r"conv2d_filters: expected a cotangent of shape \(8, 26, 26, 32\), got \(8, 26, 26, 5\)",
    ),
    ("conv_transpose2d(X, W)", ValueError, r"conv_transpose2d: images have 3 channels, filters expect 32"),
    ("conv_transpose2d(X[0], W)", ValueError, r"conv_transpose2d: expected images"),
    (
        "conv_transpose2d(X, W[:3], output_padding=1)",
        ValueError,
        r"conv_transpose2d: expected output_padding below the stride 1, got 1",
    ),
    (
        "conv_transpose2d(X[:, :1], W[:3], padding=2)",
        ValueError,
        r"conv_transpose2d: padding 2 leaves nothing of the result",
    ),
    ("conv_transpose2d(X, W[:3], padding='same')", TypeError, r"conv_transpose2d: expected padding in pix"),
    ("conv_transpose2d(X, W[:3], B)", ValueError, r"conv_transpose2d: expected a bias of shape \(3,\)"),
    ("conv_transpose2d(X, W[:3], groups=2)", ValueError, r"2 groups do not divide"),
    ("conv1d(X, W)", ValueError, r"conv1d: expected sequences \(N, L, C\) and filters \(F, C, K\), got"),
    ("conv1d(X[0], W[0], stride=0)", ValueError, r"conv1d: expected stride to be at least 1, got 0"),
    ("conv1d(X[0], W[0], stride=(1, 2))", TypeError, r"conv1d: expected stride to be an integer, got"),
)
def test_what_does_not_fit_is_refused_with_what_was_expected(call, error, message):
    assert_refused(call, error, message, **globals())


def test_mixed_dtypes_are_refused_for_tensors():
    x, w = tg.Tensor(X, requires_grad=True), tg.Tensor(W.astype(np.float32), requires_grad=True)
    with pytest.raises(TypeError, match="float64 and float32"):
        conv2d(x, w)


@pytest.mark.parametrize(("stride", "padding", "dilation"), [(1, 0, 1), ((2, 1), 1, 1), (1, (2, 3), (2, 1))])
def test_many_channels_same_as_torch(stride, padding, dilation):
    """From 8 channels on, the gradient of few filters is computed without patches."""
    torch = pytest.importorskip("torch")
    x, w = arrays((3, 9, 8, 8), (6, 8, 3, 3))
    out, vjp = tg.vjp(lambda x, w: conv2d(x, w, stride=stride, padding=padding, dilation=dilation), x, w)
    tx, tw = torch.tensor(x.transpose(0, 3, 1, 2), requires_grad=True), torch.tensor(w, requires_grad=True)
    expected = torch.nn.functional.conv2d(tx, tw, None, stride, padding, dilation)
    (g,) = arrays(out.shape, seed=1)
    expected.backward(torch.tensor(g.transpose(0, 3, 1, 2)))
    gx, gw = vjp(g)
    np.testing.assert_allclose(out, expected.detach().numpy().transpose(0, 2, 3, 1), atol=1e-12)
    np.testing.assert_allclose(gx, tx.grad.numpy().transpose(0, 2, 3, 1), atol=1e-12)
    np.testing.assert_allclose(gw, tw.grad.numpy(), atol=1e-12)
