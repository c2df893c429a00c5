"""An ONNX graph while rules write into it: values, their names, and how their axes lie.

Images of ONNX have their channels first, tensors of tensorgrad last. So that not every convolution stands
between two transpositions, a value may lie in the file with its axes in another order; elementwise ops leave
it so, and what needs the axes in order transposes them then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tensorgrad.core import Tensor
from tensorgrad.core.checks import NDArray
from tensorgrad.graph.export.expressions import UnwritableError

OPSET, IR_VERSION = 20, 9
INPUT, OUTPUT = "input", "output"  # what they are called

#: The batch sizes of the two recordings. What differs between them follows the batch.
SAMPLES = (5, 7)


@dataclass(frozen=True)
class Rows:
    """A length that is so many times that of the batch."""

    times: int


Length = int | Rows


@dataclass(eq=False)
class Value:
    """A value of the graph: the array ``name`` of the file, whose axes ``perm`` lists in the tensor's order.

    Attributes
    ----------
    shape : tuple of int and Rows
        Of the tensor.
    constant : array, optional
        The values, of what does not depend on the input.
    tensor : Tensor, optional
        What was recorded, where it is one op's result.
    """

    name: str
    shape: tuple[Length, ...]
    dtype: np.dtype[Any]
    perm: tuple[int, ...]
    constant: NDArray | None = None
    tensor: Tensor | None = None

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def is_vector(self) -> bool:
        """Whether it is a constant of one axis."""
        return self.constant is not None and self.ndim == 1


def merge(a: Any, b: Any, what: str) -> Any:
    """What an op was given in both recordings, with `Rows` where it follows the batch.

    Of an array that only repeats itself along the batch, a `Value` with one of what it repeats.
    """
    if type(a) is not type(b):
        raise UnwritableError(f"{what} depends on the size of the batch")
    if isinstance(a, (tuple, list)) and len(a) == len(b):
        return type(a)(merge(x, y, what) for x, y in zip(a, b, strict=True))
    if isinstance(a, slice):
        return slice(*(merge(getattr(a, n), getattr(b, n), what) for n in ("start", "stop", "step")))
    if isinstance(a, np.ndarray):
        return _merge_arrays(a, b, what)
    if a == b or (a != a and b != b):
        return a
    if isinstance(a, (int, np.integer)) and a * SAMPLES[1] == b * SAMPLES[0] and not a % SAMPLES[0]:
        return Rows(int(a) // SAMPLES[0])
    raise UnwritableError(f"{what} is given {a!r} for {SAMPLES[0]} rows and {b!r} for {SAMPLES[1]}")


def _merge_arrays(a: NDArray, b: NDArray, what: str) -> Any:
    if a.ndim == b.ndim and a.shape != b.shape:
        shape = merge(a.shape, b.shape, what)
        for axis, n in enumerate(shape):
            if isinstance(n, Rows) and np.all(a == a.take([0], axis)):
                a, b = a.take([0], axis), b.take([0], axis)
        if np.array_equal(a, b):
            return Value("constant", shape, a.dtype, tuple(range(a.ndim)), a)
    if np.array_equal(a, b, equal_nan=a.dtype.kind == "f"):
        return a
    raise UnwritableError(f"an array that {what} reads follows the batch, or is another one in each call")


def first(x: Any) -> Any:
    """What was merged, as it was in the first recording."""
    if isinstance(x, (tuple, list)):
        return type(x)(map(first, x))
    if isinstance(x, slice):
        return slice(first(x.start), first(x.stop), first(x.step))
    return x.times * SAMPLES[0] if isinstance(x, Rows) else x


def fixed(lengths: Sequence[Length]) -> list[int]:
    """Lengths that do not depend on the batch; UnwritableError otherwise."""
    if any(isinstance(n, Rows) for n in lengths):
        raise UnwritableError("a length that follows the batch where it has to be known")
    return [n for n in lengths if isinstance(n, int)]


class OnnxGraph:
    """The nodes and initializers of a graph. Rules add to them what computes ``out``, the value at hand."""

    def __init__(self, onnx: Any) -> None:
        self.onnx = onnx
        self.nodes: list[Any] = []
        self.initializers: dict[str, NDArray] = {}
        self.out = Value("", (), np.dtype(bool), ())
        self.values: dict[int, Value] = {}  # by the identity of what was recorded
        self._used: Counter[str] = Counter([INPUT, OUTPUT])
        self._laid: dict[Any, str] = {}

    def name(self, word: str) -> str:
        """The word, with a number if it is taken."""
        self._used[word] += 1
        return word if self._used[word] == 1 else self.name(f"{word}_{self._used[word] - 1}")

    def write(self, operator: str, inputs: Sequence[str], word: str = "", **attributes: Any) -> str:
        """Add a node of one result, and give its name; by default it is named after the value at hand."""
        name = self.name(word or f"{self.out.name}/{operator}")
        self.nodes.append(self.onnx.helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def put(self, operator: str, *inputs: str, perm: Sequence[int] = (), **attributes: Any) -> Value:
        """Add the node that gives the value at hand, with its axes in this order, or as they are."""
        name = self.write(operator, inputs, self.out.name, **attributes)
        return self.see(name, perm or range(self.out.ndim))

    def see(self, name: str, perm: Sequence[int]) -> Value:
        """The value at hand as an array that is there."""
        return Value(name, self.out.shape, self.out.dtype, tuple(perm))

    def constant(self, x: Any, word: str = "constant") -> str:
        """The name of an initializer with these values."""
        x = np.asarray(x)
        key = (word, x.shape, x.dtype.str, x.tobytes())
        if key not in self._laid:
            self._laid[key] = self.name(word)
            self.initializers[self._laid[key]] = x
        return self._laid[key]

    def value(self, x: Any, dtype: Any = None) -> Value:
        """An argument as a value; a Python number has the dtype, by default that of the value at hand."""
        if isinstance(x, Value):
            return x
        if isinstance(x, Rows):
            name = self.write("Squeeze", [self.lengths([x])])
            return Value(self._once("Cast", name, np.dtype(dtype or self.out.dtype)), (), self.out.dtype, ())
        x = np.asarray(x, None if isinstance(x, (np.ndarray, np.generic)) else dtype or self.out.dtype)
        return Value("constant", x.shape, x.dtype, tuple(range(x.ndim)), x)

    def read(self, x: Any, perm: Sequence[int] = (), dtype: Any = None, whole: bool = True) -> str:
        """The name of an array with the values of ``x``, its axes in this order, or as they are.

        Of a longer order than ``x`` has axes, the first are new ones of length 1. What repeats itself along
        the batch is there once if it need not be ``whole``.
        """
        x = self.value(x, dtype)
        want, dtype = tuple(perm) or tuple(range(x.ndim)), np.dtype(dtype or x.dtype)
        lead = len(want) - x.ndim
        back = [int(i) for i in np.argsort(want)]
        if x.constant is not None:
            laid = x.constant.astype(dtype, copy=False)
            if want != tuple(range(len(want))) and laid.size > 1:
                laid = laid.reshape((1,) * lead + laid.shape).transpose(back)
            name = self.constant(laid, x.name)
            if not whole or x.constant.shape == x.shape:
                return name
            return self.write("Expand", [name, self.lengths([x.shape[i] for i in back])])
        name, have = x.name, x.perm
        if lead and want != tuple(range(len(want))):
            new = tuple(range(lead))
            name, have = self._once("Unsqueeze", name, new), new + tuple(lead + i for i in have)
        elif lead:
            want, back = tuple(range(x.ndim)), [*range(x.ndim)]
        if have != want:
            name = self._once("Transpose", name, tuple(have[i] for i in back))
        return name if dtype == x.dtype else self._once("Cast", name, dtype)

    def _once(self, operator: str, name: str, how: Any) -> str:
        """A node that several readers need, for whom it is written once."""
        key = operator, name, how
        if key not in self._laid:
            word = f"{name}/{operator}"
            if operator == "Unsqueeze":
                self._laid[key] = self.write(operator, [name, self.constant(np.array(how))], word)
            elif operator == "Transpose":
                self._laid[key] = self.write(operator, [name], word, perm=how)
            else:
                self._laid[key] = self.write(operator, [name], word, to=self.kind(how))
        return self._laid[key]

    def kind(self, dtype: Any) -> int:
        """ONNX's number for a dtype."""
        return int(self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def lengths(self, shape: Sequence[Length]) -> str:
        """The name of a shape as an array, computed where it follows the batch."""
        if not any(isinstance(n, Rows) for n in shape):
            return self.constant(np.array(shape, np.int64))
        parts = []
        for n in shape:
            if isinstance(n, Rows):
                name = self.write("Shape", [INPUT], start=0, end=1)
                times = self.constant(np.array([n.times]))
                parts.append(name if n.times == 1 else self.write("Mul", [name, times]))
            else:
                parts.append(self.constant(np.array([n])))
        return self.write("Concat", parts, axis=0)

    def reshape(self, name: str, shape: Sequence[Length]) -> tuple[str, str]:
        """The inputs of a Reshape to this shape, of which one length may follow from the others."""
        if sum(isinstance(n, Rows) for n in shape) != 1 or 0 in shape:
            return name, self.lengths(shape)
        return name, self.constant(np.array([-1 if isinstance(n, Rows) else n for n in shape]))

    def apply(self, operator: str, *args: Any, dtype: Any = None, **attributes: Any) -> Value:
        """An operator on elements, of arguments of one dtype, by default the result's, that broadcast.

        It leaves the axes as they lie in the first of the largest arguments.
        """
        dtype = self.out.dtype if dtype is None else dtype
        values = [self.value(x, dtype) for x in args]
        perm = next((x.perm for x in values if x.ndim == self.out.ndim and x.constant is None), ())
        perm = perm or tuple(range(self.out.ndim))
        kinds = [x.dtype if operator == "Where" and i == 0 else dtype for i, x in enumerate(values)]
        names = [self.read(x, perm, kind, whole=False) for x, kind in zip(values, kinds, strict=True)]
        return self.put(operator, *names, perm=perm, **attributes)

    def step(self, operator: str, *args: Any) -> Value:
        """As `apply`, of what is not yet the value at hand but has its shape."""
        out = self.out
        self.out = replace(out, name=f"{out.name}/{operator}")
        made = self.apply(operator, *args)
        self.out = out
        return made
