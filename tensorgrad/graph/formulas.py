"""The text of a vjp formula, as its author wrote it, and what it calls its arguments."""

from __future__ import annotations

import ast
import inspect
import linecache
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from types import CodeType, FunctionType
from typing import Any, cast
from weakref import WeakKeyDictionary

from tensorgrad.core import Op

Place = tuple[int, int]  # line and column

_found: WeakKeyDictionary[CodeType, ast.Lambda | ast.FunctionDef | None] = WeakKeyDictionary()
_unparse = lru_cache(maxsize=1024)(ast.unparse)


def formula_text(
    formula: Callable[..., Any],
    arguments: tuple[Any, ...],
    params: Mapping[str, Any],
    called: Sequence[str] = (),
) -> str:
    """The expression that a formula returns when it is called so, or else its name and arguments.

    A function may begin with ``if ...: return ...``: the return that this call takes is given. ``called`` are
    what to call the arguments, if not as the formula does.

    >>> from tensorgrad.graph.formulas import formula_text
    >>> formula_text(tg.sin.vjps["x"], (1.0, 0.84, 1.0), {})
    'g * np.cos(x)'
    >>> formula_text(tg.sin.vjps["x"], (1.0, 0.84, 1.0), {}, ["g", "y", "angle"])
    'g * np.cos(angle)'
    """
    first: tuple[Any, ...] = ()
    while isinstance(formula, partial):
        first = (*formula.args, *first)
        formula = formula.func
    if isinstance(formula, FunctionType):
        formula = inspect.unwrap(formula)
    if not isinstance(formula, FunctionType):
        return f"{getattr(formula, '__name__', type(formula).__name__)}(...)"
    names = formula.__code__.co_varnames[: formula.__code__.co_argcount]
    known = {name: str(value) for name, value in zip(names, first, strict=False) if isinstance(value, int)}
    known |= zip(names[len(first) :], called, strict=False)
    definition = _definition(formula)
    if isinstance(definition, ast.Lambda):
        expression: ast.expr | None = definition.body
    else:
        expression = _find_return(definition, formula, (*first, *arguments), params)
    if expression is None:
        shown = ", ".join(known.get(name, name) for name in names)
        return f"{formula.__name__}({shown})" if formula.__name__ != "<lambda>" else "a lambda"
    text = _unparse(expression)
    if formula.__code__.co_flags & inspect.CO_VARARGS:
        others = formula.__code__.co_varnames[len(names) + formula.__code__.co_kwonlyargcount]
        known |= {f"{others}[{i}]": name for i, name in enumerate(called[len(names) - len(first) :])}
    return rename(text, known) if known else text


def rename(expression: str, texts: Mapping[str, str]) -> str:
    """An expression with other names, or numbers, for names and for elements such as ``arrays[0]``.

    >>> from tensorgrad.graph.formulas import rename
    >>> rename("g * y ** x", {"x": "2.0", "y": "-3.0"})
    'g * (-3.0) ** 2.0'
    """
    return ast.unparse(_Known(texts).visit(ast.parse(expression, mode="eval")))


def argument_names(op: Op[Any], count: int) -> tuple[str, ...]:
    """What the formulas of ``op`` call its arguments in a call with so many: x, y or arrays[0], arrays[1]."""
    if not op.variadic:
        return op.arrays
    *first, last = op.arrays
    return (*first, *(f"{last}[{i}]" for i in range(count - len(first))))


class _Known(ast.NodeTransformer):
    """Puts in what names and elements of ``*arguments`` stand for: other names, or numbers."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = texts

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return _atom(self._texts[node.id]) if node.id in self._texts else node

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        node = cast("ast.BinOp", self.generic_visit(node))
        a, b = node.left, node.right
        if (
            not isinstance(node.op, ast.Sub)
            or not isinstance(a, ast.Constant)
            or not isinstance(b, ast.Constant)
        ):
            return node
        difference = repr(a.value - b.value)  # type: ignore[operator]  # numbers, of which 3 - 1 is made
        return _atom(difference) if len(difference) < 6 else node

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        node = cast("ast.Subscript", self.generic_visit(node))
        text = self._texts.get(ast.unparse(node))
        return node if text is None else _atom(text)


def _atom(text: str) -> ast.expr:
    """A number or other literal, or a name, whatever is in it."""
    try:
        ast.literal_eval(text)
        return ast.parse(text, mode="eval").body
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return ast.Name(" ".join(text.split()))


def _definition(formula: FunctionType) -> ast.Lambda | ast.FunctionDef | None:
    """The lambda or def in the source, if that is at hand and still says what was compiled."""
    code = formula.__code__
    if code not in _found:
        _found[code] = _search(formula)
    return _found[code]


def _search(formula: FunctionType) -> ast.Lambda | ast.FunctionDef | None:
    code = formula.__code__
    text = "".join(linecache.getlines(code.co_filename, formula.__globals__))
    named = [x for x in _definitions(text) if x.lineno == code.co_firstlineno]
    if code.co_name != "<lambda>":
        return next((x for x in named if isinstance(x, ast.FunctionDef) and x.name == code.co_name), None)
    # Several lambdas may begin on one line: this one's body lies where its instructions do.
    places = [(line, column, end, stop) for line, end, column, stop in code.co_positions() if stop]
    if not places or any(None in place for place in places):
        return None
    start = min((line, column) for line, column, _, _ in places)
    end = max((line, column) for _, _, line, column in places)
    return next((x for x in named if isinstance(x, ast.Lambda) and _span(x.body) == (start, end)), None)


def _span(node: ast.expr) -> tuple[Place, Place]:
    return (node.lineno, node.col_offset), (node.end_lineno or 0, node.end_col_offset or 0)


@lru_cache(maxsize=64)
def _definitions(source: str) -> tuple[ast.Lambda | ast.FunctionDef, ...]:
    try:
        tree = ast.parse(source)
    except SyntaxError:  # a notebook's cell with magic commands, say
        return ()
    return tuple(node for node in ast.walk(tree) if isinstance(node, (ast.Lambda, ast.FunctionDef)))


def _find_return(
    definition: ast.FunctionDef | None,
    formula: FunctionType,
    arguments: tuple[Any, ...],
    params: Mapping[str, Any],
) -> ast.expr | None:
    """What a function returns that consists of returns and conditions, as far as this call goes."""
    if definition is None:
        return None
    try:
        names = dict(inspect.signature(formula).bind(*arguments, **params).arguments)
        for statement in definition.body:
            if isinstance(statement, ast.Return):
                return statement.value
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                continue  # the docstring
            if not isinstance(statement, ast.If) or not isinstance(statement.body[0], ast.Return):
                return None
            test = compile(ast.Expression(statement.test), "<condition of a formula>", "eval")
            if eval(test, formula.__globals__, names):
                return statement.body[0].value
            if statement.orelse:
                return None
    except Exception:  # a condition may need more than the arguments
        return None
    return None
