"""The engine: tensors, ops, and the reverse walk. Read it from the top to the bottom.

A tensor remembers how it was made, ``op(*inputs, **params)``, and that is the graph. An op is a function on
arrays with one formula per array argument, its vjp. The walk goes from an output back to the leaves and calls
the formulas. What ops there are it does not know, but for three that stand here: they are found by their
names, in two tables.
"""

from __future__ import annotations

import inspect
import itertools
import sys
import threading
import weakref
from collections.abc import Callable, Iterable
from functools import partial, update_wrapper
from heapq import heappop, heappush
from types import MethodType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeAlias, TypeVar, overload

import numpy as np

from tensorgrad.core import context
from tensorgrad.core.checks import NDArray
from tensorgrad.core.context import Call, Watch, count_pauses, find_recorder, find_watch, lowering, recorders
from tensorgrad.core.elsewhere import explained
from tensorgrad.core.operators import (
    NUMPY,
    OPS,
    READERS,
    Array,
    Calls,
    Operators,
    by_signature_of,
    leave_to_others,
    read_parameters,
)
from tensorgrad.core.parallel import share
from tensorgrad.core.readonly import ReadOnly
from tensorgrad.core.refusals import (
    explain,
    explain_vjp,
    refuse_assigned,
    refuse_cotangent,
    refuse_switch,
    refuse_undeclared,
    refuse_update,
    require_constant,
    require_cotangents,
    require_dense,
    require_dtype,
    require_floating,
    require_like,
    require_values,
)

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

__all__ = [
    "Op", "Parameter", "Tensor", "broadcast_to", "differentiate", "identity", "implements",
    "nondifferentiable", "op", "sum_to",
]  # fmt: skip

P = ParamSpec("P")
F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T", bound="Tensor")

#: A formula ``(g, out, *args, **params) -> cotangent``; None says that the derivative is zero.
Vjp = Callable[..., Array] | None


# Recording

#: One clock for all tensors: a tensor's serial number is the tick at which it was made or last assigned.
#: Hence an input is always older than what was made of it; where it is not, it was changed.
clock = itertools.count(1)

# Tensors


