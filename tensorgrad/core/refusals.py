"""The words of the engine's errors: what was expected, what came, what to do. The engine reads without them.

What is called ``refuse_`` always raises; what is called ``require_`` returns where all is well. A tensor, and
an op, is here what has their attributes: this file stands under the engine.
"""

from __future__ import annotations

import linecache
import re
import sys
from typing import Any, NoReturn

import numpy as np

from tensorgrad.core.elsewhere import advise_keyword

__all__ = [
    "calling_line", "describe_arguments", "explain", "refuse_assigned", "refuse_cotangent", "refuse_numpy",
    "refuse_undeclared", "refuse_update", "require_constant", "require_cotangents", "require_dense",
    "require_dtype", "require_floating", "require_like", "require_unmasked",
]  # fmt: skip

# Of arrays


def require_unmasked(data: Any, what: str) -> None:
    """TypeError if ``data`` is a masked array, or a list of some, whose mask would be lost."""
    if _is_masked(data) or (isinstance(data, (list, tuple)) and any(map(_is_masked, data))):
        raise TypeError(f"{what}: a masked array would lose its mask; pass .filled(value), or use np.where")


def _is_masked(x: Any) -> bool:
    return hasattr(x, "mask") and hasattr(x, "filled")


def require_dense(data: Any, what: str) -> None:
    """TypeError if ``data`` is a sparse matrix, whose operators and functions are not NumPy's."""
    if hasattr(type(data), "toarray"):  # a traced array answers no question about itself
        raise TypeError(f"{what}: expected a dense array, got a {type(data).__name__}; write .toarray()")


def require_floating(dtype: np.dtype[Any], what: str) -> None:
    """TypeError unless ``dtype`` is floating: a derivative needs a neighbourhood."""
    if dtype.kind != "f":
        raise TypeError(f"{what}: only floating tensors can require grad, got {dtype}; pass floats")


# Of tensors


def require_like(doing: str, tensor: Any, values: Any, casting: Any) -> None:
    """An error unless ``values`` have the tensor's shape, and can be cast to its dtype."""
    if values.shape != tensor.shape:
        raise ValueError(f"{doing} {tensor.label()}: expected shape {tensor.shape}, got {values.shape}")
    if not np.can_cast(values.dtype, tensor.dtype, casting):
        raise TypeError(f"{doing} {tensor.label()}: expected {tensor.dtype}, got {values.dtype}")


def require_constant(tensor: Any, wanted: str) -> None:
    """TypeError if the tensor requires grad: what is ``wanted`` would lose it."""
    if tensor.requires_grad:
        raise TypeError(
            f"{wanted} would silently cut {tensor.label()} off the graph; to keep the gradient use a NumPy "
            "function, such as np.stack for a list of tensors; .item(), .numpy() and .detach() make constants"
        )


def refuse_update(tensor: Any, symbol: str) -> NoReturn:
    """Of ``+=`` and the like on a leaf, while ops record."""
    raise TypeError(
        f"{symbol}= would change {tensor.label()}, a leaf that requires grad, while recording; "
        f"put it under tg.no_grad(), or write x = x {symbol} ..."
    )


# Of ops


def refuse_numpy(function: Any) -> NoReturn:
    """Of a NumPy function that nothing stands in for."""
    module = (getattr(function, "__module__", None) or "numpy").replace("numpy", "np", 1)
    name = f"{module if module.startswith('np') else 'np'}.{getattr(function, '__name__', function)}"
    raise TypeError(
        f"{name} has no derivative rule, and tensorgrad never drops a gradient silently; "
        f"declare one with tg.differentiate({name}, ...), or call it on t.data if it is a constant"
    )


def refuse_undeclared(op: str, argument: str, *args: Any, **params: Any) -> NoReturn:
    """What stands for a formula that is not declared."""
    raise NotImplementedError(
        f"{op} has no vjp with respect to {argument}; declare it with {op}.defvjp({argument}=...)"
    )


