"""Samples of the elementwise ops."""

from __future__ import annotations

from tensorgrad.audit.sample import Sample, apart, binary, mask, nonzero, normal, of, positive, unary

SAMPLES: dict[str, tuple[Sample, ...]] = {
    "identity": unary(normal),
    "negative": unary(normal),
    "exp": unary(normal),
    "log": unary(positive),
    "sqrt": unary(positive),
    "tanh": unary(normal),
    "sigmoid": unary(normal),
    "relu": unary(nonzero),
    "astype": (Sample("to float64", of(normal(2, 3)), {"dtype": "float64"}, dtype="float64"),),
    "add": binary(normal, normal),
    "subtract": binary(normal, normal),
    "multiply": binary(normal, normal),
    "divide": binary(normal, nonzero),
    "power": (
        *binary(positive, normal),
        Sample("integer exponent, negative base", of(nonzero(4), 3)),
        Sample("square", of(normal(2, 3), 2)),
        Sample("reciprocal", of(nonzero(3), -1)),
        Sample("exponent 0", of(nonzero(3), 0)),
    ),
    "maximum": (
        Sample("same shape", apart((2, 3), (2, 3))),
        Sample("0d", apart((), ())),
        Sample("both broadcast", apart((3, 1), (4,))),
        Sample("scalar on the right", of(nonzero(3), 0.25)),
    ),
    "where": (
        Sample("same shape", of(mask(2, 3), normal(2, 3), normal(2, 3))),
        Sample("all broadcast", of(mask(2, 1, 1), normal(3, 1), normal(4))),
        Sample("condition of lower rank", of(mask(3), normal(2, 3), normal(2, 1))),
        Sample("scalar", of(mask(3), normal(3), 0.5)),
    ),
}
