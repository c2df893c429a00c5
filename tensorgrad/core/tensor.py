"""Tensor: an array that remembers how it was made."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ContextDecorator
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias, TypeVar, cast

import numpy as np

from tensorgrad.core.registry import NUMPY, OPS

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from tensorgrad.core.op import Op

#: What an op takes and gives: anything that speaks NumPy's protocols, a Tensor included.
Array: TypeAlias = Any

# One clock for all tensors: a tensor's serial number is the tick at which it was made or last
# assigned. Hence an input is always older than what was made of it; where it is not, it was changed.
_clock = itertools.count(1)

_recording: ContextVar[bool] = ContextVar("tensorgrad_recording", default=True)

_ops = cast("dict[str, Callable[..., Tensor]]", OPS)

T = TypeVar("T", bound="Tensor")


class no_grad(ContextDecorator):  # noqa: N801 - a verb in lower case, as NumPy's errstate is
    """Context manager and decorator: ops compute but do not record.

    The switch is a context variable, so it holds for this thread (or asyncio task) alone.

    >>> w = tg.Tensor([1.0, 2.0], requires_grad=True)
    >>> with tg.no_grad():
    ...     y = w * 2
    >>> y.requires_grad
    False
    """

    def __init__(self) -> None:
        self._tokens: list[Token[bool]] = []

    def _recreate_cm(self) -> no_grad:
        return no_grad()  # as a decorator: a fresh one a call, so that threads share no tokens

    def __enter__(self) -> no_grad:
        self._tokens.append(_recording.set(False))
        return self

    def __exit__(self, *exc: object) -> None:
        _recording.reset(self._tokens.pop())


class Tensor:
    """An n-dimensional array and the recipe it was made by: ``op(*inputs, **params)``.

    Parameters
    ----------
    data : array_like
        The values; copied, so that no later change to ``data`` can reach the tensor.
    requires_grad : bool
        Whether gradients with respect to this tensor are wanted. Floating dtypes only.
    name : str, optional
        Shown in errors, summaries and drawings.
    dtype : dtype, optional
        NumPy's own choice when omitted: float64 for Python floats, int64 for integers.

    Raises
    ------
    TypeError
        If the data is not a real number or boolean array, or is not floating but requires grad.
    ValueError
        If nested lists are of unequal lengths.

    Notes
    -----
    A Tensor is a value: no operation changes it. Only a leaf (a tensor that no op made) can be given
    new values, through ``t.data = ...`` or, under `no_grad`, ``t -= ...``; a graph that still needs the
    old values then refuses to run backward.

    >>> x = tg.Tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> y = (x * x).sum()
    >>> y
    Tensor(14.0, dtype=float64, op=sum)
    >>> y.backward()
    >>> x.grad
    array([2., 4., 6.])
    """

    __slots__ = (
        "__weakref__",
        "_data",
        "_grad",
        "_inputs",
        "_op",
        "_params",
        "_requires_grad",
        "_serial",
        "name",
    )

    _data: np.ndarray[Any, Any]
    _grad: Any
    _inputs: tuple[Any, ...]
    _op: Op[Any] | None
    _params: dict[str, Any]
    _requires_grad: bool
    _serial: int
    name: str | None

    __hash__ = object.__hash__

    def __init__(
        self,
        data: Array,
        requires_grad: bool = False,
        name: str | None = None,
        dtype: DTypeLike | None = None,
    ) -> None:
        self._become_leaf(as_numeric(data, dtype, f"{type(self).__name__}"), requires_grad, name)

    def _become_leaf(self, data: np.ndarray[Any, Any], requires_grad: bool, name: str | None) -> None:
        if requires_grad:
            refuse_integers(data.dtype, f"{type(self).__name__}{f' {name!r}' if name else ''}")
        self._data = data
        self._requires_grad = requires_grad
        self.name = name
        self._grad = None
        self._op = None
        self._inputs = ()
        self._params = {}
        self._serial = next(_clock)

    # What a tensor is

    @property
    def data(self) -> np.ndarray[Any, Any]:
        """The values: a read-only view that follows later assignments (`numpy` gives a copy).

        Assigning to it replaces the values of a leaf, in place; shape and dtype stay.
        """
        view = self._data.view()
        view.flags.writeable = False
        return view

    @data.setter
    def data(self, values: Array) -> None:
        if self._op is not None:
            raise TypeError(f"only a leaf can be assigned, and {self._label()} was made by {self._op.name}")
        values = values._data if isinstance(values, Tensor) else np.asarray(values)
        if values.shape != self._data.shape:
            raise ValueError(
                f"assigning to {self._label()}: expected shape {self._data.shape}, got {values.shape}"
            )
        if not np.can_cast(values.dtype, self._data.dtype, "same_kind"):
            raise TypeError(
                f"assigning to {self._label()}: expected {self._data.dtype}, got {values.dtype}"
            )
        self._data[...] = values
        self._serial = next(_clock)

    @property
    def grad(self) -> Any:
        """The gradient that `backward` accumulated: a read-only array, or None before the first.

        After ``backward(create_graph=True)`` a Tensor, which can be differentiated again.
        """
        return self._grad

    @grad.setter
    def grad(self, value: Array | None) -> None:
        if value is not None:
            if not isinstance(value, Tensor):
                value = np.array(value, dtype=self._data.dtype)
                value.flags.writeable = False
            if value.shape != self._data.shape:
                raise ValueError(f"grad of {self._label()}: expected shape {self.shape}, got {value.shape}")
        self._grad = value

    @property
    def requires_grad(self) -> bool:
        """Whether a gradient can flow to this tensor."""
        return self._requires_grad

    @property
    def op(self) -> Op[Any] | None:
        """The op that made this tensor; None for a leaf."""
        return self._op

    @property
    def inputs(self) -> tuple[Any, ...]:
        """The op's positional arguments: tensors, and the constants as they were at the call."""
        return self._inputs

    @property
    def params(self) -> dict[str, Any]:
        """The op's keyword arguments, defaults filled in."""
        return dict(self._params)

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""
        return self._data.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self._data.ndim

    @property
    def size(self) -> int:
        """Number of elements."""
        return self._data.size

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the elements."""
        return self._data.dtype

    @property
    def T(self) -> Tensor:  # noqa: N802 - NumPy's name
        """The tensor with its axes reversed."""
        return _ops["transpose"](self)

    def numpy(self) -> np.ndarray[Any, Any]:
        """A copy of the values, free of the graph."""
        return self._data.copy()

    def item(self) -> float:
        """The only element as a Python number; ValueError if there are more."""
        if self._data.size != 1:
            raise ValueError(f"item: {self._label()} has {self._data.size} elements, expected one")
        return self._data.item()  # type: ignore[no-any-return]  # NumPy types it Any

    def detach(self) -> Tensor:
        """The same values as a leaf that does not require grad."""
        return Tensor(self._data)

    def zero_grad(self) -> None:
        """Forget the accumulated gradient."""
        self._grad = None

    def backward(self, grad: Array | None = None, *, create_graph: bool = False) -> None:
        """Add to ``.grad`` of every leaf the gradient of this tensor, contracted with ``grad``.

        Parameters
        ----------
        grad : array_like, optional
            Cotangent of this tensor's shape, cast to its dtype; needed unless there is one element.
        create_graph : bool
            Record the backward pass too, so that the gradients can be differentiated again.

        Raises
        ------
        RuntimeError
            If no input requires grad, or a leaf was assigned after the graph had read it.
        ValueError
            If ``grad`` is missing for a tensor of several elements, or has another shape.

        >>> x = tg.Tensor([1.0, 2.0], requires_grad=True)
        >>> y = x * x
        >>> y.backward([1.0, 10.0])
        >>> y.backward([1.0, 10.0])
        >>> x.grad
        array([ 4., 80.])
        """
        from tensorgrad.core.backward import accumulate  # the walk stands on Tensor, not under it

        accumulate(self, grad, create_graph=create_graph)

    def _label(self) -> str:
        kind = type(self).__name__ if self.name is None else f"{type(self).__name__} {self.name!r}"
        return f"{kind} of shape {self._data.shape}, {self._data.dtype}"

    def __repr__(self) -> str:
        values = np.array2string(self._data, separator=", ", prefix=f"{type(self).__name__}(", threshold=50)
        parts = [values, f"dtype={self._data.dtype}"]
        if self.name is not None:
            parts.append(f"name={self.name!r}")
        if self._op is not None:
            parts.append(f"op={self._op.name}")
        elif self._requires_grad:
            parts.append("requires_grad=True")
        return f"{type(self).__name__}({', '.join(parts)})"

    def __format__(self, spec: str) -> str:
        return format(self._data.item(), spec) if spec and self._data.size == 1 else format(str(self), spec)

    def __reduce__(self) -> tuple[Any, ...]:
        if self._op is not None:
            raise TypeError(f"only a leaf can be copied or pickled; take .detach() of {self._label()}")
        grad = self._grad if isinstance(self._grad, np.ndarray) else None
        return _restore, (type(self), self._data.copy(), self._requires_grad, self.name, grad)

    # The ways out of the graph that Python and NumPy take by themselves: open only where nothing is lost

    def _refuse_conversion(self, wanted: str) -> NoReturn:
        raise TypeError(
            f"{wanted} would silently cut {self._label()} off the graph; "
            "ask for it by .item(), .numpy() or .detach()"
        )

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        if self._requires_grad:
            self._refuse_conversion("conversion to a NumPy array")
        return np.array(self._data, dtype=dtype)

    def __float__(self) -> float:
        if self._requires_grad:
            self._refuse_conversion("conversion to float")
        return float(self.item())

    def __int__(self) -> int:
        if self._requires_grad:
            self._refuse_conversion("conversion to int")
        return int(self.item())

    def __bool__(self) -> bool:
        return bool(self._data)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        if method != "__call__":
            raise TypeError(f"np.{ufunc.__name__}.{method} is not differentiable here; use the ops of tensorgrad")
        if options:
            raise TypeError(f"np.{ufunc.__name__}: {', '.join(options)} cannot be used with a Tensor")
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

    def __neg__(self) -> Tensor:
        return _ops["negative"](self)

    def __pos__(self) -> Tensor:
        return self

    def _update(self, symbol: str, update: Callable[..., Any], other: Array) -> Tensor:
        """Carry out ``self symbol= other``: assign a leaf that requires grad, make a new value otherwise."""
        if self._op is not None or not self._requires_grad:
            result: Tensor = update(self, other)
            return result
        if _recording.get():
            raise TypeError(
                f"{symbol}= would change {self._label()}, a leaf that requires grad, while recording; "
                f"put it under tg.no_grad(), or write x = x {symbol} ..."
            )
        update(self._data, other._data if isinstance(other, Tensor) else other, out=self._data)
        self._serial = next(_clock)
        return self

    def __iadd__(self, other: Array) -> Tensor:
        return self._update("+", np.add, other)

    def __isub__(self, other: Array) -> Tensor:
        return self._update("-", np.subtract, other)

    def __imul__(self, other: Array) -> Tensor:
        return self._update("*", np.multiply, other)

    def __itruediv__(self, other: Array) -> Tensor:
        return self._update("/", np.divide, other)

    # Comparisons have no derivative: they give boolean arrays.

    def __eq__(self, other: object) -> Any:
        return np.equal(self, other)  # type: ignore[call-overload]

    def __ne__(self, other: object) -> Any:
        return np.not_equal(self, other)  # type: ignore[call-overload]

    def __lt__(self, other: Array) -> Any:
        return np.less(self, other)

    def __le__(self, other: Array) -> Any:
        return np.less_equal(self, other)

    def __gt__(self, other: Array) -> Any:
        return np.greater(self, other)

    def __ge__(self, other: Array) -> Any:
        return np.greater_equal(self, other)

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: Any) -> Tensor:
        return _ops["getitem"](self, index=index)

    def __setitem__(self, index: Any, value: Any) -> NoReturn:
        raise TypeError("a Tensor is a value and its elements cannot be assigned; use t.data = ... on a leaf")

    def __iter__(self) -> Iterator[Tensor]:
        if not self._data.ndim:
            raise TypeError("iteration over a Tensor without axes")
        return (self[i] for i in range(len(self._data)))

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

    def astype(self, dtype: DTypeLike) -> Tensor:
        """The values cast to ``dtype``; see `tensorgrad.astype`."""
        return _ops["astype"](self, dtype=dtype)


class Parameter(Tensor):
    """A named Tensor that requires grad: what layers hold and optimizers step.

    >>> tg.Parameter([[0.5, -0.5]], name="weights", dtype="float32")
    Parameter([[ 0.5, -0.5]], dtype=float32, name='weights', requires_grad=True)
    """

    __slots__ = ()

    def __init__(self, data: Array, name: str | None = None, dtype: DTypeLike | None = None) -> None:
        super().__init__(data, True, name, dtype)


def as_numeric(data: Array, dtype: DTypeLike | None, what: str) -> np.ndarray[Any, Any]:
    """A fresh real or boolean array of ``data``; TypeError or ValueError naming ``what`` otherwise."""
    if isinstance(data, Tensor):
        data = data._data
    try:
        array = np.array(data, dtype=dtype)
    except (ValueError, TypeError) as error:
        raise type(error)(f"{what}: expected an array of real numbers; {error}") from None
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{what}: expected an array of real numbers, got dtype {array.dtype}")
    return array


def refuse_integers(dtype: np.dtype[Any], what: str) -> None:
    """TypeError unless ``dtype`` is floating: a derivative needs a neighbourhood."""
    if dtype.kind != "f":
        raise TypeError(f"{what}: only floating tensors can require grad, got {dtype}; pass dtype=float")


def _refuse_numpy(function: Any) -> NoReturn:
    name = getattr(function, "__name__", str(function))
    raise TypeError(
        f"np.{name} has no derivative rule, and tensorgrad never drops a gradient silently; "
        f"declare one with tg.differentiate(np.{name}, ...), or call it on t.data if it is a constant"
    )


def _restore(
    kind: type[T], data: np.ndarray[Any, Any], requires_grad: bool, name: str | None, grad: Any
) -> T:
    tensor = kind.__new__(kind)
    tensor._become_leaf(data, requires_grad, name)
    tensor.grad = grad
    return tensor
