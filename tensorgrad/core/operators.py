"""What Python and NumPy call on a Tensor: operators, methods, array protocols; each is the op of its name.

The tables that ops are entered in are here too. Everything that asks "which ops exist?" reads them.
"""

# What is looked up by its name has no type; the methods that look it up have one.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, Concatenate, Generic, NoReturn, ParamSpec, TypeAlias, TypeVar, overload

import numpy as np

from tensorgrad.core.checks import NDArray
from tensorgrad.core.elsewhere import TABLES, tell_names
from tensorgrad.core.refusals import (
    name_function,
    refuse_arguments,
    refuse_method,
    refuse_numpy,
    refuse_option,
)

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

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")  # what an operator gives: Tensor, which is defined on top of this file


#: SciPy's own ufuncs that an op computes, by their names in `scipy.special`.
SCIPY = {
    "cbrt": "cbrt", "erf": "erf", "erfc": "erfc", "exp2": "exp2", "expit": "sigmoid", "expm1": "expm1",
    "log1p": "log1p", "round": "round",
}  # fmt: skip

#: The options of ufuncs that change nothing, as whoever writes them out may give them.
_AS_USUAL = {"where": True, "casting": "same_kind", "order": "K", "dtype": None, "subok": True}


def is_default(value: Any, default: Any) -> bool:
    """Whether an option was given the value that it has anyway; arrays are not compared."""
    return value is default or (isinstance(value, str) and value == default)


def has_own_protocol(x: object) -> bool:
    """Whether ``x``, which is no array of NumPy's, says itself what functions and operators make of it."""
    kind = type(x)
    if isinstance(x, (Operators, np.ndarray, np.generic)) or kind in (float, int, list, tuple):
        return False
    if hasattr(kind, "toarray"):  # a sparse matrix, whose operators would drop the graph: it is refused
        return False
    return hasattr(kind, "__array_ufunc__") or getattr(kind, "__array_priority__", 0) > 0


class OwnProtocolError(TypeError):
    """An argument has operators of its own, which an op leaves it to."""


def leave_to_others(op: str, args: tuple[Any, ...]) -> None:
    """OwnProtocolError if an argument has operators of its own."""
    for x in args:
        if has_own_protocol(x):
            raise OwnProtocolError(
                f"{op}: a {type(x).__name__} brings its own operators and functions, to which a Tensor is "
                "left; for an op of tensorgrad pass its values, np.asarray(...)"
            )


def _operators(name: str) -> tuple[Callable[[Any, Any], Any], Callable[[Any, Any], Any]]:
    """A binary operator and its reflected twin: the op of a name, if the other side leaves it to us."""

    def operator(self: Any, other: Any) -> Any:
        try:
            return OPS[name](self, other)
        except OwnProtocolError:
            return NotImplemented

    def reflected(self: Any, other: Any) -> Any:
        try:
            return OPS[name](other, self)
        except OwnProtocolError:
            return NotImplemented

    return operator, reflected


def _comparison(function: Callable[..., Any]) -> Callable[..., Any]:
    """A comparison: a boolean array, if the other side leaves it to us."""

    def compare(self: Any, other: Any) -> Any:
        return NotImplemented if has_own_protocol(other) else NUMPY[function](self, other)

    return compare


def _of_truth(symbol: str, function: Callable[..., Any], *operands: Any) -> Any:
    """What an operator gives of truth values; TypeError of others."""
    for x in operands:
        if has_own_protocol(x):
            return NotImplemented
        dtype = x.dtype if hasattr(x, "dtype") else np.asarray(x).dtype
        if dtype != np.dtype(bool):
            raise TypeError(f"{symbol}: expected truth values, got {dtype}; compare first, or take t.data")
    return NUMPY[function](*operands)


def _method(function: Callable[..., Any]) -> Callable[..., Any]:
    """The method of ndarray that does what a NumPy function does, with its signature."""

    def method(self: Any, *args: Any, **options: Any) -> Any:
        return NUMPY[function](self, *args, **options)

    method.__name__ = method.__qualname__ = function.__name__
    method.__doc__ = f"`numpy.{function.__name__}` of this tensor."
    return method


def read_parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """A function's parameters by name; none of those in C that some releases of NumPy do not tell."""
    try:
        found = inspect.signature(function).parameters
    except ValueError:
        return {}
    return {"shape" if name == "newshape" else name: p for name, p in found.items()}  # until NumPy 2.1