class Tensor(Operators["Tensor"]):
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

    _array: NDArray
    _calls: tuple[Call, ...]  # unset on all but a few tensors
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
        self._become_leaf(as_numeric(data, dtype, type(self).__name__), requires_grad, name)

    def _become_leaf(self, data: NDArray, requires_grad: bool, name: str | None) -> None:
        if requires_grad:
            require_floating(data.dtype, f"{type(self).__name__}{f' {name!r}' if name else ''}")
        self._array = data
        self._requires_grad = requires_grad
        self.name = name
        self._grad = None
        self._op = None
        self._inputs = ()
        self._params = {}
        self._serial = next(clock)

    # What a tensor is

    @property
    def data(self) -> NDArray:
        """The values, as a read-only view (`numpy` gives a copy).

        Assigning to it gives a leaf new values, of the same shape and dtype.
        """
        self._leave("data")
        view = self._array.view(ReadOnly)
        view.setflags(write=False)
        return view

    @data.setter
    def data(self, values: Array) -> None:
        if self._op is not None:
            raise TypeError(f"only a leaf can be assigned, and {self.label()} was made by {self._op.name}")
        if type(values) is not np.ndarray:
            require_values(values, f"assigning to {self.label()}")
        values = values._array if isinstance(values, Tensor) else np.asarray(values)
        require_like("assigning to", self, values, "same_kind")
        np.copyto(self.own(), values)

    @property
    def grad(self) -> Any:
        """The gradient that `backward` accumulated: a read-only array, or None before the first.

        After ``backward(create_graph=True)`` a Tensor, which can be differentiated again.
        """
        return self._grad.view(ReadOnly) if type(self._grad) is np.ndarray else self._grad

    @grad.setter
    def grad(self, value: Array | None) -> None:
        if value is not None:
            if not isinstance(value, Tensor):
                require_values(value, f"grad of {self.label()}")
                value = np.array(value, dtype=self._array.dtype)
                value.setflags(write=False)
            require_like("grad of", self, value, "no")
        self._grad = value

    @property
    def requires_grad(self) -> bool:
        """Whether a gradient can flow to this tensor."""
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        refuse_switch()

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
        """The tick of the one clock at which this tensor was made or last assigned: its age."""
        return self._serial

    @property
    def calls(self) -> tuple[Call, ...]:
        """The calls of layers and formulas that ended in this tensor, the innermost first."""
        return getattr(self, "_calls", ())

    def note_call(self, start: int, maker: Any, label: Any, given: Any) -> None:
        """Note that this tensor is what a `Call` ended in."""
        self._calls = (*self.calls, Call(start, maker, label, given))

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
        return self._array.dtype  # type: ignore[no-any-return]  # NumPy types it Any

    def numpy(self) -> NDArray:
        """A copy of the values, free of the graph."""
        self._leave("numpy()")
        return self._array.copy()

    def tolist(self) -> Any:
        """The values as nested lists of Python numbers."""
        self._leave("tolist()")
        return self._array.tolist()

    def item(self) -> float:
        """The only element as a Python number; ValueError if there are more."""
        self._leave("item()")
        if self._array.size != 1:
            raise ValueError(f"item: {self.label()} has {self._array.size} elements, expected one")
        return self._array.item()  # type: ignore[no-any-return]  # NumPy types it Any

    def detach(self) -> Tensor:
        """The same values as a leaf that does not require grad."""
        if find_recorder() is not None:
            return identity._follow((self,), {})  # type: ignore[no-any-return]  # a tensor of one
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
            Record the backward pass too, so that the gradients can be differentiated again. A leaf and its
            gradient then hold one another, until `zero_grad`; `tensorgrad.grad` leaves no such cycle.

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
        require_recorded(self, "backward")
        context.forbid("backward")
        found = walk([(self, seed(self, grad, "backward"))], create_graph=create_graph)
        with _adding:  # of two threads that add to one leaf, both must find what the other added
            for leaf, cotangent in found:
                leaf._grad = _add_up(leaf._grad, cotangent, create_graph)

    def backward_steps(self, grad: Array | None = None) -> Any:
        """What `backward` does, op by op: a sequence of `BackwardStep`, in the order of the reverse walk.

        The walk is carried out when this is called, by the same code as `backward`, and leaves every
        ``.grad`` as it is; ``.gradients`` of the result are what `backward` would add. It keeps all
        cotangents, which `backward` drops as it goes. Arguments and errors are as in `backward`.

        >>> x = tg.Tensor(3.0, requires_grad=True, name="x")
        >>> for step in (tg.exp(x) * x).backward_steps():
        ...     print(step)
        1. multiply: g = 1.0
           exp: g * x = 3.0
           x: g * exp = 20.0855
        2. exp: g = 3.0
           x: g * exp = 60.2566
        """
        return READERS["backward_steps"](self, grad)

    def own(self) -> NDArray:
        """The array of this leaf, for whoever is about to change it: seen by nobody else, counted as new."""
        context.forbid("assigning to", self)
        # The clock first: should writing fail halfway, whatever read the old values must know.
        self._serial = next(clock)
        # A view or a graph must keep the old values.
        if _count_references(self) > _UNSEEN or not self._array.flags.writeable:
            copy = np.empty_like(self._array)
            np.copyto(copy, self._array)
            self._array = copy
        return self._array

    def label(self) -> str:
        """What errors call this tensor: its type and name, shape and dtype."""
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
            raise TypeError(f"only a leaf can be copied or pickled; take .detach() of {self.label()}")
        grad = self._grad if isinstance(self._grad, np.ndarray) else None
        return _restore, (type(self), self._array.copy(), self._requires_grad, self.name, grad)

    # The ways out of the graph that Python and NumPy take by themselves: open only where nothing is lost

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray:
        require_constant(self, "conversion to a NumPy array")
        self._leave("conversion to a NumPy array")
        if copy is False:
            raise ValueError("a Tensor gives NumPy a copy of its values, never a view, which t.data is")
        return np.array(self._array, dtype=dtype)

    def __float__(self) -> float:
        require_constant(self, "conversion to float")
        return float(self.item())

    def __int__(self) -> int:
        require_constant(self, "conversion to int")
        return int(self.item())

    def __bool__(self) -> bool:
        recorder = find_recorder()
        return bool(self._array) if recorder is None else recorder.decide(self)

    def _leave(self, how: str) -> None:
        """Tell a recorder that values leave the graph."""
        if (recorder := find_recorder()) is not None:
            recorder.refuse(self, how)

    def _update(self, symbol: str, update: Callable[..., Any], other: Array) -> Tensor:
        """Carry out ``self symbol= other``: assign a leaf that requires grad, make a new value otherwise."""
        if self._op is not None or not self._requires_grad:
            result: Tensor = update(self, other)
            if self.ndim and result.shape != self.shape:
                raise ValueError(
                    f"{symbol}= would change {self.label()} to shape {result.shape}; write x = x {symbol} y"
                )
            return result
        if not count_pauses():
            refuse_update(self, symbol)
        other = other._array if isinstance(other, Tensor) else other
        array = self.own()
        update(array, other, out=array)
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


