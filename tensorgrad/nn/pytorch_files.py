"""State dicts of PyTorch models in ``.safetensors`` files, read into a network and written from one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from tensorgrad.core import Parameter, Tensor
from tensorgrad.core.checks import NDArray
from tensorgrad.graph.native.record import record, sort_graph
from tensorgrad.nn import layers
from tensorgrad.nn.files.archive import PathLike, SavedFileError, read_arrays, write_arrays
from tensorgrad.nn.layer import Buffer, Layer, infer
from tensorgrad.nn.sequential import Sequential

__all__ = ["load_pytorch", "save_pytorch"]

Shapes: TypeAlias = dict[str, tuple[int, ...]]

_HEADER = {"format": "PyTorch state dict", "version": 1}
_COUNT = "num_batches_tracked"  # of a BatchNorm, whose momentum is no number; nothing here depends on it

#: What each layer keeps, by the names in PyTorch.
_KEPT: dict[type[Layer], dict[str, str]] = {
    layers.Dense: {"weight": "weights", "bias": "bias"},
    layers.Conv2D: {"weight": "filters", "bias": "bias"},
    layers.Embedding: {"weight": "weights"},
    layers.LayerNorm: {"weight": "scale", "bias": "shift"},
    layers.BatchNorm: {
        "weight": "scale", "bias": "shift", "running_mean": "running_mean", "running_var": "running_variance",
    },
}  # fmt: skip


@dataclass
class _Module:
    """A layer and what it keeps: tensors by the names in PyTorch, and how the axes of each lie there."""

    path: str
    layer: Layer
    tensors: dict[str, Tensor]

    def axes(self, name: str) -> tuple[int, ...]:
        """The axes of ours in the order of theirs; it reverses itself, or is that of images."""
        if isinstance(self.layer, layers.Dense) and name == "weight":
            return (1, 0)
        images = isinstance(self.layer, layers.LayerNorm) and len(self.layer.shape) == 3
        return (2, 0, 1) if images else tuple(range(self.tensors[name].ndim))

    @property
    def shapes(self) -> Shapes:
        """In PyTorch."""
        return {name: tuple(x.shape[k] for k in self.axes(name)) for name, x in self.tensors.items()}


def load_pytorch(
    path: PathLike, network: Layer, *, input_shape: int | tuple[int, ...], names: Sequence[str] | None = None
) -> None:
    """Set a network to the weights and running statistics of a PyTorch model with the same layers.

    The file is what ``safetensors.torch.save_file(model.state_dict(), path)`` writes. Modules are matched
    with layers by their shapes and, among equals, by order; names need not agree. Weights of dense layers are
    transposed, and their rows put from the order C, H, W into H, W, C where images were flattened before.

    Parameters
    ----------
    path : path
        Ends in ``.safetensors``.
    network : Layer
        Its layers are defined in the same order as those of the model.
    input_shape : int or tuple of int
        Of the network's input without N, images (H, W, C): it tells what is flattened. A `LayerNorm` over
        three axes is taken for one over images.
    names : sequence of str, optional
        The keys of the model's state dict in their order, ``list(model.state_dict())``. The file does not
        keep it; without ``names`` modules of equal shapes are ordered by the numbers in their names.

    Raises
    ------
    SavedFileError
        If anything does not fit, with a line for each misfit, or the order of modules of equal shapes is not
        clear. The network is as it was then.
    ValueError
        If a layer of its own keeps parameters, or what was flattened goes where it cannot be followed.
    ImportError
        If safetensors is not installed.
    """
    modules, orders = _describe("load_pytorch", path, network, input_shape)
    _, arrays = read_arrays(path)
    found: dict[str, dict[str, NDArray]] = {}
    for name in _sort(arrays, names, path):
        place, _, entry = name.rpartition(".")
        if entry != _COUNT:
            found.setdefault(place, {})[entry] = arrays[name]
    state = network.state()
    for module, theirs in _match(modules, found, names is not None, path):
        for entry, x in module.tensors.items():
            values = found[theirs][entry].transpose(np.argsort(module.axes(entry)))
            order = orders.get(id(x))
            state[_path(module, entry)] = values if order is None else values[order]
    try:
        network.load_state(state)
    except ValueError as error:
        raise SavedFileError(f"{path}: {error}") from error


def save_pytorch(
    path: PathLike, network: Layer, *, input_shape: int | tuple[int, ...], names: Sequence[str] | None = None
) -> None:
    """Write what `load_pytorch` reads: the state dict of a PyTorch model with the same layers.

    ``model.load_state_dict(safetensors.torch.load_file(path))`` sets the model to it. Parameters and errors
    are as in `load_pytorch`. Without ``names``, the keys of ``model.state_dict()`` in their order, those of
    an ``nn.Sequential`` are written, "0.weight" for ``Conv2D0.filters``.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> network = tg.Network([tg.Conv2D(1, 2, 3, rng=0), tg.Flatten(), tg.Dense(8, 3, rng=1)])
    >>> tg.save_pytorch(f"{folder.name}/model.safetensors", network, input_shape=(4, 4, 1))
    >>> again = tg.Network([tg.Conv2D(1, 2, 3), tg.Flatten(), tg.Dense(8, 3)])
    >>> tg.load_pytorch(f"{folder.name}/model.safetensors", again, input_shape=(4, 4, 1))
    >>> bool(np.all(again.layers[2].weights.data == network.layers[2].weights.data))
    True
    >>> folder.cleanup()
    """
    modules, orders = _describe("save_pytorch", path, network, input_shape)
    if names is None:
        places = dict(_walk(network, "", set()))
        called = [places[id(module.layer)] for module in modules]
    else:
        called = [*dict.fromkeys(name.rpartition(".")[0] for name in names)]
    arrays: dict[str, NDArray] = {}
    for module, name in zip(modules, called, strict=False):
        for entry, x in module.tensors.items():
            order = orders.get(id(x))
            values = x.numpy() if order is None else x.data[np.argsort(order)]
            arrays[f"{name}.{entry}" if name else entry] = values.transpose(module.axes(entry))
        if isinstance(module.layer, layers.BatchNorm):
            arrays[f"{name}.{_COUNT}" if name else _COUNT] = np.array(0)
    if names is not None and (sorted(arrays) != sorted(names) or len(called) != len(modules)):
        odd = sorted({*arrays} ^ {*names}) or [f"{len(called)} modules for {len(modules)} layers"]
        raise ValueError(f"save_pytorch: the names do not fit the layers of the network: {', '.join(odd)}")
    write_arrays(path, _HEADER, arrays)


def _walk(layer: Layer, path: str, seen: set[int]) -> Iterator[tuple[int, str]]:
    """The identities of all layers, with their paths in PyTorch, where those in a row have but numbers."""
    seen.add(id(layer))
    yield id(layer), path
    for i, (name, child) in enumerate(layer.children()):
        if id(child) not in seen:
            part = str(i) if isinstance(layer, Sequential) else name
            yield from _walk(child, f"{path}.{part}" if path else part, seen)


def _path(module: _Module, entry: str) -> str:
    name = _KEPT[type(module.layer)][entry]
    return f"{module.path}.{name}" if module.path else name


def _describe(
    doing: str, path: PathLike, network: Layer, input_shape: int | tuple[int, ...]
) -> tuple[list[_Module], dict[int, NDArray]]:
    """The layers that keep something, in the order of definition; and where their rows are in PyTorch."""
    is_path = isinstance(path, (str, os.PathLike))
    if not is_path or Path(path).suffix != ".safetensors":
        got = repr(str(path)) if is_path else f"a {type(path).__name__}"
        raise (ValueError if is_path else TypeError)(
            f"{doing}: expected a file name that ends in .safetensors, got {got}; those of PyTorch "
            "are pickles, which may run anything: write safetensors.torch.save_file(model.state_dict(), path)"
        )
    if not isinstance(network, Layer):
        raise TypeError(f"{doing}: expected a Layer, got {network!r}")
    modules = []
    for place, layer in network.named_layers().items():
        kept = {name: getattr(layer, own) for name, own in _KEPT.get(type(layer), {}).items()}
        kept = {name: x for name, x in kept.items() if x is not None}
        if kept:
            modules.append(_Module(place, layer, kept))
    known = {id(x) for module in modules for x in module.tensors.values()}
    odd = [name for name, x in network.named_parameters().items() if id(x) not in known]
    if odd:
        raise ValueError(f"{doing}: {', '.join(odd)} are of no layer that PyTorch has; set them by hand")
    shape = tuple(input_shape) if isinstance(input_shape, (tuple, list)) else (input_shape,)
    return modules, _follow_flattened(doing, network, shape)


# Which module is which


def _sort(arrays: dict[str, NDArray], names: Sequence[str] | None, path: PathLike) -> list[str]:
    """The keys in the order of the names, or by the numbers in them: the file has its own order."""
    if names is None:
        return sorted(
            arrays, key=lambda name: [int(x) if x.isdigit() else x for x in re.split(r"(\d+)", name)]
        )
    if odd := sorted({*arrays} ^ {*names}):
        raise SavedFileError(f"{path}: names and the file do not have the same keys: {', '.join(odd)}")
    return [*names]


def _match(
    modules: list[_Module], found: dict[str, dict[str, NDArray]], in_order: bool, path: PathLike
) -> list[tuple[_Module, str]]:
    """Each layer with the module that has its shapes. SavedFileError with a line for each that has none."""
    shapes = {name: {entry: x.shape for entry, x in theirs.items()} for name, theirs in found.items()}
    if in_order:
        pairs = [*zip(modules, found, strict=False)]
        lines = [_tell(module, name, shapes[name]) for module, name in pairs if module.shapes != shapes[name]]
        lines += [_tell(module, "", {}) for module in modules[len(found) :]]
        left = [*found][len(modules) :]
    else:
        pairs, lines, unclear, left = [], [], set(), [*found]
        for module in modules:
            alike = [name for name in left if shapes[name] == module.shapes]
            if not alike:
                lines.append(_tell(module, "", {}))
                continue
            pairs.append((module, alike[0]))
            left.remove(alike[0])
            if len({re.sub(r"\d+", "", name) for name in alike}) > 1:
                unclear.update(alike)
        if unclear and not lines and not left:
            raise SavedFileError(
                f"{path}: {', '.join(sorted(unclear))} have equal shapes, and a file keeps no order; write "
                "names=list(model.state_dict())"
            )
    lines += [f"{name or 'the model'} has {_list(shapes[name])}, which no layer takes" for name in left]
    if lines:
        text = "\n  ".join(lines)
        raise SavedFileError(f"{path}: the file does not fit the network, which is left as it was:\n  {text}")
    return pairs


def _tell(module: _Module, name: str, shapes: Shapes) -> str:
    there = f"{name} has {_list(shapes)}" if name else "no module is left that has it"
    return f"{module.path or 'the layer'}, {module.layer}, needs {_list(module.shapes)}; {there}"


def _list(shapes: Shapes) -> str:
    return ", ".join(f"{entry} {shape}" for entry, shape in shapes.items())


# What was flattened


def _follow_flattened(doing: str, network: Layer, shape: tuple[int, ...]) -> dict[int, NDArray]:
    """For tensors whose first axis are flattened pixels: where each of ours is in PyTorch, by identity.

    ValueError if flattened pixels reach what neither works on single elements nor multiplies by weights.
    """
    whole = any(isinstance(layer, layers.Embedding) for layer in network.named_layers().values())
    x = np.zeros(
        (2, *shape), np.int64 if whole else next((p.dtype for p in network.parameters()), np.float32)
    )
    with np.errstate(all="ignore"):  # zeros are no typical input
        recording = infer(record, network, [x], ["input"], differentiate=False)
    orders: dict[int, NDArray] = {}  # of results, along their last axis
    found: dict[int, NDArray] = {}
    convolved = any(isinstance(layer, layers.Conv2D) for layer in network.named_layers().values())
    multiplied: set[int] = set()  # by what is in order
    for node in sort_graph(recording.outputs):
        if node.op is None:
            continue
        given = [part for part in node.inputs if isinstance(part, Tensor)]
        order = next((orders[id(part)] for part in given if id(part) in orders), None)
        if order is None:
            if node.op.name == "reshape" and node.ndim == 2 and convolved:
                _require_images(doing, given[0].shape)
            if _flattens(node, given):
                orders[id(node)] = _order_pixels(given[0].shape[1:])
            multiplied.update(map(id, given if node.op.name == "matmul" else []))
        elif node.op.name == "matmul" and isinstance(given[1], Parameter):
            found[id(given[1])] = order
        elif node.shape[-1:] == order.shape and (node.op.elementwise or node.op.name == "reshape"):
            orders[id(node)] = order
            found |= {id(x): order for part in given for x in _kept_in(part, order.size, orders)}
        elif node.op.name not in ("mean", "var") or node.shape[-1] != 1:
            raise ValueError(
                f"{doing}: {node.op.name} is given flattened images, whose pixels PyTorch has in the order "
                "C, H, W, which cannot be followed there; set the weights by hand"
            )
    if found.keys() & multiplied:
        raise ValueError(f"{doing}: a layer is used both for flattened images and for other inputs")
    return found


def _require_images(doing: str, shape: tuple[int, ...]) -> None:
    """ValueError if pixels may have been flattened from other axes than those of images."""
    if len(shape) not in (2, 4) and sum(n > 1 for n in shape[1:]) > 1:
        raise ValueError(
            f"{doing}: {shape} is flattened after a convolution, and the order of these axes in PyTorch is "
            "not known; set the weights by hand"
        )


def _flattens(node: Tensor, given: list[Tensor]) -> bool:
    """Whether it is made of images, of several pixels and channels, by a reshape to rows."""
    if node.op is None or node.op.name != "reshape" or given[0].ndim != 4:
        return False
    rows, height, width, channels = given[0].shape
    return height * width > 1 < channels and node.shape == (rows, height * width * channels)


def _order_pixels(shape: tuple[int, ...]) -> NDArray:
    height, width, channels = shape
    return np.arange(height * width * channels).reshape(channels, height, width).transpose(1, 2, 0).ravel()


def _kept_in(x: Any, size: int, orders: dict[int, NDArray]) -> Iterator[Tensor]:
    """The parameters and buffers of that size that a factor or summand of so many columns was made of."""
    if isinstance(x, Tensor) and id(x) not in orders and x.shape[-1:] == (size,):
        if isinstance(x, (Parameter, Buffer)):
            yield x
        for part in x.inputs if x.op is not None else ():
            yield from _kept_in(part, size, orders)
