"""Samples of the products and of linear algebra."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from tensorgrad.audit.sample import Draws, Sample, normals, of
from tensorgrad.core.checks import NDArray


def regular(*shape: int) -> Draws:
    """Matrices far from singular, whose eigenvalues (of either triangle) and singular values lie apart."""

    def draw(rng: Generator) -> tuple[NDArray, ...]:
        n = min(shape[-2:])
        x = 0.3 * rng.standard_normal(shape)
        x[..., range(n), range(n)] += np.arange(1.0, n + 1)
        return (x,)

    return draw


def definite(*shape: int) -> Draws:
    """Symmetric positive definite matrices."""

    def draw(rng: Generator) -> tuple[NDArray, ...]:
        x = 0.3 * rng.standard_normal(shape) + np.eye(shape[-1])
        return (x @ np.swapaxes(x, -1, -2),)

    return draw


def _system(a: tuple[int, ...], b: tuple[int, ...]) -> Draws:
    return lambda rng: regular(*a)(rng) + normals(b)(rng)


EINSUMS = (
    ("ij,jk->ik", (2, 3), (3, 2)),
    ("ij->", (2, 3)),
    ("ij->ji", (2, 3)),
    ("ij->i", (2, 3)),
    ("ii->", (3, 3)),
    ("ii->i", (3, 3)),
    ("iij->ij", (2, 2, 3)),
    ("iii->", (2, 2, 2)),
    ("iji,j->j", (2, 3, 2), (3,)),
    ("i,j,k->kji", (2,), (3,), (2,)),
    ("ab,ab->ab", (2, 1), (2, 3)),
    ("ab,ab->", (2, 1), (1, 3)),
    ("ab,b->a", (2, 3), (1,)),
    ("aa,ab->b", (2, 2), (1, 3)),
    ("ab,cd->bd", (2, 2), (2, 3)),
    ("i,i,i->", (3,), (3,), (3,)),
    (",i->i", (), (3,)),
)

_SQUARES = (
    Sample("3 by 3", regular(3, 3)),
    Sample("stack", regular(2, 2, 2)),
    Sample("1 by 1", regular(1, 1)),
)

SAMPLES: dict[str, tuple[Sample, ...]] = {
    "matmul": tuple(
        Sample(f"{len(x)}d by {len(y)}d{note}", normals(x, y))
        for x, y, note in (
            ((2, 3), (3, 4), ""),
            ((3,), (3,), ""),
            ((3,), (3, 2), ""),
            ((2, 3), (3,), ""),
            ((2, 2, 3), (3, 2), ""),
            ((2, 3), (2, 3, 2), ""),
            ((3,), (2, 3, 2), ""),
            ((2, 2, 3), (3,), ""),
            ((2, 1, 2, 3), (3, 3, 2), ", broadcast"),
            ((1, 2, 3), (2, 3, 1), ", broadcast"),
        )
    ),
    "einsum_": (
        *(
            Sample(
                subscripts + ", optimized" * optimize,
                normals(*shapes),
                {"subscripts": subscripts, "optimize": optimize},
            )
            for optimize, cases in ((False, EINSUMS), (True, EINSUMS[::4]))
            for subscripts, *shapes in cases
        ),
    ),
    "solve_": tuple(
        Sample(label, _system(a, b))
        for label, a, b in (
            ("columns", (3, 3), (3, 2)),
            ("stacks", (2, 3, 3), (2, 3, 1)),
            ("broadcast left", (2, 2), (3, 2, 1)),
            ("broadcast right", (2, 1, 2, 2), (2, 2)),
        )
    ),
    "inv": _SQUARES,
    "pinv": (
        Sample("high", regular(3, 2)),
        Sample("wide", regular(2, 3)),
        Sample("square, with cutoff", regular(2, 2), {"rcond": 1e-3}),
        Sample("stack", regular(2, 3, 2), {"rtol": 1e-3}),
    ),
    "det": _SQUARES,
    "slogdet_": _SQUARES[:2],
    "cholesky_": (Sample("3 by 3", definite(3, 3)), Sample("stack", definite(2, 2, 2))),
    "eigh_": (
        Sample("3 by 3", regular(3, 3)),
        Sample("upper triangle", regular(3, 3), {"UPLO": "U"}),
        Sample("stack", regular(2, 2, 2)),
    ),
    "svd_": (
        Sample("square", regular(3, 3)),
        Sample("high", regular(4, 2)),
        Sample("wide", regular(2, 3)),
        Sample("stack", regular(2, 2, 2)),
    ),
    "qr_": (
        Sample("square", regular(3, 3)),
        Sample("high", regular(4, 2)),
        Sample("stack", regular(2, 3, 2)),
    ),
    "norm_": (
        Sample("1d", normals((4,)), {"axis": (0,)}),
        Sample("kept", normals((2, 3)), {"axis": (1,), "keepdims": True}),
        Sample("matrices", normals((2, 3, 2)), {"axis": (0, 2)}),
        Sample("an element 0", of(np.array([0.0, 1.0, -2.0])), {"axis": (0,)}),
        Sample("order 1", normals((2, 3)), {"axis": (0,), "ord": 1.0}),
        Sample("order 3", normals((2, 3)), {"axis": (1,), "ord": 3.0}),
        Sample("order 3, an element 0", of(np.array([0.0, 1.0, -2.0])), {"axis": (0,), "ord": 3.0}),
        Sample("order 1.5", normals((4,)), {"axis": (0,), "ord": 1.5}),
        Sample("order -1", normals((4,)), {"axis": (0,), "ord": -1.0}),
    ),
}
