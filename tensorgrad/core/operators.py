"""What Python and NumPy call on a Tensor: operators, methods, array protocols; each is the op of its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn, cast

import numpy as np

from tensorgrad.core.registry import NUMPY, OPS

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from tensorgrad.core.tensor import Array, Tensor

_ops = cast("dict[str, Callable[..., Tensor]]", OPS)


def _method(function: Callable[..., Any]) -> Callable[..., Tensor]:
    """The method of ndarray that does what a NumPy function does, with its signature."""

    def method(self: Operators, *args: Any, **options: Any) -> Any:
        return NUMPY[function](self, *args, **options)

    method.__name__ = method.__qualname__ = function.__name__
    method.__doc__ = f"`numpy.{function.__name__}` of this tensor."
    return method


class Operators:
    """The base of Tensor: knows ops by name only, so that the engine stays ignorant of them."""

    __slots__ = ()
    __hash__ = object.__hash__

    _array: np.ndarray[Any, Any]

    @property
    def T(self) -> Tensor:  # noqa: N802 - NumPy's name
        """The tensor with its axes reversed."""
        return _ops["transpose"](self)

    @property
    def mT(self) -> Tensor:  # noqa: N802 - NumPy's name
        """The tensor with its last two axes interchanged."""
        return _ops["swapaxes"](self, axis1=-1, axis2=-2)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        if method != "__call__":
            raise TypeError(
                f"np.{ufunc.__name__}.{method} is not differentiable here; use the ops of tensorgrad"
            )
        if options:
            hint = "; an array's += and the like cannot take one, write a = a + t" if "out" in options else ""
            raise TypeError(f"np.{ufunc.__name__}: {', '.join(options)} cannot be used with a Tensor{hint}")
        if ufunc not in NUMPY:
            _refuse_numpy(ufunc)
        return NUMPY[ufunc](*inputs)

    def __array_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if function not in NUMPY:
            _refuse_numpy(function)
        return NUMPY[function](*args, **kwargs)

    # Arithmetic and methods: each is the op of its name

    def __add__(self, other: Array) -> Tensor:
        return _ops["add"](self, other)

    def __radd__(self, other: Array) -> Tensor:
        return _ops["add"](other, self)

    def __sub__(self, other: Array) -> Tensor:
        return _ops["subtract"](self, other)

    def __rsub__(self, other: Array) -> Tensor:
        return _ops["subtract"](other, self)

    def __mul__(self, other: Array) -> Tensor:
        return _ops["multiply"](self, other)

    def __rmul__(self, other: Array) -> Tensor:
        return _ops["multiply"](other, self)

    def __truediv__(self, other: Array) -> Tensor:
        return _ops["divide"](self, other)

    def __rtruediv__(self, other: Array) -> Tensor:
        return _ops["divide"](other, self)

    def __pow__(self, other: Array) -> Tensor:
        return _ops["power"](self, other)

    def __rpow__(self, other: Array) -> Tensor:
        return _ops["power"](other, self)

    def __matmul__(self, other: Array) -> Tensor:
        return _ops["matmul"](self, other)

    def __rmatmul__(self, other: Array) -> Tensor:
        return _ops["matmul"](other, self)

    def __mod__(self, other: Array) -> Tensor:
        return _ops["remainder"](self, other)

    def __rmod__(self, other: Array) -> Tensor:
        return _ops["remainder"](other, self)

    def __floordiv__(self, other: Array) -> Tensor:
        return _ops["floor_divide"](self, other)

    def __rfloordiv__(self, other: Array) -> Tensor:
        return _ops["floor_divide"](other, self)

    def __abs__(self) -> Tensor:
        return _ops["absolute"](self)

    def __neg__(self) -> Tensor:
        return _ops["negative"](self)

    def __pos__(self) -> Tensor:
        return _ops["identity"](self)

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

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, index: Any) -> Tensor:
        return _ops["getitem"](self, index=index)

    def __setitem__(self, index: Any, value: Any) -> NoReturn:
        raise TypeError("a Tensor is a value and its elements cannot be assigned; use t.data = ... on a leaf")

    def __iter__(self) -> Iterator[Tensor]:
        if not self._array.ndim:
            raise TypeError("iteration over a Tensor without axes")
        return (self[i] for i in range(len(self._array)))

    def sum(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
        """Sum over ``axis``; see `tensorgrad.sum`."""
        return _ops["sum"](self, axis=axis, keepdims=keepdims)

    def mean(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
        """Mean over ``axis``; see `tensorgrad.mean`."""
        return _ops["mean"](self, axis=axis, keepdims=keepdims)

    def max(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
        """Maximum over ``axis``; see `tensorgrad.max`."""
        return _ops["max"](self, axis=axis, keepdims=keepdims)

    def reshape(self, *shape: Any) -> Tensor:
        """The same elements in another shape; see `tensorgrad.reshape`."""
        return _ops["reshape"](self, shape=shape[0] if len(shape) == 1 else shape)

    def transpose(self, *axes: Any) -> Tensor:
        """The axes permuted, reversed by default; see `tensorgrad.transpose`."""
        if len(axes) == 1 and not isinstance(axes[0], int):
            axes = axes[0]
        return _ops["transpose"](self, axes=axes or None)

    all = _method(np.all)
    any = _method(np.any)
    argmax = _method(np.argmax)
    argmin = _method(np.argmin)
    argpartition = _method(np.argpartition)
    argsort = _method(np.argsort)
    clip = _method(np.clip)
    cumprod = _method(np.cumprod)
    cumsum = _method(np.cumsum)
    diagonal = _method(np.diagonal)
    dot = _method(np.dot)
    flatten = _method(np.ravel)
    min = _method(np.min)
    nonzero = _method(np.nonzero)
    prod = _method(np.prod)
    ravel = _method(np.ravel)
    repeat = _method(np.repeat)
    round = _method(np.round)
    squeeze = _method(np.squeeze)
    std = _method(np.std)
    swapaxes = _method(np.swapaxes)
    take = _method(np.take)
    trace = _method(np.trace)
    var = _method(np.var)

    def tolist(self) -> Any:
        """The values as nested lists of Python numbers."""
        return self._array.tolist()

    def astype(self, dtype: DTypeLike) -> Tensor:
        """The values cast to ``dtype``; see `tensorgrad.astype`."""
        return _ops["astype"](self, dtype=dtype)


def _refuse_numpy(function: Any) -> NoReturn:
    module = (getattr(function, "__module__", None) or "numpy").replace("numpy", "np", 1)
    name = f"{module if module.startswith('np') else 'np'}.{getattr(function, '__name__', function)}"
    raise TypeError(
        f"{name} has no derivative rule, and tensorgrad never drops a gradient silently; "
        f"declare one with tg.differentiate({name}, ...), or call it on t.data if it is a constant"
    )
