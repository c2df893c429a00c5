"""Samples of the linalg ops."""

from __future__ import annotations

from tensorgrad.audit.sample import Sample, normals

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
}
