"""How ops are written in C: a table op -> rule. A new op's rule goes here, or into no table at all:

an op without a rule is written as what its forward is made of, if that is made of ops.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tensorgrad.core import Tensor
from tensorgrad.graph.native.plan import UnbatchableError, Value, View, count_elements, dense_strides
from tensorgrad.graph.native.products import Loop, multiply
from tensorgrad.graph.native.program import Code, Program, Term, Words
from tensorgrad.ops.windows import Axis, slide

Write = Callable[..., str]


class Elementwise:
    """The rule of an op on elements: the text of one element of the result, from those of its arguments."""

    reads_elements = True

    def __init__(self, write: Write, as_real: bool = True) -> None:
        self._write, self._as_real = write, as_real

    def __call__(self, program: Program, value: Value, *arguments: Any, **params: Any) -> None:
        program.elementwise(value, arguments)

    def write(self, words: Words, *terms: Term, **params: Any) -> str:
        """The text."""
        if self._as_real and words.kind == "f":
            terms = tuple(map(words.as_real, terms))
        return self._write(words, *terms, **params)


def between(symbol: str) -> Elementwise:
    """An operator of C between two arguments."""
    return Elementwise(lambda words, x, y: f"({x} {symbol} {y})")


def function(name: str) -> Elementwise:
    """A function of the prelude, of the arguments in order."""
    return Elementwise(lambda words, *terms: words.call(name, *terms))


def compare(symbol: str) -> Elementwise:
    """A comparison: -1 where it holds, in lanes and elsewhere, so that it can be a mask of bits."""

    def write(words: Words, x: Term, y: Term) -> str:
        if "f" in (x.kind, y.kind):
            x, y = words.as_real(x), words.as_real(y)
        return f"({words.fit(x)} {symbol} {words.fit(y)})" if words.laned else f"(-({x} {symbol} {y}))"

    return Elementwise(write, as_real=False)


def _mask(words: Words, term: Term) -> str:
    """A term as a mask: -1 where it is not 0."""
    if term.kind == "b":
        return words.fit(term)
    zero = Term("0", False, term.kind)
    return compare("!=").write(words, term, zero)


def logic(text: str) -> Elementwise:
    """An operation on masks."""
    return Elementwise(lambda words, *terms: text.format(*(_mask(words, t) for t in terms)), as_real=False)


def _where(words: Words, condition: Term, x: Term, y: Term) -> str:
    if words.kind == "f":
        x, y = words.as_real(x), words.as_real(y)
        return f"{'v' if words.laned else 's'}_pick({_mask(words, condition)}, {words.fit(x)}, {words.fit(y)})"
    m = _mask(words, condition)
    return f"(({words.fit(x)} & {m}) | ({words.fit(y)} & ~{m}))"


def _gate(words: Words, x: Term, condition: Term) -> str:
    return f"{'keep' if words.laned else 's_keep'}({_mask(words, condition)}, {words.fit(x)})"


def _power(words: Words, x: Term, y: Term) -> str:
    return words.call("pow", x, y)


def _astype(words: Words, x: Term, dtype: Any) -> str:
    return str(x) if x.kind == words.kind else str(words.as_real(x)) if words.kind == "f" else f"({x})"


def _is_nan(words: Words, x: Term) -> str:
    return compare("!=").write(words, x, x)


def _leaky_relu(words: Words, x: Term, slope: float) -> str:
    return words.call("leaky", x, Term(repr(float(slope)), False, "f"))


def _scaled(name: str) -> Elementwise:
    def write(words: Words, x: Term, **params: float) -> str:
        (factor,) = params.values()
        return words.call(name, x, Term(f"(real){float(factor)!r}", False, "f"))

    return Elementwise(write)


def _gelu(words: Words, x: Term, approximate: str) -> str:
    return words.call("gelu_tanh" if approximate == "tanh" else "gelu", x)


def _nan_to_num(words: Words, x: Term, nan: float, posinf: Any, neginf: Any) -> str:
    top = "REAL_MAX"
    high = top if posinf is None else f"(real){float(posinf)!r}"
    low = f"(-{top})" if neginf is None else f"(real)({float(neginf)!r})"
    return words.call("finite", x, *(Term(t, False, "f") for t in (f"(real)({float(nan)!r})", high, low)))


UNARY = (
    "exp exp2 expm1 log log2 log10 log1p sqrt cbrt sin cos tan sinh cosh tanh sigmoid softplus silu erf erfc relu floor ceil trunc rint sign square reciprocal"
).split()  # fmt: skip
RENAMED = {
    "absolute": "fabs", "fabs": "fabs", "arcsin": "asin", "arccos": "acos", "arctan": "atan", "arcsinh": "asinh",
    "arccosh": "acosh", "arctanh": "atanh", "arctan2": "atan2", "hypot": "hypot", "fmod": "fmod", "copysign": "copysign",
    "maximum": "max", "minimum": "min", "fmax": "fmax", "fmin": "fmin", "remainder": "remainder", "floor_divide": "floor_divide",
    "heaviside": "heaviside", "logaddexp": "logaddexp", "logaddexp2": "logaddexp2", "sinc": "sinc", "power": "pow",
    "deg2rad": "deg2rad", "radians": "deg2rad", "rad2deg": "rad2deg", "degrees": "rad2deg",
}  # fmt: skip

ELEMENTWISE: dict[str, Elementwise] = {
    **{name: function(name) for name in UNARY},
    **{name: function(c) for name, c in RENAMED.items()},
    "add": between("+"), "subtract": between("-"), "multiply": between("*"), "divide": between("/"),
    "negative": Elementwise(lambda words, x: f"(-{x})"),
    "positive": Elementwise(lambda words, x: str(x)), "identity": Elementwise(lambda words, x: str(x)),
    "normalize": Elementwise(lambda words, x, mean, gain, shift: f"(({x} - {mean}) * {gain} + {shift})"),
    "where": Elementwise(_where, as_real=False), "gate": Elementwise(_gate, as_real=False),
    "astype": Elementwise(_astype, as_real=False), "isnan": Elementwise(_is_nan),
    "isfinite": Elementwise(lambda words, x: compare("==").write(words, Term(f"({x} - {x})", x.laned, x.kind), Term("0", False, "f"))),
    "less": compare("<"), "less_equal": compare("<="), "greater": compare(">"), "greater_equal": compare(">="),
    "equal": compare("=="), "not_equal": compare("!="),
    "logical_not": logic("(~{0})"), "logical_and": logic("({0} & {1})"), "logical_or": logic("({0} | {1})"),
    "logical_xor": logic("({0} ^ {1})"),
    "leaky_relu": _scaled("leaky_relu"), "elu": _scaled("elu"), "gelu": Elementwise(_gelu), "nan_to_num": Elementwise(_nan_to_num),
}  # fmt: skip


# What moves elements: another view of the same memory where that can be, else a copy


def reshape(program: Program, value: Value, x: Value, *, shape: Any, order: str = "C") -> None:
    if order != "C":
        raise UnbatchableError("reshape in another order")
    view = program.need_dense(x)
    value.stage = x.stage
    if x.laned:
        value.batch = _find_batch(x.shape, x.batch, value.shape)
    value.view = View(view.buffer, value.shape, dense_strides(value.shape, value.batch)[0], view.offset, value.batch)


def _find_batch(before: Sequence[int], batch: int | None, after: Sequence[int]) -> int:
    assert batch is not None
    outside = math.prod(before[:batch])
    found = [k for k, n in enumerate(after) if n == before[batch] and math.prod(after[:k]) == outside]
    if not found:
        raise UnbatchableError("a reshape takes the batch axis apart")
    return batch if batch in found else found[0]


def _permute(program: Program, value: Value, x: Value, axes: Sequence[int]) -> None:
    view = program.need(x)
    value.stage = x.stage
    value.batch = axes.index(x.batch) if x.laned else None
    value.view = View(view.buffer, value.shape, tuple(view.strides[a] for a in axes), view.offset, value.batch)


def transpose(program: Program, value: Value, x: Value, *, axes: Any = None) -> None:
    ndim = len(x.shape)
    _permute(program, value, x, [a % ndim for a in axes] if axes is not None else [*range(ndim)][::-1])


def swapaxes(program: Program, value: Value, x: Value, *, axis1: int, axis2: int) -> None:
    axes = [*range(len(x.shape))]
    axes[axis1], axes[axis2] = axes[axis2], axes[axis1]
    _permute(program, value, x, axes)


def broadcast_to(program: Program, value: Value, x: Value, *, shape: Any) -> None:
    view = program.need(x)
    lead = len(value.shape) - len(x.shape)
    value.stage = x.stage
    value.batch = x.batch + lead if x.batch is not None else None
    strides = (0,) * lead + tuple(0 if n == 1 and k != x.batch else s for k, (n, s) in enumerate(zip(x.shape, view.strides, strict=True)))
    value.view = View(view.buffer, value.shape, strides, view.offset, value.batch)


def getitem(program: Program, value: Value, x: Value, *, index: Any) -> None:
    parts = index if isinstance(index, tuple) else (index,)
    traced = [p for p in parts if isinstance(p, Tensor)]
    if traced:
        return _look_up(program, value, x, parts)
    if all(p is None or p is Ellipsis or type(p) is slice or isinstance(p, (int, np.integer)) for p in parts):
        return _slice(program, value, x, parts)
    _move_by_table(program, value, x, lambda numbers: numbers[index], parts)
    return None


def _slice(program: Program, value: Value, x: Value, parts: Sequence[Any]) -> None:
    view = program.need(x)
    value.stage, offset, strides, axis = x.stage, view.offset, [], 0
    missing = len(x.shape) - sum(p is not None and p is not Ellipsis for p in parts)
    parts = [q for p in parts for q in ([slice(None)] * missing if p is Ellipsis else [p])]
    parts += [slice(None)] * (len(x.shape) - sum(p is not None for p in parts))
    for p in parts:
        if p is None:
            strides.append(0)
            continue
        length, stride = x.shape[axis], view.strides[axis]
        if axis == x.batch:
            if not isinstance(p, slice) or p.indices(length) != (0, length, 1):
                raise UnbatchableError("an index picks samples")
            value.batch = len(strides)
            strides.append(0)
        elif isinstance(p, slice):
            start, _, step = p.indices(length)
            offset += start * stride
            strides.append(step * stride)
        else:
            offset += (int(p) % length) * stride
        axis += 1
    value.view = View(view.buffer, value.shape, tuple(strides), offset, value.batch)


def _move_by_table(program: Program, value: Value, x: Value, move: Callable[[Any], Any], parts: Sequence[Any] | None = None) -> None:
    """What only moves elements: it is asked where it puts their numbers."""
    view = program.need_dense(x)
    value.stage = x.stage
    if x.laned:
        if x.batch != 0:
            raise UnbatchableError("elements are moved across the batch axis")
        if parts is not None:
            first, *rest = parts
            if not (isinstance(first, slice) and first == slice(None)):
                raise UnbatchableError("an index picks samples")
            index = tuple(rest)
            move = lambda numbers: numbers[index]
            table = move(np.arange(view_size(view)).reshape(x.shape[1:]))
        else:
            table = _move_each(move, x.shape, value.shape)
        value.batch = 0
    else:
        table = move(np.arange(math.prod(x.shape)).reshape(x.shape))
    value.view = program.new_view(value)
    code = program.code(value.stage, value.laned)
    name = _table(program, value, table)
    code.put(f"// {value.name}: elements moved")
    with code.loops(("i", int(table.size))):
        code.put(f"{program.point(value.view.buffer, code)}[i] = {program.point(view.buffer, code)}[{view.offset} + {name}[i]];")


def _move_each(move: Callable[[Any], Any], before: Sequence[int], after: Sequence[int]) -> Any:
    """The moves within each sample, which must be the same for all."""
    numbers = np.arange(math.prod(before)).reshape(before)
    moved = move(numbers)
    each = math.prod(before[1:])
    if moved.shape[:1] != tuple(before[:1]) or not np.array_equal(moved // each, np.arange(before[0]).reshape(-1, *[1] * (moved.ndim - 1)) + np.zeros_like(moved)):
        raise UnbatchableError("elements are moved from sample to sample")
    inner = moved % each
    if not (inner == inner[:1]).all():
        raise UnbatchableError("elements are moved in each sample in another way")
    return inner[0]


def view_size(view: View) -> int:
    return count_elements(view.shape, view.batch)


def _table(program: Program, value: Value, table: Any) -> str:
    name = f"{value.name}from"
    flat = np.asarray(table).ravel()
    program.functions[name] = f"static const int {name}[{max(flat.size, 1)}] = {{{', '.join(map(str, flat.tolist())) or '0'}}};"
    return name


def _look_up(program: Program, value: Value, x: Value, parts: Sequence[Any]) -> None:
    """Rows of a plain array by numbers that each sample brings: an embedding."""
    if len(parts) != 1 or x.laned:
        raise UnbatchableError("an index that samples bring picks among samples")
    numbers = program.value_of(parts[0])
    rows, index = program.need_dense(x), program.need(numbers)
    value.stage, value.batch = program.stage_of(x, numbers), numbers.batch
    value.view = program.new_view(value)
    code = program.code(value.stage, value.laned)
    width, names = math.prod(x.shape[1:]), [f"i{k}" for k in range(len(numbers.shape))]
    places = [f"i{k}" for k in range(len(numbers.shape))]
    with code.loops(*((f"i{k}", n) for k, n, _ in index.axes())), code.block(""):
        at = dense_place(numbers, places)
        _put_row(code, value.laned, f"{program.point(index.buffer, code)}[{index.at(names)}]", x.shape[0])
        read = f"{program.point(rows.buffer, code)} + {rows.offset}"
        to = f"{program.point(value.view.buffer, code)}[({at}) * {width} + i]"
        if value.laned:
            with code.loops(("i", width), ("l", program.lanes)):
                code.put(f"{to}[l] = ({read})[row[l] * {width} + i];")
        else:
            with code.loops(("i", width)):
                code.put(f"{to} = ({read})[row * {width} + i];")


def _put_row(code: Code, laned: bool, number: str, rows: int) -> None:
    """The row of a number, which counts from the end if it is negative; never outside of memory."""
    kind = "W" if laned else "whole"
    code.put(f"{kind} row = {number};")
    code.put(f"row += {rows} & {'(row < 0)' if laned else '-(row < 0)'};")
    code.put(f"row &= {'(row >= 0) & (row < ' + str(rows) + ')' if laned else f'-(row >= 0 && row < {rows})'};")


def dense_place(value: Value, names: Sequence[str]) -> str:
    strides, _ = dense_strides(value.shape, value.batch)
    return View(None, value.shape, strides, 0, value.batch).at(names)  # type: ignore[arg-type]


def scatter_add(program: Program, value: Value, x: Value, *, index: Any, shape: Any) -> None:
    parts = index if isinstance(index, tuple) else (index,)
    view = program.need(x)
    if any(isinstance(p, Tensor) for p in parts):
        return _add_up_rows(program, value, x, parts)
    value.stage = x.stage
    if x.laned:
        first, *rest = parts
        if x.batch != 0 or not (isinstance(first, slice) and first.indices(shape[0]) == (0, shape[0], 1) or first is Ellipsis):
            raise UnbatchableError("an index picks samples")
        value.batch = 0
        inner = tuple(rest) if first is not Ellipsis else tuple(parts)
        table = np.arange(math.prod(shape[1:])).reshape(shape[1:])[inner]
    else:
        table = np.arange(math.prod(shape)).reshape(shape)[index]
    view = program.need_dense(x)
    value.view = program.new_view(value)
    code = program.code(value.stage, value.laned)
    to = program.point(value.view.buffer, code)
    code.put(f"// {value.name}: added at an index, {value.view.buffer.note}")
    code.put(f"memset({to}, 0, {value.view.buffer.size} * sizeof *{to});")
    with code.loops(("i", int(np.size(table)))):
        code.put(f"{to}[{_table(program, value, table)}[i]] += {program.point(view.buffer, code)}[{view.offset} + i];")
    return None


def _add_up_rows(program: Program, value: Value, x: Value, parts: Sequence[Any]) -> None:
    """The gradient of an embedding: the cotangents of each sample added to the rows that it had looked up."""
    numbers = program.value_of(parts[0])
    if len(parts) != 1 or not (x.laned and numbers.laned):
        raise UnbatchableError("an index that samples bring picks among samples")
    rows, index = program.need_dense(x), program.need(numbers)
    stage = program.stage_of(x, numbers)
    value.stage = stage + 1
    strides, size = dense_strides(value.shape, None)
    buffer = program.new_buffer(value.name, size, False, "sums", " x ".join(map(str, value.shape)))
    value.view = View(buffer, value.shape, strides)
    code, width = program.code(stage, True), math.prod(value.shape[1:])
    names = [f"i{k}" for k in range(len(numbers.shape))]
    with code.loops(*((f"i{k}", n) for k, n, _ in index.axes())), code.block(""):
        _put_row(code, True, f"{program.point(index.buffer, code)}[{index.at(names)}]", value.shape[0])
        code.put("for (int l = 0; l < count; l++)")
        code.put(f"  for (int i = 0; i < {width}; i++) {program.point(buffer, code)}[row[l] * {width} + i] += {program.point(rows.buffer, code)}[{rows.offset} + ({dense_place(numbers, names)}) * {width} + i][l];")


def roll(program: Program, value: Value, x: Value, *, shift: Any, axis: Any = None) -> None:
    _move_by_table(program, value, x, lambda numbers: np.roll(numbers, shift, axis))


def concatenate(program: Program, value: Value, *arrays: Value, axis: int) -> None:
    _join(program, value, arrays, axis % len(value.shape), [x.shape[axis] for x in arrays], stacked=False)


def stack(program: Program, value: Value, *arrays: Value, axis: int) -> None:
    _join(program, value, arrays, axis % len(value.shape), [1] * len(arrays), stacked=True)


def _join(program: Program, value: Value, arrays: Sequence[Any], axis: int, lengths: Sequence[int], stacked: bool) -> None:
    arrays = [program.constant(np.asarray(x)) if not isinstance(x, Value) else x for x in arrays]
    batches = {x.batch + (stacked and x.batch >= axis) for x in arrays if x.batch is not None}
    if len(batches) > 1 or axis in batches:
        raise UnbatchableError("samples are joined")
    value.batch = batches.pop() if batches else None
    value.stage = program.stage_of(*arrays)
    views = [program.need(x) for x in arrays]
    value.view = out = program.new_view(value)
    code, start = program.code(value.stage, value.laned), 0
    code.put(f"// {value.name}: arrays joined, {out.buffer.note}")
    index = [f"i{k}" for k in range(len(value.shape))]
    for x, view, length in zip(arrays, views, lengths, strict=True):
        inside = [name for k, name in enumerate(index) if not (stacked and k == axis)]
        if value.laned and not x.laned:
            lead = value.batch - (stacked and value.batch > axis)  # type: ignore[operator]
            if view.strides[lead] and x.shape[lead] != 1:
                raise UnbatchableError("samples are joined with rows of a plain array")
            inside[lead] = "0"
        shape = [length if k == axis else n for k, n in enumerate(value.shape)]
        text = f"{program.point(view.buffer, code)}[{view.at(inside)}]"
        with code.loops(*((index[k], n) for k, n in enumerate(shape) if k != value.batch)):
            text = f"all({text})" if value.laned and not x.laned else text
            head = View(out.buffer, out.shape, out.strides, start * out.strides[axis], out.batch)
            named = ["0" if shape[k] == 1 and k != value.batch else name for k, name in enumerate(index)]
            code.put(f"{program.point(out.buffer, code)}[{head.at(named)}] = {text.replace(f'i{axis}', '0') if shape[axis] == 1 and not stacked else text};")
        start += length


# Sums and maxima


class Reduction:
    """A rule that goes over axes of the elements: it writes its argument's expression out by itself."""

    reads_elements = reduces = True

    def __init__(self, start: str, update: Callable[[str, str, str], str], scale: bool = False) -> None:
        self.start, self.update, self.scale = start, update, scale

    def __call__(self, program: Program, value: Value, x: Value, *, axis: Any = None, keepdims: bool = False, **_: Any) -> None:
        axes = {*range(len(x.shape))} if axis is None else {a % len(x.shape) for a in (axis if isinstance(axis, tuple) else (axis,))}
        self.reduce(program, value, x, axes)

    def reduce(self, program: Program, value: Value, x: Value, axes: set[int]) -> None:
        """Write the value of ``x`` over ``axes``, which the result has as length 1 or not at all."""
        kept = [k for k in range(len(x.shape)) if k not in axes]
        across = x.laned and x.batch in axes
        if across and (self.start != "0" or value.whole):
            raise UnbatchableError(f"{value.name} compares samples")
        if x.laned and not across:
            value.batch = x.batch if len(value.shape) == len(x.shape) else kept.index(x.batch)
        prefix, kind = ("v", "V") if x.laned else ("s", "real")
        elements = math.prod(x.shape[k] for k in axes)
        outer = [(f"i{k}", x.shape[k]) for k in kept if k != x.batch]
        inner = [(f"i{k}", x.shape[k]) for k in sorted(axes) if k != x.batch]
        # The loops need an axis of the result for each that is kept
        names = iter(n for n, _ in outer)
        places = ["0" if (len(value.shape) == len(x.shape) and k in axes) else None for k in range(len(value.shape))]
        at = [("" if k == value.batch else p if p is not None else next(names)) for k, p in enumerate(places)]
        code = program.code(x.stage, x.laned)
        value.stage = x.stage + across
        if across:
            strides, size = dense_strides(value.shape, None)
            buffer = program.new_buffer(value.name, size, False, "sums", " x ".join(map(str, value.shape)) or "1")
            value.view = View(buffer, value.shape, strides)
        else:
            value.view = program.new_view(value)
        index = ["" if k == x.batch else f"i{k}" if n != 1 else "0" for k, n in enumerate(x.shape)]
        if x.view is None:
            program._leaves(x, x.shape)
        code.put(f"// {value.name}: {value.tensor.op.name if value.tensor.op else ''} of {x.name}")
        scale = f" * {program.real(1 / elements)}" if self.scale else ""
        with code.loops(*outer), code.block(""):
            code.put(f"{kind} sum = {'all' if x.laned else ''}({self.start});")
            with code.loops(*inner):
                term = Words(x.laned, "f").as_real(program.element(x, index, code))
                code.put(self.update("sum", str(term), prefix))
            to = f"{program.point(value.view.buffer, code)}[{value.view.at(at)}]"
            whole = ("to_whole(sum)" if x.laned else "(whole)sum") if value.whole else "sum"
            code.put(f"{to} += total(keep(valid, sum)){scale};" if across else f"{to} = {whole}{scale};")