def as_numeric(data: Array, dtype: DTypeLike | None, what: str) -> NDArray:
    """A fresh real or boolean array of ``data``; TypeError or ValueError naming ``what`` otherwise."""
    if isinstance(data, Tensor):
        require_constant(data, f"making a {what} of it")
        data = data._array
    require_values(data, what)
    require_dense(data, what)
    try:
        array = np.array(data, dtype=dtype)
    except (ValueError, TypeError) as error:
        kind = ValueError if isinstance(error, ValueError) else TypeError
        raise kind(f"{what}: expected an array of real numbers; {error}") from None
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{what}: expected an array of real numbers, got dtype {array.dtype}")
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _restore(kind: type[T], data: NDArray, requires_grad: bool, name: str | None, grad: Any) -> T:
    tensor = kind.__new__(kind)
    tensor._become_leaf(data, requires_grad, name)
    tensor.grad = grad
    return tensor


def _count_references(tensor: Tensor) -> int:
    return sys.getrefcount(tensor._array)


def protect(x: Array) -> None:
    """Make an array read-only, or that of a Tensor: who writes into it is found out."""
    array = array_of(x)
    if isinstance(array, np.ndarray):
        array.flags.writeable = False


_UNSEEN = _count_references(Tensor(0.0))  # how many there are when only the tensor holds its array


# Ops

_new = object.__new__
_ATOMS = frozenset({int, float, bool, str, slice, type(None), type(Ellipsis)})  # nothing in them can change


