"""Samples of the losses ops."""

from __future__ import annotations

from tensorgrad.audit.sample import Sample, normals

SAMPLES: dict[str, tuple[Sample, ...]] = {
    "mse": (
        Sample("mean", normals((2, 3), (2, 3))),
        Sample("sum", normals((4,), (4,)), {"reduction": "sum"}),
        Sample("none", normals((2, 1, 2), (2, 1, 2)), {"reduction": "none"}),
        Sample("0d", normals((), ())),
    ),
}