_SUM = Reduction("0", lambda out, x, v: f"{out} += {x};")


def sum_to(program: Program, value: Value, x: Value, *, shape: Any) -> None:
    lead = len(x.shape) - len(value.shape)
    axes = {*range(lead), *(k + lead for k, n in enumerate(value.shape) if n == 1 != x.shape[k + lead])}
    _SUM.reduce(program, value, x, axes)


sum_to.reads_elements = sum_to.reduces = True  # type: ignore[attr-defined]


# Products


def matmul(program: Program, value: Value, x: Value, y: Value) -> None:
    x, y = (program.constant(z) if isinstance(z, np.ndarray) else z for z in (x, y))
    a, b = program.need(x), program.need(y)
    loops, out = [], len(value.shape) - 1
    step = lambda view, value, k: None if value.batch == k else (view.strides[k] if value.shape[k] != 1 else 0)
    rows, columns = len(x.shape) > 1, len(y.shape) > 1
    lead = len(value.shape) - rows - columns
    for k in range(lead):
        i, j = k - lead + len(x.shape) - 2 if rows else -1, k - lead + len(y.shape) - 2 if columns else -1
        loops.append(Loop(f"b{k}", value.shape[k], step(a, x, i) if i >= 0 else 0, step(b, y, j) if j >= 0 else 0, k))
    if rows:
        k = len(x.shape) - 2
        loops.append(Loop("m", x.shape[k], step(a, x, k), 0, out - columns))
    if columns:
        k = len(y.shape) - 1
        loops.append(Loop("n", y.shape[k], 0, step(b, y, k), out))
    inner = len(y.shape) - 2 if columns else 0
    loops.append(Loop("k", x.shape[-1], step(a, x, len(x.shape) - 1), step(b, y, inner), None))
    multiply(program, value, (x, a), (y, b), loops)