class Op(Calls[P, "Tensor"]):
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
        #: Of products: how many products a call adds up, ``(out, *args, **params) -> int``. It lets the walk
        #: run the formulas of a large one on threads.
        self.multiply_adds: Callable[..., int] | None = None
        self.defvjp()
        self.variadic = any(p.kind is p.VAR_POSITIONAL for p in signature)
        self._arity = -1 if self.variadic else len(arrays)
        defaults = {p.name: p.default for p in signature if p.default is not p.empty}
        self._optional = {name: default for name, default in defaults.items() if name in arrays}
        self.defaults = {name: default for name, default in defaults.items() if name not in arrays}

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
        if unknown := ", ".join(sorted(formulas.keys() - set(self.arrays))):
            raise TypeError(f"{self.name}: no array argument {unknown}; it has {', '.join(self.arrays)}")
        self.vjps.update(formulas)
        self.formulas: list[Vjp] = [
            self.vjps.get(name, partial(refuse_undeclared, self.name, name)) for name in self.arrays
        ]

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

    def formulas_for(self, inputs: int) -> list[Vjp]:
        """The formulas by position, for a call with so many array arguments."""
        if not self.variadic:
            return self.formulas
        *first, last = self.formulas
        return first + [last and partial(last, i) for i in range(inputs - len(first))]

    def _call(self, *args: Any, **params: Any) -> Any:
        if len(args) != self._arity:
            args = self._complete(args, params)
        if params and self._bare:
            raise TypeError(f"{self.name}: {', '.join(params)} cannot be used with a Tensor")
        has_tensor = record = has_constant = mixed = False
        arrays: list[Any] = []
        dtype: Any = None
        for x in args:
            if isinstance(x, Tensor):
                has_tensor = True
                data = x._array
                if x._requires_grad:
                    if record:
                        mixed = mixed or data.dtype is not dtype
                    else:
                        record = True
                        dtype = data.dtype
                x = data
            elif type(x) is not float and type(x) is not int:  # which are kept as they are
                has_constant = True
            arrays.append(x)
        if has_constant and has_tensor and self._bare:
            leave_to_others(self.name, args)
        record = record and not count_pauses()
        if recorders and has_tensor and find_recorder() is not None:
            return self._follow(args, params, record)
        if record and has_constant:
            # The graph must not see later changes to an array that is not its own.
            args = tuple(x if isinstance(x, Tensor) else self._keep_operand(x) for x in args)
            arrays = [x._array if isinstance(x, Tensor) else x for x in args]
        forward = self.forward
        if lowering and not has_tensor and threading.get_ident() in lowering:
            forward = partial(lowering[threading.get_ident()], self)
        try:
            out = forward(*arrays, **params)
        except (TypeError, ValueError, IndexError) as error:
            raise explain(error, self, arrays, self._native) from error
        if not has_tensor:
            return out
        if type(out) is not np.ndarray:
            out = self._unwrap(out)
        node = _new(Tensor)
        node._array = out
        node._grad = node.name = None
        node._requires_grad = record
        node._serial = next(clock)
        if record:
            if mixed or out.dtype is not dtype:
                require_dtype(self, args, arrays, out.dtype)
            node._op, node._inputs = self, args
            node._params = self._keep_params(params) if params or self.defaults else params
            if (watch := find_watch()) is not None:
                watch.after_forward(node, arrays)
        else:
            node._op, node._inputs, node._params = None, (), {}
            if has_constant and any(isinstance(x, np.ndarray) and np.may_share_memory(out, x) for x in args):
                node._array = out.copy(order="K")  # the array is the caller's, who may change it
        return node

    if not TYPE_CHECKING:  # for which `Calls` says what comes
        __call__ = _call

    def _follow(self, args: tuple[Any, ...], params: dict[str, Any], record: bool = False) -> Any:
        """Call it so that a recorder finds it in the graph, with the arrays and tensors that it was given."""
        recorder: Any = find_recorder()
        args = tuple(x if isinstance(x, (Tensor, np.ndarray)) else self._keep_operand(x) for x in args)
        try:
            node = recorder.call(self, args, params)
        except (TypeError, ValueError, IndexError) as error:
            raise explain(error, self, array_of(args), self._native) from error
        if isinstance(node, Tensor):
            if record:
                require_dtype(self, args, array_of(args), node.dtype)
            node._requires_grad, node._op, node._inputs = record, self, args
            node._params = self.defaults | params
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

    def _unwrap(self, out: Any) -> NDArray:
        """What the forward gave, a NumPy scalar or a subclass's array, as a plain array."""
        if isinstance(out, (tuple, list)):
            raise TypeError(f"{self.name}: an op gives one array, got a {type(out).__name__}; stack them")
        require_values(out, self.name)
        return np.asarray(out)

    def _keep_operand(self, x: Any) -> Any:
        """A raw operand as the graph keeps it: scalars as they are, all else as an array of its own."""
        if x is None or isinstance(x, (int, float, np.generic)):
            return x
        # A plain array, also of a matrix: its operators would mean something else in the formulas.
        copy = as_numeric(x, None, self.name)
        copy.flags.writeable = False
        return copy

    def _keep_params(self, params: dict[str, Any]) -> dict[str, Any]:
        """Keyword arguments as the graph keeps them, defaults filled in."""
        kept = dict(self.defaults)
        for key, value in params.items():
            kept[key] = value if type(value) in _ATOMS else _freeze(value)
        return kept


