"""Networks described by names and numbers, so that a file can hold one without holding code."""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np

from tensorgrad.nn.files import SavedFileError
from tensorgrad.nn.layer import Layer
from tensorgrad.nn.layers import Conv2D
from tensorgrad.nn.network import Network

# Options that only make the first values of parameters or generators. A description leaves them out.
_INITIAL = ("init", "bias_init", "rng")
_DTYPES = ("float16", "float32", "float64")


def describe(layer: Layer) -> dict[str, Any]:
    """What class a layer is and with which options it was made: dicts, lists, str and numbers.

    An option is read from the attribute of its name. A layer that comes twice is described once.

    Raises
    ------
    TypeError
        If a layer is not one of tensorgrad's own.
    """
    return _described(layer, type(layer).__name__, [])


def _described(layer: Layer, path: str, seen: list[Layer]) -> dict[str, Any]:
    for i, earlier in enumerate(seen):
        if earlier is layer:
            return {"again": i}
    seen.append(layer)
    name = type(layer).__name__
    if known_layers().get(name) is not type(layer):
        raise TypeError(
            f"{path} is a {name}, which is not one of tensorgrad's layers, so that a file cannot describe "
            "it; save its weights with save_weights, and load them into a layer that your code makes"
        )
    form: dict[str, Any] = {"class": name, "training": layer.training}
    if isinstance(layer, Network):
        children = layer.children()
        return {**form, "layers": [_described(child, f"{path}.{place}", seen) for place, child in children]}
    return {**form, "options": {key: _option(layer, key, path) for key in _option_names(type(layer))}}


def _option(layer: Layer, name: str, path: str) -> Any:
    if name == "dtype":
        return str(next(iter(layer.named_parameters().values())).dtype)
    if isinstance(layer, Conv2D) and name in ("filters", "kernel_size"):
        filters, _, height, width = layer.filters.shape
        return filters if name == "filters" else [height, width]
    if name == "bias":
        return getattr(layer, name) is not None
    return _plain(getattr(layer, name), f"the option {name} of {path}")


def _option_names(kind: type[Layer]) -> list[str]:
    return [name for name in inspect.signature(kind).parameters if name not in _INITIAL]


def _plain(value: Any, what: str) -> Any:
    if isinstance(value, (tuple, list)):
        return [_plain(part, what) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"{what} is {value!r}, which a file cannot describe")


def known_layers() -> dict[str, type[Layer]]:
    """tensorgrad's own layers by name: all that a description may name."""
    from tensorgrad import nn  # which imports this module

    return {
        name: value
        for name, value in vars(nn).items()
        if isinstance(value, type) and issubclass(value, Layer) and value is not Layer
    }


def build(form: Any, state: dict[str, np.ndarray[Any, Any]]) -> Layer:
    """The layer that `describe` described, with the values of ``state``.

    Raises
    ------
    SavedFileError
        If the description names an unknown layer or option, or does not fit the values. No layer is made
        that is larger than the values that come with it.
    """
    layer = _built(form, sum(array.size for array in state.values()), [])
    try:
        layer.load_state(state)
    except ValueError as error:
        raise SavedFileError(str(error)) from error
    return layer


def _built(form: Any, room: int, made: list[Layer | None]) -> Layer:
    if not isinstance(form, dict):
        raise SavedFileError(f"expected the description of a layer, got {form!r}")
    if form.keys() == {"again"}:
        number = form["again"]
        earlier = made[number] if type(number) is int and 0 <= number < len(made) else None
        if earlier is None:
            raise SavedFileError(f"there is no layer {number!r} to use again")
        return earlier
    kind = known_layers().get(form["class"]) if isinstance(form.get("class"), str) else None
    if kind is None:
        raise SavedFileError(
            f"the layer {form.get('class')!r} is not known; there are {', '.join(sorted(known_layers()))}"
        )
    wanted = {"class", "training", "layers" if kind is Network else "options"}
    if form.keys() != wanted or not isinstance(form["training"], bool):
        raise SavedFileError(f"expected {', '.join(sorted(wanted))} of a {kind.__name__}, got {form}")
    place = len(made)
    made.append(None)  # until it is finished: no layer can hold itself
    if kind is Network:
        if not isinstance(form["layers"], list):
            raise SavedFileError(f"expected a list of layers, got {form['layers']!r}")
        layer: Layer = Network([_built(part, room, made) for part in form["layers"]])
    else:
        layer = _constructed(kind, form["options"], room)
    layer.training = form["training"]
    made[place] = layer
    return layer


def _constructed(kind: type[Layer], options: Any, room: int) -> Layer:
    names = _option_names(kind)
    if not isinstance(options, dict) or options.keys() != set(names):
        raise SavedFileError(f"expected the options {', '.join(names)} of {kind.__name__}, got {options!r}")
    options = {name: _tupled(value) for name, value in options.items()}
    if "dtype" in options and options["dtype"] not in _DTYPES:
        raise SavedFileError(
            f"{kind.__name__}: expected dtype one of {', '.join(_DTYPES)}, got {options['dtype']!r}"
        )
    if _size(kind, options) > room:
        raise SavedFileError(f"{kind.__name__} with {options} is larger than the values in the file")
    try:
        return kind(**options)
    except (TypeError, ValueError) as error:
        raise SavedFileError(f"{kind.__name__} with {options}: {error}") from error


def _size(kind: type[Layer], options: dict[str, Any]) -> int:
    """The number of elements of the largest parameter: the product of all sizes that have no default."""
    parameters = inspect.signature(kind).parameters
    needed = {k: v for k, v in options.items() if parameters[k].default is inspect.Parameter.empty}
    if isinstance(side := needed.get("kernel_size"), int):
        needed["kernel_size"] = (side, side)
    groups = options.get("groups")
    return math.prod(_lengths(tuple(needed.values()))) // (
        groups if type(groups) is int and groups > 0 else 1
    )


def _lengths(value: Any) -> list[int]:
    if isinstance(value, tuple):
        return [length for part in value for length in _lengths(part)]
    return [value] if isinstance(value, int) else []


def _tupled(value: Any) -> Any:
    return tuple(_tupled(part) for part in value) if isinstance(value, list) else value
