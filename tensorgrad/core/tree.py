"""Trees: nested tuples, lists and dicts of arrays, flattened and put together again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any


def leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Everything in ``tree`` that is no tuple, list or dict, with its path such as ``[0]['w']``."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from leaves(value, f"{path}[{key!r}]")
    elif isinstance(tree, (tuple, list)):
        for i, value in enumerate(tree):
            yield from leaves(value, f"{path}[{i}]")
    else:
        yield path, tree


def rebuilt(tree: Any, values: Iterable[Any]) -> Any:
    """A tree of the form of ``tree`` with ``values`` for its leaves, in order."""
    return _built(tree, iter(values))


def mapped(f: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """A tree of ``f`` applied to the corresponding leaves of trees of one form."""
    columns = [[leaf for _, leaf in leaves(t)] for t in (tree, *others)]
    return rebuilt(tree, [f(*row) for row in zip(*columns, strict=True)])


# Not inside `rebuilt`: a closure that calls itself is a reference cycle, which would keep the values alive.
def _built(tree: Any, rest: Iterator[Any]) -> Any:
    if isinstance(tree, dict):
        return {key: _built(value, rest) for key, value in tree.items()}
    if isinstance(tree, (tuple, list)):
        items = [_built(value, rest) for value in tree]
        return type(tree)(*items) if hasattr(tree, "_fields") else type(tree)(items)
    return next(rest)
