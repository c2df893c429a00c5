"""Trees: nested tuples, lists and dicts of arrays, flattened and put together again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

__all__ = ["flatten", "map_leaves", "match", "rebuild"]


def flatten(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Everything in ``tree`` that is no tuple, list or dict, with its path such as ``[0]['w']``."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from flatten(value, f"{path}[{key!r}]")
    elif isinstance(tree, (tuple, list)):
        for i, value in enumerate(tree):
            yield from flatten(value, f"{path}[{i}]")
    else:
        yield path, tree


def rebuild(tree: Any, values: Iterable[Any]) -> Any:
    """A tree of the form of ``tree`` with ``values`` for its leaves, in order."""
    return _fill(tree, iter(values))


def match(form: Any, tree: Any, what: str) -> list[Any]:
    """The leaves of ``tree`` in the order of ``form``; ValueError naming ``what`` if its form is another."""
    if isinstance(form, dict):
        if not isinstance(tree, dict) or tree.keys() != form.keys():
            came = f"keys {list(tree)}" if isinstance(tree, dict) else f"a {type(tree).__name__}"
            raise ValueError(f"{what}: expected a dict with keys {list(form)}, got {came}")
        return [leaf for key in form for leaf in match(form[key], tree[key], f"{what}[{key!r}]")]
    if isinstance(form, (tuple, list)):
        if not isinstance(tree, (tuple, list)) or len(tree) != len(form):
            came = f"{len(tree)}" if isinstance(tree, (tuple, list)) else f"a {type(tree).__name__}"
            raise ValueError(f"{what}: expected {len(form)} parts, got {came}")
        pairs = enumerate(zip(form, tree, strict=True))
        return [leaf for i, (part, other) in pairs for leaf in match(part, other, f"{what}[{i}]")]
    return [tree]


def map_leaves(f: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """A tree of ``f`` applied to the corresponding leaves of trees of one form."""
    columns = [match(tree, t, "tree") for t in (tree, *others)]
    return rebuild(tree, [f(*row) for row in zip(*columns, strict=True)])


# Not inside `rebuild`: a closure that calls itself is a reference cycle, which would keep the values alive.
def _fill(tree: Any, rest: Iterator[Any]) -> Any:
    if isinstance(tree, dict):
        return {key: _fill(value, rest) for key, value in tree.items()}
    if isinstance(tree, (tuple, list)):
        items = [_fill(value, rest) for value in tree]
        return type(tree)(*items) if hasattr(tree, "_fields") else type(tree)(items)
    return next(rest)
