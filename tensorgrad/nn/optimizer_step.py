"""What a step of any optimizer needs: groups of parameters, clipped gradients, arrays changed in place.

Large arrays are changed in parts that fit the cache, and to the end whatever the numbers do.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np

from tensorgrad.core import Tensor
from tensorgrad.core.checks import NDArray
from tensorgrad.graph.native.variant import find_maker

__all__: list[str] = []

Options: TypeAlias = dict[str, Any]
#: Two arrays to compute in, for ufuncs' ``out``; or None twice, for ufuncs to make their own.
Scratch: TypeAlias = tuple[NDArray | None, NDArray | None]
#: A parameter's values, its gradient, its slots and room to compute in.
Part: TypeAlias = tuple[NDArray, NDArray, list[NDArray], Scratch]
#: A check of a group's options, which gives them as a step wants them.
Check: TypeAlias = Callable[[Options, Sequence[Tensor]], Options]

# PyTorch's clip_grad_norm_ divides by the norm plus this.
_MARGIN = 1e-6

# Larger arrays are gone through in parts of so many bytes, which stay in a core's cache from one operation of
# a formula to the next: steps over 4 MB took a half (plain) and two thirds (momentum) of the time that way,
# and less than with parts of a quarter or of twice the size.
_PART_BYTES = 1 << 20

_TROUBLES = ((2, "over", "overflow"), (8, "invalid", "invalid value"), (1, "divide", "division by zero"))


class ParameterGroup:
    """Parameters that are stepped with the same options.

    The options are attributes, such as ``group.learning_rate``; assigned ones are checked as the
    constructor's.

    >>> w, b = tg.Parameter([1.0]), tg.Parameter([0.0])
    >>> optimizer = tg.MiniBatchSGD(
    ...     [{"parameters": [w]}, {"parameters": [b], "learning_rate": 0.2}], learning_rate=0.1
    ... )
    >>> optimizer.groups[0].learning_rate = 0.05
    >>> [group.learning_rate for group in optimizer.groups]
    [0.05, 0.2]
    """

    parameters: tuple[Tensor, ...]
    _options: Options
    _check: Check

    def __init__(self, parameters: Sequence[Tensor], options: Options, check: Check) -> None:
        vars(self).update(parameters=tuple(parameters), _check=check)
        self.set_options(options)

    @property
    def options(self) -> Options:
        """All options by name."""
        return dict(self._options)

    def set_options(self, options: Options) -> None:
        """Give all options new values, checked as the constructor's."""
        vars(self)["_options"] = self._check(options, self.parameters)

    def __getattr__(self, name: str) -> Any:
        options = vars(self).get("_options", {})  # not yet there while a copy or a pickle is being restored
        if name not in options:
            raise AttributeError(f"ParameterGroup: no option {name!r}; there are {', '.join(options)}")
        return options[name]

    def __setattr__(self, name: str, value: Any) -> None:
        self.set_options({**self._options, name: value})

    def __repr__(self) -> str:
        options = "".join(f", {name}={value}" for name, value in self._options.items())
        return f"ParameterGroup({len(self.parameters)} parameters{options})"


def split_into_groups(name: str, items: list[Any]) -> Iterator[tuple[list[Any], Options]]:
    """Give the parameters and the own options of each group."""
    if items and not any(isinstance(item, Mapping) for item in items):
        items = [{"parameters": items}]
    for i, item in enumerate(items):
        if not isinstance(item, Mapping):
            raise TypeError(f"{name}: expected either parameters or groups (dicts), got both")
        if "parameters" not in item:
            hint = "; did you mean 'parameters' for 'params'?" if "params" in item else ""
            raise TypeError(f"{name}: group {i} has no 'parameters'{hint}")
        if isinstance(item["parameters"], Tensor):
            raise TypeError(f"{name}: expected a list of parameters in group {i}, got one Tensor")
        parameters = list(item["parameters"])
        if not parameters:
            raise ValueError(f"{name}: no parameters in group {i}")
        yield parameters, {key: value for key, value in item.items() if key != "parameters"}


def global_norm(arrays: Sequence[NDArray]) -> float:
    """The Euclidean norm of all elements of all arrays; it neither over- nor underflows.

    >>> from tensorgrad.nn.optimizer_step import global_norm
    >>> global_norm([np.array([3.0]), np.array([[0.0, 4.0]])])
    5.0
    """
    with np.errstate(all="ignore"):
        squared: float = sum(_squared_norm(array) for array in arrays)
        if 1e-200 < squared < np.inf:
            return math.sqrt(squared)
        largest = max((float(np.max(np.abs(array), initial=0)) for array in arrays), default=0.0)
        if not 0 < largest < np.inf:
            return largest
        scaled: float = sum(_squared_norm(array.astype(np.float64) / largest) for array in arrays)
        return largest * math.sqrt(scaled)


def _squared_norm(array: NDArray) -> float:
    flat = array.ravel(order="K")
    if flat.dtype == np.float32:
        squared = float(np.vdot(flat, flat))
        # Outside this range squares may have been lost to over- or underflow.
        if 1e-20 < squared < 1e30:
            return squared
    flat = flat.astype(np.float64, copy=False)
    return float(np.vdot(flat, flat))