def by_signature_of(
    function: Callable[..., Any], stand_in: Callable[..., Any], fuller: Callable[..., Any] | None = None
) -> Callable[..., Any]:
    """The stand-in, called as NumPy's function is: by its names and places of arguments, and defaults.

    An option that the stand-in lacks may be given if it is at its default; otherwise the call goes to what
    has more options, or the option is refused by its name.
    """
    theirs, own = read_parameters(function), read_parameters(stand_in)
    kinds, own_kinds = ({p.kind for p in parameters.values()} for parameters in (theirs, own))
    variadic = not theirs or inspect.Parameter.VAR_POSITIONAL in kinds | own_kinds
    open_ended = not theirs or inspect.Parameter.VAR_KEYWORD in kinds
    places, own_places = (
        [name for name, p in parameters.items() if p.kind < p.VAR_POSITIONAL] for parameters in (theirs, own)
    )
    same = sys.maxsize if variadic else len(own_places)  # so many arguments are given to both by position
    renamed = dict(zip(places, own_places, strict=False))

    def call(*args: Any, **options: Any) -> Any:
        if len(args) > same:
            extra = dict(zip(places[same:], args[same:], strict=False))
            if len(args) > len(places) or extra.keys() & options.keys():
                refuse_arguments(function, places, args, options)
            args, options = args[:same], extra | options
        if options:
            for name in [*options]:
                known, ours = name in theirs, renamed.get(name, name)
                if ours in own and (known or open_ended):
                    options[ours] = options.pop(name)
                elif known and is_default(options[name], theirs[name].default):
                    del options[name]
                elif known and fuller is not None:
                    return fuller(*args, **options)
                else:
                    refuse_option(function, name, theirs)
        return stand_in(*args, **options)

    return update_wrapper(call, stand_in, updated=())


def _call_unusual(ufunc: Any, method: str, inputs: Any, options: dict[str, Any]) -> Any:
    """A ufunc that is not NumPy's own, or is not simply called."""
    if any(map(has_own_protocol, inputs)):
        return NotImplemented
    if method != "__call__":
        refuse_method(ufunc, method)
    options = {k: v for k, v in options.items() if not is_default(v, _AS_USUAL.get(k, ...))}
    if options and (ufunc.signature is None or options.keys() - {"axis", "axes", "keepdims"}):
        hint = "; an array's += and the like cannot take one, write a = a + t" if "out" in options else ""
        raise TypeError(f"{name_function(ufunc)}: {', '.join(options)} cannot be used with a Tensor{hint}")
    name, scipy = ufunc.__name__, sys.modules.get("scipy.special")
    if name in SCIPY and getattr(scipy, name, None) is ufunc:
        return OPS[SCIPY[name]](*inputs)  # known by its name: we do not import SciPy
    if ufunc not in NUMPY:
        refuse_numpy(ufunc)
    return NUMPY[ufunc](*inputs, **options)


