"""gradcheck: the vjps held against finite differences."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from tensorgrad.core.checks import NDArray
from tensorgrad.core.context import watching
from tensorgrad.core.engine import Tensor, protect
from tensorgrad.core.operators import Array
from tensorgrad.core.printed import Printed
from tensorgrad.core.transforms import vjp

__all__ = ["GradcheckError", "GradcheckReport", "gradcheck"]


class Precision(NamedTuple):
    """The step of difference quotients and the tolerances that go with it."""

    step: float
    rtol: float
    atol: float


#: The step is about the cube root of the rounding error, where truncation and cancellation balance.
PRECISION = {"float64": Precision(6e-6, 1e-6, 1e-7), "float32": Precision(5e-3, 1e-2, 1e-3)}
CLOSER = 64  # where vjp and difference quotient disagree, look again with a step so many times smaller


class Slopes(NamedTuple):
    """The difference quotients of one element: to the left and to the right, with step and tolerance."""

    below: float
    above: float
    step: float
    tolerance: float
    jump: bool

    @property
    def mean(self) -> float:
        """The central difference."""
        return (self.below + self.above) / 2

    @property
    def kink(self) -> bool:
        """Whether the two sides differ by more than rounding, and the function itself does not jump."""
        return not self.jump and abs(self.above - self.below) > self.tolerance

    def error(self, found: float) -> float:
        """How far ``found`` is from a derivative, in units of the tolerance; inf for NaN or at a jump."""
        low, high = sorted((self.below, self.above)) if self.kink else (self.mean, self.mean)
        error = max(low - found, found - high, 0.0) / self.tolerance
        return error if np.isfinite(found) and not self.jump else np.inf


@dataclass(frozen=True)
class Mismatch:
    """One element of one argument where the vjp is not the derivative."""

    order: int
    argument: int
    index: tuple[int, ...]
    vjp: float
    slopes: Slopes

    def __str__(self) -> str:
        slopes = self.slopes
        text = f"order {self.order}, argument {self.argument}, index {self.index}: vjp {self.vjp:.10g}, "
        if slopes.jump:
            text += "but the function jumps there and has no derivative"
        elif slopes.kink:
            text += f"at a kink with slopes {slopes.below:.10g} (below) and {slopes.above:.10g} (above)"
        else:
            text += f"finite difference {slopes.mean:.10g}"
        return f"{text} (step {slopes.step:.2g}, tolerance {slopes.tolerance:.2g})"


@dataclass
class GradcheckReport(Printed):
    """What `gradcheck` found; prints as a short text.

    Attributes
    ----------
    name : str
        The function checked.
    order : int
        The highest derivative checked.
    checked : int
        The number of derivatives compared.
    kinks : int
        How many of them are at kinks, where the vjp must lie between the one-sided slopes.
    worst : float
        The largest error, as a multiple of its tolerance; at most 1 if all is well.
    mismatches : list of Mismatch
        Every element that disagrees.
    """

    name: str
    order: int
    checked: int = 0
    kinks: int = 0
    worst: float = 0.0
    mismatches: list[Mismatch] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether something was checked and all of it agrees."""
        return self.checked > 0 and not self.mismatches

    def __str__(self) -> str:
        head = f"gradcheck of {self.name}, order {self.order}: {self.checked} derivatives checked"
        if self.kinks:
            head += f", {self.kinks} of them at kinks"
        if not self.mismatches:
            return f"{head}, all agree (worst error {self.worst:.2g} of its tolerance)"
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
    dtype: str = "float64",
    rtol: float | None = None,
    atol: float | None = None,
    raises: bool = True,
    seed: int = 0,
) -> GradcheckReport:
    """Hold the vjps of ``f`` against finite differences.

    The output is contracted with a fixed random cotangent v, s(x) = <v, f(x)>, and every element of ds/dx is
    compared with the central difference (s(x + h) - s(x - h)) / 2h. Where the two disagree, the slopes to the
    left and to the right are taken with a step 64 times smaller. If these differ from each other, x is at a
    kink, and the vjp must lie between them. For ``order=2`` the vjp, as a function of the arguments and of v,
    is checked in the same way, and so on. At a kink there is no second derivative, and the report says so.

    Parameters
    ----------
    f : callable
        Gives a Tensor, or a tuple of them, from ``*args``.
    *args : array_like
        Floating arguments are cast to ``dtype`` and checked; all others are held fixed.
    order : int
        The highest derivative to check.
    dtype : "float64" or "float32"
        What ``f`` is computed in. float32 finds gross mistakes only.
    rtol, atol : float, optional
        Tolerance of an error: ``atol * max(1, abs(s)) + rtol * abs(slope)``. By default 1e-6 and 1e-7 for
        float64, 1e-2 and 1e-3 for float32.
    raises : bool
        Raise on a mismatch (the default), or only report it.
    seed : int
        Of the random cotangents.

    Raises
    ------
    GradcheckError
        On a mismatch; its ``report`` is what would have been returned.
    ValueError
        If there is no floating argument, ``order`` is below 1, or f(x) is not finite; if the forward of an op
        writes into its argument, or a formula into its cotangent.

    >>> print(tg.gradcheck(lambda x: x * x, np.array([1.0, 2.0]), order=2))
    gradcheck of <lambda>, order 2: 6 derivatives checked, all agree (worst error ... of its tolerance)
    >>> print(tg.gradcheck(tg.relu, np.array([0.0, 2.0])))
    gradcheck of relu, order 1: 2 derivatives checked, 1 of them at kinks, all agree (worst error ...)
    """
    if order < 1:
        raise ValueError(f"gradcheck: order must be at least 1, got {order}")
    if dtype not in PRECISION:
        raise ValueError(f"gradcheck: expected dtype float64 or float32, got {dtype!r}")
    step, usual_rtol, usual_atol = PRECISION[dtype]
    precision = Precision(step, usual_rtol if rtol is None else rtol, usual_atol if atol is None else atol)
    constants = [None if _is_floating(x) else x for x in args]
    checked = [_as_array(x).astype(dtype) for x in args if _is_floating(x)]
    if not checked:
        raise ValueError("gradcheck: no floating argument to differentiate")

    def of_checked(*variables: Any) -> tuple[Any, ...]:
        rest = iter(variables)
        value = f(*(next(rest) if x is None else x for x in constants))
        return value if isinstance(value, tuple) else (value,)

    report = GradcheckReport(getattr(f, "__name__", str(f)), order)
    rng = np.random.default_rng(seed)
    function: Callable[..., tuple[Any, ...]] = of_checked
    for level in range(1, order + 1):
        with _guard():
            value, pull_back = vjp(function, *checked)
        outputs = [_as_array(y) for y in value]
        if not all(np.isfinite(y).all() for y in outputs):
            raise ValueError(f"gradcheck: derivative {level - 1} of {report.name} is not finite here")
        cotangents = [rng.standard_normal(np.shape(y)).astype(dtype) for y in outputs]
        with _guard():
            gradients = pull_back(tuple(cotangents))
        for i, gradient in enumerate(gradients):
            s = partial(_contract, function, checked, cotangents, i)
            for index in np.ndindex(checked[i].shape):
                found = float(_as_array(gradient)[index])
                slopes = _measure_slopes(s, checked[i], index, found, precision)
                report.checked += 1
                report.kinks += slopes.kink
                report.worst = max(report.worst, slopes.error(found))
                if slopes.error(found) > 1:
                    report.mismatches.append(Mismatch(level, i, index, found, slopes))
        function = partial(apply_vjp, function, len(checked))
        checked = [*checked, *cotangents]
    if raises and not report.ok:
        raise GradcheckError(report)
    return report