def einsum(program: Program, value: Value, *operands: Value, subscripts: str, optimize: Any = False) -> None:
    if len(operands) != 2:
        raise NotImplementedError("einsum_ of other than two arrays")
    terms, result = subscripts.split("->")[0].split(","), subscripts.split("->")[1]
    operands = tuple(program.constant(x) if isinstance(x, np.ndarray) else x for x in operands)
    views = [program.need(x) for x in operands]
    loops = []
    for letter in dict.fromkeys("".join([result, *terms])):
        steps: list[int | None] = []
        length = 1
        for term, x, view in zip(terms, operands, views, strict=True):
            if term.count(letter) > 1:
                raise NotImplementedError("einsum_ along a diagonal")
            k = term.find(letter)
            length = max(length, x.shape[k] if k >= 0 else 1)
            steps.append(0 if k < 0 or x.shape[k] == 1 and k != x.batch else None if k == x.batch else view.strides[k])
        loops.append(Loop(f"e{letter}", length, steps[0], steps[1], result.find(letter) if letter in result else None))
    multiply(program, value, (operands[0], views[0]), (operands[1], views[1]), loops)


# Convolution: sums of products over windows, which are steps through images with a margin


def _see(images: Sequence[int], filters: Sequence[int], stride: Any, padding: Any, dilation: Any) -> tuple[Axis, Axis]:
    return slide("compile", (images[1], images[2]), (filters[2], filters[3]), stride, padding, dilation, shapes="")