class Calls(Generic[P, R]):
    """What type checkers know of a call: a tensor among the first three arguments gives one, else an array.

    A call with numbers or lists first gives Any. Arguments by keyword do not count.
    """

    if TYPE_CHECKING:

        @overload
        def __call__(
            self: Calls[Concatenate[Any, Q], R], x: R, /, *args: Q.args, **params: Q.kwargs
        ) -> R: ...
        @overload
        def __call__(
            self: Calls[Concatenate[Any, Any, Q], R], x: Any, y: R, /, *args: Q.args, **params: Q.kwargs
        ) -> R: ...
        @overload
        def __call__(
            self: Calls[Concatenate[Any, Any, Any, Q], R],
            x: Any,
            y: Any,
            z: R,
            /,
            *args: Q.args,
            **params: Q.kwargs,
        ) -> R: ...
        @overload
        def __call__(
            self: Calls[Concatenate[Any, Q], R], x: NDArray, /, *args: Q.args, **params: Q.kwargs
        ) -> NDArray: ...
        @overload
        def __call__(self, *args: P.args, **params: P.kwargs) -> Any: ...
        def __call__(self: Any, *args: Any, **params: Any) -> Any: ...  # type: ignore[misc]  # it takes all


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
        if method != "__call__" or options or ufunc not in NUMPY:
            return _call_unusual(ufunc, method, inputs, options)
        try:
            return NUMPY[ufunc](*inputs)
        except OwnProtocolError:
            return NotImplemented

    def __array_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if len(types) > 1 and not all(issubclass(t, (Operators, np.ndarray)) for t in types):
            return NotImplemented
        if function not in NUMPY:
            refuse_numpy(function)
        return NUMPY[function](*args, **kwargs)

    # Arithmetic and methods: each is the op of its name

    if TYPE_CHECKING:

        def __add__(self, other: Array, /) -> R: ...
        def __radd__(self, other: Array, /) -> R: ...
        def __sub__(self, other: Array, /) -> R: ...
        def __rsub__(self, other: Array, /) -> R: ...
        def __mul__(self, other: Array, /) -> R: ...
        def __rmul__(self, other: Array, /) -> R: ...
        def __truediv__(self, other: Array, /) -> R: ...
        def __rtruediv__(self, other: Array, /) -> R: ...
        def __pow__(self, other: Array, /) -> R: ...
        def __rpow__(self, other: Array, /) -> R: ...
        def __matmul__(self, other: Array, /) -> R: ...
        def __rmatmul__(self, other: Array, /) -> R: ...
        def __mod__(self, other: Array, /) -> R: ...
        def __rmod__(self, other: Array, /) -> R: ...
        def __floordiv__(self, other: Array, /) -> R: ...
        def __rfloordiv__(self, other: Array, /) -> R: ...

    else:
        __add__, __radd__ = _operators("add")
        __sub__, __rsub__ = _operators("subtract")
        __mul__, __rmul__ = _operators("multiply")
        __truediv__, __rtruediv__ = _operators("divide")
        __pow__, __rpow__ = _operators("power")
        __matmul__, __rmatmul__ = _operators("matmul")
        __mod__, __rmod__ = _operators("remainder")
        __floordiv__, __rfloordiv__ = _operators("floor_divide")

    def __abs__(self) -> R:
        return OPS["absolute"](self)

    def __neg__(self) -> R:
        return OPS["negative"](self)

    def __pos__(self) -> R:
        return OPS["identity"](self)

    # Comparisons have no derivative: they give boolean arrays.

    __eq__ = _comparison(np.equal)
    __ne__ = _comparison(np.not_equal)
    __lt__ = _comparison(np.less)
    __le__ = _comparison(np.less_equal)
    __gt__ = _comparison(np.greater)
    __ge__ = _comparison(np.greater_equal)

    # Of truth values; of integers NumPy's work on bits, which tensors have no use for.

    def __invert__(self) -> Any:
        return _of_truth("~", np.logical_not, self)

    def __and__(self, other: Array) -> Any:
        return _of_truth("&", np.logical_and, self, other)

    def __or__(self, other: Array) -> Any:
        return _of_truth("|", np.logical_or, self, other)

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

    def sum(
        self, axis: Any = None, dtype: Any = None, out: None = None, keepdims: Any = False, **options: Any
    ) -> R:
        """Sum over ``axis``; see `numpy.ndarray.sum`."""
        if dtype is None and out is None and not options:
            return OPS["sum"](self, axis=axis, keepdims=keepdims)
        return NUMPY[np.sum](self, axis, dtype, out, keepdims, **options)

    def mean(
        self, axis: Any = None, dtype: Any = None, out: None = None, keepdims: Any = False, **options: Any
    ) -> R:
        """Mean over ``axis``; see `numpy.ndarray.mean`."""
        if dtype is None and out is None and not options:
            return OPS["mean"](self, axis=axis, keepdims=keepdims)
        return NUMPY[np.mean](self, axis, dtype, out, keepdims, **options)

    max: Callable[..., R] = _method(np.max)

    def reshape(self, *shape: Any, **options: Any) -> R:
        """The same elements in another shape; see `tensorgrad.reshape`."""
        if not shape:
            raise TypeError("reshape: expected a shape, got none")
        new = shape[0] if len(shape) == 1 else shape
        return NUMPY[np.reshape](self, new, **options) if options else OPS["reshape"](self, shape=new)

    def transpose(self, *axes: Any) -> R:
        """The axes permuted, reversed by default; see `tensorgrad.transpose`."""
        one = len(axes) == 1 and not isinstance(axes[0], int)
        return OPS["transpose"](self, axes=axes[0] if one else axes or None)

    all: Callable[..., Any] = _method(np.all)
    any: Callable[..., Any] = _method(np.any)
    argmax: Callable[..., Any] = _method(np.argmax)
    argmin: Callable[..., Any] = _method(np.argmin)
    argpartition: Callable[..., Any] = _method(np.argpartition)
    argsort: Callable[..., Any] = _method(np.argsort)
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

    def clip(self, min: Any = None, max: Any = None, **options: Any) -> R:
        """The values within bounds; see `tensorgrad.clip`."""
        return NUMPY[np.clip](self, min, max, **options)

    def astype(
        self, dtype: DTypeLike, order: Any = "K", casting: Any = "unsafe", subok: Any = True, copy: Any = True
    ) -> R:
        """The values cast to ``dtype``, always as a new tensor; see `tensorgrad.astype`."""
        dtype = np.dtype(dtype)
        if not np.can_cast(self._array.dtype, dtype, casting):
            raise TypeError(f"astype: {self._array.dtype} cannot be cast to {dtype} by {casting!r}")
        if str(order).upper() not in ("C", "F", "A", "K", "NONE"):
            raise ValueError(f"astype: expected order 'C', 'F', 'A' or 'K', got {order!r}")
        return OPS["astype"](self, dtype=dtype)


tell_names(Operators, TABLES["tensor"])