def _freeze(value: Any) -> Any:
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
        return type(value)([_freeze(item) for item in value])
    return value


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
        new.metadata = tuple(read_parameters(numpy) or read_parameters(forward))[len(new.arrays) :]
        implements(numpy)(new)
    return new


def _enter(new: Op[Any]) -> None:
    if new.name in OPS:
        raise ValueError(
            f"an op named {new.name} exists already ({OPS[new.name].__module__}); choose another name"
        )
    OPS[new.name] = new


def differentiate(function: Callable[..., Any], /, **formulas: Vjp) -> Op[Concatenate[Any, ...]]:
    """Make a NumPy function differentiable: declare its vjps by argument, and get it back as an op.

    The formulas are as in `Op.defvjp`. The keywords name the positional array arguments, in order.

    >>> nextafter = tg.differentiate(np.nextafter, x=lambda g, out, x, y: g, y=None)
    >>> x = tg.Tensor([0.0, 1.0], requires_grad=True)
    >>> np.nextafter(x, 5.0).sum().backward()
    >>> x.grad
    array([1., 1.])
    """
    elementwise = isinstance(function, np.ufunc)
    new: Op[Any] = Op(function, function.__name__, tuple(formulas), elementwise=elementwise, native=True)
    new.__doc__ = f"`numpy.{new.name}`, differentiable with respect to {' and '.join(formulas)}."
    new.__module__ = sys._getframe(1).f_globals["__name__"]  # where it was declared, not NumPy
    new.defvjp(**formulas)
    _enter(new)
    NUMPY[function] = new
    return new


def implements(
    function: Callable[..., Any], /, *, plainly: Callable[..., Any] | None = None
) -> Callable[[F], F]:
    """Enter a composition of ops as what a NumPy function does when it is given a Tensor.

    A call without the options that the composition alone has goes to the op ``plainly``, if that is given.

    >>> @tg.implements(np.cbrt)
    ... def cbrt(x):
    ...     return tg.exp(tg.log(x) / 3)
    >>> np.cbrt(tg.Tensor(8.0))
    Tensor(2., dtype=float64)
    """

    def enter(composition: F) -> F:
        entered = by_signature_of(function, composition)
        NUMPY[function] = entered if plainly is None else by_signature_of(function, plainly, entered)
        told: Any = composition if isinstance(composition, Op) else explained(composition)
        return told  # type: ignore[no-any-return]  # of the same type

    return enter


def nondifferentiable(function: Callable[..., Any], /, *, reads: bool = True) -> None:
    """Let a NumPy function whose result is boolean or integer take Tensors: it gives plain arrays.

    One that reads no values, but shapes and dtypes, gives them while a recorder is at work, too.
    """

    recorded: Op[...] = Op(function, function.__name__, elementwise=True, native=True)

    def plain(*args: Any, **kwargs: Any) -> Any:
        if reads and find_recorder() is not None:
            return recorded._follow(args, kwargs)
        return function(*array_of(args), **{key: array_of(x) for key, x in kwargs.items()})

    # A ufunc is called by operators, without options, and in a hurry.
    NUMPY[function] = plain if isinstance(function, np.ufunc) else explained(update_wrapper(plain, function))


