"""Samples of the reductions, and of what is made with them."""

from __future__ import annotations

import numpy as np

from tensorgrad.audit.sample import Sample, apart, normal, normals, of, reduction

_WITH_ZEROS = np.array([[0.0, 2.0, 3.0], [0.0, 0.0, -1.5], [0.5, -4.0, 1.5]])

_ALONG_ONE = (
    Sample("rows", normals((2, 3))),
    Sample("columns", normals((2, 3)), {"axis": 0}),
    Sample("1d", normals((4,))),
    Sample("3d", normals((2, 3, 2)), {"axis": 1}),
)

_CUMULATIVE = (
    Sample("1d", normals((5,))),
    Sample("flattened", normals((2, 3))),
    Sample("0d", normals(())),
    Sample("one element", normals((1,)), {"axis": 0}),
    Sample("first axis", normals((3, 2)), {"axis": 0}),
    Sample("last axis", normals((2, 1, 3)), {"axis": -1}),
)

_ZEROS = (
    Sample("zeros", of(_WITH_ZEROS)),
    Sample("zeros, first axis", of(_WITH_ZEROS), {"axis": 0}),
    Sample("zeros, last axis", of(_WITH_ZEROS), {"axis": -1}),
)

SAMPLES: dict[str, tuple[Sample, ...]] = {
    "sum": reduction(normals),
    "mean": reduction(normals),
    "var": (*reduction(normals)[:-1], Sample("unbiased", normals((3, 2)), {"axis": 0, "ddof": 1})),
    "prod": (
        *reduction(normals),
        *_ZEROS,
        Sample("zeros, outer axes", of(_WITH_ZEROS.reshape(3, 1, 3)), {"axis": (2, 0), "keepdims": True}),
    ),
    "max": reduction(apart),
    "min": reduction(apart),
    "median": (*reduction(apart), Sample("odd", apart((5,))), Sample("two axes, odd", apart((3, 3)))),
    "logsumexp": reduction(normals),
    "softmax": _ALONG_ONE,
    "log_softmax": _ALONG_ONE,
    "cumsum": _CUMULATIVE,
    "cumprod": (*_CUMULATIVE, *_ZEROS),
    "normalize": (
        Sample("same shape", normals((2, 3), (2, 3), (2, 3), (2, 3))),
        Sample("channels", normals((2, 2, 3), (3,), (3,), (3,))),
        Sample("examples", normals((2, 3), (2, 1), (2, 3), (3,))),
        Sample("0d", normals((), (), (), ())),
        Sample("scalars", of(normal(2, 3), 0.5, 2.0, 1.5)),
    ),
}