def _with_margin(program: Program, value: Value, x: Value, margins: Sequence[tuple[int, int]], spread: Sequence[int] = (1, 1)) -> View:
    """Images with zeros around them and, ``spread`` by more than 1, between them."""
    view = program.need(x)
    if not any(map(any, margins)) and tuple(spread) == (1, 1):
        return view
    _, height, width, channels = x.shape
    (top, bottom), (left, right) = margins
    rows, columns = top + (height - 1) * spread[0] + 1 + bottom, left + (width - 1) * spread[1] + 1 + right
    shape = (x.shape[0], rows, columns, channels)
    strides, size = dense_strides(shape, x.batch)
    strides = tuple(s or 1 for s in strides) if x.laned else strides
    buffer = program.new_buffer(f"{value.name}margin", size, x.laned, "arena" if x.laned else "plain", f"{rows} x {columns} x {channels}")
    padded = View(buffer, shape, strides, 0, x.batch)
    code = program.code(x.stage, x.laned)
    to = program.point(buffer, code)
    code.put(f"memset({to}, 0, {size} * sizeof *{to});")
    index = ["" if x.laned else "b", "i" if height != 1 else "0", "j" if width != 1 else "0", "c" if channels != 1 else "0"]
    inside = View(buffer, (x.shape[0], height, width, channels), (strides[0], strides[1] * spread[0], strides[2] * spread[1], strides[3]), top * strides[1] + left * strides[2], x.batch)
    outer = [] if x.laned else [("b", x.shape[0])]
    with code.loops(*outer, ("i", height), ("j", width), ("c", channels)):
        code.put(f"{to}[{inside.at(index)}] = {program.point(view.buffer, code)}[{view.at(index)}];")
    return padded


