"""to_onnx: a network or function as an ONNX file, which other programs run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from tensorgrad.graph.export.onnx_model import import_onnx, make_model
from tensorgrad.nn.files.archive import PathLike, write_atomically
from tensorgrad.nn.layer import Layer

__all__ = ["to_onnx"]

#: What stands before the checksum in the last entry of a file.
SEAL = "tensorgrad sha256"


def to_onnx(
    network: Callable[..., Any],
    input_shape: int | tuple[int, ...],
    path: PathLike,
    *,
    dtype: DTypeLike | None = None,
) -> None:
    """Write what a network computes at inference as an ONNX file, weights included.

    The file has one input ``input``, ``(N, *input_shape)``, and one output ``output``, for batches of any
    size, laid out as in `Network.predict`: images are (N, H, W, C). Parameters and buffers keep their paths
    as names, results are named after layers and ops. The operators are those of opset 20.

    Parameters
    ----------
    network : Layer or function
        Of one array, made of ops and NumPy functions of tensors. It is recorded for batches of 5 and 7.
    input_shape : int or tuple of int
        Without N.
    path : path
        The file is written whole or not at all.
    dtype : dtype, optional
        Of the input; by default that of the parameters, or float32. For an `Embedding` write "int64".

    Raises
    ------
    TypeError
        If an op has no rule in ONNX, which names it; if the function decides by values, or does other things
        for a batch of another size.
    ImportError
        If onnx is not installed.
    OSError
        If the folder is missing or cannot be written.

    Notes
    -----
    The size of the batch is seen at 5 and 7 alone: ``min(len(x), 8)`` is taken for ``len(x)``. A number that
    an `Embedding` would refuse is not found out by every program that reads ONNX. Of float64 some programs
    lack operators. The end of the file is a checksum of it, by which `from_onnx` knows it unharmed.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> network = tg.Network([tg.Dense(3, 2, rng=0), tg.Softmax()])
    >>> tg.to_onnx(network, 3, f"{folder.name}/network.onnx")
    >>> folder.cleanup()
    """
    if not callable(network):
        raise TypeError(f"to_onnx: expected a network or a function, got {network!r}")
    shape = tuple(input_shape) if isinstance(input_shape, (tuple, list)) else (input_shape,)
    paths, dtypes = {}, {np.dtype(np.float32)}
    if isinstance(network, Layer):
        tensors = [*network.parameters(), *network.buffers()]
        names = [*network.named_parameters(), *network.named_buffers()]
        paths = {id(x): name for x, name in zip(tensors, names, strict=True)}
        dtypes = {x.dtype for x in tensors if x.dtype.kind == "f"} or dtypes
    if dtype is None and len(dtypes) > 1:
        raise TypeError(f"to_onnx: expected layers of one dtype, got {', '.join(sorted(map(str, dtypes)))}")
    model = make_model(network, shape, np.dtype(dtypes.pop() if dtype is None else dtype), paths)
    contents = model.SerializeToString()
    write_atomically(path, lambda file: file.write(contents + make_seal(contents)))


def make_seal(contents: bytes) -> bytes:
    """The end of a file: an entry of the model's metadata that holds the checksum of all before it."""
    end = import_onnx("to_onnx").ModelProto()
    end.metadata_props.add(key=SEAL, value=hashlib.sha256(contents).hexdigest())
    sealed: bytes = end.SerializeToString()
    return sealed
