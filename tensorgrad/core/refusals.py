"""The words of the engine's errors: what was expected, what came, what to do. The engine reads without them.

What is called ``refuse_`` always raises; what is called ``require_`` returns where all is well. A tensor, and
an op, is here what has their attributes: this file stands under the engine.
"""

from __future__ import annotations

import linecache
import re
import sys
from collections.abc import Iterable
from typing import Any, NoReturn

import numpy as np

from tensorgrad.core.elsewhere import advise_keyword

__all__ = [
    "calling_line", "describe_arguments", "explain", "explain_vjp", "name_function",
    "refuse_arguments", "refuse_assigned", "refuse_cotangent", "refuse_method", "refuse_numpy",
    "refuse_option", "refuse_switch", "refuse_undeclared", "refuse_update", "require_constant",
    "require_cotangents", "require_dense", "require_dtype",
    "require_floating", "require_like", "require_values",
]  # fmt: skip

# Of arrays

_PLAIN = {np.ndarray, np.float64, np.float32, float, int}  # what is asked about most, and needs no long look
_HOST = (1, 3, 11, 13)  # DLPack's numbers of memory that the processor reads: its own, pinned or managed


def require_values(data: Any, what: str) -> None:
    """TypeError for what NumPy would convert and lose something: a mask, or where and when it is computed."""
    if type(data) in _PLAIN:
        return
    for x in (data, *data) if isinstance(data, (list, tuple)) else (data,):
        if type(x) not in _PLAIN and (flaw := _find_flaw(x)):
            raise TypeError(f"{what}: {flaw}")


def _find_flaw(x: Any) -> str | None:
    """What NumPy would do to a foreign array without a word; its type is asked: a traced array is not."""
    kind = type(x)
    if hasattr(kind, "mask") and hasattr(kind, "filled"):
        return "a masked array would lose its mask; pass .filled(value), or use np.where"
    if hasattr(kind, "__dask_graph__") and x.__dask_graph__() is not None:
        return f"expected values, got a Dask {kind.__name__}, yet to be computed; write .compute()"
    if kind.__module__.partition(".")[0] in ("jax", "jaxlib"):
        return f"expected a NumPy array, got JAX's {kind.__name__}; write np.asarray(...), outside of jax.jit"
    if hasattr(kind, "__dlpack_device__"):
        try:
            on_host = x.__dlpack_device__()[0] in _HOST
        except Exception:  # of a device that has no number, of an array in parts
            on_host = False
    else:
        on_host = not hasattr(kind, "__cuda_array_interface__")
    if on_host:
        return None
    name = f"{kind.__module__.partition('.')[0]}.{kind.__name__}"
    copy = "copy it, as .cpu() of PyTorch and .get() of CuPy do"
    return f"expected an array in the host's memory, got a {name} on another device; {copy}"


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
        scipy = _calling_scipy()
        advice = "use a NumPy function, such as np.stack or np.concatenate for a list of tensors"
        raise TypeError(
            f"{scipy or wanted} would silently cut {tensor.label()} off the graph; to keep the gradient "
            f"{_advise_scipy(scipy) if scipy else advice}; .item(), .numpy() and .detach() make constants"
        )


def _calling_scipy() -> str | None:
    """The function of SciPy, by its public name, that is about to make an array of a tensor."""
    frame, found = sys._getframe(2), None
    while frame is not None:
        module, name = frame.f_globals.get("__name__", ""), frame.f_code.co_name
        if module.startswith("scipy."):
            public = module.partition("._")[0]
            named = name[0] != "_" and callable(getattr(sys.modules.get(public), name, None))
            found = f"{public}.{name}" if named else found or public
        elif found or not module.startswith(("tensorgrad.", "numpy.")):
            break
        frame = frame.f_back  # type: ignore[assignment]  # None at the end
    return found


def _advise_scipy(function: str) -> str:
    """What to write instead of one of SciPy's functions."""
    if function.startswith("scipy.sparse"):
        return "use .toarray() of the sparse array"
    name = function.removeprefix("scipy.special.")
    if name in ("softmax", "log_softmax"):
        return f"use tg.{name}, whose axis is -1 where none is given"
    if name in ("logsumexp", "softplus"):
        return f"use tg.{name}"
    return "write it in NumPy, or as an op of your own (tg.op): SciPy's functions take arrays alone"


def refuse_switch() -> NoReturn:
    """Of ``t.requires_grad = ...``."""
    raise AttributeError(
        "whether a Tensor requires grad is said when it is made: tg.Tensor(values, requires_grad=...); "
        "to train some parameters alone, give the optimizer no others"
    )


def refuse_update(tensor: Any, symbol: str) -> NoReturn:
    """Of ``+=`` and the like on a leaf, while ops record."""
    raise TypeError(
        f"{symbol}= would change {tensor.label()}, a leaf that requires grad, while recording; "
        f"put it under tg.no_grad(), or write x = x {symbol} ..."
    )


