"""gradcheck: the vjps held against central finite differences."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from tensorgrad.core.tensor import Array, Tensor
from tensorgrad.core.transforms import vjp

STEP = 6e-6  # about the cube root of float64's rounding error: truncation and cancellation balance there


@dataclass(frozen=True)
class Mismatch:
    """One element of one argument where vjp and finite difference disagree."""

    order: int
    argument: int
    index: tuple[int, ...]
    vjp: float
    finite_difference: float
    step: float
    tolerance: float

    def __str__(self) -> str:
        return (
            f"order {self.order}, argument {self.argument}, index {self.index}: "
            f"vjp {self.vjp:.10g}, finite difference {self.finite_difference:.10g} "
            f"(difference {abs(self.vjp - self.finite_difference):.2g}, "
            f"tolerance {self.tolerance:.2g}, step {self.step:.2g})"
        )


@dataclass
class GradcheckReport:
    """What `gradcheck` found; prints as a short text.

    Attributes
    ----------
    name : str
        The function checked.
    order : int
        The highest derivative checked.
    checked : int
        The number of derivatives compared.
    worst : float
        The largest difference, as a multiple of its tolerance; at most 1 if all is well.
    mismatches : list of Mismatch
        Every element that disagrees.
    """

    name: str
    order: int
    checked: int = 0
    worst: float = 0.0
    mismatches: list[Mismatch] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether something was checked and all of it agrees."""
        return self.checked > 0 and not self.mismatches

    def __str__(self) -> str:
        head = f"gradcheck of {self.name}, order {self.order}: {self.checked} derivatives checked"
        if not self.mismatches:
            return f"{head}, all agree (worst difference {self.worst:.2g} of its tolerance)"
        shown = [f"  {m}" for m in self.mismatches[:10]]
        if len(self.mismatches) > len(shown):
            shown.append(f"  and {len(self.mismatches) - len(shown)} more")
        return "\n".join([f"{head}, {len(self.mismatches)} disagree", *shown])


class GradcheckError(AssertionError):
    """A vjp disagrees with finite differences; ``.report`` says where."""

    def __init__(self, report: GradcheckReport) -> None:
        super().__init__(str(report))
        self.report = report


def gradcheck(
    f: Callable[..., Any],
    *args: Array,
    order: int = 1,
    rtol: float = 1e-6,
    atol: float = 1e-7,
    raises: bool = True,
    seed: int = 0,
) -> GradcheckReport:
    """Hold the vjps of ``f`` against central finite differences, in float64.

    The output is contracted with a fixed random cotangent v, s(x) = <v, f(x)>, and every element of
    ds/dx is compared with (s(x + h) - s(x - h)) / 2h, where h = 6e-6 max(1, abs(x)). For ``order=2`` the
    vjp, as a function of the arguments and of v, is checked in the same way, and so on.

    Parameters
    ----------
    f : callable
        Gives a Tensor from ``*args``. Sample the arguments away from kinks: no difference quotient is
        right at one.
    *args : array_like
        Floating arguments are cast to float64 and checked; all others are held fixed.
    order : int
        The highest derivative to check.
    rtol, atol : float
        Tolerance of a difference: ``atol + rtol * abs(finite difference)``, scaled by the size of s.
    raises : bool
        Raise on a mismatch (the default), or only report it.
    seed : int
        Of the random cotangents.

    Raises
    ------
    GradcheckError
        On a mismatch; its ``report`` is what would have been returned.
    ValueError
        If there is no floating argument, ``order`` is below 1, or f(x) is not finite.

    >>> print(tg.gradcheck(lambda x: x * x, np.array([1.0, 2.0]), order=2))
    gradcheck of <lambda>, order 2: 6 derivatives checked, all agree (worst difference ... of its tolerance)
    """
    if order < 1:
        raise ValueError(f"gradcheck: order must be at least 1, got {order}")
    constants = [None if _is_floating(x) else x for x in args]
    checked = [_float64(x) for x in args if _is_floating(x)]
    if not checked:
        raise ValueError("gradcheck: no floating argument to differentiate")

    def of_checked(*variables: Any) -> Any:
        rest = iter(variables)
        return f(*(next(rest) if x is None else x for x in constants))

    report = GradcheckReport(getattr(f, "__name__", str(f)), order)
    rng = np.random.default_rng(seed)
    function: Callable[..., Any] = of_checked
    for level in range(1, order + 1):
        value, pull_back = vjp(function, *checked)
        outputs = value if isinstance(value, tuple) else (value,)
        if not all(np.isfinite(_float64(y)).all() for y in outputs):
            raise ValueError(f"gradcheck: derivative {level - 1} of {report.name} is not finite here")
        cotangents = [rng.standard_normal(y.shape) for y in outputs]
        gradients = pull_back(tuple(cotangents))
        for i, gradient in enumerate(gradients):
            values = _float64(gradient)
            for index, quotient, step, scale in _difference_quotients(function, checked, cotangents, i):
                tolerance = atol * scale + rtol * abs(quotient)
                found = float(values[index])
                excess = abs(found - quotient) / tolerance
                report.checked += 1
                report.worst = max(report.worst, excess)
                if not excess <= 1:  # so that NaN counts as a mismatch
                    report.mismatches.append(Mismatch(level, i, index, found, quotient, step, tolerance))
        function = partial(_derivative, function, len(checked))
        checked = [*checked, *cotangents]
    if raises and not report.ok:
        raise GradcheckError(report)
    return report


def _is_floating(x: Array) -> bool:
    return isinstance(x, (Tensor, np.ndarray, np.generic, float, list)) and _dtype_kind(x) == "f"


def _dtype_kind(x: Array) -> str:
    return x.dtype.kind if hasattr(x, "dtype") else np.asarray(x).dtype.kind


def _float64(x: Array) -> np.ndarray[Any, Any]:
    return np.array(x.data if isinstance(x, Tensor) else x, dtype=np.float64)


def _derivative(f: Callable[..., Any], n: int, *args: Array) -> tuple[Any, ...]:
    """The vjp of ``f`` as a function of its ``n`` arguments and of the cotangents of its outputs."""
    return vjp(f, *args[:n])[1](args[n:])


def _difference_quotients(
    f: Callable[..., Any],
    args: list[np.ndarray[Any, Any]],
    cotangents: list[np.ndarray[Any, Any]],
    argument: int,
) -> Iterator[tuple[tuple[int, ...], float, float, float]]:
    """For each element of one argument: index, (s(x + h) - s(x - h)) / 2h, h, and the size of s = <v, f>."""

    def s(moved: np.ndarray[Any, Any]) -> float:
        value = f(*(Tensor(moved if i == argument else x) for i, x in enumerate(args)))
        outputs = value if isinstance(value, tuple) else (value,)
        return float(sum(np.vdot(v, _float64(y)) for v, y in zip(cotangents, outputs, strict=True)))

    x = args[argument]
    scale = max(1.0, abs(s(x)))
    for index in np.ndindex(x.shape):
        step = STEP * max(1.0, float(abs(x[index])))
        ahead, behind = x.copy(), x.copy()
        ahead[index] += step
        behind[index] -= step
        yield index, (s(ahead) - s(behind)) / float(ahead[index] - behind[index]), step, scale
