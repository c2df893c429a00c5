"""Examples as a page holds them: to train on and held out, as text, and what they are called."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tensorgrad.core.checks import NDArray
from tensorgrad.nn.fit.examples import Intake
from tensorgrad.nn.fit.outputs import are_classes, are_two_classes, output_scale, true_values
from tensorgrad.nn.fit.source import cut, split
from tensorgrad.nn.layer import infer

__all__ = ["LiveData", "encode", "take_data"]

_FEW = 256  # different numbers, which are written as their places in a table
_KEPT = 20  # examples of which a share is held out without being told


@dataclass(frozen=True, eq=False)
class LiveData:
    """Examples, as the network takes them; those behind the first ``trained`` are held out.

    Attributes
    ----------
    x, y : arrays
    labels : array (N,) of int, or None
        If the targets are classes.
    kind : "classes", "two" or "values"
        Classes; two of them, told apart by one output; or numbers.
    scale : "logits", "probabilities" or None
        What the outputs are.
    trained : int
    reduction : "mean" or "sum"
        Of the loss.
    """

    x: NDArray
    y: NDArray
    labels: NDArray | None
    kind: str
    scale: str | None
    trained: int
    reduction: str

    def contents(self) -> dict[str, Any]:
        """As the page's script reads it."""
        summed = self.reduction == "sum"
        same = self.labels is None or np.array_equal(self.labels, self.y)
        return {
            "x": encode(self.x), "y": encode(self.y), "rows": len(self.x), "trained": self.trained,
            "labels": None if same else encode(np.asarray(self.labels)),  # else y has them, or none are
            "target": {"kind": self.kind, "scale": self.scale, "summed": summed},
        }  # fmt: skip


def take_data(
    intake: Intake, x: Any, y: Any, validation: Any, share: float | None, rng: np.random.Generator
) -> LiveData:
    """The examples, checked as `Network.fit` checks them."""
    own = intake.take("playground", x, y, None)
    held = None
    if validation is not None:
        if not isinstance(validation, (tuple, list)) or len(validation) != 2:
            raise TypeError(f"playground: expected validation to be a pair (x, y), got {validation!r}")
        if share is not None:
            raise ValueError("playground: expected validation or validation_split, got both")
        held = intake.take("playground, validation", validation[0], validation[1], None)
        if held[0].shape[1:] != own[0].shape[1:] or held[1].shape[1:] != own[1].shape[1:]:
            raise ValueError(
                f"playground, validation: expected rows like those of x and y, {own[0].shape[1:]} and "
                f"{own[1].shape[1:]}, got {held[0].shape[1:]} and {held[1].shape[1:]}"
            )
    elif share != 0 and (share is not None or len(own[0]) >= _KEPT):
        own, held = split(own, None, 0.2 if share is None else share, rng)
    parts = [next(cut(intake, part, len(part[0]))) for part in (own, held) if part is not None]
    xs, ys = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
    outputs = infer(lambda: intake.network(xs[:2]).data)
    rows = np.empty((len(ys), *outputs.shape[1:]), outputs.dtype)
    scale, labels, kind = output_scale(intake.network), None, "values"
    if are_two_classes(rows, ys, scale):
        kind, labels = "two", ys.reshape(-1).astype(np.int32)
    elif rows.ndim == 2 and are_classes(rows, ys):
        kind, labels = "classes", true_values(rows, ys).astype(np.int32)
    reduction = intake.reduction
    assert reduction is not None
    return LiveData(xs, ys, labels, kind, scale, len(parts[0][0]), reduction)


def name_classes(data: LiveData, outputs: int, names: Sequence[str] | None) -> list[str] | None:
    """What the classes are called; None where there are none."""
    if data.labels is None:
        if names is not None:
            raise ValueError(f"playground: expected no classes, as targets are numbers, got {names!r}")
        return None
    count = max(outputs, 2)
    found = list(map(str, range(count) if names is None else names))
    if len(found) != count:
        raise ValueError(f"playground: expected names of {count} classes, got {len(found)}")
    return found


def name_features(x: Any, size: int, names: Sequence[str] | None) -> list[str]:
    """What the inputs are called: as they are told, as the columns of a table, or x1, x2 and so on."""
    given = names if names is not None else getattr(x, "columns", None)
    found = [f"x{i + 1}" for i in range(size)] if given is None else list(map(str, given))
    if len(found) != size:
        raise ValueError(f"playground: expected names of {size} features, got {len(found)}")
    return found


def encode(x: NDArray) -> dict[str, Any]:
    """An array as a page's script decodes it: its bytes as text, and a table where there are few numbers.

    >>> from tensorgrad.nn.live.data import encode
    >>> encode(np.array([0.5, 2.0, 0.5], np.float32))
    {'kind': 'u1', 'base64': 'AAEA', 'levels': {'kind': 'f4', 'base64': 'AAAAPwAAAEA='}}
    """
    kind = {"f": f"f{x.dtype.itemsize}"}.get(x.dtype.kind, "i4")
    flat = np.ascontiguousarray(x, f"<{kind}").ravel()
    levels, places = np.unique(flat, return_inverse=True)
    bits = np.array_equal(levels[places].view(np.uint8), flat.view(np.uint8))  # -0.0 is no 0.0
    if len(levels) <= min(_FEW, len(flat) // 2 + 1) and bits:
        return {**_write("u1", places.astype(np.uint8)), "levels": _write(kind, levels)}
    return _write(kind, flat)


def _write(kind: str, x: NDArray) -> dict[str, Any]:
    return {"kind": kind, "base64": base64.b64encode(x.tobytes()).decode()}
