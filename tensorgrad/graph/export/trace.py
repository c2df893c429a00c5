"""Arrays that write down what is done to them: each NumPy call on a `Traced` becomes a `Step` of a `Script`.

Forwards and vjps are ordinary functions made of ops and NumPy functions, and NumPy hands every call over to
an argument that speaks its protocols. So the engine's own code, run on `Traced` arrays, dictates the program
that it is: the calls that it makes on plain arrays, in the order in which it makes them.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn, cast

import numpy as np

from tensorgrad.core.checks import NDArray


class UntraceableError(TypeError):
    """Something was done to a traced array that cannot be written down."""


def _refuse(what: str) -> NoReturn:
    raise UntraceableError(f"{what}, which cannot be written down as a step")


# Steps, and what functions they call beside NumPy's


@dataclass(eq=False, slots=True)
class Step:
    """One call of a program: ``function(*args, **kwargs)``, with the value that it had.

    Attributes
    ----------
    function
        None for an argument of the program.
    name, base
        Its name: fixed, or a word that may need a number. A name that is a Step: of which this is the
        cotangent.
    serial : int
        Its place in the script.
    section, owner
        The part of the program and the node of the graph that it belongs to.
    needs : tuple of Step
        Checks that come before it.
    errors
        The settings of `np.errstate` that it was taken under, beside those that hold for the whole program.
    viewed : bool
        Whether its memory is shared with another step's.
    """

    function: Callable[..., Any] | None
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    value: Any
    name: Any = None
    base: str | None = None
    serial: int = 0
    section: str = ""
    owner: object = None
    needs: tuple[Step, ...] = ()
    errors: tuple[tuple[str, str], ...] = ()
    viewed: bool = False

    def arguments(self) -> Iterator[Step]:
        """The steps among its arguments, as often as they are there."""
        return steps_in((self.args, *self.kwargs.values()))

    def sources(self) -> Iterator[Step]:
        """The steps that this one reads, and the checks before it."""
        yield from self.arguments()
        yield from self.needs


def steps_in(x: Any) -> Iterator[Step]:
    """All steps in nested tuples, lists and slices."""
    if isinstance(x, Step):
        yield x
    elif isinstance(x, (tuple, list)):
        for item in x:
            yield from steps_in(item)
    elif isinstance(x, slice):
        yield from steps_in((x.start, x.stop, x.step))


@dataclass(frozen=True)
class Method:
    """A method of ndarray, or with ``call=False`` an attribute, as a function of the array."""

    name: str
    call: bool = True

    def __call__(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        found = getattr(x, self.name)
        return found(*args, **kwargs) if self.call else found


@dataclass(frozen=True)
class Item:
    """The ``i``-th of several results."""

    i: int

    def __call__(self, results: Any) -> Any:
        return results[self.i]


@dataclass(frozen=True)
class Check:
    """That a condition on values still has the outcome that decided how the program was written."""

    outcome: bool

    def __call__(self, condition: Any) -> bool:
        return bool(condition)


@dataclass(frozen=True)
class SetItem:
    """Assignment to elements of an array; as a function it gives the changed array."""

    def __call__(self, x: Any, index: Any, value: Any) -> Any:
        changed = x.copy(order="K")
        changed[index] = value
        return changed


@dataclass(frozen=True)
class Lines:
    """Some lines of code that set ``{out}`` from ``{0}``, ``{1}``, ...; as a function it runs them.

    ``{a1}`` is argument 1 as it stands among those of a call, ``{i1}`` as it stands in an index. ``helpers``
    are the sources of functions that the lines call.
    """

    name: str
    lines: tuple[str, ...]
    helpers: tuple[str, ...] = ()

    def __call__(self, *args: Any) -> Any:
        names = [f"a{k}" for k in range(len(args))]
        body = self.fill("out", names, names, names)
        run = f"def run({', '.join(names)}):\n    " + "\n    ".join([*body, "return out"])
        namespace: dict[str, Any] = {"np": np}
        exec("\n".join([*self.helpers, run]), namespace)
        return namespace["run"](*args)

    def fill(self, out: str, places: list[str], arguments: list[str], indices: list[str]) -> list[str]:
        """The lines with the texts of their arguments, one list for each of the three ways to stand."""
        words = {f"a{k}": text for k, text in enumerate(arguments)}
        words |= {f"i{k}": text for k, text in enumerate(indices)}
        return [line.format(*places, out=out, **words) for line in self.lines]


class Size(int):
    """A number of elements: divided by, it says so in the text rather than give an unexplained decimal."""

    def __rtruediv__(self, other: float) -> float:
        return Ratio(other, int(self)) if isinstance(other, int) else other / int(self)


class Ratio(float):
    """A quotient of integers that remembers them."""

    text: str

    def __new__(cls, above: int, below: int) -> Ratio:
        new = super().__new__(cls, above / below)
        new.text = f"({above} / {below})"
        return new


# The arrays

# They depend on shapes and dtypes alone, which are fixed in a program.
_STATIC = {
    np.shape, np.ndim, np.result_type, np.can_cast, np.iscomplexobj, np.isrealobj, np.may_share_memory,
    np.shares_memory,
}  # fmt: skip
_STATIC_ATTRIBUTES = {"shape", "ndim", "dtype", "itemsize", "nbytes", "strides", "flags"}
_ATTRIBUTES = {"T", "mT", "real"}
_METHODS = {
    "all", "any", "argmax", "argmin", "argsort", "astype", "clip", "copy", "cumprod", "cumsum", "diagonal",
    "dot", "flatten", "max", "mean", "min", "nonzero", "prod", "ravel", "repeat", "reshape", "round",
    "squeeze", "std", "sum", "swapaxes", "take", "trace", "transpose", "var", "view",
}  # fmt: skip
_WRITING = {np.copyto, np.put, np.place, np.putmask, np.fill_diagonal}


class Traced:
    """Stands where an array does; what is done to it goes into a script.

    A change in place of an array that nobody else sees makes it the result of a new step.
    """

    __slots__ = ("script", "step")
    __hash__ = object.__hash__

    def __init__(self, script: Script, step: Step) -> None:
        self.script, self.step = script, step

    # What is known without a step

    def __getattr__(self, name: str) -> Any:
        value = self.step.value
        if name in _STATIC_ATTRIBUTES:
            return getattr(value, name)
        if name == "size":
            return Size(value.size)
        if name in _ATTRIBUTES:
            return self.script.record(Method(name, call=False), self)
        if name in _METHODS:
            return lambda *args, **kwargs: self.script.record(Method(name), self, *args, **kwargs)
        if name.startswith("__"):
            raise AttributeError(name)
        raise UntraceableError(
            f"the attribute {name} of an array cannot be written down; use a NumPy function"
        )

    def __len__(self) -> int:
        return len(self.step.value)

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        return self.script.decide(self)

    # NumPy's protocols

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        if method == "__call__" and (options.keys() == {"out"}):
            (out,) = options["out"]
            return self.script.replace(out, ufunc, *inputs)
        if options.keys() & {"out", "where"} or method in ("at", "reduceat"):
            _refuse("it writes into an array")
        return self.script.record(
            ufunc if method == "__call__" else getattr(ufunc, method), *inputs, **options
        )

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if function in _STATIC:
            return function(*_values(args), **_values(kwargs))
        if function is np.size:
            return Size(np.size(*_values(args), **_values(kwargs)))
        if kwargs.get("out") is not None or function in _WRITING:
            _refuse("it writes into an array")
        return self.script.record(function, *args, **{k: v for k, v in kwargs.items() if k != "out"})

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        _refuse("it makes a plain array of a computed one, or writes a computed one into a plain array")

    def __setitem__(self, index: Any, value: Any) -> None:
        self.script.replace(self, SetItem(), self, index, value)

    def __getitem__(self, index: Any) -> Any:
        return self.script.record(operator.getitem, self, index)

    def _refuse_number(self) -> NoReturn:
        _refuse("it takes the value of an array for a Python number")

    __float__ = __int__ = __index__ = __complex__ = item = tolist = _refuse_number


def _record(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, *others: self.script.record(function, self, *others)


def _record_reflected(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, other: self.script.record(function, other, self)


def _replace(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, other: self.script.replace(self, function, self, other)


_BINARY = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and_", "or_", "xor")
for _name in _BINARY:
    _function, _dunder = getattr(operator, _name), _name.strip("_")
    setattr(Traced, f"__{_dunder}__", _record(_function))
    setattr(Traced, f"__r{_dunder}__", _record_reflected(_function))
    setattr(Traced, f"__i{_dunder}__", _replace(_function))
for _name in ("neg", "pos", "abs", "invert", "eq", "ne", "lt", "le", "gt", "ge"):
    setattr(Traced, f"__{_name}__", _record(getattr(operator, _name)))


def record(function: Callable[..., Any], *args: Any) -> Any:
    """Take a step in the script of the arguments, one of which is traced."""
    script = script_of(args)
    assert script is not None
    return script.record(function, *args)


def script_of(args: Any) -> Script | None:
    """The script of the first Traced among some arguments, if there is one."""
    return next((x.script for x in args if isinstance(x, Traced)), None)


def call(word: str, traced: Traced) -> Traced:
    """The same array, which goes by a word unless it has a better name."""
    if traced.step.base is None and traced.step.function is not None:
        traced.step.base = word
    return traced


class Script:
    """The steps of a program in the order in which they were taken, equal ones once."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._section, self._owner = "", object()
        self._known: dict[Any, Step] = {}
        self._kept: list[Any] = []  # what the keys hold by its identity must stay alive
        self._checks: tuple[Step, ...] = ()
        self._errors = _error_settings()

    def argument(self, value: NDArray, name: Any = None, base: str | None = None) -> Traced:
        """A new argument of the program."""
        return Traced(self, self._append(Step(None, (), {}, value, name, base)))

    def begin(self, section: str, owner: object) -> None:
        """What is recorded from here on belongs to one section and one node of the graph."""
        self._section, self._owner, self._checks = section, owner, ()

    def record(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Take a step, or find that it was taken: its result as a Traced, or several in a tuple."""
        args, kwargs = _steps(args), _steps(kwargs)
        key = tuple(self._key_of(part) for part in (function, args, kwargs))
        step = self._known.get(key)
        if step is None:
            value = function(*_values(args), **_values(kwargs))
            if value is NotImplemented:
                _refuse(f"{function} does not take what it is given")
            step = self._known[key] = self._append(Step(function, args, kwargs, value))
            step.errors = tuple(setting for setting in _error_settings() if setting not in self._errors)
            for source in step.sources():
                if isinstance(value, np.ndarray) and np.may_share_memory(value, _array_of(source.value)):
                    source.viewed = step.viewed = True
        if isinstance(step.value, (tuple, list)):
            parts = [self.record(Item(i), Traced(self, step)) for i in range(len(step.value))]
            return type(step.value)(*parts) if hasattr(step.value, "_fields") else type(step.value)(parts)
        return Traced(self, step)

    def replace(self, target: Any, function: Callable[..., Any], *args: Any) -> Any:
        """Let ``target`` be the result of a step from now on, as an array changed in place is."""
        if not isinstance(target, Traced) or target.step.viewed or target.step.function is None:
            _refuse("it changes an array in place that others see too")
        new = self.record(function, *args)
        old, now = target.step.value, new.step.value
        if (now.dtype, now.shape, now.strides) != (old.dtype, old.shape, old.strides):
            _refuse("it changes an array in place to values of another dtype or shape")
        target.step = new.step
        return target

    def decide(self, condition: Traced) -> bool:
        """The outcome of a condition, which the program will check."""
        outcome = bool(condition.step.value)
        check = self.record(Check(outcome), condition)
        if check.step not in self._checks:
            self._checks = (*self._checks, check.step)
        return outcome

    def _append(self, step: Step) -> Step:
        step.serial, step.needs = len(self.steps), self._checks
        step.section, step.owner = self._section, self._owner
        self.steps.append(step)
        return step

    def _key_of(self, x: Any) -> Any:
        if isinstance(x, Step):
            return "step", x.serial
        if isinstance(x, (tuple, list)):
            return type(x).__name__, *map(self._key_of, x)
        if isinstance(x, dict):
            return "dict", *((k, self._key_of(v)) for k, v in sorted(x.items()))
        if isinstance(x, slice):
            return "slice", self._key_of((x.start, x.stop, x.step))
        if isinstance(x, np.ndarray):
            return "array", x.shape, x.dtype.str, x.tobytes()
        if isinstance(x, (Method, Item, Check, SetItem, Lines)):
            return x
        if isinstance(x, Size):
            return "int", repr(x)
        if x is None or isinstance(x, (int, float, str, np.generic)):
            return type(x).__name__, repr(x)
        self._kept.append(x)
        return "object", id(x)


def _error_settings() -> list[tuple[str, str]]:
    return list(cast("dict[str, str]", np.geterr()).items())


def _steps(x: Any) -> Any:
    return _map(x, Traced, lambda traced: traced.step)


def _values(x: Any) -> Any:
    return _map(x, (Traced, Step, Ratio), _value_of)


def _value_of(x: Traced | Step | Ratio) -> Any:
    if isinstance(x, Traced):
        x = x.step
    return x.value if isinstance(x, Step) else float(x)


def _map(x: Any, kind: type | tuple[type, ...], change: Callable[[Any], Any]) -> Any:
    """Nested tuples, lists, dicts and slices with what is of some kind changed."""
    if isinstance(x, kind):
        return change(x)
    if type(x) in (tuple, list):
        return type(x)([_map(item, kind, change) for item in x])
    if isinstance(x, (tuple, list)):
        return tuple(_map(item, kind, change) for item in x)
    if isinstance(x, dict):
        return {key: _map(item, kind, change) for key, item in x.items()}
    if isinstance(x, slice):
        return slice(*(_map(item, kind, change) for item in (x.start, x.stop, x.step)))
    return x


def _array_of(value: Any) -> Any:
    return value if isinstance(value, np.ndarray) else np.empty(0)
