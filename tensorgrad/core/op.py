"""Op: a function on arrays with one vjp formula per array argument."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from functools import partial, update_wrapper
from types import MethodType
from typing import Any, Generic, NoReturn, ParamSpec, TypeVar, overload

import numpy as np

from tensorgrad.core.recording import _clock, _paused, _watch, calling_line, lowering
from tensorgrad.core.registry import NUMPY, OPS
from tensorgrad.core.tensor import Array, Tensor, as_numeric, refuse_masked

P = ParamSpec("P")
F = TypeVar("F", bound=Callable[..., Any])

#: A formula ``(g, out, *args, **params) -> cotangent``; None says that the derivative is zero.
Vjp = Callable[..., Array] | None

_new = object.__new__
_ATOMS = frozenset({int, float, bool, str, slice, type(None), type(Ellipsis)})  # nothing in them can change


class Op(Generic[P]):
    """A differentiable function: ``forward`` on arrays, and a vjp formula per array argument.

    Made by `op` and `differentiate`. Called with arrays it computes arrays. Called with a Tensor it
    computes a Tensor, which remembers the call if one of its inputs requires grad.
    """

    def __init__(
        self,
        forward: Callable[P, Any],
        name: str,
        arrays: tuple[str, ...] | None = None,
        *,
        elementwise: bool,
        native: bool,
    ) -> None:
        update_wrapper(self, forward)
        # A NumPy function's own options are not ours: what it takes beside arrays is given at the call.
        signature = [] if native else list(inspect.signature(forward).parameters.values())
        if arrays is None:
            arrays = tuple(p.name for p in signature if p.kind is not p.KEYWORD_ONLY)
        self.name = self.__name__ = name
        self.forward = forward
        self.arrays = arrays
        self.metadata: tuple[str, ...] = ()  # what NumPy's function, if there is one, takes after the arrays
        self.elementwise = elementwise
        self._native = native
        self._bare = isinstance(forward, np.ufunc)  # their options (out, where, dtype) are not for tensors
        self.vjps: dict[str, Vjp] = {}
        self.joint: Callable[..., tuple[Array, ...]] | None = None
        #: Of products: how many products a call adds up, ``(out, *args, **params) -> int``.
        self.multiply_adds: Callable[..., int] | None = None
        self.formulas: list[Vjp] = [partial(self._undeclared, array) for array in arrays]
        self.variadic = any(p.kind is p.VAR_POSITIONAL for p in signature)
        self._arity = -1 if self.variadic else len(arrays)
        defaults = {p.name: p.default for p in signature if p.default is not p.empty}
        self._optional = {name: default for name, default in defaults.items() if name in arrays}
        self._defaults = {name: default for name, default in defaults.items() if name not in arrays}

    def defvjp(self, **formulas: Vjp) -> None:
        """Declare the vjp of each array argument, by the argument's name.

        A formula takes the cotangent ``g`` of the output, the output, and the call's arguments with all
        defaults filled in; it returns the cotangent of its argument. It is made of ops and NumPy functions,
        so it can be differentiated in turn, and changes none of what it is given. None declares a derivative
        that is zero everywhere. The formula of a ``*arguments`` parameter takes the position first:
        ``(i, g, out, *arguments, **params)``.

        >>> @tg.op
        ... def cube(x):
        ...     return x * x * x
        >>> cube.defvjp(x=lambda g, out, x: g * 3 * x * x)
        >>> tg.grad(cube)(2.0), tg.grad(tg.grad(cube))(2.0)
        (array(12.), array(12.))
        """
        unknown = formulas.keys() - set(self.arrays)
        if unknown:
            wrong = ", ".join(sorted(unknown))
            raise TypeError(f"{self.name}: no array argument {wrong}; it has {', '.join(self.arrays)}")
        self.vjps.update(formulas)
        self.formulas = [self.vjps.get(name, partial(self._undeclared, name)) for name in self.arrays]

    def defvjp_joint(self, formula: Callable[..., tuple[Array, ...]]) -> None:
        """Declare one formula that gives the cotangents of all array arguments, as a tuple.

        For ops whose cotangents share much of their work. It takes what the formulas of `defvjp` take; None
        in its result stands for zero.

        >>> @tg.op
        ... def product(x, y):
        ...     return x * y
        >>> product.defvjp_joint(lambda g, out, x, y: (g * y, g * x))
        >>> tg.grad(product, (0, 1))(2.0, 3.0)
        (array(3.), array(2.))
        """
        self.joint = formula

    def _undeclared(self, name: str, *args: Any, **params: Any) -> NoReturn:
        raise NotImplementedError(
            f"{self.name} has no vjp with respect to {name}; declare it with {self.name}.defvjp({name}=...)"
        )

    def formulas_for(self, inputs: int) -> list[Vjp]:
        """The formulas by position, for a call with so many array arguments."""
        if not self.variadic:
            return self.formulas
        *first, last = self.formulas
        return first + [last and partial(last, i) for i in range(inputs - len(first))]

    def __call__(self, *call_args: P.args, **params: P.kwargs) -> Any:
        args: tuple[Any, ...] = call_args
        if len(args) != self._arity:
            args = self._complete(args, params)
        if params and self._bare:
            raise TypeError(f"{self.name}: no option {', '.join(params)} can be used here")
        traced = record = raw = mixed = False
        arrays: list[Any] = []
        dtype: Any = None
        for x in args:
            if isinstance(x, Tensor):
                traced = True
                data = x._array
                if x._requires_grad:
                    if record:
                        mixed = mixed or data.dtype is not dtype
                    else:
                        record = True
                        dtype = data.dtype
                x = data
            else:
                raw = True
            arrays.append(x)
        record = record and not _paused.get()
        if record and raw:
            # The graph must not see later changes to an array that is not its own.
            args = tuple(x if isinstance(x, Tensor) else self._constant(x) for x in args)
            arrays = [x._array if isinstance(x, Tensor) else x for x in args]
        forward = self.forward
        if not traced and (lower := lowering.get()) is not None:
            forward = partial(lower, self)
        try:
            out = forward(*arrays, **params)
        except (TypeError, ValueError, IndexError) as error:
            raise self._explained(error, arrays) from error
        if not traced:
            return out
        if type(out) is not np.ndarray:
            if isinstance(out, (tuple, list)):
                raise TypeError(f"{self.name}: an op gives one array, got a {type(out).__name__}; stack them")
            refuse_masked(out, self.name)
            out = np.asarray(out)
        node = _new(Tensor)
        node._array = out
        node._grad = node.name = None
        node._requires_grad = record
        node._serial = next(_clock)
        if record:
            if mixed or out.dtype is not dtype:
                self._check_dtypes(args, arrays, out.dtype)
            node._op = self
            node._inputs = args
            node._params = self._frozen(params) if params or self._defaults else params
            watch = _watch.get()
            if watch is not None:
                watch.after_forward(node, arrays)
        else:
            node._op = None
            node._inputs = ()
            node._params = {}
            if raw and any(isinstance(x, np.ndarray) and np.may_share_memory(out, x) for x in args):
                node._array = out.copy(order="K")  # the array is the caller's, who may change it
        return node

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """Bind like a function, so that help, doctest and inspect treat an op as one."""
        return self if instance is None else MethodType(self, instance)

    def __reduce__(self) -> str:
        return self.__name__  # an op is pickled and copied by reference, as a function is

    def __repr__(self) -> str:
        return f"<op {self.name}({', '.join(self.arrays)})>"

    def _complete(self, args: tuple[Any, ...], params: dict[str, Any]) -> tuple[Any, ...]:
        """Move array arguments given by keyword to their places, and fill in the optional ones."""
        if self.variadic:
            return args
        if len(args) > len(self.arrays) and self._bare:
            raise TypeError(f"{self.name}: expected {len(self.arrays)} arguments, got {len(args)}")
        extra = args[len(self.arrays) :]
        if len(extra) <= len(self.metadata):
            args = args[: len(self.arrays)]
            for name, value in zip(self.metadata, extra, strict=False):
                if name in params:
                    raise TypeError(f"{self.name}: {name} was given twice")
                params[name] = value
        for name in self.arrays[len(args) :]:
            if name in params:
                args += (params.pop(name),)
            elif name in self._optional:
                args += (self._optional[name],)
            else:
                raise TypeError(f"{self.name}: missing argument {name}")
        return args

    def _constant(self, x: Any) -> Any:
        """A raw operand as the graph keeps it: scalars as they are, all else as an array of its own."""
        if x is None or isinstance(x, (int, float, np.generic)):
            return x
        # A plain array, also of a matrix: its operators would mean something else in the formulas.
        copy = as_numeric(x, None, self.name)
        copy.flags.writeable = False
        return copy

    def _frozen(self, params: dict[str, Any]) -> dict[str, Any]:
        frozen = dict(self._defaults)
        for key, value in params.items():
            frozen[key] = value if type(value) in _ATOMS else _frozen(value)
        return frozen

    def _check_dtypes(self, args: tuple[Any, ...], arrays: list[Any], dtype: np.dtype[Any]) -> None:
        for x in args:
            if isinstance(x, Tensor) and x._requires_grad:
                self._check_dtype(x, arrays, dtype)

    def _check_dtype(self, x: Tensor, arrays: list[Any], dtype: np.dtype[Any]) -> None:
        if dtype.kind != "f":
            raise TypeError(f"{self.name}: a derivative needs a floating result, got {dtype}; detach first")
        if dtype != x.dtype and self.name != "astype":
            raise TypeError(
                f"{self.name}: the {x.dtype} tensor would silently become {dtype} "
                f"({self._describe(arrays)}); cast one side with .astype, or a NumPy scalar with float(...)"
            )

    def _describe(self, arrays: list[Any]) -> str:
        *first, last = self.arrays
        rest = [f"{last}[{i}]" for i in range(len(arrays))] if self.variadic else [last]
        return ", ".join(
            f"{name} {x.dtype} {x.shape}" if hasattr(x, "shape") else f"{name} {type(x).__name__}"
            for name, x in zip(first + rest, arrays, strict=False)
        )

    def _explained(self, error: Exception, arrays: list[Any]) -> Exception:
        message = str(error)
        kinds = (np.linalg.LinAlgError, np.exceptions.AxisError, TypeError, IndexError, ValueError)
        kind = next(kind for kind in kinds if isinstance(error, kind))
        if self._native or not message.startswith(f"{self.name}: "):
            message = f"{self.name}: {message.removeprefix(f'{self.name}: ')} ({self._describe(arrays)})"
        explained = kind(message)
        explained.add_note(f"{self.name} was called at {calling_line()}")
        return explained


@overload
def op(forward: Callable[P, Any], /) -> Op[P]: ...
@overload
def op(
    *, elementwise: bool = False, numpy: Callable[..., Any] | None = None
) -> Callable[[Callable[P, Any]], Op[P]]: ...
def op(
    forward: Callable[P, Any] | None = None,
    /,
    *,
    elementwise: bool = False,
    numpy: Callable[..., Any] | None = None,
) -> Any:
    """Register a function on arrays as a differentiable op; its vjps follow by `Op.defvjp`.

    Array arguments are the positional ones, metadata (an axis, a stride) the keyword-only ones. The forward
    must not change its arguments.

    Parameters
    ----------
    elementwise : bool
        The arguments broadcast against one another; the cotangents are then summed back to their shapes.
    numpy : function, optional
        The NumPy function that this op stands in for when it is called with a Tensor.

    >>> @tg.op(elementwise=True)
    ... def softsign(x):
    ...     return x / (1 + np.abs(x))
    >>> softsign.defvjp(x=lambda g, out, x: g / (1 + np.abs(x)) ** 2)
    >>> tg.gradcheck(softsign, np.array([-1.0, 0.5])).ok
    True
    """
    if forward is None:
        return partial(_register, elementwise=elementwise, numpy=numpy)
    return _register(forward, elementwise=elementwise, numpy=numpy)


def _register(forward: Callable[P, Any], *, elementwise: bool, numpy: Callable[..., Any] | None) -> Op[P]:
    new = Op(forward, forward.__name__, elementwise=elementwise, native=False)
    _enter(new)
    if numpy is not None:
        names = _parameters_of(numpy) or _parameters_of(forward)
        new.metadata = names[len(new.arrays) :]
        NUMPY[numpy] = partial(_as_numpy, new, names)
    return new


def _parameters_of(function: Callable[..., Any]) -> tuple[str, ...]:
    """The names of a function's parameters; none for those in C that some releases of NumPy do not tell."""
    try:
        names = inspect.signature(function).parameters
    except ValueError:
        return ()
    return tuple("shape" if name == "newshape" else name for name in names)  # reshape's until NumPy 2.1


