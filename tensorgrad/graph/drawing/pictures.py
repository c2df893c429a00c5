"""Images, feature maps and filters as small pictures, which the page of the player paints."""

from __future__ import annotations

import base64
import math
from typing import Any

import numpy as np

from tensorgrad.core import Tensor
from tensorgrad.core.checks import NDArray
from tensorgrad.graph.formulas import argument_names
from tensorgrad.graph.recorded import Recorded
from tensorgrad.graph.values import as_array

TILES, SIDE = 16, 32  # side by side, and pixels of each; of larger ones every second, third, ... is shown


class Pictures:
    """The pictures of what a graph computes, each once.

    Attributes
    ----------
    painted : list of dicts
        For each its tiles, as bytes from -127 to 127 for the largest number; -128 for what is not finite.
    """

    def __init__(self, graph: Recorded) -> None:
        self.painted: list[dict[str, Any]] = []
        self._numbers: dict[tuple[Any, ...], int] = {}
        self._filters: set[int] = set()
        self._has_maps = False
        for node in graph.results:
            assert node.op is not None
            self._has_maps |= node.op.name.startswith(("conv", "max_pool", "avg_pool", "gather_windows"))
            if node.op.name.startswith("conv"):
                names = argument_names(node.op, len(node.inputs))
                self._filters |= {id(x) for x, name in zip(node.inputs, names, strict=True) if name == "w"}
            if node.op.name == "conv2d_filters":
                self._filters.add(id(node))

    def number(self, x: Tensor | NDArray, like: Any) -> int | None:
        """The number of the picture of what has the shape of ``like`` in the graph; None if it has none."""
        values, colour = as_array(x), False
        if values.ndim != 4 or values.dtype.kind not in "fiu" or not values.size:
            return None
        count, height, width, channels = values.shape
        if id(like) in self._filters:
            count, channels, height, width = values.shape
            tiles, note = values[:TILES, 0], f"{min(count, TILES)} of {count} filters"
            note += f", the first of {channels} channels" * (channels > 1)
        elif channels == 3 and 0 <= values.min() <= values.max() <= 1:
            tiles, note, colour = values[0].transpose(2, 0, 1), f"the first of {count} images", True
        elif channels == 1 or self._has_maps:
            tiles, note = values[0].transpose(2, 0, 1)[:TILES], f"the first of {count} images"
            note += f", {min(channels, TILES)} of {channels} channels" * (channels > 1)
        else:
            return None
        how = {"filters": id(like) in self._filters, "colour": colour}
        return None if min(height, width) < 2 else self._paint(tiles, note, **how)

    def _paint(self, tiles: NDArray, note: str, *, filters: bool, colour: bool) -> int:
        step = -(-max(tiles.shape[1:]) // SIDE)
        tiles = tiles[:, ::step, ::step].astype(np.float64)
        finite = np.isfinite(tiles)
        top = float(np.abs(tiles).max(initial=0, where=finite)) or 1.0
        pixels = np.where(finite, np.rint(127 * np.where(finite, tiles, 0) / top), -128).astype(np.int8)
        key = (pixels.tobytes(), *tiles.shape, note, top, filters)
        if key not in self._numbers:
            self._numbers[key] = len(self.painted)
            self.painted.append({
                "count": len(tiles), "height": tiles.shape[1], "width": tiles.shape[2], "colour": colour,
                "columns": min(len(tiles), math.ceil(math.sqrt(2 * len(tiles)))), "filters": filters,
                "note": note, "top": f"{top:.4g}", "pixels": base64.b64encode(pixels.tobytes()).decode(),
            })  # fmt: skip
        return self._numbers[key]
