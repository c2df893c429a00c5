"""Networks described by names and numbers, so that a file can hold one without holding code."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

import tensorgrad.nn.layers as layers
from tensorgrad.core.checks import NDArray
from tensorgrad.core.trees import flatten
from tensorgrad.nn.files.archive import SavedFileError
from tensorgrad.nn.layer import Layer
from tensorgrad.nn.network import Network

__all__: list[str] = []

# Options that only make the first values of parameters or generators. A description leaves them out.
_INITIAL = ("init", "bias_init", "rng")
_MOST_CALLS = 1_000_000
_DTYPES = ("float16", "float32", "float64")


def describe(layer: Layer) -> dict[str, Any]:
    """What class a layer is and with which options it was made: dicts, lists, str and numbers.

    An option is read from the attribute of its name. A layer that comes twice is described once.

    Raises
    ------
    TypeError
        If a layer is not one of tensorgrad's own.
    """
    return _describe(layer, type(layer).__name__, {})


def _describe(layer: Layer, path: str, seen: dict[int, int]) -> dict[str, Any]:
    if id(layer) in seen:
        return {"again": seen[id(layer)]}
    seen[id(layer)] = len(seen)
    name = type(layer).__name__
    if known_layers().get(name) is not type(layer):
        raise TypeError(
            f"save_network: {path} is a {name}, which is not one of tensorgrad's layers, so that a file "
            "cannot describe it; save its weights with save_weights, and load them into a layer that your "
            "code makes"
        )
    form: dict[str, Any] = {"class": name, "training": layer.training}
    if isinstance(layer, Network):
        children = layer.children()
        return {**form, "layers": [_describe(child, f"{path}.{place}", seen) for place, child in children]}
    return {**form, "options": {key: _option(layer, key, path) for key in _option_names(type(layer))}}


def _option(layer: Layer, name: str, path: str) -> Any:
    if name == "dtype":
        return str(next(iter(layer.named_parameters().values())).dtype)
    if isinstance(layer, layers.Conv2D) and name in ("filters", "kernel_size"):
        filters, _, height, width = layer.filters.shape
        return filters if name == "filters" else [height, width]
    if name == "bias":
        return getattr(layer, name) is not None
    return _plain(getattr(layer, name), f"the option {name} of {path}")


def _option_names(kind: type[Layer]) -> list[str]:
    return [name for name in _parameters(kind.__name__) if name not in _INITIAL]


@cache  # a network has thousands of layers of a few kinds, and inspect is slow
def _parameters(name: str) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(known_layers()[name]).parameters


def _plain(value: Any, what: str) -> Any:
    if isinstance(value, (tuple, list)):
        return [_plain(part, what) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"save_network: {what} is {value!r}, which a file cannot describe")


def known_layers() -> dict[str, type[Layer]]:
    """tensorgrad's own layers by name: all that a description may name."""
    return {name: getattr(layers, name) for name in layers.__all__} | {"Network": Network}


def build(form: Any, state: dict[str, NDArray]) -> Layer:
    """The layer that `describe` described, with the values of ``state``.

    Raises
    ------
    SavedFileError
        If the description names an unknown layer or option, or does not fit the values. No layer is made
        that is larger than the values that come with it.
    """
    layer = _Builder(sum(array.size for array in state.values())).layer(form)
    try:
        layer.load_state(state)
    except ValueError as error:
        raise SavedFileError(str(error)) from error
    return layer


class _Builder:
    """Makes layers, as long as there is room for their parameters."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._made: list[Layer | None] = []  # None for a network that is being made: it cannot hold itself
        self._calls: dict[int, int] = {}  # of layers in a forward pass of a network, by its identity

    def layer(self, form: Any) -> Layer:
        if not isinstance(form, dict):
            raise SavedFileError(f"expected the description of a layer, got {form!r}")
        if form.keys() == {"again"}:
            number = form["again"]
            known = type(number) is int and 0 <= number < len(self._made)
            earlier = self._made[number] if known else None
            if earlier is None:
                raise SavedFileError(f"there is no layer {number!r} to use again")
            return earlier
        name = form.get("class")
        kind = known_layers().get(name) if isinstance(name, str) else None
        if kind is None:
            raise SavedFileError(
                f"the layer {name!r} is not known; there are {', '.join(sorted(known_layers()))}"
            )
        wanted = {"class", "training", "layers" if kind is Network else "options"}
        if form.keys() != wanted or not isinstance(form["training"], bool):
            raise SavedFileError(f"expected {', '.join(sorted(wanted))} of a {name}, got {form}")
        place = len(self._made)
        self._made.append(None)
        made = self._network(form["layers"]) if kind is Network else self._single(kind, form["options"])
        made.training = form["training"]
        self._made[place] = made
        return made

    def _network(self, forms: Any) -> Layer:
        if not isinstance(forms, list):
            raise SavedFileError(f"expected a list of layers, got {forms!r}")
        made = Network([self.layer(form) for form in forms])
        calls = self._calls[id(made)] = sum(self._calls.get(id(layer), 1) for layer in made.layers)
        if calls > _MOST_CALLS:  # a few lines can use a network twice that uses another twice, and so on
            raise SavedFileError(f"it applies {calls} layers in a row, more than {_MOST_CALLS}")
        return made

    def _single(self, kind: type[Layer], options: Any) -> Layer:
        name, names = kind.__name__, _option_names(kind)
        if not isinstance(options, dict) or options.keys() != set(names):
            raise SavedFileError(f"expected the options {', '.join(names)} of {name}, got {options!r}")
        options = {key: _make_tuples(value) for key, value in options.items()}
        if "dtype" in options and options["dtype"] not in _DTYPES:
            raise SavedFileError(
                f"{name}: expected a dtype of {', '.join(_DTYPES)}, got {options['dtype']!r}"
            )
        self._room -= _size(kind, options)
        if self._room < 0:
            raise SavedFileError(f"{name} with {options} is larger than the values in the file")
        try:
            return kind(**options)
        except (TypeError, ValueError) as error:
            raise SavedFileError(f"{name} with {options}: {error}") from error


def _size(kind: type[Layer], options: dict[str, Any]) -> int:
    """Elements of the largest parameter: the product of all sizes without a default. 0 if there are none."""
    parameters = _parameters(kind.__name__)
    needed = {k: v for k, v in options.items() if parameters[k].default is inspect.Parameter.empty}
    if isinstance(side := needed.get("kernel_size"), int):
        needed["kernel_size"] = (side, side)
    lengths = [length for _, length in flatten(list(needed.values())) if isinstance(length, int)]
    groups = options.get("groups", 1)
    size = max(math.prod(lengths), 0) if lengths else 0
    return size // groups if type(groups) is int and groups > 0 else size


def _make_tuples(value: Any) -> Any:
    return tuple(_make_tuples(part) for part in value) if isinstance(value, list) else value