def _enter(new: Op[Any]) -> None:
    if new.name in OPS:
        raise ValueError(
            f"an op named {new.name} exists already ({OPS[new.name].__module__}); choose another name"
        )
    OPS[new.name] = new


def _as_numpy(stand_in: Op[Any], names: tuple[str, ...], *args: Any, **kwargs: Any) -> Any:
    """Call an op by the signature of its NumPy function, where arrays have other names."""
    for name in names[len(args) : len(stand_in.arrays)]:
        if name in kwargs:
            args += (kwargs.pop(name),)
    return stand_in(*args, **kwargs)


def differentiate(function: Callable[..., Any], /, **formulas: Vjp) -> Op[...]:
    """Make a NumPy function differentiable: declare its vjps by argument, and get it back as an op.

    The formulas are as in `Op.defvjp`. The keywords name the positional array arguments, in order.

    >>> nextafter = tg.differentiate(np.nextafter, x=lambda g, out, x, y: g, y=None)
    >>> x = tg.Tensor([0.0, 1.0], requires_grad=True)
    >>> np.nextafter(x, 5.0).sum().backward()
    >>> x.grad
    array([1., 1.])
    """
    elementwise = isinstance(function, np.ufunc)
    new: Op[...] = Op(function, function.__name__, tuple(formulas), elementwise=elementwise, native=True)
    new.__doc__ = f"`numpy.{new.name}`, differentiable with respect to {' and '.join(formulas)}."
    new.__module__ = sys._getframe(1).f_globals["__name__"]  # where it was declared, not NumPy
    new.defvjp(**formulas)
    _enter(new)
    NUMPY[function] = new
    return new