def as_option(x: Array) -> Array:
    """The values of a tensor as an option of an op, with respect to which there is no derivative."""
    return x.data if isinstance(x, Tensor) and find_recorder() is None else x


def array_of(x: Any) -> Any:
    """A tensor's array, also of those in a tuple; all else as it is."""
    return x._array if isinstance(x, Tensor) else tuple(map(array_of, x)) if type(x) is tuple else x


# The three ops that core itself needs: to begin a derivative at, and for arguments that were broadcast


@op(elementwise=True)
def identity(x: Array) -> Array:
    """The same values as a new node, from which a derivative can be taken.

    >>> tg.identity(3.0)
    3.0
    """
    return x


identity.defvjp(x=lambda g, out, x: g)


@op(numpy=np.broadcast_to)
def broadcast_to(x: Array, *, shape: int | tuple[int, ...]) -> Array:
    """``x`` repeated along new and unit axes to ``shape``; see `numpy.broadcast_to`.

    >>> tg.broadcast_to(np.array([1.0, 2.0]), shape=(2, 2))
    array([[1., 2.],
           [1., 2.]])
    """
    return np.broadcast_to(x, shape)


broadcast_to.defvjp(x=lambda g, out, x, shape: sum_to(g, shape=x.shape))


_HALF = np.dtype(np.float16)


@op
def sum_to(x: Array, *, shape: tuple[int, ...]) -> Array:
    """``x`` summed over the axes that broadcasting from ``shape`` added: the adjoint of `broadcast_to`.

    >>> tg.sum_to(np.ones((3, 2)), shape=(1, 2))
    array([[3., 3.]])
    """
    new = x.ndim - len(shape)
    if new < 0 or any(n not in (1, m) for n, m in zip(shape, x.shape[new:], strict=True)):
        raise ValueError(f"sum_to: {x.shape} is not a broadcast of {shape}")
    axes = tuple(range(new)) + tuple(i + new for i, n in enumerate(shape) if n == 1 != x.shape[i + new])
    if x.dtype is _HALF:  # whose sums NumPy rounds, along some axes, one by one
        return np.add.reduce(x, axis=axes, dtype=np.float32).reshape(shape).astype(np.float16)
    return np.add.reduce(x, axis=axes).reshape(shape)  # np.sum without its wrapper, which costs as much


sum_to.defvjp(x=lambda g, out, x, shape: broadcast_to(g, shape=x.shape))


# The reverse walk
#
# It is this loop. What `_walk` has beside it: constants, arguments that were broadcast, refusals, formulas
# that are joint or run on threads, graphs that begin at some tensors (``since``, ``ends``), and who looks on.
#
#     waiting = {output.serial: (output, g)}
#     while waiting:
#         node, g = waiting.pop(max(waiting))  # the youngest, which has received all its cotangents
#         if node.op is None:
#             leaves.append((node, g))
#             continue
#         args = [x.data for x in node.inputs]
#         for x, formula in zip(node.inputs, node.op.formulas):
#             gx = formula(g, node.data, *args, **node.params)
#             _, before = waiting.get(x.serial, (x, 0))
#             waiting[x.serial] = (x, before + gx)

#: The formulas of a call run side by side, on threads, if it took so many multiply-adds: each of them then
#: takes about a millisecond. To wake a thread, to give it what another core has in its cache and to share the
#: memory's bandwidth costs so much that shorter ones gain nothing.
LARGE_PRODUCT = 1 << 25

#: A tensor and its cotangent.
NodeAndG: TypeAlias = tuple[Tensor, Array]

_ZERO: Any = object()  # stands for a cotangent; None, which a formula without a return gives, is refused


def require_recorded(output: Any, what: str) -> None:
    """RuntimeError unless a gradient can flow from ``output``."""
    if not isinstance(output, Tensor) or not output._requires_grad:
        kind = output.label() if isinstance(output, Tensor) else f"a {type(output).__name__}"
        raise RuntimeError(
            f"{what}: {kind} does not depend on anything that requires grad "
            "(was it made under no_grad, of plain arrays, or by a compiled step, which then is made already?)"
        )


