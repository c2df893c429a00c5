"""Samples of the reduce ops."""

from __future__ import annotations

from tensorgrad.audit.sample import Sample, apart, normals, reduction

SAMPLES: dict[str, tuple[Sample, ...]] = {
    "sum": reduction(normals),
    "mean": reduction(normals),
    "max": reduction(apart),
    "softmax": (
        Sample("rows", normals((2, 3))),
        Sample("columns", normals((2, 3)), {"axis": 0}),
        Sample("1d", normals((4,))),
        Sample("3d", normals((2, 3, 2)), {"axis": 1}),
    ),
}
