"""A network and its data as a page's script reads them."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np

from tensorgrad.core.checks import NDArray, integer, positive_integer
from tensorgrad.nn.fit.examples import Intake
from tensorgrad.nn.layer import infer
from tensorgrad.nn.live.columns import draw_columns, place_columns
from tensorgrad.nn.live.controls import FASTEST, list_controls, read_options, take_optimizer
from tensorgrad.nn.live.data import LiveData, encode, name_classes, name_features, take_data
from tensorgrad.nn.live.programs import Programs
from tensorgrad.nn.sequential import Sequential
from tensorgrad.nn.summary import multiply_adds

__all__ = ["Scene", "require_size"]

_MOST_PARAMETERS, _MOST_BYTES = 200_000, 3_000_000
_SIZES = (1, 4, 16, 32, 64, 128)  # of batches
_SPEED = 200  # steps a second
_ACROSS = {1: 160, 2: 40}  # points of the grid along an axis, by the number of inputs
_CLOSE = 1e-3
_MULTIPLY_ADDS, _LEAST = 50_000_000, 50  # of an evaluation, about a quarter of a second; and rows of it


class Scene:
    """What is on a page: a network, its data, its optimizer and its programs. See `playground`.

    Attributes
    ----------
    contents : dict
        As the page's script reads it, with arrays as text.
    programs : str
        The programs, in JavaScript.
    """

    def __init__(
        self, network: Any, x: Any, y: Any, *, loss: Any = None, optimizer: Any = None,
        learning_rate: float | None = None, batch_size: int = 32, validation: Any = None,
        validation_split: float | None = None, features: Any = None, classes: Any = None, seed: int = 0,
        title: str = "", key: str = "",
    ) -> None:  # fmt: skip
        positive_integer("playground", "batch_size", batch_size)
        integer("playground", "seed", seed, 0)
        _require_network(network, x, y)
        chosen = take_optimizer(optimizer, learning_rate, network.parameters())
        numbers = {id(p): i for i, p in enumerate(network.parameters())}
        trained = [numbers[id(p)] for p in chosen.parameters]
        self._network = copy.deepcopy(network)  # in which nothing changes, whatever is recorded
        if loss is not None:
            self._network.use(loss)
        rng = np.random.default_rng(seed)
        data = take_data(Intake(self._network), x, y, validation, validation_split, rng)
        require_size(4 / 3 * data.x.size)  # of a byte each, as text; before more is done
        _require_rows_apart(self._network, data.x[:3])
        parameters = self._network.parameters()
        programs = Programs(self._network, [parameters[i] for i in trained])
        size = min(batch_size, data.trained)
        sizes = self._add_steps(programs, data, size)
        columns = self._draw(programs, data, x, features, classes)
        self.programs = "\n".join(programs.texts)
        self.contents = {
            "title": title, "key": key, "seed": seed, "real": f"f{self._network.dtype.itemsize}", **columns,
            **data.contents(), "parameters": [encode(p.data) for p in parameters],
            "buffers": [encode(b.data) for b in self._network.buffers()],
            "constants": programs.constants, "programs": programs.described,
            "optimizer": {"kind": type(chosen).__name__, "options": read_options(chosen), "trained": trained},
            "controls": list_controls(chosen, sizes, size, _SPEED),
            "batch": size, "speed": _SPEED, "fastest": FASTEST,
        }  # fmt: skip

    def _add_steps(self, programs: Programs, data: LiveData, size: int) -> list[int]:
        """A step for each size of batches that the data has; the sizes."""
        sizes = sorted({n for n in _SIZES if n <= data.trained} | {size})
        for n in list(sizes):
            try:
                programs.add_step(data.x[:n], data.y[:n])
            except ValueError:
                if n > 1 or size == 1:
                    raise
                sizes.remove(n)  # such as BatchNorm, which has no variance of one row
        return sizes

    def _draw(
        self, programs: Programs, data: LiveData, x: Any, features: Any, classes: Any
    ) -> dict[str, Any]:
        """What is drawn, and the programs for that."""
        one, two = data.x[:1], (data.x[:2], data.y[:2])
        shape, outputs = data.x.shape[1:], math.prod(infer(self._network, one).shape[1:])
        named = name_features(x, math.prod(shape), features) if len(shape) == 1 else []
        labels = name_classes(data, outputs, classes)
        columns, ends = draw_columns(self._network, one, named, labels)
        programs.add_evaluation(one, data.y[:1])
        view, grid = _choose_view(data, outputs), None
        if view == "images":
            columns[0] |= {"shown": 1, "kind": "maps"}  # all channels in one picture
        if shape in ((1,), (2,)) and data.x.dtype.kind == "f":  # between whole numbers there is nothing
            low, high = data.x.min(axis=0).astype(float), data.x.max(axis=0).astype(float)
            wide = np.where(high > low, high - low, np.maximum(abs(high), 1))
            room, across = 0.08 * wide, _ACROSS[shape[0]]
            grid = {"range": [(low - room).tolist(), (high + room).tolist()], "across": across}
            programs.add_layers(np.repeat(one, across, axis=0), ends)
        walk = programs.add_walk(*two)
        nodes = walk.describe(self._network.parameters())
        place_columns(self._network, walk, columns, ends, nodes)
        return {
            "columns": columns, "nodes": nodes, "features": named, "classes": labels, "view": view,
            "grid": grid, "image": list(shape) if view == "images" else None,
            "inputs": math.prod(shape), "outputs": outputs,
            "measured": max(_LEAST, _MULTIPLY_ADDS // max(1, sum(map(multiply_adds, walk.graph.results)))),
        }  # fmt: skip


def require_size(size: float) -> None:
    """ValueError if a page of at least that many bytes would be too large."""
    if size > _MOST_BYTES:
        raise ValueError(
            f"playground: the page would have {size / 1e6:.1f} MB or more, at most 3 MB; give fewer "
            "rows, or a smaller network"
        )


def _require_network(network: Any, x: Any, y: Any) -> None:
    if not isinstance(network, Sequential):
        raise TypeError(f"playground: expected a Network, got {network!r}")
    if x is None or y is None:
        raise TypeError("playground: expected examples x and y to train on")
    count = sum(p.size for p in network.parameters())
    if count > _MOST_PARAMETERS:
        raise ValueError(
            f"playground: the network has {count:,} parameters, too many for a page (at most "
            f"{_MOST_PARAMETERS:,})"
        )


def _require_rows_apart(network: Sequential, x: NDArray) -> None:
    """ValueError unless the network computes each row by itself, as the page does."""
    together = infer(network, x).data
    for i, row in enumerate(together):
        alone = infer(network, x[i : i + 1]).data[0]
        if not np.allclose(alone, row, rtol=_CLOSE, atol=_CLOSE, equal_nan=True):
            raise ValueError("playground: expected a network that computes each row by itself at inference")


def _choose_view(data: LiveData, outputs: int) -> str:
    """How results are shown: over a plane or a line of inputs, or as the worst among images or other rows."""
    shape, real = data.x.shape[1:], data.x.dtype.kind == "f"
    if len(shape) == 3 and shape[2] in (1, 3) and min(shape[:2]) > 1:
        return "images"
    if shape == (2,) and real and (data.labels is not None or outputs == 1):
        return "plane"
    one_each = data.labels is not None or math.prod(data.y.shape[1:]) == outputs
    return "line" if shape == (1,) and real and one_each else "rows"
