"""Products of arrays: `matmul` and `einsum_` are the ops, all others are made of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from operator import index
from string import ascii_letters
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from tensorgrad.core import Array, differentiate, implements, op, sum_to
from tensorgrad.ops.arrays import in_wide_floats
from tensorgrad.ops.shape import moveaxis, ravel, reshape, transpose

__all__ = ["cross", "dot", "einsum", "inner", "kron", "matmul", "outer", "tensordot", "vdot", "vecdot"]

LETTERS = "".join(sorted(ascii_letters))  # the order in which einsum sorts an implied output


def _left_vjp(g: Array, out: Array, x: Array, y: Array) -> Array:
    if x.ndim == y.ndim == 2:
        # (K, M) . (M, N) -> (K, N): OpenBLAS is up to 1.5 times as fast with the larger factor on the left,
        # and images that were flattened have their batch innermost again.
        return (y @ g.T).T
    # A vector counts as a matrix of one row (on the left) or one column (on the right).
    g = g.reshape((*g.shape, 1)) if y.ndim == 1 else g
    y = y.reshape((-1, 1)) if y.ndim == 1 else y
    if x.ndim == 1:
        g = g.reshape((*g.shape[:-1], 1, *g.shape[-1:]))
        return sum_to(g @ np.swapaxes(y, -1, -2), shape=(1, *x.shape)).reshape(x.shape)
    return sum_to(g @ np.swapaxes(y, -1, -2), shape=x.shape)


def _right_vjp(g: Array, out: Array, x: Array, y: Array) -> Array:
    if x.ndim == y.ndim == 2:
        return x.T @ g  # (K, N) . (N, M) -> (K, M)
    g = g.reshape((*g.shape, 1)) if y.ndim == 1 else g
    if x.ndim == 1:
        g = g.reshape((*g.shape[:-1], 1, *g.shape[-1:]))
        x = x.reshape((1, -1))
    if y.ndim == 1:
        return sum_to(np.swapaxes(x, -1, -2) @ g, shape=(*y.shape, 1)).reshape(y.shape)
    return sum_to(np.swapaxes(x, -1, -2) @ g, shape=y.shape)


matmul = differentiate(np.matmul, x=_left_vjp, y=_right_vjp)
# Of the rows and columns that matmul broadcasts, the formulas take care themselves.
matmul.elementwise = False
matmul.multiply_adds = lambda out, x, y: out.size * x.shape[-1]


# einsum: the sum over all letters that are not in the output of the product of the operands


@op
@in_wide_floats
def einsum_(*operands: Array, subscripts: str, optimize: bool | str = False) -> Array:
    """The op under `einsum`: ``subscripts`` are explicit, with a letter for every axis of every operand.

    >>> tg.ops.products.einsum_(np.ones((2, 3)), subscripts="ij->j")
    array([2., 2., 2.])
    """
    operands = tuple(x if hasattr(x, "dtype") else np.asarray(x) for x in operands)
    dtype = np.result_type(*operands)  # beforehand: a path may sum small integers by themselves, and wrap
    operands = tuple(x if x.dtype == dtype else x.astype(dtype) for x in operands)
    return np.einsum(subscripts, *operands, optimize=optimize)


def factors_of_vjp(i: int, g: Array, operands: Sequence[Array], subscripts: str) -> tuple[str, list[Array]]:
    """Swap the roles of output and operand ``i``: the cotangent is an einsum of ``g`` and the other operands.

    What einsum alone cannot do, one more factor does: ones where the operand was summed over an axis by
    itself or broadcast along it, and an identity matrix where it was read along a diagonal.
    """
    terms, result = _terms(subscripts)
    of_x, x = terms[i], operands[i]
    lengths = {letter: n for letter, n in _axes(terms, operands) if n != 1}
    terms, factors = [result, *terms[:i], *terms[i + 1 :]], [g, *operands[:i], *operands[i + 1 :]]
    full = {letter for letter, n in _axes(terms, factors) if n == lengths.get(letter, 1)}
    unused = (letter for letter in LETTERS if letter not in subscripts)
    target = ""
    for k, (letter, n) in enumerate(zip(of_x, x.shape, strict=True)):
        if letter in of_x[:k] or n != lengths.get(letter, 1):
            new = _next(unused)
            terms.append(letter + new if letter in of_x[:k] else new)
            factors.append(np.eye(n, dtype=g.dtype) if letter in of_x[:k] else np.ones(1, g.dtype))
            letter = new
        elif letter not in full:
            terms.append(letter)
            factors.append(np.ones(n, g.dtype))
        target += letter
    return f"{','.join(terms)}->{target}", factors


def _einsum_vjp(
    i: int, g: Array, out: Array, *operands: Array, subscripts: str, optimize: bool | str
) -> Array:
    subscripts, factors = factors_of_vjp(i, g, operands, subscripts)
    # Factors were added: a good order matters more, but the best one of many takes long to find.
    better = bool(optimize) or len(factors) > len(operands)
    return einsum_(*factors, subscripts=subscripts, optimize=better)


einsum_.defvjp(operands=_einsum_vjp)


def _einsum_multiply_adds(out: Array, *operands: Array, subscripts: str, optimize: bool | str) -> int:
    terms, _ = _terms(subscripts)
    lengths: dict[str, int] = {}
    for letter, n in _axes(terms, operands):
        lengths[letter] = max(lengths.get(letter, 1), n)
    return (len(operands) - 1) * prod(lengths.values())


einsum_.multiply_adds = _einsum_multiply_adds


@implements(np.einsum)
def einsum(*operands: Any, out: None = None, optimize: Any = False) -> Array:
    """Sum of products by Einstein's convention, in every form that NumPy takes; see `numpy.einsum`.

    With ``optimize`` the derivatives are optimized too.

    >>> x = np.array([[1.0, 2.0], [3.0, 4.0]])
    >>> print(tg.einsum("ii", x), tg.einsum("ij->j", x), tg.einsum(x, [0, 1], x, [0, 1], []))
    5.0 [4. 6.] 30.0
    """
    if out is not None:
        raise TypeError("einsum: no option out can be used here")
    if isinstance(operands[0], str):
        subscripts, arrays = operands[0].replace(" ", ""), operands[1:]
    else:
        subscripts, arrays = _from_lists(operands)
    subscripts = _explicit(subscripts, [np.ndim(x) for x in arrays])
    # A path of contractions is for this einsum, not for those of its derivatives.
    return einsum_(
        *arrays, subscripts=subscripts, optimize=optimize if isinstance(optimize, str) else bool(optimize)
    )


def _next(letters: Iterator[str]) -> str:
    for letter in letters:
        return letter
    raise ValueError(f"einsum: more than {len(LETTERS)} different axes")


def _axes(terms: Sequence[str], arrays: Sequence[Array]) -> list[tuple[str, int]]:
    """The letter and the length of every axis of every array."""
    pairs = zip(terms, arrays, strict=True)
    return [axis for term, x in pairs for axis in zip(term, np.shape(x), strict=True)]


def _terms(subscripts: str) -> tuple[list[str], str]:
    left, _, result = subscripts.partition("->")
    return left.split(","), result


def _from_lists(operands: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
    """Subscripts and arrays of the interleaved form (x, [0, 1], y, [1, 2], [0, 2])."""

    def letters(axes: Sequence[Any]) -> str:
        if any(axis is not Ellipsis and not 0 <= axis < len(LETTERS) for axis in axes):
            raise ValueError(f"einsum: axes must be 0 to {len(LETTERS) - 1}, got {axes}")
        return "".join("..." if axis is Ellipsis else LETTERS[axis] for axis in axes)

    subscripts = ",".join(letters(axes) for axes in operands[1::2])
    if len(operands) % 2:
        subscripts = f"{','.join(letters(axes) for axes in operands[1:-1:2])}->{letters(operands[-1])}"
    return subscripts, operands[: len(operands) // 2 * 2 : 2]


def _explicit(subscripts: str, ranks: list[int]) -> str:
    """The same subscripts with letters for ellipses, and with the output that they imply."""
    terms, result = _terms(subscripts)
    if len(terms) != len(ranks):
        raise ValueError(f"einsum: {subscripts!r} has {len(terms)} operands, got {len(ranks)}")
    hidden = [rank - len(term.replace("...", "")) for term, rank in zip(terms, ranks, strict=True)]
    for i, (term, more) in enumerate(zip(terms, hidden, strict=True)):
        named = term.replace("...", "", 1)
        if set(named) - set(LETTERS) or more < 0 or (more and named == term):
            raise ValueError(
                f"einsum: {term!r} in {subscripts!r} does not fit operand {i}, of {ranks[i]} axes"
            )
    unused = (letter for letter in LETTERS[::-1] if letter not in subscripts)
    wide = "".join(_next(unused) for _ in range(max(hidden)))[::-1]
    if "->" not in subscripts:
        named = "".join(terms).replace("...", "")
        result = "..." + "".join(sorted(letter for letter in set(named) if named.count(letter) == 1))
    elif wide and "..." not in result:
        raise ValueError(f"einsum: {subscripts!r} has an ellipsis on the left alone")
    terms = [term.replace("...", wide[len(wide) - more :]) for term, more in zip(terms, hidden, strict=True)]
    return f"{','.join(terms)}->{result.replace('...', wide)}"


# Products made of products


@implements(np.dot)
def dot(a: Array, b: Array) -> Array:
    """Sum over the last axis of ``a`` and the second to last of ``b``; see `numpy.dot`."""
    if np.ndim(a) == 0 or np.ndim(b) == 0:
        return np.multiply(a, b)
    return np.matmul(a, b) if np.ndim(b) <= 2 else tensordot(a, b, (-1, -2))


@implements(np.vdot)
def vdot(a: Array, b: Array, /) -> Array:
    """Sum of the products of all elements; see `numpy.vdot`."""
    return np.matmul(ravel(a), ravel(b))


@implements(np.inner)
def inner(a: Array, b: Array, /) -> Array:
    """Sum over the last axes; see `numpy.inner`."""
    return np.multiply(a, b) if np.ndim(a) == 0 or np.ndim(b) == 0 else tensordot(a, b, (-1, -1))


@implements(np.outer)
def outer(a: Array, b: Array) -> Array:
    """All products of an element of ``a`` and one of ``b``; see `numpy.outer`.

    >>> tg.outer(np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    array([[3., 4.],
           [6., 8.]])
    """
    return np.multiply(reshape(a, shape=(-1, 1)), ravel(b))


@implements(np.tensordot)
def tensordot(a: Array, b: Array, axes: Any = 2) -> Array:
    """Sum over pairs of axes; see `numpy.tensordot`.

    >>> tg.tensordot(np.ones((2, 3, 4)), np.ones((4, 3, 5)), axes=([1, 2], [1, 0])).shape
    (2, 5)
    """
    n, m = np.ndim(a), np.ndim(b)
    of_a, of_b = (range(n - axes, n), range(axes)) if isinstance(axes, (int, np.integer)) else axes
    left, right = normalize_axis_tuple(of_a, n), normalize_axis_tuple(of_b, m)
    rows = [i for i in range(n) if i not in left]
    columns = [i for i in range(m) if i not in right]
    summed = [np.shape(a)[i] for i in left]
    if summed != [np.shape(b)[i] for i in right]:
        raise ValueError(f"tensordot: axes {axes} of shapes {np.shape(a)} and {np.shape(b)} differ in length")
    shape = [np.shape(a)[i] for i in rows] + [np.shape(b)[i] for i in columns]
    x = reshape(transpose(a, axes=(*rows, *left)), shape=(prod(shape[: len(rows)]), prod(summed)))
    y = reshape(transpose(b, axes=(*right, *columns)), shape=(prod(summed), prod(shape[len(rows) :])))
    return reshape(np.matmul(x, y), shape=shape)


@implements(np.kron)
def kron(a: Array, b: Array) -> Array:
    """Kronecker product; see `numpy.kron`.

    >>> tg.kron(np.array([1.0, 10.0]), np.array([1.0, 2.0]))
    array([ 1.,  2., 10., 20.])
    """
    ndim = max(np.ndim(a), np.ndim(b))
    of_a, of_b = ((1,) * (ndim - np.ndim(x)) + np.shape(x) for x in (a, b))
    x = reshape(a, shape=[m for n in of_a for m in (n, 1)])
    y = reshape(b, shape=[m for n in of_b for m in (1, n)])
    return reshape(np.multiply(x, y), shape=[n * m for n, m in zip(of_a, of_b, strict=True)])


@implements(np.cross)
def cross(
    a: Array, b: Array, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None
) -> Array:
    """Vector product of vectors in space; see `numpy.cross`.

    >>> tg.cross(np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0]))
    array([0., 0., 1.])
    """
    if axis is not None:
        axisa = axisb = axisc = axis
    x, y = moveaxis(a, index(axisa), -1), moveaxis(b, index(axisb), -1)
    if x.shape[-1:] != (3,) or y.shape[-1:] != (3,):
        raise ValueError(f"cross: expected vectors of 3 elements, got shapes {np.shape(a)} and {np.shape(b)}")
    one, two = [1, 2, 0], [2, 0, 1]
    return moveaxis(x[..., one] * y[..., two] - x[..., two] * y[..., one], -1, axisc)


@implements(np.vecdot)
def vecdot(x1: Array, x2: Array, /, *, axis: int = -1) -> Array:
    """Sum of products along an axis; see `numpy.vecdot`.

    >>> tg.vecdot(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([10.0, 1.0]))
    array([12., 34.])
    """
    if isinstance(axis, bool):
        raise TypeError("vecdot: an integer is required for the axis, got a bool")
    x, y = (moveaxis(x, index(axis), -1) for x in (x1, x2))
    if np.shape(x)[-1] != np.shape(y)[-1]:
        raise ValueError(
            f"vecdot: expected axes {axis} of one length, got shapes {np.shape(x1)} and {np.shape(x2)}"
        )
    product = np.multiply(x, y)
    return np.sum(product, axis=-1, dtype=None if product.dtype.kind == "f" else product.dtype)