def implements(function: Callable[..., Any], /) -> Callable[[F], F]:
    """Enter a composition of ops as what a NumPy function does when it is given a Tensor.

    >>> @tg.implements(np.cbrt)
    ... def cbrt(x):
    ...     return tg.exp(tg.log(x) / 3)
    >>> np.cbrt(tg.Tensor(8.0))
    Tensor(2., dtype=float64)
    """

    def enter(composition: F) -> F:
        NUMPY[function] = composition
        return composition

    return enter


def nondifferentiable(function: Callable[..., Any], /) -> None:
    """Let a NumPy function whose result is boolean or integer take Tensors: it gives plain arrays."""

    def on_values(*args: Any, **kwargs: Any) -> Any:
        values = {key: x._array if isinstance(x, Tensor) else x for key, x in kwargs.items()}
        return function(*(x._array if isinstance(x, Tensor) else x for x in args), **values)

    NUMPY[function] = on_values


def _frozen(value: Any) -> Any:
    """``value`` with a copy of every array and list in it, so that the graph alone holds them."""
    if isinstance(value, Tensor):
        return value.numpy()
    if isinstance(value, np.ndarray):
        copy = value.copy()
        copy.flags.writeable = False
        return copy
    if type(value) is tuple and _ATOMS.issuperset(map(type, value)):
        return value
    if isinstance(value, (tuple, list)):
        return type(value)([_frozen(item) for item in value])
    return value