def require_dtype(op: Any, args: tuple[Any, ...], arrays: list[Any], dtype: np.dtype[Any]) -> None:
    """TypeError if the result is not floating, or of another dtype than a tensor that requires grad."""
    for x in args:
        if not getattr(x, "requires_grad", False):
            continue
        if dtype.kind != "f":
            raise TypeError(f"{op.name}: a derivative needs a floating result, got {dtype}; detach first")
        if dtype != x.dtype and op.name != "astype":
            raise TypeError(
                f"{op.name}: the {x.dtype} tensor would silently become {dtype} "
                f"({describe_arguments(op, arrays)}); "
                "cast one side with .astype, or a NumPy scalar with float(...)"
            )


def describe_arguments(op: Any, arrays: list[Any]) -> str:
    """The arguments of a call, by dtype and shape."""
    *first, last = op.arrays
    rest = [f"{last}[{i}]" for i in range(len(arrays))] if op.variadic else [last]
    return ", ".join(
        f"{name} {x.dtype} {x.shape}" if hasattr(x, "shape") else f"{name} {type(x).__name__}"
        for name, x in zip(first + rest, arrays, strict=False)
    )


def explain(error: Exception, op: Any, arrays: list[Any], native: bool) -> Exception:
    """The error of a forward with the op's name, the arguments, and a note of the line that called."""
    message = str(error)
    kinds = (np.linalg.LinAlgError, np.exceptions.AxisError, TypeError, IndexError, ValueError)
    kind = next(kind for kind in kinds if isinstance(error, kind))
    unknown = re.match(rf"{op.forward.__name__}\(\) got an unexpected keyword argument '(\w+)'", message)
    if unknown:
        advice = advise_keyword(unknown[1], dict.fromkeys([*op.arrays, *op.defaults, *op.metadata]))
        message = f"unexpected keyword argument {unknown[1]!r}; {advice}"
    if ".toarray()" not in message and any(hasattr(type(x), "toarray") for x in arrays):
        message += "; of a sparse matrix write .toarray()"
    if native or not message.startswith(f"{op.name}: "):
        message = f"{op.name}: {message.removeprefix(f'{op.name}: ')} ({describe_arguments(op, arrays)})"
    explained = kind(message)
    explained.add_note(f"{op.name} was called at {calling_line()}")
    return explained


def calling_line() -> str:
    """The line outside of tensorgrad that led to the op."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("tensorgrad."):
        frame = frame.f_back
    file, line = frame.f_code.co_filename, frame.f_lineno
    source = linecache.getline(file, line, frame.f_globals).strip()
    return f"{file}:{line}" + (f" ({source})" if source else "")


# Of the reverse walk


def refuse_assigned(op: Any, x: Any, reader: str | None = None) -> NoReturn:
    """Of an input that is younger than what was made of it; ``reader`` is who meets it, if not the walk."""
    who = reader or f"backward through {op.name}"
    advice = "; run forward again" if reader else ", so its gradient is lost; run forward again first"
    raise RuntimeError(f"{who}: {x.label()} was assigned after {op.name} had read it{advice}")


def refuse_cotangent(op: Any, position: int, gx: Any, x: Any) -> NoReturn:
    """Of a formula that gives something else than an array like its argument."""
    came = f"{gx.dtype} {gx.shape}" if hasattr(gx, "shape") else repr(gx)
    raise TypeError(
        f"the vjp of {op.name} for its argument {position}: expected a cotangent like the argument, "
        f"{x.dtype} {x.shape}, got {came}"
    )


def require_cotangents(op: Any, together: Any, count: int) -> None:
    """TypeError unless a joint formula gave so many cotangents."""
    came = len(together) if hasattr(together, "__len__") else f"a {type(together).__name__}"
    if came != count:
        raise TypeError(f"the joint vjp of {op.name}: expected {count} cotangents in a tuple, got {came}")
