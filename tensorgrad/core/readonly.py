"""The arrays that a Tensor shows of itself: nobody can write to them, and who tries is told what to write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgrad.core.elsewhere import TABLES, tell_names

__all__ = ["ReadOnly"]


class ReadOnly(np.ndarray[Any, Any]):
    """A tensor's values or gradient. What NumPy computes from it are ordinary arrays."""

    __slots__ = ()

    def __array_wrap__(self, out: Any, context: Any = None, return_scalar: bool = False) -> Any:
        return out[()] if return_scalar else out

    def copy(self, order: Any = "C") -> Any:
        """An ordinary array, which may be written to."""
        return np.array(self, order=order)

    def __reduce__(self) -> Any:
        return np.asarray(self).__reduce__()

    def __repr__(self) -> str:
        return repr(np.asarray(self))


def _refusing(name: str) -> Callable[..., Any]:
    """The method of ndarray of that name, which writes; it raises if the array is read-only."""
    method = getattr(np.ndarray, name)
    if name in SYMBOLS:
        what, symbol = f"{SYMBOLS[name]}=", SYMBOLS[name]
        instead = f"t.data = t.data {symbol} ..., or under tg.no_grad() t {symbol}= ..."
    else:
        what = "assigning elements" if name == "__setitem__" else name
        instead = "a = t.numpy(), change a, and t.data = a"

    def call(self: Any, *args: Any, **options: Any) -> Any:
        if self.flags.writeable:  # of an array that was made like this one
            return method(self, *args, **options)
        raise ValueError(
            f"{what} would change what a Tensor t only shows, a read-only array; write {instead}; "
            "of a gradient t.grad = ... or t.zero_grad()"
        )

    call.__name__ = name
    call.__doc__ = f"`numpy.ndarray.{name}`, of an array that may be written to."
    return call


SYMBOLS = {
    "__iadd__": "+", "__isub__": "-", "__imul__": "*", "__itruediv__": "/", "__ifloordiv__": "//",
    "__imod__": "%", "__ipow__": "**", "__imatmul__": "@", "__iand__": "&", "__ior__": "|", "__ixor__": "^",
    "__ilshift__": "<<", "__irshift__": ">>",
}  # fmt: skip

for _name in (*SYMBOLS, "__setitem__", "fill", "sort", "partition", "put", "resize"):
    setattr(ReadOnly, _name, _refusing(_name))

tell_names(ReadOnly, TABLES["array"])
