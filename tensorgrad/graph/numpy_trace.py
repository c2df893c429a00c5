"""Arrays that write down what is done to them: each NumPy call on a `Traced` becomes a `Step` of a `Script`.

Forwards and vjps are ordinary functions made of ops and NumPy functions, and NumPy hands every call over to
an argument that speaks its protocols. So the engine's own code, run on `Traced` arrays, dictates the program
that it is: the calls that it makes on plain arrays, in the order in which it makes them.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, cast

import numpy as np

from tensorgrad.graph.numpy_steps import SET, Check, Item, Lines, Method, Ratio, Size, Step


class UntraceableError(TypeError):
    """Something was done to a traced array that cannot be written down."""


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
            size = np.size(*_values(args), **_values(kwargs))
            return Size(size)
        if kwargs.get("out") is not None or function in (
            np.copyto,
            np.put,
            np.place,
            np.putmask,
            np.fill_diagonal,
        ):
            _refuse("it writes into an array")
        return self.script.record(function, *args, **{k: v for k, v in kwargs.items() if k != "out"})

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        _refuse("it makes a plain array of a computed one, or writes a computed one into a plain array")

    def __setitem__(self, index: Any, value: Any) -> None:
        self.script.replace(self, SET, self, index, value)

    def __getitem__(self, index: Any) -> Any:
        return self.script.record(operator.getitem, self, index)

    def _number(self) -> NoReturn:
        _refuse("it takes the value of an array for a Python number")

    __float__ = __int__ = __index__ = __complex__ = item = tolist = _number


def _refuse(what: str) -> NoReturn:
    raise UntraceableError(f"{what}, which cannot be written down as a step")


def _operator(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, *others: self.script.record(function, self, *others)


def _reflected(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, other: self.script.record(function, other, self)


def _in_place(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, other: self.script.replace(self, function, self, other)


_BINARY = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and_", "or_", "xor")
for _name in _BINARY:
    _function, _dunder = getattr(operator, _name), _name.strip("_")
    setattr(Traced, f"__{_dunder}__", _operator(_function))
    setattr(Traced, f"__r{_dunder}__", _reflected(_function))
    setattr(Traced, f"__i{_dunder}__", _in_place(_function))
for _name in ("neg", "pos", "abs", "invert", "eq", "ne", "lt", "le", "gt", "ge"):
    setattr(Traced, f"__{_name}__", _operator(getattr(operator, _name)))


class Script:
    """The steps of a program in the order in which they were taken, equal ones once."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.section, self.owner = "", object()
        self._known: dict[Any, Step] = {}
        self._kept: list[Any] = []  # what the keys hold by its identity must stay alive
        self._checks: tuple[Step, ...] = ()
        self._errors = _error_settings()

    def argument(self, value: np.ndarray[Any, Any], name: Any = None, base: str | None = None) -> Traced:
        """A new argument of the program."""
        step = Step(None, (), {}, value)
        step.name, step.base = name, base
        return Traced(self, self._append(step))

    def begin(self, section: str, owner: object) -> None:
        """What is recorded from here on belongs to one section and one node of the graph."""
        self.section, self.owner, self._checks = section, owner, ()

    def record(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Take a step, or find that it was taken: its result as a Traced, or several in a tuple."""
        args, kwargs = _steps(args), _steps(kwargs)
        key = self._key(function, args, kwargs)
        step = self._known.get(key)
        if step is None:
            value = function(*_values(args), **_values(kwargs))
            if value is NotImplemented:
                _refuse(f"{function} does not take what it is given")
            step = Step(function, args, kwargs, value)
            step.errors = tuple((k, v) for k, v in _error_settings() if (k, v) not in self._errors)
            self._known[key] = self._append(step)
            for source in step.sources():
                if isinstance(value, np.ndarray) and np.may_share_memory(value, _array_of(source.value)):
                    source.viewed = step.viewed = True
        if isinstance(step.value, (tuple, list)):
            parts = [self.record(Item(i), Traced(self, step)) for i in range(len(step.value))]
            return type(step.value)(*parts) if hasattr(step.value, "_fields") else type(step.value)(parts)
        return Traced(self, step)

    def called(self, word: str, traced: Traced) -> Traced:
        """The same array, which goes by a word unless it has a better name."""
        if traced.step.base is None and traced.step.function is not None:
            traced.step.base = word
        return traced

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
        step.serial, step.section, step.owner, step.needs = (
            len(self.steps), self.section, self.owner, self._checks,
        )  # fmt: skip
        self.steps.append(step)
        return step

    def _key(self, *parts: Any) -> Any:
        return tuple(self._key_of(part) for part in parts)

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
        if isinstance(x, Method):
            return "method", x.name, x.call
        if isinstance(x, Item):
            return "item", x.i
        if isinstance(x, Check):
            return "check", x.outcome
        if isinstance(x, Lines):
            return "lines", x.lines
        if isinstance(x, Size):
            return "int", repr(x)
        if x is None or isinstance(x, (int, float, str, np.generic)):
            return type(x).__name__, repr(x)
        self._kept.append(x)
        return "object", id(x)


def script_of(args: Any) -> Script | None:
    """The script of the first Traced among some arguments, if there is one."""
    for x in args:
        if isinstance(x, Traced):
            return x.script
    return None


def _error_settings() -> list[tuple[str, str]]:
    return list(cast("dict[str, str]", np.geterr()).items())


def _steps(x: Any) -> Any:
    return _mapped(x, Traced, lambda traced: traced.step)


def _values(x: Any) -> Any:
    plain = _mapped(x, Traced, lambda traced: traced.step.value)
    plain = _mapped(plain, Step, lambda step: step.value)
    return _mapped(plain, Ratio, lambda ratio: float(ratio))


def _mapped(x: Any, kind: type, change: Callable[[Any], Any]) -> Any:
    """Nested tuples, lists, dicts and slices with what is of one kind changed."""
    if isinstance(x, kind):
        return change(x)
    if type(x) in (tuple, list):
        return type(x)([_mapped(item, kind, change) for item in x])
    if isinstance(x, (tuple, list)):
        return tuple(_mapped(item, kind, change) for item in x)
    if isinstance(x, dict):
        return {key: _mapped(item, kind, change) for key, item in x.items()}
    if isinstance(x, slice):
        return slice(*(_mapped(item, kind, change) for item in (x.start, x.stop, x.step)))
    return x


def _array_of(value: Any) -> Any:
    return value if isinstance(value, np.ndarray) else np.empty(0)
