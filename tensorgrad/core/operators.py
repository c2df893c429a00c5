"""What Python and NumPy call on a Tensor: operators, methods, array protocols; each is the op of its name.

The tables that ops are entered in are here too. Everything that asks "which ops exist?" reads them.
"""

# What is looked up by its name has no type; the methods that look it up have one.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeAlias, TypeVar

import numpy as np

from tensorgrad.core.checks import NDArray
from tensorgrad.core.elsewhere import TABLES, tell_names
from tensorgrad.core.refusals import refuse_numpy

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

__all__ = ["NUMPY", "OPS", "Array"]

#: What an op takes and gives: anything that speaks NumPy's protocols, a Tensor included.
Array: TypeAlias = Any

#: Every differentiable op, an `Op`, by its name. The methods and operators of Tensor look their op up here,
#: which is why the engine can stay ignorant of the ops that are built on it.
OPS: dict[str, Any] = {}

#: What stands in for a NumPy function when one of its arguments is a Tensor.
NUMPY: dict[Callable[..., Any], Callable[..., Any]] = {}

#: What reads a recorded graph and is a method of Tensor too, by the method's name. The package that stands
#: above the engine enters it.
READERS: dict[str, Callable[..., Any]] = {}

R = TypeVar("R")  # what an operator gives: Tensor, which is defined on top of this file


def _method(function: Callable[..., Any]) -> Callable[..., Any]:
    """The method of ndarray that does what a NumPy function does, with its signature."""

    def method(self: Any, *args: Any, **options: Any) -> Any:
        return NUMPY[function](self, *args, **options)

    method.__name__ = method.__qualname__ = function.__name__
    method.__doc__ = f"`numpy.{function.__name__}` of this tensor."
    return method