def seed(output: Tensor, g: Array | None, what: str) -> Array:
    """The cotangent that the walk starts with, checked against the output."""
    if g is None:
        if output.size != 1:
            raise ValueError(
                f"{what}: {output.label()} is not a scalar; pass the cotangent to contract it with"
            )
        g = np.ones_like(output._array)
    elif not isinstance(g, Tensor):
        g = as_numeric(g, None, what).astype(output.dtype)
    protect(g)
    if g.shape != output.shape or g.dtype != output.dtype:
        raise ValueError(
            f"{what}: expected a cotangent {output.dtype} {output.shape}, got {g.dtype} {g.shape}"
        )
    return g


def walk(
    outputs: Iterable[NodeAndG],
    *,
    create_graph: bool = False,
    since: int = 0,
    ends: frozenset[int] = frozenset(),
) -> list[NodeAndG]:
    """The cotangents of the leaves, as (leaf, cotangent) pairs, from those of some outputs.

    The formulas run on arrays, or on Tensors with ``create_graph``. Tensors older than the serial number
    ``since`` count as constants, but for those whose serial numbers are in ``ends``: these, and tensors all
    of whose inputs are older, count as leaves.
    """
    watch = find_watch()
    if watch is None:  # and who records has no values
        return _walk(outputs, create_graph or find_recorder() is not None, since, ends, None)
    with watch.walking():
        return _walk(outputs, create_graph or find_recorder() is not None, since, ends, watch)


def _walk(
    outputs: Iterable[NodeAndG], create_graph: bool, since: int, ends: frozenset[int], watch: Watch | None
) -> list[NodeAndG]:
    # Inputs are older than what was made of them, so the youngest node still waiting has received all its
    # cotangents: a heap of serial numbers yields a topological order with no pass to count uses.
    waiting, pending = _queue(outputs)
    leaves = []
    observed = create_graph or watch is not None
    while waiting:
        serial = -heappop(waiting)
        node, g = pending.pop(serial)
        op = node._op
        if op is None or serial < since:
            leaves.append((node, g))
            continue
        if watch is not None:
            protect(g)
        inputs, params = node._inputs, node._params
        start, reached = next(clock) if create_graph else 0, False
        out: Array = node if create_graph else node._array
        args = inputs
        if not create_graph:
            args = tuple([x._array if isinstance(x, Tensor) else x for x in inputs])
        formulas = op.formulas_for(len(inputs)) if op.variadic else op.formulas
        if op.joint is not None:
            formulas = _split_joint(op, len(inputs))
        elif op.multiply_adds and not observed and op.multiply_adds(out, *args, **params) >= LARGE_PRODUCT:
            formulas = _run_side_by_side(formulas, node, g, args, since, ends)
        for i, x in enumerate(inputs):
            if not isinstance(x, Tensor):
                continue
            older = x._serial
            if older > serial:
                refuse_assigned(op, x)
            if not x._requires_grad or (older < since and older not in ends):
                continue
            reached = True
            formula = formulas[i]
            try:
                gx = _ZERO if formula is None else formula(g, out, *args, **params)
            except ValueError as error:
                explain_vjp(error, op, i)
            if gx is _ZERO:
                continue
            data = x._array
            shape = getattr(gx, "shape", None)
            if shape != data.shape:
                if not op.elementwise or shape != node._array.shape:
                    refuse_cotangent(op, i, gx, x)
                gx = sum_to(gx, shape=data.shape)
            if gx.dtype is not data.dtype and gx.dtype != data.dtype:  # `is not` is only quick
                refuse_cotangent(op, i, gx, x)
            if observed:
                _observe(watch, start, node, i, g, gx)
            if older in pending:
                gx = pending[older][1] + gx  # never in place: cotangents are shared
            else:
                heappush(waiting, -older)
            pending[older] = (x, gx)
        if since and not reached:  # all that it was made of is older: it counts as a leaf
            leaves.append((node, g))
    return leaves