def _steps(x: View) -> tuple[int | None, int, int, int]:
    sample, *rest = x.strides
    return (None if x.batch == 0 else sample, *rest)  # type: ignore[return-value]


def conv2d(program: Program, value: Value, x: Value, w: Value, bias: Any = None, *, stride: Any, padding: Any, dilation: Any, groups: int) -> None:
    rows, columns = _see(x.shape, w.shape, stride, padding, dilation)
    a = _with_margin(program, value, x, [(rows.before, rows.after), (columns.before, columns.after)])
    b = program.need(w)
    filters, channels = w.shape[0] // groups, w.shape[1]
    sample, down, across, channel = _steps(a)
    loops = [
        Loop("s", x.shape[0], sample, 0, 0),
        Loop("g", groups, channels * channel, filters * b.strides[0], 3),
        Loop("f", filters, 0, b.strides[0], 3),
        Loop("y", rows.count, rows.stride * down, 0, 1),
        Loop("x", columns.count, columns.stride * across, 0, 2),
        Loop("k", rows.size, rows.dilation * down, b.strides[2], None),
        Loop("l", columns.size, columns.dilation * across, b.strides[3], None),
        Loop("c", channels, channel, b.strides[1], None),
    ]
    _convolve(program, value, (x, a), (w, b), loops, program.need(bias) if isinstance(bias, Value) else None, groups)