class Operators(Generic[R]):
    """The base of Tensor: knows ops by name only, so that the engine stays ignorant of them."""

    __slots__ = ()
    __hash__ = object.__hash__

    _array: NDArray

    @property
    def T(self) -> R:  # noqa: N802 - NumPy's name
        """The tensor with its axes reversed."""
        return OPS["transpose"](self)

    @property
    def mT(self) -> R:  # noqa: N802 - NumPy's name
        """The tensor with its last two axes interchanged."""
        return OPS["swapaxes"](self, axis1=-1, axis2=-2)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        if method != "__call__":
            raise TypeError(
                f"np.{ufunc.__name__}.{method} is not differentiable here; use the ops of tensorgrad"
            )
        if options:
            hint = "; an array's += and the like cannot take one, write a = a + t" if "out" in options else ""
            raise TypeError(f"np.{ufunc.__name__}: {', '.join(options)} cannot be used with a Tensor{hint}")
        if ufunc not in NUMPY:
            refuse_numpy(ufunc)
        return NUMPY[ufunc](*inputs)

    def __array_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if function not in NUMPY:
            refuse_numpy(function)
        return NUMPY[function](*args, **kwargs)

    # Arithmetic and methods: each is the op of its name

    def __add__(self, other: Array) -> R:
        return OPS["add"](self, other)

    def __radd__(self, other: Array) -> R:
        return OPS["add"](other, self)

    def __sub__(self, other: Array) -> R:
        return OPS["subtract"](self, other)

    def __rsub__(self, other: Array) -> R:
        return OPS["subtract"](other, self)

    def __mul__(self, other: Array) -> R:
        return OPS["multiply"](self, other)

    def __rmul__(self, other: Array) -> R:
        return OPS["multiply"](other, self)

    def __truediv__(self, other: Array) -> R:
        return OPS["divide"](self, other)

    def __rtruediv__(self, other: Array) -> R:
        return OPS["divide"](other, self)

    def __pow__(self, other: Array) -> R:
        return OPS["power"](self, other)

    def __rpow__(self, other: Array) -> R:
        return OPS["power"](other, self)

    def __matmul__(self, other: Array) -> R:
        return OPS["matmul"](self, other)

    def __rmatmul__(self, other: Array) -> R:
        return OPS["matmul"](other, self)

    def __mod__(self, other: Array) -> R:
        return OPS["remainder"](self, other)

    def __rmod__(self, other: Array) -> R:
        return OPS["remainder"](other, self)

    def __floordiv__(self, other: Array) -> R:
        return OPS["floor_divide"](self, other)

    def __rfloordiv__(self, other: Array) -> R:
        return OPS["floor_divide"](other, self)

    def __abs__(self) -> R:
        return OPS["absolute"](self)

    def __neg__(self) -> R:
        return OPS["negative"](self)

    def __pos__(self) -> R:
        return OPS["identity"](self)

    # Comparisons have no derivative: they give boolean arrays.

    def __eq__(self, other: object) -> Any:
        return NUMPY[np.equal](self, other)

    def __ne__(self, other: object) -> Any:
        return NUMPY[np.not_equal](self, other)

    def __lt__(self, other: Array) -> Any:
        return NUMPY[np.less](self, other)

    def __le__(self, other: Array) -> Any:
        return NUMPY[np.less_equal](self, other)

    def __gt__(self, other: Array) -> Any:
        return NUMPY[np.greater](self, other)

    def __ge__(self, other: Array) -> Any:
        return NUMPY[np.greater_equal](self, other)

    def __invert__(self) -> Any:
        return NUMPY[np.logical_not](self)

    def __and__(self, other: Array) -> Any:
        return NUMPY[np.logical_and](self, other)

    def __or__(self, other: Array) -> Any:
        return NUMPY[np.logical_or](self, other)

    def __len__(self) -> int:
        return len(self._array)

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if name not in TABLES["tensor"]]

    def __getitem__(self, index: Any) -> R:
        return OPS["getitem"](self, index=index)

    def __setitem__(self, index: Any, value: Any) -> NoReturn:
        raise TypeError("a Tensor is a value and its elements cannot be assigned; use t.data = ... on a leaf")

    def __iter__(self) -> Iterator[R]:
        if not self._array.ndim:
            raise TypeError("iteration over a Tensor without axes")
        return (self[i] for i in range(len(self._array)))

    def sum(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> R:
        """Sum over ``axis``; see `tensorgrad.sum`."""
        return OPS["sum"](self, axis=axis, keepdims=keepdims)

    def mean(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> R:
        """Mean over ``axis``; see `tensorgrad.mean`."""
        return OPS["mean"](self, axis=axis, keepdims=keepdims)

    def max(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> R:
        """Maximum over ``axis``; see `tensorgrad.max`."""
        return OPS["max"](self, axis=axis, keepdims=keepdims)

    def reshape(self, *shape: Any) -> R:
        """The same elements in another shape; see `tensorgrad.reshape`."""
        return OPS["reshape"](self, shape=shape[0] if len(shape) == 1 else shape)

    def transpose(self, *axes: Any) -> R:
        """The axes permuted, reversed by default; see `tensorgrad.transpose`."""
        if len(axes) == 1 and not isinstance(axes[0], int):
            axes = axes[0]
        return OPS["transpose"](self, axes=axes or None)

    all: Callable[..., Any] = _method(np.all)
    any: Callable[..., Any] = _method(np.any)
    argmax: Callable[..., Any] = _method(np.argmax)
    argmin: Callable[..., Any] = _method(np.argmin)
    argpartition: Callable[..., Any] = _method(np.argpartition)
    argsort: Callable[..., Any] = _method(np.argsort)
    clip: Callable[..., R] = _method(np.clip)
    cumprod: Callable[..., R] = _method(np.cumprod)
    cumsum: Callable[..., R] = _method(np.cumsum)
    diagonal: Callable[..., R] = _method(np.diagonal)
    dot: Callable[..., R] = _method(np.dot)
    flatten: Callable[..., R] = _method(np.ravel)
    min: Callable[..., R] = _method(np.min)
    nonzero: Callable[..., Any] = _method(np.nonzero)
    prod: Callable[..., R] = _method(np.prod)
    ravel: Callable[..., R] = _method(np.ravel)
    repeat: Callable[..., R] = _method(np.repeat)
    round: Callable[..., R] = _method(np.round)
    squeeze: Callable[..., R] = _method(np.squeeze)
    std: Callable[..., R] = _method(np.std)
    swapaxes: Callable[..., R] = _method(np.swapaxes)
    take: Callable[..., R] = _method(np.take)
    trace: Callable[..., R] = _method(np.trace)
    var: Callable[..., R] = _method(np.var)

    def astype(self, dtype: DTypeLike) -> R:
        """The values cast to ``dtype``; see `tensorgrad.astype`."""
        return OPS["astype"](self, dtype=dtype)


tell_names(Operators, TABLES["tensor"])