def _queue(outputs: Iterable[NodeAndG]) -> tuple[list[int], dict[int, NodeAndG]]:
    """What waits: a heap of negative serial numbers, the youngest first; tensors and cotangents by them."""
    waiting: list[int] = []
    pending: dict[int, NodeAndG] = {}
    for output, g in outputs:
        if output._serial in pending:
            g = pending[output._serial][1] + g
        else:
            heappush(waiting, -output._serial)
        pending[output._serial] = (output, g)
    return waiting, pending


def _split_joint(op: Op[Any], count: int) -> list[Vjp]:
    """A joint formula as one for each input; the first that is called computes for all."""
    joint = op.joint
    assert joint is not None
    found: list[Array | None] = []

    def formula(i: int, g: Array, out: Array, /, *args: Any, **params: Any) -> Array:
        if not found:
            together = joint(g, out, *args, **params)
            require_cotangents(op, together, count)
            found.extend(together)
        return _ZERO if found[i] is None else found[i]

    return [partial(formula, i) for i in range(count)]


def _run_side_by_side(
    formulas: list[Vjp], node: Tensor, g: Array, args: tuple[Any, ...], since: int, ends: frozenset[int]
) -> list[Vjp]:
    """The formulas of a large product, run already, at the same time."""
    out, params = node._array, node._params
    found: dict[int, Array] = {}

    def compute(i: int) -> None:
        found[i] = formulas[i](g, out, *args, **params)  # type: ignore[misc]  # of those that are not None

    share(compute, [i for i, x in enumerate(node._inputs) if formulas[i] and _is_wanted(x, since, ends)])
    return [partial(_give, found[i]) if i in found else None for i in range(len(args))]


def _give(found: Array, /, *call: Any, **params: Any) -> Array:
    return found


def _is_wanted(x: Any, since: int, ends: frozenset[int]) -> bool:
    return isinstance(x, Tensor) and x._requires_grad and (x._serial >= since or x._serial in ends)


def _observe(watch: Watch | None, start: int, node: Tensor, position: int, g: Array, gx: Array) -> None:
    """Note on a cotangent that is recorded which formula made it, and tell the watch of it."""
    if start and isinstance(gx, Tensor) and gx._serial > start:
        gx.note_call(start, node._op, position, (weakref.ref(node), weakref.ref(node._inputs[position])))
    if watch is not None:
        watch.after_vjp(node, position, g, gx)


_adding = threading.Lock()


def _add_up(before: Array | None, cotangent: Array, create_graph: bool) -> Array:
    """A leaf's gradient with a cotangent added."""
    total = cotangent if before is None else before + cotangent
    if create_graph:
        return total if isinstance(total, Tensor) else Tensor(total)
    total = total._array if isinstance(total, Tensor) else np.asarray(total)
    # Two leaves may receive the same array, so nobody may write to it; a view could still change through its
    # base, so it becomes an array of its own.
    if total.base is not None:
        total = total.copy()
    total.setflags(write=False)
    return total


def find_ancestors(outputs: Iterable[Tensor], since: int = 0) -> dict[int, Tensor]:
    """``outputs`` and all they were made of, by serial number; nothing behind one older than ``since``."""
    found: dict[int, Tensor] = {}
    stack = list(outputs)
    while stack:
        node = stack.pop()
        if node._serial not in found:
            found[node._serial] = node
            if node._serial >= since:
                stack.extend(x for x in node._inputs if isinstance(x, Tensor))
    return found


def find_outside(outputs: Iterable[Tensor], since: int) -> list[Tensor]:
    """The tensors older than ``since`` that require grad and that ``outputs`` were made of, by age."""
    found = find_ancestors(outputs, since)
    return [found[i] for i in sorted(found) if i < since and found[i]._requires_grad]