# Of ops


#: What does the same as a method of a ufunc.
METHODS = {
    "np.add.reduce": "np.sum(x, axis=0)", "np.multiply.reduce": "np.prod(x, axis=0)",
    "np.maximum.reduce": "np.max(x, axis=0)", "np.minimum.reduce": "np.min(x, axis=0)",
    "np.logaddexp.reduce": "tg.logsumexp(x, axis=0)", "np.add.accumulate": "np.cumsum(x, axis=0)",
    "np.multiply.accumulate": "np.cumprod(x, axis=0)", "np.multiply.outer": "np.tensordot(x, y, 0)",
    "np.add.at": "tg.add_at",
}  # fmt: skip


def name_function(function: Any) -> str:
    """What users write for a function of NumPy's or SciPy's; of others their own name, in quotation marks."""
    name = getattr(function, "__name__", str(function))
    for module in ("numpy", "numpy.linalg", "scipy.special", getattr(function, "__module__", None)):
        if module and getattr(sys.modules.get(module), name, None) is function:
            return f"{module}.{name}".replace("numpy.", "np.", 1)
    return repr(name)


def refuse_numpy(function: Any) -> NoReturn:
    """Of a function, NumPy's or a ufunc of anybody's, that nothing stands in for."""
    name = name_function(function)
    known = "function" if name.startswith(("'", '"')) else name
    raise TypeError(
        f"{name} has no derivative rule, and tensorgrad never drops a gradient silently; "
        f"declare one with tg.differentiate({known}, ...), or call it on t.data if it is a constant"
    )


def refuse_method(ufunc: Any, method: str) -> NoReturn:
    """Of a method of a ufunc: add.reduce and its like."""
    name = f"{name_function(ufunc)}.{method}"
    hint = f"use {METHODS[name]}" if name in METHODS else "write it with functions of NumPy that have one"
    raise TypeError(f"{name} has no derivative rule; {hint}")


def refuse_option(function: Any, name: str, known: Iterable[str]) -> NoReturn:
    """Of an option of a NumPy function that its stand-in does not have."""
    hints = {"out": "; write x = ...", "dtype": "; cast with .astype", "where": "; use np.where"}
    hint = hints.get(name, "")
    if name not in known:
        hint = f"; {advise_keyword(name, known)}"
    raise TypeError(f"{name_function(function)}: {name} cannot be used with a Tensor{hint}")


def refuse_arguments(function: Any, places: list[str], args: Any, options: Any) -> NoReturn:
    """Of more arguments than a NumPy function takes, or one that was given twice."""
    twice = [name for name in places[: len(args)] if name in options]
    raise TypeError(
        f"{name_function(function)}: {', '.join(twice)} was given twice"
        if twice
        else f"{name_function(function)}: expected at most {len(places)} arguments, got {len(args)}"
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
    *first, last = op.arrays or ("an argument",)
    rest = [f"{last}[{i}]" for i in range(len(arrays))] if op.variadic else [last]
    return ", ".join(
        f"{name} {x.dtype} {x.shape}" if hasattr(x, "shape") else f"{name} {type(x).__name__}"
        for name, x in zip(first + rest, arrays, strict=False)
    )


def explain(error: Exception, op: Any, arrays: list[Any], native: bool) -> Exception:
    """The error of a forward with the op's name, the arguments, and a note of the line that called."""
    message = str(error)
    if "read-only" in message and not native:
        message = f"the forward writes into its argument, which it must not change; copy it first ({message})"
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
    place = f"line {line} of a cell" if "ipykernel_" in file else f"{file}:{line}"
    return place + (f" ({source})" if source else "")


def hint_network(x: Any) -> str:
    """Where a layer was expected: what an estimator of scikit-learn's kind has of it; of others nothing."""
    return "; give its network, which is .module_" if hasattr(x, "module_") else ""


# Of the reverse walk


def refuse_assigned(op: Any, x: Any, reader: str | None = None) -> NoReturn:
    """Of an input that is younger than what was made of it; ``reader`` is who meets it, if not the walk."""
    who = reader or f"backward through {op.name}"
    advice = "; run forward again" if reader else ", so its gradient is lost; run forward again first"
    raise RuntimeError(f"{who}: {x.label()} was assigned after {op.name} had read it{advice}")


def explain_vjp(error: ValueError, op: Any, position: int) -> NoReturn:
    """Raise the error of a formula, with its name if it has written into what it was given."""
    if "read-only" not in str(error):
        raise error
    name = op.arrays[min(position, len(op.arrays) - 1)]
    raise ValueError(
        f"the vjp of {op.name} for {name} writes into its cotangent or another argument, which others "
        f"hold too; compute a new array instead ({error})"
    ) from error


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