class _Protection:
    """A watch under which results and cotangents are read-only, so that whoever writes into them is named."""

    @contextmanager
    def walking(self) -> Iterator[None]:
        yield

    forward_again = walking

    def after_forward(self, node: Tensor, arrays: list[Array]) -> None:
        protect(node)

    def after_vjp(self, node: Tensor, position: int, g: Array, gx: Array) -> None:
        """The walk protects the cotangents of who is watched."""


@contextmanager
def _guard() -> Iterator[None]:
    watch = watching.get()
    try:
        watching.set(watch or _Protection())
        yield
    finally:
        watching.set(watch)


def _measure_slopes(
    s: Callable[[Any], float],
    x: NDArray,
    index: tuple[int, ...],
    found: float,
    precision: Precision,
) -> Slopes:
    """The slopes of s at one element of x; taken closer if their mean is not the derivative ``found``."""
    here = s(x)
    step = precision.step * max(1.0, float(abs(x[index])))

    def slope(h: float) -> float:
        moved = x.copy()
        moved[index] += h
        return (s(moved) - here) / float(moved[index] - x[index])

    below, above = slope(-step), slope(step)
    atol = precision.atol * max(1.0, abs(here))
    tolerance = atol + precision.rtol * abs(below + above) / 2
    if abs(found - (below + above) / 2) <= tolerance:
        return Slopes((below + above) / 2, (below + above) / 2, step, tolerance, jump=False)
    gap, step = abs(above - below), step / CLOSER
    below, above = slope(-step), slope(step)
    tolerance = 4 * (atol + precision.rtol * abs(below + above) / 2)  # rounding weighs more
    # At a kink the slopes keep their distance as the step shrinks, at a jump it grows as 1 / step.
    jump = abs(above - below) > CLOSER / 8 * gap + tolerance
    return Slopes(below, above, step, tolerance, jump)


def _contract(
    f: Callable[..., Any],
    args: list[NDArray],
    cotangents: list[NDArray],
    argument: int,
    moved: NDArray,
) -> float:
    """s = <v, f>, with one argument moved; summed in float64."""
    outputs = f(*(Tensor(moved if i == argument else x) for i, x in enumerate(args)))
    pairs = zip(cotangents, outputs, strict=True)
    return float(sum(np.vdot(v.astype(float), _as_array(y)) for v, y in pairs))


def apply_vjp(f: Callable[..., Any], n: int, *args: Array) -> tuple[Any, ...]:
    """The vjp of ``f`` as a function of its ``n`` arguments and of the cotangents of its outputs."""
    return vjp(f, *args[:n])[1](args[n:])


def _as_array(x: Array) -> NDArray:
    return x.data if isinstance(x, Tensor) else np.asarray(x)


def _is_floating(x: Array) -> bool:
    return isinstance(x, (Tensor, np.ndarray, np.generic, float, list)) and _as_array(x).dtype.kind == "f"