def clip_gradients(
    what: str,
    gradients: Sequence[NDArray],
    labels: Sequence[str],
    value: float | None,
    norm: float | None,
) -> list[NDArray]:
    """Clip the gradients to [-value, value], then scale them by min(1, norm / (their global norm + 1e-6)).

    Raises
    ------
    FloatingPointError
        If ``norm`` is given and a gradient is not finite; ``labels`` name which.
    """
    if norm is not None:
        wrong = [label for label, g in zip(labels, gradients, strict=True) if not np.isfinite(g).all()]
        if wrong:
            raise FloatingPointError(
                f"{what}: the gradient of {', '.join(wrong)} is not finite, so that it has no norm to clip"
            )
    if value is not None:
        gradients = [np.clip(g, -value, value) for g in gradients]
    if norm is not None:
        scale = norm / (global_norm(gradients) + _MARGIN)
        if scale < 1:
            gradients = [g * scale for g in gradients]
    return list(gradients)


def decay_weights(options: Options, x: NDArray, g: NDArray, out: NDArray | None, decoupled: bool) -> NDArray:
    """Shrink ``x`` by a decoupled decay, or give the gradient with a coupled one added, in ``out``."""
    decay = options["weight_decay"]
    if not decay:
        return g
    if decoupled:
        x *= 1 - options["learning_rate"] * decay
        return g
    decayed: NDArray = np.multiply(x, decay, out=out)
    decayed += g
    return decayed


def cut(x: NDArray, g: NDArray, slots: list[NDArray]) -> Iterable[Part]:
    """Cut the arrays into parts that fit the cache, where memory is laid out in one row.

    Half precision is copied to single, and back in the end.
    """
    if x.dtype == np.float16:
        return _cut_wide(x, g, slots)
    if x.nbytes <= _PART_BYTES or not all(array.flags.c_contiguous for array in (x, *slots)):
        return ((x, g, slots, (None, None)),)
    return _cut_large(x.reshape(-1), g.reshape(-1), [slot.reshape(-1) for slot in slots])


def _cut_large(x: NDArray, g: NDArray, slots: list[NDArray]) -> Iterator[Part]:
    length = _PART_BYTES // x.itemsize
    first, second = np.empty(length, x.dtype), np.empty(length, x.dtype)
    for i in range(0, x.size, length):
        rows = slice(i, min(i + length, x.size))
        size = rows.stop - i
        yield x[rows], g[rows], [slot[rows] for slot in slots], (first[:size], second[:size])


def _cut_wide(x: NDArray, g: NDArray, slots: list[NDArray]) -> Iterator[Part]:
    wide = x.astype(np.float32)
    yield from cut(wide, g.astype(np.float32), slots)
    np.copyto(x, wide, casting="same_kind")


def make_slot(p: Tensor) -> NDArray:
    """Zeros for each element of a parameter, which a step adds to.

    In single precision for halves, in which the square of a gradient is soon 0 or infinite.
    """
    return np.zeros_like(p.data, np.float32 if p.dtype == np.float16 else None, subok=False)


def copy_slots(
    saved: list[Mapping[str, Any]],
    parameters: Sequence[Tensor],
    names: Mapping[str, str | None],
    *,
    needed: bool,
) -> list[dict[str, NDArray]]:
    """Copies of the arrays that a state holds for each parameter, if they are those of the ``names``.

    With ``needed`` those must be there that no option asks for.
    """
    if len(saved) != len(parameters):
        raise ValueError(f"expected the slots of {len(parameters)} parameters, got {len(saved)}")
    copies: list[dict[str, NDArray]] = []
    for i, (p, slots) in enumerate(zip(parameters, saved, strict=True)):
        copies.append({})
        label = p.name or f"parameter {i}"
        for key, option in names.items():
            if needed and option is None and key not in slots:
                raise ValueError(f"{key} of {label} is missing")
        for key, array in slots.items():
            if key not in names:
                raise ValueError(f"{key} of {label} is not known")
            copies[-1][key] = slot = make_slot(p)
            if not isinstance(array, np.ndarray) or (array.shape, array.dtype) != (slot.shape, slot.dtype):
                came = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else repr(array)
                raise ValueError(f"{key} of {label}: expected {slot.dtype} {slot.shape}, got {came}")
            np.copyto(slot, array)
    return copies


@contextmanager
def report_at_the_end(what: str) -> Iterator[None]:
    """Context manager: overflows and the like are reported as ``np.errstate`` says, but at its end.

    ``what`` is the rest of the message.
    """
    found: list[int] = []
    note = lambda message, flag: found.append(flag)
    with np.errstate(over="call", invalid="call", divide="call", under="ignore", call=note):
        yield
    _report(what, found, 5)


def step_in_c(optimizer: Any) -> bool:
    """Make a step by the code that gave the gradients, if it did and can: its threads have them at hand."""
    found = None if optimizer.clip_value is not None else find_maker(optimizer.parameters)
    if found is None:
        return False
    maker, gradients = found
    update, troubles = optimizer.begin_update(optimizer.parameters), None
    try:
        troubles = maker.apply(update, gradients)
    finally:
        optimizer.end_update(troubles is not None)
    if troubles:
        what = f"step {optimizer.steps} of {type(optimizer).__name__}, which is finished"
        _report(what, [flag for flag, *_ in _TROUBLES if troubles & flag], 4)
    return troubles is not None


def _report(what: str, found: Sequence[int], stacklevel: int) -> None:
    """Raise or warn, as NumPy is set to, of troubles by NumPy's numbers."""
    settings = dict(np.geterr())
    for flag, kind, text in _TROUBLES:
        if flag not in found or settings[kind] == "ignore":
            continue
        if settings[kind] == "raise":
            raise FloatingPointError(f"{text} in {what}")
        warnings.warn(f"{text} in {what}", RuntimeWarning, stacklevel=stacklevel)
