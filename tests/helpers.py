"""What several test files need: the ops under test, leaves, gradients, refused calls, layouts of arrays."""

import warnings

import autograd
import autograd.numpy as anp
import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.core import OPS

#: The ops of the package. Taken when pytest starts, so that it holds none that a test or an example made.
SHIPPED = tuple(OPS)


def few_ops():
    """A table of three of the package's, and of those that a test made: `audit.run` takes seconds for all."""
    return {
        name: op for name, op in OPS.items() if name in ("exp", "matmul", "reshape") or name not in SHIPPED
    }


def leaf(values, dtype=float, **options):
    """A floating Tensor that requires grad."""
    return tg.Tensor(values, requires_grad=True, dtype=dtype, **options)


def evaluate(expression, /, **names):
    """The value of an expression in ``np``, ``tg`` and the names given: a row that is its own label."""
    return eval(expression, {"np": np, "tg": tg, **names})


def refused_calls(*rows):
    """A test for each row of a call, an expression that is its label, the error and the error's message."""
    return pytest.mark.parametrize(("call", "error", "message"), rows, ids=[call for call, *_ in rows])


def assert_refused(call, error, message, /, **names):
    """The text of the error that an expression in ``names`` raises: of this type, with this message in it."""
    with pytest.raises(error, match=message) as caught:
        evaluate(call, **names)
    return str(caught.value)


def is_floating(x):
    return isinstance(x, np.ndarray) and x.dtype.kind == "f"


def floating(convert, args):
    """The arguments with ``convert`` applied to their floating arrays."""
    return [convert(x) if is_floating(x) else x for x in args]


def cotangent_of(output, dtype=float):
    """A fixed random cotangent for an output."""
    return np.random.default_rng(1).standard_normal(np.shape(output)).astype(dtype)


def gradients(f, args):
    """The output of ``f`` at leaves made of ``args``, and the gradients of <cotangent_of(output), output>."""
    args = floating(lambda x: tg.Tensor(x, requires_grad=True), args)
    out = f(*args)
    out.backward(cotangent_of(out))
    return out.numpy(), [x.grad for x in args if isinstance(x, tg.Tensor)]


def assert_agrees_with_autograd(f, *args):
    """Hold ``f(numpy, *args)``, its gradients and Hessian-vector products against HIPS autograd, to 1e-9.

    The scalar is sum(f v + f f), so that no second derivative is zero for a linear f.
    """
    everything = tuple(range(len(args)))
    v = cotangent_of(f(np, *args))
    directions = [np.cos(x) for x in args]

    def derivatives(grad, numpy):
        def scalar(*args):
            out = f(numpy, *args)
            return numpy.sum(out * v + out * out)

        def along(*args):
            gradients = grad(scalar, everything)(*args)
            return sum(numpy.sum(g * d) for g, d in zip(gradients, directions, strict=True))

        return [*grad(scalar, everything)(*args), *grad(along, everything)(*args)]

    value, _ = tg.vjp(lambda *args: f(np, *args), *args)
    found = [value, *derivatives(tg.grad, np)]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Output seems independent of input")  # an empty one is
        truth = [f(np, *args), *derivatives(autograd.grad, anp)]
    for ours, theirs in zip(found, truth, strict=True):
        assert np.shape(ours) == np.shape(theirs)
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


def _frozen(x):
    x = x.copy()
    x.flags.writeable = False
    return x


def _strided(x):
    """The same values, every second element of a larger array along each axis, filled with NaN between."""
    wide = np.full([2 * n for n in x.shape], np.nan, x.dtype)
    every_second = tuple(slice(None, None, 2) for _ in x.shape)
    wide[every_second] = x
    return wide[every_second] if x.ndim else wide


#: Ways to lay out the same values in memory.
LAYOUTS = {
    "read-only": _frozen,
    "Fortran order": lambda x: np.array(x, order="F"),
    "strided": _strided,
    "reversed in memory": lambda x: np.flip(np.flip(x).copy()),
}


def wrong_ops():
    """Ops with one mistake each, and the check that finds it."""

    @tg.op
    def doubled(x):
        return 2 * x

    doubled.defvjp(x=lambda g, out, x: g)

    @tg.op
    def widened(x):
        return x * np.ones(1)

    widened.defvjp(x=lambda g, out, x: tg.astype(g, dtype=x.dtype))

    @tg.op
    def cleared(x):
        x[...] = 0
        return x * 1

    cleared.defvjp(x=lambda g, out, x: 0 * g)

    @tg.op
    def second_wrong(x):
        return x * x * x

    second_wrong.defvjp(x=lambda g, out, x: 3 * g * np.square(x.data if isinstance(x, tg.Tensor) else x))
