"""to_c: a network's predictions as C that stands alone."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import DTypeLike

from tensorgrad.core.checks import NDArray, positive_integer
from tensorgrad.graph.native.alone import write_alone
from tensorgrad.graph.native.program import Program
from tensorgrad.graph.native.record import Recording, UncompilableError, record
from tensorgrad.graph.native.variant import expand_alike, plan_program
from tensorgrad.nn.files.archive import write_atomically
from tensorgrad.nn.layer import Layer, infer
from tensorgrad.nn.layers import Embedding

__all__ = ["CCode", "to_c"]

_TRIED = 11  # samples at once, to see that each is computed from that sample alone


@dataclass(frozen=True, repr=False)
class CCode:
    """A function in C, as text: what `to_c` gives.

    Attributes
    ----------
    source : str
        The text of a C file that needs no other. ``print`` shows it.
    header : str
        The text of its header.
    name : str
        The function's name.

    >>> network = tg.Network([tg.Dense(2, 3, rng=0), tg.Tanh()])
    >>> tg.to_c(network, 2, name="two_to_three")
    CCode(name='two_to_three', lines=43)
    """

    source: str
    header: str
    name: str

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r}, lines={len(self.source.splitlines())})"

    def __str__(self) -> str:
        return self.source

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the source to a file, whose name ends in .c, and the header beside it."""
        target = Path(path)
        if target.suffix != ".c":
            raise ValueError(f"to_c: expected a file name that ends in .c, got {str(path)!r}")
        for place, text in ((target.with_suffix(".h"), self.header), (target, self.source)):
            write_atomically(place, partial(_write, text.encode()))


def _write(text: bytes, file: BinaryIO) -> None:
    file.write(text)


def to_c(
    network: Layer | Callable[..., Any],
    input_shape: int | tuple[int, ...],
    path: str | os.PathLike[str] | None = None,
    *,
    name: str = "predict",
    dtype: DTypeLike | None = None,
) -> CCode:
    """Write a network's predictions as one file of C99 that needs nothing but the C library's mathematics.

    Its function computes what `Network.predict` does, up to rounding, for any number of samples, one after
    the other; the weights are in the file. It is for where there is no Python. To compute fast here,
    `compile` makes other code.

    Parameters
    ----------
    network : Layer or function
        Or any function of an array of samples (N, ...) that gives a tensor (N, ...), real numbers; it must
        compute each sample from that sample alone.
    input_shape : int or tuple of int
        Of one sample, without N.
    path : path, optional
        Where to write the source, such as "digits.c"; the header goes to "digits.h" beside it.
    name : str
        The function's name in C.
    dtype : dtype, optional
        Of the input: float32, float64, int32 or int64. By default that of the parameters, and integers for a
        network with an `Embedding`. Integers are ``int32_t`` in C where results are ``float``, else
        ``int64_t``.

    Returns
    -------
    CCode
        The source and the header. In C it is::

            int predict(const float *x, float *y, int count);

        It reads ``count`` samples at ``x``, in row-major order, writes as many results to ``y``, and gives 0;
        or the number, from 1, of a sample that it cannot compute, such as an index outside of an `Embedding`.

    Raises
    ------
    UncompilableError
        If an op has no rule in C, a layer draws random numbers, or samples depend on each other. Nothing is
        written then.
    ValueError, TypeError
        If the name is none in C, the path does not end in .c, or the input is of another dtype.

    >>> network = tg.Network([tg.Dense(2, 3, bias=False, rng=0), tg.Tanh()])
    >>> code = tg.to_c(network, 2)
    >>> print(code.source[code.source.index("  // tanh_") : code.source.index("  memcpy")])
      // tanh_: tanh, 1 x 3
      for (int i = 0; i < 3; i++) tanh_[i] = s_tanh(matmul_[i]);
    <BLANKLINE>
    """
    if not callable(network):
        raise TypeError(f"to_c: expected a network or a function of an array, got {network!r}")
    if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
        raise ValueError(f"to_c: expected a name that C can have, got {name!r}")
    sizes = input_shape if isinstance(input_shape, (tuple, list)) else (input_shape,)
    shape = tuple(positive_integer("to_c", "the sizes in input_shape", n) for n in sizes)
    kind = _find_dtype(network) if dtype is None else np.dtype(dtype)
    if kind.name not in ("float32", "float64", "int32", "int64"):
        raise TypeError(f"to_c: expected an input of float32, float64, int32 or int64, got {kind}")
    samples = _draw_samples(shape, kind)
    title = [f"{getattr(network, '__name__', type(network).__name__)}, written by tensorgrad.to_c."]
    if isinstance(network, Layer):
        title += [f"  {name}: {layer}" for name, layer in network.children()]
    try:
        source, header = write_alone(infer(_plan, network, samples), name, title)
    except (UncompilableError, OverflowError) as error:
        raise type(error)(f"to_c: {str(error).removeprefix('compile: ')}") from error
    code = CCode(source, header, name)
    if path is not None:
        code.save(path)
    return code


def _find_dtype(network: Any) -> np.dtype[Any]:
    """Of the input: that of the parameters, or integers if some are looked up."""
    layers = list(network.named_layers().values()) if isinstance(network, Layer) else []
    if any(isinstance(layer, Embedding) for layer in layers):
        return np.dtype(np.int64)
    dtypes = {p.dtype for p in layers[0].parameters()} if layers else set()
    return dtypes.pop() if len(dtypes) == 1 else np.dtype(np.float32)


def _draw_samples(shape: tuple[int, ...], dtype: np.dtype[Any]) -> list[NDArray]:
    """Samples for two recordings, all different, so that what is made of them shows."""
    rng, size = np.random.default_rng(0), (2, _TRIED, *shape)
    return [*(rng.integers(0, 2, size) if dtype.kind == "i" else rng.standard_normal(size)).astype(dtype)]


def _plan(function: Callable[..., Any], samples: list[NDArray]) -> Program:
    """The program of one sample, inside of `infer`."""
    ones = [x[:1] for x in samples]
    with np.errstate(all="ignore"):
        graph = expand_alike(record(function, [one], ["x"], False) for one in ones)
        _require_apart(function, graph.recording, samples[0])
    return plan_program(graph, None)


def _require_apart(function: Callable[..., Any], recording: Recording, x: NDArray) -> None:
    """UncompilableError unless the function gives for each sample a result that depends on it alone."""
    if recording.draws or recording.reports:
        raise UncompilableError("a layer draws random numbers, or keeps statistics, at inference too")
    if len(recording.outputs) != 1:
        raise UncompilableError(f"expected one output, got {len(recording.outputs)}")
    together = np.asarray(function(x).data)
    if together.shape[:1] != x.shape[:1] or recording.outputs[0].shape[:1] != (1,):
        raise UncompilableError(f"expected a result for each of {len(x)} samples, got {together.shape}")
    alone = np.concatenate([function(x[i : i + 1]).data for i in range(len(x))])
    size = float(np.abs(alone[np.isfinite(alone)]).max(initial=0.0))
    eps = float(np.finfo(alone.dtype).eps) ** 0.5 if alone.dtype.kind == "f" else 0.0
    if alone.shape != together.shape or not np.allclose(alone, together, 0, size * eps, equal_nan=True):
        raise UncompilableError("a sample's result depends on the other samples of its batch")