def _convolve(program: Program, value: Value, a: Any, b: Any, loops: Sequence[Loop], bias: View | None, groups: int) -> None:
    if groups == 1:
        multiply(program, value, a, b, [loop for loop in loops if loop.name != "g"], bias)
        return
    # Groups of channels lie behind one another on the last axis of the output, so there it is cut in two.
    each = next(loop.length for loop in loops if loop.name in "fc" and loop.out == 3)
    program.cut_last(value, groups, each)
    loops = [loop._replace(out=4) if loop.name in "fc" and loop.out == 3 else loop for loop in loops]
    multiply(program, value, a, b, loops, bias)
    program.join_last(value)


def conv2d_images(program: Program, value: Value, y: Value, w: Value, *, shape: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> None:
    rows, columns = axes = _see(shape, w.shape, stride, padding, dilation)
    # Turned around, the filters go over the cotangent with a margin, and zeros between where the stride skipped.
    fronts = [(axis.size - 1) * axis.dilation - axis.before for axis in axes]
    backs = [axis.length + axis.before - 1 - (axis.count - 1) * axis.stride for axis in axes]
    margins = [(max(front, 0), max(back, 0)) for front, back in zip(fronts, backs, strict=True)]
    a = _with_margin(program, value, y, margins, (rows.stride, columns.stride))
    b = program.need(w)
    filters, channels = w.shape[0] // groups, w.shape[1]
    sample, down, across, channel = _steps(a)
    start = sum(
        ((axis.size - 1) * axis.dilation + max(-front, 0)) * step  # more padding than a window: rows it never saw
        for axis, front, step in zip(axes, fronts, (down, across), strict=True)
    )
    a = View(a.buffer, a.shape, a.strides, a.offset + start, a.batch)
    loops = [
        Loop("s", shape[0], sample, 0, 0),
        Loop("g", groups, filters * channel, filters * b.strides[0], 3),
        Loop("c", channels, 0, b.strides[1], 3),
        Loop("y", rows.length, down, 0, 1),
        Loop("x", columns.length, across, 0, 2),
        Loop("k", rows.size, -rows.dilation * down, b.strides[2], None),
        Loop("l", columns.size, -columns.dilation * across, b.strides[3], None),
        Loop("f", filters, channel, b.strides[0], None),
    ]
    _convolve(program, value, (y, a), (w, b), loops, None, groups)


def conv2d_filters(program: Program, value: Value, x: Value, y: Value, *, shape: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> None:
    rows, columns = _see(x.shape, shape, stride, padding, dilation)
    a = _with_margin(program, value, x, [(rows.before, rows.after), (columns.before, columns.after)])
    b = program.need(y)
    filters, channels = shape[0] // groups, shape[1]
    sample, down, across, channel = _steps(a)
    y_sample, y_down, y_across, y_channel = _steps(b)
    loops = [
        Loop("s", x.shape[0], y_sample, sample, None),
        Loop("g", groups, filters * y_channel, channels * channel, 0),
        Loop("f", filters, y_channel, 0, 0),
        Loop("c", channels, 0, channel, 1),
        Loop("k", rows.size, 0, rows.dilation * down, 2),
        Loop("l", columns.size, 0, columns.dilation * across, 3),
        Loop("y", rows.count, y_down, rows.stride * down, None),
        Loop("x", columns.count, y_across, columns.stride * across, None),
    ]
    if groups == 1:
        multiply(program, value, (y, b), (x, a), [loop for loop in loops if loop.name != "g"])
        return
    program.cut_first(value, groups, filters)
    loops = [loop._replace(out=loop.out + 1) if loop.out is not None and loop.name != "g" else loop for loop in loops]
    multiply(program, value, (y, b), (x, a), loops)
    program.join_first(value)


# Pooling


def _pool(shape: Sequence[int], size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool) -> tuple[Axis, Axis]:
    return slide("compile", (shape[1], shape[2]), size, size if stride is None else stride, padding, dilation, ceil_mode=ceil_mode, shapes="")


def _taps(code: Any, axes: Sequence[Axis], visit: Callable[[str, str, bool], None]) -> None:
    """Visit the pixels of the window (y, x), by their row and column; in loops with a test where some are padding."""
    rows, columns = axes
    checked = any(a.before or (a.count - 1) * a.stride - a.before + (a.size - 1) * a.dilation >= a.length for a in axes)
    if not checked and rows.size * columns.size <= 16:
        for k in range(rows.size):
            for l in range(columns.size):
                visit(f"(y * {rows.stride} + {k * rows.dilation})", f"(x * {columns.stride} + {l * columns.dilation})", k == l == 0)
        return
    with code.loops(("k", rows.size), ("l", columns.size)), code.block(""):
        code.put(f"const int row = y * {rows.stride} + k * {rows.dilation} - {rows.before}, column = x * {columns.stride} + l * {columns.dilation} - {columns.before};".replace("k *", "k *" if rows.size > 1 else "0 *").replace("l *", "l *" if columns.size > 1 else "0 *"))
        if checked:
            code.put(f"if (row < 0 || row >= {rows.length} || column < 0 || column >= {columns.length}) continue;" if rows.size * columns.size > 1 else "")
        visit("row", "column", False)


def _over_windows(code: Any, x: Value, axes: Sequence[Axis]) -> Any:
    outer = [] if x.laned else [("b", x.shape[0])]
    return code.loops(*outer, ("y", axes[0].count), ("x", axes[1].count), ("c", x.shape[3]))


def _pixel(view: View, row: str, column: str) -> str:
    sample, down, across, channel = view.strides
    start = f"{view.offset} + " if view.offset else ""
    first = "" if view.batch == 0 or view.shape[0] == 1 else f"b * {sample} + "
    last = f" + c * {channel}" if view.shape[3] != 1 else ""
    return f"{start}{first}{row} * {down} + {column} * {across}{last}"


def _define(code: Any, shape: Sequence[int], laned: bool, axes: Sequence[Axis]) -> None:
    """Names of loops of one turn, which are no loops."""
    for name, n in (("y", axes[0].count), ("x", axes[1].count)):
        if n == 1:
            code.put(f"const int {name} = 0;")


def max_pool(program: Program, value: Value, x: Value, *, size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool) -> None:
    axes = _pool(x.shape, size, stride, padding, dilation, ceil_mode)
    view = program.need(x)
    value.stage, value.batch = x.stage, x.batch
    value.view = program.new_view(value)
    code, v = program.code(value.stage, value.laned), "v" if value.laned else "s"
    code.put(f"// {value.name}: maxima of windows, {value.view.buffer.note}")
    with _over_windows(code, x, axes), code.block(""):
        _define(code, x.shape, x.laned, axes)
        code.put("V top = all(-INFINITY);" if value.laned else "real top = -INFINITY;")
        _taps(code, axes, lambda row, column, first: code.put(f"top = {v}_max({program.point(view.buffer, code)}[{_pixel(view, row, column)}], top);"))
        code.put(f"{program.point(value.view.buffer, code)}[{_pixel(value.view, 'y', 'x')}] = top;")


def max_pool_images(program: Program, value: Value, y: Value, *, images: Any, maxima: Any, size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool) -> None:
    images, maxima = program.value_of(images), program.value_of(maxima)
    axes = _pool(images.shape, size, stride, padding, dilation, ceil_mode)
    g, x, tops = program.need(y), program.need(images), program.need(maxima)
    value.stage, value.batch = program.stage_of(y, images, maxima), images.batch
    value.view = program.new_view(value)
    code, v = program.code(value.stage, value.laned), "v" if value.laned else "s"
    to = program.point(value.view.buffer, code)
    tiled = all(a.is_tiled for a in axes)
    code.put(f"// {value.name}: to the first maximum of each window, {value.view.buffer.note}")
    if not (tiled and all(a.count * a.size == a.length for a in axes)):
        code.put(f"memset({to}, 0, {value.view.buffer.size} * sizeof *{to});")
    kind, mask = ("V", "W") if value.laned else ("real", "whole")

    def visit(row: str, column: str, first: bool) -> None:
        pixel = f"{program.point(x.buffer, code)}[{_pixel(x, row, column)}]"
        code.put(f"hit = left & {v}_is_top({pixel}, top);", "left &= ~hit;")
        place_ = f"{to}[{_pixel(value.view, row, column)}]"  # type: ignore[arg-type]
        code.put(f"{place_} = {v}_keep(hit, g);" if tiled else f"{place_} += {v}_keep(hit, g);")

    with _over_windows(code, images, axes), code.block(""):
        _define(code, images.shape, images.laned, axes)
        code.put(f"const {kind} top = {program.point(tops.buffer, code)}[{_pixel(tops, 'y', 'x')}], g = {program.point(g.buffer, code)}[{_pixel(g, 'y', 'x')}];")
        code.put(f"{mask} hit, left = {'all_whole(-1)' if value.laned else '-1'};")
        _taps(code, axes, visit)


def _shares(program: Program, value: Value, axes: Sequence[Axis], count_include_pad: bool) -> str:
    """A table of the number of pixels that each window counts."""
    from tensorgrad.ops.pool import _pixels_in

    down, across = (_pixels_in(axis, count_include_pad) for axis in axes)
    table = np.multiply.outer(down, across)
    name = f"{value.name}pixels"
    program.functions[name] = f"static const real {name}[{table.size}] = {{{', '.join(map(str, table.ravel().tolist()))}}};"
    return f"{name}[y * {axes[1].count} + x]"


def avg_pool(program: Program, value: Value, x: Value, *, size: Any, stride: Any, padding: Any, ceil_mode: bool, count_include_pad: bool) -> None:
    axes = _pool(x.shape, size, stride, padding, 1, ceil_mode)
    view = program.need(x)
    value.stage, value.batch = x.stage, x.batch
    value.view = program.new_view(value)
    code, count = program.code(value.stage, value.laned), _shares(program, value, axes, count_include_pad)
    code.put(f"// {value.name}: means of windows, {value.view.buffer.note}")
    with _over_windows(code, x, axes), code.block(""):
        _define(code, x.shape, x.laned, axes)
        code.put("V sum = zero;" if value.laned else "real sum = 0;")
        _taps(code, axes, lambda row, column, first: code.put(f"sum += {program.point(view.buffer, code)}[{_pixel(view, row, column)}];"))
        code.put(f"{program.point(value.view.buffer, code)}[{_pixel(value.view, 'y', 'x')}] = sum / {count};")


def avg_pool_images(program: Program, value: Value, y: Value, *, shape: Any, size: Any, stride: Any, padding: Any, ceil_mode: bool, count_include_pad: bool) -> None:
    axes = _pool(shape, size, stride, padding, 1, ceil_mode)
    view = program.need(y)
    value.stage, value.batch = y.stage, y.batch
    value.view = program.new_view(value)
    code, count = program.code(value.stage, value.laned), _shares(program, value, axes, count_include_pad)
    to = program.point(value.view.buffer, code)
    code.put(f"// {value.name}: each mean's share to the pixels of its window, {value.view.buffer.note}")
    code.put(f"memset({to}, 0, {value.view.buffer.size} * sizeof *{to});")
    with _over_windows(code, value, axes), code.block(""):
        _define(code, value.shape, value.laned, axes)
        code.put(f"const {'V' if value.laned else 'real'} share = {program.point(view.buffer, code)}[{_pixel(view, 'y', 'x')}] / {count};")
        _taps(code, axes, lambda row, column, first: code.put(f"{to}[{_pixel(value.view, row, column)}] += share;"))  # type: ignore[arg-type]


def _everywhere(program: Program, value: Value, x: Value, **_: Any) -> None:
    """Whether a condition holds everywhere: it is counted where it does not."""
    _count(program, value, x, "== 0", "== 0")


def _somewhere(program: Program, value: Value, x: Value, **_: Any) -> None:
    """Whether a condition holds somewhere: it is counted where it does."""
    _count(program, value, x, "!= 0", "!= 0")


def _count(program: Program, value: Value, x: Value, wanted: str, holds: str) -> None:
    if value.shape:
        raise NotImplementedError(f"{value.name} along an axis")
    value.stage = x.stage + x.laned
    buffer = program.new_buffer(value.name + "missed", 1, False, "sums" if x.laned else "plain", "1")
    code = program.code(x.stage, x.laned)
    index = ["" if k == x.batch else f"i{k}" if n != 1 else "0" for k, n in enumerate(x.shape)]
    view = program.need(x)
    to = program.point(buffer, code)
    if not x.laned:
        code.put(f"{to}[0] = 0;")
    with code.loops(*((f"i{k}", n) for k, n, _ in view.axes())):
        term = f"{program.point(view.buffer, code)}[{view.at(index)}]"
        code.put(f"{to}[0] -= total(to_real(valid & ({term} {wanted})));" if x.laned else f"{to}[0] += {term} {wanted};")
    value.view = program.new_view(value)
    after = program.code(value.stage, False)
    after.put(f"{program.point(value.view.buffer, after)}[0] = -({program.point(buffer, after)}[0] {holds});")


RULES: dict[str, Any] = {
    **ELEMENTWISE,
    "reshape": reshape, "transpose": transpose, "swapaxes": swapaxes, "broadcast_to": broadcast_to, "getitem": getitem,
    "scatter_add": scatter_add, "roll": roll, "concatenate_": concatenate, "stack_": stack,
    "sum": _SUM, "sum_to": sum_to, "mean": Reduction("0", lambda out, x, v: f"{out} += {x};", scale=True),
    "max": Reduction("-INFINITY", lambda out, x, v: f"{out} = {v}_max({x}, {out});"),
    "min": Reduction("INFINITY", lambda out, x, v: f"{out} = {v}_min({x}, {out});"),
    "matmul": matmul, "einsum_": einsum, "conv2d": conv2d, "conv2d_images": conv2d_images, "conv2d_filters": conv2d_filters,
    "max_pool": max_pool, "max_pool_images": max_pool_images, "avg_pool": avg_pool, "avg_pool_images": avg_pool_images,
    "all": _everywhere, "any": _somewhere,
}  # fmt: skip
