"""from_onnx: a network out of an ONNX file, as a layer that can be trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tensorgrad.core import Array, Parameter, Tensor
from tensorgrad.nn.files.archive import PathLike, refusing
from tensorgrad.nn.layer import Buffer, Layer
from tensorgrad.nn.onnx_operators import TRAINED
from tensorgrad.nn.onnx_reader import Contents, Declared, read_model

__all__ = ["OnnxLayer", "from_onnx"]


class OnnxLayer(Layer):
    """What an ONNX file computes, as a layer; `from_onnx` makes it.

    It takes what the file takes, in the layout of the file, which for images of PyTorch is (N, C, H, W); of a
    file with several inputs a tuple.

    Attributes
    ----------
    weights : dict of Parameter
        By their names in the file: the floating arrays that products, convolutions, lookups and
        normalizations read, and those added, subtracted, multiplied or divided by, but for single numbers.
    statistics : dict of Buffer
        The running means and variances, which training leaves as they are.
    """

    def __init__(self, contents: Contents) -> None:
        self._nodes, self._inputs, self._outputs = contents.nodes, contents.inputs, contents.outputs
        trained, kept = _find_weights(contents)
        arrays = dict(contents.arrays)
        self.weights = {name: Parameter(arrays.pop(name), name) for name in trained}
        self.statistics = {name: Buffer(arrays.pop(name), name) for name in kept}
        self._constants = arrays

    def forward(self, x: Array | tuple[Array, ...]) -> Any:
        """What the file's graph gives; a tuple where several results were asked for."""
        given = x if isinstance(x, tuple) else (x,)
        if len(given) != len(self._inputs):
            raise ValueError(f"{self}: expected {len(self._inputs)} inputs, got {len(given)}")
        values: dict[str, Any] = {**self._constants, **self.weights, **self.statistics}
        for part, (name, declared) in zip(given, self._inputs.items(), strict=True):
            values[name] = self._check(part, name, declared)
        for node in self._nodes:
            made = node.compute(*(values[name] if name else None for name in node.inputs))
            values.update(zip(node.outputs, made, strict=False))
            for name in node.last:
                del values[name]
        results = [values[name] for name in self._outputs]
        made = tuple(r if isinstance(r, Tensor) else Tensor(r) for r in results)
        return made if len(made) > 1 else made[0]

    def _check(self, x: Any, name: str, declared: Declared) -> Any:
        x, (lengths, dtype) = x if isinstance(x, Tensor) else np.asarray(x), declared
        if x.dtype != dtype:
            raise TypeError(f"{self}: expected {name} of {dtype}, got {x.dtype}; cast it with .astype")
        if lengths is None:
            return x
        wanted = ", ".join("N" if n is None else str(n) for n in lengths)
        fits = len(lengths) == x.ndim and all(n in (None, m) for n, m in zip(lengths, x.shape, strict=True))
        if not fits:
            raise ValueError(f"{self}: expected {name} of shape ({wanted}), got {x.shape}")
        return x

    def __repr__(self) -> str:
        return f"OnnxLayer({len(self._nodes)} nodes, {', '.join(self._inputs)} -> {', '.join(self._outputs)})"


#: Operators that hand on their first input as it is, or rearranged.
HANDING_ON = ("Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")


def _find_weights(contents: Contents) -> tuple[list[str], list[str]]:
    """The names of what is trained, and of running statistics: what all readers take for such."""
    roles: dict[str, set[str]] = {}
    for node in reversed(contents.nodes):
        for place, name in enumerate(node.inputs):
            role = {"weight" if place in TRAINED.get(node.operator, ()) else ""}
            if place > 2 and node.operator == "BatchNormalization":
                role = {"statistic"}
            elif not place and node.operator in HANDING_ON:
                role = roles.get(node.outputs[0], {""})
            roles.setdefault(name, set()).update(role)
    names = [name for name, x in contents.arrays.items() if x.dtype.kind == "f" and x.ndim]
    return (
        [name for name in names if roles.get(name) == {"weight"}],
        [name for name in names if roles.get(name) == {"statistic"}],
    )


def from_onnx(path: PathLike, *, outputs: str | Sequence[str] | None = None) -> OnnxLayer:
    """The network in an ONNX file, as a layer with parameters that can be trained on.

    Files of `to_onnx` and of other programs: networks of dense and convolutional layers as PyTorch, Keras and
    scikit-learn (skl2onnx) export them. The layer takes what the file takes: images of PyTorch are
    (N, C, H, W). Batch normalization is by the running statistics in the file, also in training.

    Parameters
    ----------
    path : path
        Data beside the file that it names is read too.
    outputs : str or sequence of str, optional
        Which results to give, where the file has several: such as "probabilities" of a classifier.

    Returns
    -------
    OnnxLayer

    Raises
    ------
    SavedFileError
        If operators are not known, with a list of them and their counts; if the file is damaged, of another
        kind, or names data outside of its folder; if it has several results, and none is chosen.
    OSError
        If the file is missing or cannot be read.
    ImportError
        If onnx is not installed.

    Notes
    -----
    A file of `to_onnx` has a checksum, and no flipped bit goes unnoticed. The format itself has none: in a
    file of another program only what no longer makes sense is found.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> tg.to_onnx(tg.Dense(3, 2, rng=0), 3, f"{folder.name}/dense.onnx")
    >>> layer = tg.from_onnx(f"{folder.name}/dense.onnx")
    >>> layer
    OnnxLayer(3 nodes, input -> output)
    >>> list(layer.named_parameters())
    ['weights.weights', 'weights.bias']
    >>> folder.cleanup()
    """
    layer = OnnxLayer(read_model(path, outputs))
    with refusing(path):
        layer.state()  # it refuses two parameters of one path
    return layer
