"""Tensor: an array that remembers how it was made."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias, TypeVar

import numpy as np

from tensorgrad.core.operators import Operators
from tensorgrad.core.recording import _clock, _paused

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from tensorgrad.core.op import Op
    from tensorgrad.graph.steps import BackwardSteps

#: What an op takes and gives: anything that speaks NumPy's protocols, a Tensor included.
Array: TypeAlias = Any

T = TypeVar("T", bound="Tensor")


class Tensor(Operators):
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
        "_array",
        "_calls",
        "_grad",
        "_inputs",
        "_op",
        "_params",
        "_requires_grad",
        "_serial",
        "name",
    )

    _array: np.ndarray[Any, Any]
    # What ended in this tensor, for drawings: (serial number before, weak reference to the layer, its class's
    # name), or (serial number before, op, position of the argument) of a vjp. Unset on all but a few tensors.
    _calls: tuple[tuple[int, Any, Any], ...]
    _grad: Any
    _inputs: tuple[Any, ...]
    _op: Op[Any] | None
    _params: dict[str, Any]
    _requires_grad: bool
    _serial: int
    name: str | None

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
        self._array = data
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
        """The values, as a read-only view (`numpy` gives a copy).

        Assigning to it gives a leaf new values, of the same shape and dtype.
        """
        view = self._array.view()
        view.flags.writeable = False
        return view

    @data.setter
    def data(self, values: Array) -> None:
        if self._op is not None:
            raise TypeError(f"only a leaf can be assigned, and {self._label()} was made by {self._op.name}")
        values = values._array if isinstance(values, Tensor) else np.asarray(values)
        if values.shape != self._array.shape:
            raise ValueError(
                f"assigning to {self._label()}: expected shape {self._array.shape}, got {values.shape}"
            )
        if not np.can_cast(values.dtype, self._array.dtype, "same_kind"):
            raise TypeError(f"assigning to {self._label()}: expected {self._array.dtype}, got {values.dtype}")
        self._replace(lambda old, out: np.copyto(out, values))

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
                value = np.array(value, dtype=self._array.dtype)
                value.flags.writeable = False
            if value.shape != self._array.shape:
                raise ValueError(f"grad of {self._label()}: expected shape {self.shape}, got {value.shape}")
            if value.dtype != self._array.dtype:
                raise TypeError(f"grad of {self._label()}: expected {self.dtype}, got {value.dtype}")
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
    def serial(self) -> int:
        """When it was made or last assigned, by the clock of all tensors; inputs are older than results."""
        return self._serial

    @property
    def calls(self) -> tuple[tuple[int, Any, Any], ...]:
        """The calls of layers, and of vjps that were recorded, that ended in this tensor."""
        return getattr(self, "_calls", ())

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""
        return tuple(self._array.shape)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self._array.ndim

    @property
    def size(self) -> int:
        """Number of elements."""
        return self._array.size

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the elements."""
        dtype: np.dtype[Any] = self._array.dtype
        return dtype

    def numpy(self) -> np.ndarray[Any, Any]:
        """A copy of the values, free of the graph."""
        return self._array.copy()

    def item(self) -> float:
        """The only element as a Python number; ValueError if there are more."""
        if self._array.size != 1:
            raise ValueError(f"item: {self._label()} has {self._array.size} elements, expected one")
        return self._array.item()  # type: ignore[no-any-return]  # NumPy types it Any

    def detach(self) -> Tensor:
        """The same values as a leaf that does not require grad."""
        return Tensor(self._array)

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

    def backward_steps(self, grad: Array | None = None) -> BackwardSteps:
        """What `backward` does, op by op: a sequence of `BackwardStep`, in the order of the reverse walk.

        The walk is carried out when this is called, by the same code as `backward`, and leaves every
        ``.grad`` as it is; ``.gradients`` of the result are what `backward` would add. It keeps all
        cotangents, which `backward` drops as it goes. Arguments and errors are as in `backward`.

        >>> x = tg.Tensor(3.0, requires_grad=True, name="x")
        >>> for step in (tg.exp(x) * x).backward_steps():
        ...     print(step)
        1. multiply: g = 1.0
           x: g * y = 3.0
           y: g * x = 20.0855
        2. exp: g = 3.0
           x: g * out = 60.2566
        """
        from tensorgrad.graph.steps import backward_steps

        return backward_steps(self, grad)

    def _replace(self, write: Callable[[Array, Array], Any]) -> None:
        """Give this leaf what ``write(old, out)`` puts into ``out``, its own array if nobody else sees it."""
        # The clock first: should writing fail halfway, whatever read the old values must know.
        self._serial = next(_clock)
        seen = _references(self) > _UNSEEN  # a view or a graph, which must keep the old values
        old = self._array
        out = np.empty_like(old) if seen else old
        write(old, out)
        self._array = out

    def label(self) -> str:
        """What an error calls this tensor."""
        return self._label()

    def _label(self) -> str:
        kind = type(self).__name__ if self.name is None else f"{type(self).__name__} {self.name!r}"
        return f"{kind} of shape {self._array.shape}, {self._array.dtype}"

    def __repr__(self) -> str:
        values = np.array2string(self._array, separator=", ", prefix=f"{type(self).__name__}(", threshold=50)
        parts = [values, f"dtype={self._array.dtype}"]
        if self.name is not None:
            parts.append(f"name={self.name!r}")
        if self._op is not None:
            parts.append(f"op={self._op.name}")
        elif self._requires_grad:
            parts.append("requires_grad=True")
        return f"{type(self).__name__}({', '.join(parts)})"

    def __format__(self, spec: str) -> str:
        return format(self._array.item(), spec) if spec and self._array.size == 1 else format(str(self), spec)

    def __reduce__(self) -> tuple[Any, ...]:
        if self._op is not None:
            raise TypeError(f"only a leaf can be copied or pickled; take .detach() of {self._label()}")
        grad = self._grad if isinstance(self._grad, np.ndarray) else None
        return _restore, (type(self), self._array.copy(), self._requires_grad, self.name, grad)

    # The ways out of the graph that Python and NumPy take by themselves: open only where nothing is lost

    def _refuse_conversion(self, wanted: str) -> NoReturn:
        raise TypeError(
            f"{wanted} would silently cut {self._label()} off the graph; to keep the gradient use a NumPy "
            "function, such as np.stack for a list of tensors; .item(), .numpy() and .detach() make constants"
        )

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        if self._requires_grad:
            self._refuse_conversion("conversion to a NumPy array")
        if copy is False:
            raise ValueError("a Tensor gives NumPy a copy of its values, never a view, which t.data is")
        return np.array(self._array, dtype=dtype)

    def __float__(self) -> float:
        if self._requires_grad:
            self._refuse_conversion("conversion to float")
        return float(self.item())

    def __int__(self) -> int:
        if self._requires_grad:
            self._refuse_conversion("conversion to int")
        return int(self.item())

    def __bool__(self) -> bool:
        return bool(self._array)

    def _update(self, symbol: str, update: Callable[..., Any], other: Array) -> Tensor:
        """Carry out ``self symbol= other``: assign a leaf that requires grad, make a new value otherwise."""
        if self._op is not None or not self._requires_grad:
            result: Tensor = update(self, other)
            if self.ndim and result.shape != self.shape:
                raise ValueError(
                    f"{symbol}= would change {self._label()} to shape {result.shape}; write x = x {symbol} y"
                )
            return result
        if not _paused.get():
            raise TypeError(
                f"{symbol}= would change {self._label()}, a leaf that requires grad, while recording; "
                f"put it under tg.no_grad(), or write x = x {symbol} ..."
            )
        other = other._array if isinstance(other, Tensor) else other
        self._replace(lambda old, out: update(old, other, out=out))
        return self

    def __iadd__(self, other: Array) -> Tensor:
        return self._update("+", np.add, other)

    def __isub__(self, other: Array) -> Tensor:
        return self._update("-", np.subtract, other)

    def __imul__(self, other: Array) -> Tensor:
        return self._update("*", np.multiply, other)

    def __ipow__(self, other: Array) -> Tensor:
        return self._update("**", np.power, other)

    def __imod__(self, other: Array) -> Tensor:
        return self._update("%", np.remainder, other)

    def __ifloordiv__(self, other: Array) -> Tensor:
        return self._update("//", np.floor_divide, other)

    def __imatmul__(self, other: Array) -> Tensor:
        return self._update("@", np.matmul, other)

    def __itruediv__(self, other: Array) -> Tensor:
        return self._update("/", np.divide, other)


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
        if data._requires_grad:
            data._refuse_conversion(f"making a {what} of it")
        data = data._array
    refuse_masked(data, what)
    try:
        array = np.array(data, dtype=dtype)
    except (ValueError, TypeError) as error:
        raise type(error)(f"{what}: expected an array of real numbers; {error}") from None
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{what}: expected an array of real numbers, got dtype {array.dtype}")
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def refuse_masked(data: Any, what: str) -> None:
    """TypeError if ``data`` is a masked array, whose mask would be lost."""
    if hasattr(data, "mask") and hasattr(data, "filled"):
        raise TypeError(f"{what}: a masked array would lose its mask; pass .filled(value), or use np.where")


def refuse_integers(dtype: np.dtype[Any], what: str) -> None:
    """TypeError unless ``dtype`` is floating: a derivative needs a neighbourhood."""
    if dtype.kind != "f":
        raise TypeError(f"{what}: only floating tensors can require grad, got {dtype}; pass floats")


def _restore(
    kind: type[T], data: np.ndarray[Any, Any], requires_grad: bool, name: str | None, grad: Any
) -> T:
    tensor = kind.__new__(kind)
    tensor._become_leaf(data, requires_grad, name)
    tensor.grad = grad
    return tensor


def _references(tensor: Tensor) -> int:
    return sys.getrefcount(tensor._array)


_UNSEEN = _references(Tensor(0.0))  # how many there are when only the tensor holds its array
