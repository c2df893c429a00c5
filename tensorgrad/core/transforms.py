"""Derivatives as functions: `vjp` walks the graph; `jvp`, `grad` and the others are made of it.

Arguments and results may be trees: arrays in nested tuples, lists and dicts.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import Any, Literal, Protocol, TypeVar, overload

import numpy as np

from tensorgrad.core.checks import NDArray
from tensorgrad.core.context import paused
from tensorgrad.core.engine import (
    Tensor,
    as_numeric,
    clock,
    find_ancestors,
    find_outside,
    identity,
    protect,
    seed,
    walk,
)
from tensorgrad.core.operators import Array
from tensorgrad.core.refusals import require_floating
from tensorgrad.core.trees import flatten, map_leaves, match, rebuild

__all__ = ["grad", "hessian", "hvp", "jacobian", "jvp", "stop_gradient", "value_and_grad", "vjp"]

Argnums = int | tuple[int, ...]
A = TypeVar("A")
K = TypeVar("K")


class Gradient(Protocol):
    """What type checkers know of a gradient: it has the form of the first argument, numbers become arrays."""

    @overload
    def __call__(self, x: float, /, *args: Any, **kwargs: Any) -> NDArray: ...
    @overload
    def __call__(self, x: dict[K, float], /, *args: Any, **kwargs: Any) -> dict[K, NDArray]: ...
    @overload
    def __call__(self, x: A, /, *args: Any, **kwargs: Any) -> A: ...


class ValueAndGradient(Protocol):
    """What type checkers know of a value and gradient: the value is a Tensor for a Tensor, else an array."""

    @overload
    def __call__(self, x: Tensor, /, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]: ...
    @overload
    def __call__(self, x: float, /, *args: Any, **kwargs: Any) -> tuple[NDArray, NDArray]: ...
    @overload
    def __call__(
        self, x: dict[K, float], /, *args: Any, **kwargs: Any
    ) -> tuple[NDArray, dict[K, NDArray]]: ...
    @overload
    def __call__(self, x: NDArray, /, *args: Any, **kwargs: Any) -> tuple[NDArray, NDArray]: ...
    @overload
    def __call__(self, x: A, /, *args: Any, **kwargs: Any) -> tuple[Any, A]: ...


def vjp(
    f: Callable[..., Any], *args: Any, allow_unused: bool = True
) -> tuple[Any, Callable[[Any], tuple[Any, ...]]]:
    """The value of ``f`` at ``args``, and its vjp there: the function v -> v^T J.

    Parameters
    ----------
    f : callable
        Gives a Tensor, or a tree of them.
    *args : array_like or tree
        Floating arrays, all differentiated.
    allow_unused : bool
        Whether the result need not depend on every array; the gradient of one that it does not is zero.

    Returns
    -------
    value : array or tree
    pull_back : callable
        Takes a cotangent for each output, in a tree of the form of ``value``, and gives a tuple with the
        cotangent of each argument.

    Raises
    ------
    TypeError
        If an argument is not floating.
    ValueError
        If the cotangents differ from the outputs in number, shape or dtype, or an array is not used and that
        is not allowed.

    Notes
    -----
    Results are arrays. They are Tensors, and can be differentiated again, where an argument or cotangent was
    a Tensor that requires grad or ``f`` read one.

    >>> value, pull_back = tg.vjp(lambda x: x * x, np.array([1.0, 2.0]))
    >>> value
    array([1., 4.])
    >>> pull_back(np.array([1.0, 10.0]))
    (array([ 2., 40.]),)
    """
    return _linearize(f, args, range(len(args)), "vjp", allow_unused)


def _linearize(
    f: Callable[..., Any], args: tuple[Any, ...], positions: Sequence[int], what: str, allow_unused: bool
) -> tuple[Any, Callable[[Any], tuple[Any, ...]]]:
    """Carry out `vjp` for arguments that the caller knows by their ``positions``."""
    what = f"{what} of {_name(f)}"
    since, pauses = next(clock), paused.get()  # what is older comes from outside
    try:  # Ctrl-C may come with each call: what is switched is switched inside
        paused.set(0)  # a derivative is asked for explicitly, even under no_grad
        labels = [
            (f"argument {i}{path}", x)
            for i, arg in zip(positions, args, strict=True)
            for path, x in flatten(arg)
        ]
        variables = [_make_variable(x, f"{what}, {label}") for label, x in labels]
        result = f(*rebuild(args, variables))
    finally:
        paused.set(pauses)
    outputs = [y if isinstance(y, Tensor) else Tensor(y) for _, y in flatten(result)]
    for y in outputs:
        if y.dtype.kind != "f":
            raise TypeError(
                f"{what}: the result is {y.dtype}, and what counts or compares has no gradient; "
                "compute a number that moves with the argument, or return a float"
            )
    if not allow_unused:
        used = find_ancestors(outputs)
        unused = [label for (label, _), x in zip(labels, variables, strict=True) if x.serial not in used]
        if unused:
            raise ValueError(f"{what}: the result does not depend on {', '.join(unused)}")
    outside = [x for x in find_outside(outputs, since) if all(x is not v for v in variables)]
    nested = not pauses and (_is_any_recorded(x for _, x in labels) or bool(outside))

    def pull_back(cotangent: Any) -> tuple[Any, ...]:
        given = match(result, cotangent, f"{what}, cotangent")
        outer = paused.get()
        record = not outer and (nested or _is_any_recorded(given))
        try:
            paused.set(not record)
            pairs = [
                (y, seed(y, v, f"{what}, cotangent"))
                for y, v in zip(outputs, given, strict=True)
                if y.requires_grad
            ]
            found = {x.serial: g for x, g in walk(pairs, create_graph=record, since=since)}
        finally:
            paused.set(outer)
        gradients = [
            _hand_out(found[x.serial] if x.serial in found else np.zeros_like(x.data, subok=False), record)
            for x in variables
        ]
        return rebuild(args, gradients)  # type: ignore[no-any-return]  # a tuple, as args is

    return rebuild(result, [_hand_out(y, nested) for y in outputs]), pull_back


def jvp(f: Callable[..., Any], args: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, Any]:
    """The value of ``f`` at ``args``, and the directional derivative J t: how it moves along ``tangents``.

    The vjp v -> v^T J is linear in v, so its own vjp is t -> J t: two reverse passes, no second set of rules.

    Parameters
    ----------
    f : callable
    args, tangents : tuple
        One tangent of the same form for each argument.

    >>> tg.jvp(lambda x: x * x, (np.array([1.0, 2.0]),), (np.array([1.0, 10.0]),))
    (array([1., 4.]), array([ 2., 40.]))
    """
    what = f"jvp of {_name(f)}"
    if not (isinstance(args, (tuple, list)) and isinstance(tangents, (tuple, list))):
        raise TypeError(f"{what}: expected a tuple of arguments and one of tangents")
    directions = match(tuple(args), tuple(tangents), f"{what}, tangent")
    value, pull_back = _linearize(f, tuple(args), range(len(args)), "jvp", True)
    for (path, x), t in zip(flatten(tuple(args)), directions, strict=True):
        if np.shape(x) != np.shape(t):
            raise ValueError(
                f"{what}, tangent{path}: expected the argument's shape {np.shape(x)}, got {np.shape(t)}"
            )
    zeros = map_leaves(lambda y: np.zeros(np.shape(y), y.dtype), value)
    _, push_forward = vjp(pull_back, zeros)
    moved = push_forward(rebuild(tuple(args), directions))[0]
    # What was pushed forward hangs on the variables of the first vjp, which nobody else holds.
    record = _is_any_recorded(x for _, x in flatten((value, tangents)))
    return value, map_leaves(lambda t: _hand_out(t, record), moved)


@overload
def value_and_grad(
    f: Callable[..., Any], argnums: Literal[0] = 0, *, allow_unused: bool = True
) -> ValueAndGradient: ...
@overload
def value_and_grad(
    f: Callable[..., Any], argnums: Argnums, *, allow_unused: bool = True
) -> Callable[..., tuple[Any, Any]]: ...
def value_and_grad(f: Callable[..., Any], argnums: Argnums = 0, *, allow_unused: bool = True) -> Any:
    """The function ``(*args) -> (f(*args), gradient)``, for an ``f`` that gives a scalar.

    Parameters
    ----------
    f : callable
        Takes arrays or trees positionally (and anything by keyword) and gives a scalar Tensor.
    argnums : int or tuple of int
        The positions to differentiate with respect to; a tuple gives a tuple of gradients.
    allow_unused : bool
        As in `vjp`.

    Raises
    ------
    TypeError
        If an argument to differentiate is not floating.
    ValueError
        If ``f`` does not give a scalar, or there is no such argument.

    Notes
    -----
    What the results are, arrays or Tensors, is as in `vjp`.

    >>> tg.value_and_grad(lambda x: (x * x).sum())(np.array([1.0, 2.0]))
    (array(5.), array([2., 4.]))
    """

    _require_function("grad", f)

    @wraps(f)
    def derivative(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        of_chosen, chosen, positions = _restrict(f, argnums, args, kwargs)
        value, pull_back = _linearize(of_chosen, chosen, positions, "grad", allow_unused)
        if getattr(value, "size", 0) != 1:
            came = f"shape {value.shape}" if hasattr(value, "shape") else f"a {type(value).__name__}"
            raise ValueError(f"grad of {_name(f)}: expected a scalar result, got {came}")
        gradients = pull_back(np.ones(value.shape))
        return value, gradients if isinstance(argnums, (tuple, list)) else gradients[0]

    return derivative


@overload
def grad(f: Callable[..., Any], argnums: Literal[0] = 0, *, allow_unused: bool = True) -> Gradient: ...
@overload
def grad(f: Callable[..., Any], argnums: Argnums, *, allow_unused: bool = True) -> Callable[..., Any]: ...
def grad(f: Callable[..., Any], argnums: Argnums = 0, *, allow_unused: bool = True) -> Any:
    """The gradient of a scalar function, as a function of the same arguments; see `value_and_grad`.

    >>> tg.grad(lambda x: x**3)(2.0)
    array(12.)
    >>> tg.grad(tg.grad(lambda x: x**3))(2.0)
    array(12.)
    >>> tg.grad(lambda model: model["w"] * model["b"])({"w": 2.0, "b": 5.0})
    {'w': array(5.), 'b': array(2.)}
    >>> tg.grad(lambda x, y: 2 * x, argnums=(0, 1), allow_unused=False)(1.0, 1.0)
    Traceback (most recent call last):
    ValueError: grad of <lambda>: the result does not depend on argument 1
    """
    both = value_and_grad(f, argnums, allow_unused=allow_unused)

    @wraps(f)
    def gradient(*args: Any, **kwargs: Any) -> Any:
        return both(*args, **kwargs)[1]

    return gradient


@overload
def hvp(f: Callable[..., Any], argnums: Literal[0] = 0) -> Gradient: ...
@overload
def hvp(f: Callable[..., Any], argnums: Argnums) -> Callable[..., Any]: ...
def hvp(f: Callable[..., Any], argnums: Argnums = 0) -> Any:
    """The function ``(*args, v) -> H v``: the Hessian of a scalar function times ``v``, without the Hessian.

    Parameters
    ----------
    f, argnums
        As in `grad`. ``v`` has the form of the gradient.

    >>> tg.hvp(lambda x: (x**3).sum())(np.array([1.0, 2.0]), np.array([1.0, 10.0]))
    array([  6., 120.])
    """

    _require_function("hvp", f)

    @wraps(f)
    def product(*args_and_v: Any, **kwargs: Any) -> Any:
        if len(args_and_v) < 2:
            raise TypeError(f"hvp of {_name(f)}: expected the arguments and v, got {len(args_and_v)} in all")
        *args, v = args_and_v
        of_chosen, chosen, positions = _restrict(f, argnums, tuple(args), kwargs)
        single = not isinstance(argnums, (tuple, list))
        gradient = grad(of_chosen, tuple(range(len(chosen))))
        _, pull_back = _linearize(gradient, chosen, positions, "hvp", True)  # H is symmetric: v^T H is H v
        products = pull_back((v,) if single else v)
        return products[0] if single else products

    return product


@overload
def jacobian(f: Callable[..., Any], argnums: Literal[0] = 0) -> Gradient: ...
@overload
def jacobian(f: Callable[..., Any], argnums: Argnums) -> Callable[..., Any]: ...
def jacobian(f: Callable[..., Any], argnums: Argnums = 0) -> Any:
    """The derivative of every element of the result with respect to every element of an argument.

    Parameters
    ----------
    f : callable
        Gives one Tensor, of any shape.
    argnums : int or tuple of int
        As in `grad`; an argument may be a tree.

    Returns
    -------
    callable
        Gives arrays of shape ``result.shape + argument.shape``, by one reverse pass an element of the result.

    >>> tg.jacobian(lambda x: x * x)(np.array([1.0, 2.0]))
    array([[2., 0.],
           [0., 4.]])
    """

    _require_function("jacobian", f)

    @wraps(f)
    def derivative(*args: Any, **kwargs: Any) -> Any:
        of_chosen, chosen, positions = _restrict(f, argnums, args, kwargs)
        value, pull_back = _linearize(of_chosen, chosen, positions, "jacobian", True)
        if not hasattr(value, "shape"):
            raise ValueError(f"jacobian of {_name(f)}: expected one result, got a {type(value).__name__}")
        if value.size:
            basis = np.eye(value.size, dtype=value.dtype).reshape(-1, *value.shape)
            rows = [pull_back(v) for v in basis]
            stacked = map_leaves(
                lambda *column: np.stack(column).reshape(value.shape + column[0].shape), *rows
            )
        else:
            stacked = map_leaves(lambda x: np.zeros(value.shape + np.shape(x), value.dtype), chosen)
        return stacked if isinstance(argnums, (tuple, list)) else stacked[0]

    return derivative


@overload
def hessian(f: Callable[..., Any], argnums: Literal[0] = 0) -> Gradient: ...
@overload
def hessian(f: Callable[..., Any], argnums: int) -> Callable[..., Any]: ...
def hessian(f: Callable[..., Any], argnums: int = 0) -> Any:
    """The second derivatives of a scalar function with respect to one array: the jacobian of `grad`.

    >>> tg.hessian(lambda x: x[0] * x[1] ** 2)(np.array([1.0, 2.0]))
    array([[0., 4.],
           [4., 2.]])
    """
    return jacobian(grad(f, argnums), argnums)


@overload
def stop_gradient(x: Tensor) -> Tensor: ...
@overload
def stop_gradient(x: A) -> A: ...
def stop_gradient(x: Array) -> Array:
    """``x`` as a constant: no gradient flows back through the result.

    >>> tg.grad(lambda x: x * tg.stop_gradient(x))(3.0)
    array(3.)
    """
    return x.detach() if isinstance(x, Tensor) else x


def _require_function(what: str, f: object) -> None:
    if not callable(f):
        raise TypeError(
            f"{what}: expected a function f, got a {type(f).__name__}; tg.{what}(f)(x) is its derivative at "
            "x, and loss.backward() puts that of a recorded loss into .grad"
        )


def _name(f: Callable[..., Any]) -> str:
    return getattr(f, "__name__", "f")


def _restrict(
    f: Callable[..., Any], argnums: Argnums, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Callable[..., Any], tuple[Any, ...], list[int]]:
    """``f`` as a function of the chosen arguments alone, these, and their positions."""
    numbers = argnums if isinstance(argnums, (tuple, list)) else (argnums,)
    numbers = tuple(map(operator.index, numbers))
    for i in numbers:
        if not -len(args) <= i < len(args):
            raise ValueError(f"grad of {_name(f)}: no positional argument {i}, only {len(args)} were given")
    positions = [i % len(args) for i in numbers]
    if len(set(positions)) < len(positions):
        raise ValueError(f"grad of {_name(f)}: argnums {argnums} name an argument twice")

    @wraps(f)
    def of_chosen(*chosen: Any) -> Any:
        full = list(args)
        for i, x in zip(positions, chosen, strict=True):
            full[i] = x
        return f(*full, **kwargs)

    return of_chosen, tuple(args[i] for i in positions), positions


def _make_variable(x: Any, what: str) -> Tensor:
    """A new node for one differentiation: an outer derivative stays attached, yet is not confused with it."""
    node: Tensor
    if isinstance(x, Tensor) and x.requires_grad:
        node = identity(x)
        return node
    array = as_numeric(x, None, what)
    require_floating(array.dtype, what)
    node = Tensor(array, requires_grad=True)
    protect(node)
    return node


def _is_any_recorded(values: Iterable[Any]) -> bool:
    """Whether a gradient can flow to one of them."""
    return any(isinstance(x, Tensor) and x.requires_grad for x in values)


def _hand_out(x: Array, record: bool) -> Array:
    """A result as the caller keeps it: a Tensor of the graph, or an array of the caller's own."""
    if record:
        return x if isinstance(x, Tensor) else Tensor(x)
    return x.numpy() if isinstance(x, Tensor) else np.array(x)
