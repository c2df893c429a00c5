"""What must be the same when a training is resumed, described by strings, so that differences can be named.

Settings of layers, schedules and functions of one's own are found where they are kept: in attributes that are
called as the constructor's arguments or hold a plain value, and in what a function closes over.
"""

from __future__ import annotations

import functools
import inspect
import types
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tensorgrad.core import Op, Tensor
from tensorgrad.core.checks import NDArray
from tensorgrad.data.batches import StreamedBatches
from tensorgrad.nn.files.archive import PathLike
from tensorgrad.nn.fit.examples import Data
from tensorgrad.nn.fit.metrics import Measure
from tensorgrad.nn.fit.options import FitOptions
from tensorgrad.nn.fit.training import Callback
from tensorgrad.nn.layer import Layer
from tensorgrad.nn.optimizers import Optimizer
from tensorgrad.nn.schedules import Schedule
from tensorgrad.nn.sequential import Sequential

__all__ = ["describe", "describe_network", "require_same", "take_fingerprint"]

_HASHED_BYTES = 64 << 20  # of an array; larger ones are hashed in slices
_SLICES = 64
_SHIPPED = ("tensorgrad", "numpy", "sklearn")  # functions of theirs are known by name

_Plain = (type(None), bool, int, float, str, tuple, np.generic, np.dtype, type, types.FunctionType, Op)


def take_fingerprint(
    network: Sequential,
    options: FitOptions,
    data: Data,
    held_out: Data | None,
    measures: Mapping[str, Measure],
    optimizer: Optimizer,
    schedule: Schedule | None,
    callbacks: Iterable[Callback],
    rng: np.random.Generator,
) -> dict[str, Any]:
    """All that must be the same when a training is resumed. A setting is called after what it belongs to."""
    return {
        **describe_network(network),
        "loss": describe(network.loss),
        **_describe_optimizer(network, optimizer, schedule),
        **_describe_schedule(schedule, options.schedule_every),
        "schedule_monitor": options.schedule_monitor,
        "batch_size": int(options.batch_size) if options.y is not None else None,
        "steps_per_epoch": options.steps_per_epoch,
        **_describe_examples("", data),
        **_describe_examples("validation ", held_out),
        "validation_split": options.validation_split,
        "class_weight": None if options.class_weight is None else describe(options.class_weight),
        "metrics": list(measures),
        **{f"metrics {name}": describe(measure.metric) for name, measure in measures.items()},
        "augment": describe(options.augment),
        "callbacks": [type(each).__name__ + _in_brackets(each.settings()) for each in callbacks],
        "generator": type(rng.bit_generator).__name__,
        "seed": None if options.seed is None else _describe_seed(rng),
    }


def require_same(
    path: PathLike, tree: Mapping[str, Any], now: dict[str, Any], optimizer: Optimizer, schedule: bool
) -> None:
    """ValueError with all that is not as it was.

    Of an optimizer that has made steps, the options may be those that the training had come to; its rates,
    where a schedule sets them, may be any.
    """
    saved = tree["fingerprint"]
    reached = dict(_options_of(tree["optimizer"], None)) if optimizer.steps else {}
    different = [key for key in {**saved, **now} if saved.get(key) != now.get(key)]
    told = [
        f"{key}: was {saved.get(key)}, is {now.get(key)}"
        for key in different
        if not (
            any(key.startswith(f"{other} ") for other in different)  # of another network, all settings are
            or (key in reached and (reached[key] == now.get(key) or (schedule and key.endswith("_rate"))))
        )
    ]
    if told:
        raise ValueError(
            f"fit, resume: this is not the training that wrote {path}; nothing was changed:\n  "
            + "\n  ".join(told)
        )


def describe_network(network: Sequential) -> dict[str, str]:
    """The kinds of the layers, with the shapes of what they keep; and what each was told."""
    layers = network.named_layers()
    kinds = ", ".join(f"{path} {type(layer).__name__}".strip() for path, layer in layers.items())
    state = ", ".join(f"{path} {x.dtype} {x.shape}" for path, x in network.state().items())
    found = {"network": f"{kinds} with {state}"}
    for path, layer in layers.items():
        modes = {"training": vars(layer).get("training", True)}
        for name, text in {**_settings(layer), **modes}.items():
            if name != "loss":
                found[f"network {path}.{name}".replace(" .", " ")] = str(text)
    return found


def _describe_optimizer(
    network: Sequential, optimizer: Optimizer, schedule: Schedule | None
) -> dict[str, str]:
    paths = {id(p): path for path, p in network.named_parameters().items()}
    groups = [[paths[id(p)] for p in group.parameters] for group in optimizer.groups]
    while getattr(schedule, "then", None) is not None:
        schedule = schedule.then  # type: ignore[union-attr]  # a warm-up, whose own base rates come of these
    own = {name: text for name, text in _settings(optimizer).items() if name not in ("steps", "groups")}
    options = {
        "groups": [group.options for group in optimizer.groups],
        **{name: getattr(optimizer, name) for name in ("clip_value", "clip_norm")},
    }
    return {
        "optimizer": type(optimizer).__name__,
        **{f"optimizer {name}": text for name, text in own.items()},
        "optimizer parameters": "all" if groups == [list(paths.values())] else describe(groups),
        **dict(_options_of(options, None if schedule is None else schedule.base_rates)),
    }


def _options_of(state: Mapping[str, Any], rates: Sequence[float] | None) -> Iterator[tuple[str, str]]:
    """The options of an optimizer, with these learning rates."""
    for i, group in enumerate(state["groups"]):
        options = group if rates is None else {**group, "learning_rate": rates[i]}
        which = f"group {i} " if len(state["groups"]) > 1 else ""
        for name, value in options.items():
            if name != "parameters":
                yield f"optimizer {which}{name}", describe(value)
    for name in ("clip_value", "clip_norm"):
        yield f"optimizer {name}", describe(state[name])


def _describe_schedule(schedule: Schedule | None, every: str) -> dict[str, str]:
    if schedule is None:
        return {"schedule": "none"}
    found = {"schedule": f"{type(schedule).__name__}, every {every}"}
    inner: Schedule | None = schedule
    where = "schedule"
    while inner is not None:
        if where != "schedule":
            found[where] = type(inner).__name__
        progress = {"optimizer", "steps", "base_rates", "then", *inner.state().get("progress", ())}
        settings = {name: text for name, text in _settings(inner).items() if name not in progress}
        found |= {f"{where} {name}": text for name, text in settings.items()}
        inner, where = getattr(inner, "then", None), f"{where} then"
    return {**found, where: "none"}


def _describe_examples(prefix: str, data: Data | None) -> dict[str, str]:
    if isinstance(data, StreamedBatches):
        return {f"{prefix}x": "batches"}
    arrays = (None, None, None) if data is None else data
    return {f"{prefix}{name}": describe(x) for name, x in zip(("x", "y", "weights"), arrays, strict=True)}


def _describe_seed(rng: np.random.Generator) -> str:
    """Where a generator began, however much it has drawn since."""
    sequence = getattr(rng.bit_generator, "seed_seq", None)
    key = getattr(sequence, "spawn_key", ())
    return f"{getattr(sequence, 'entropy', 'unknown')}{f', spawned {key}' if key else ''}"


# Of anything


def describe(x: Any, seen: tuple[int, ...] = ()) -> str:
    """A value by its digits, an array by its checksum, a function by its code, an object by its settings."""
    if isinstance(x, (Tensor, Layer, np.random.Generator)) or id(x) in seen:
        return type(x).__name__
    if x is None or isinstance(x, (bool, int, float, str, np.generic, np.dtype)):
        return "none" if x is None else str(x)
    if isinstance(x, np.ndarray):
        return _describe_array(x)
    seen = (*seen, id(x))
    if isinstance(x, (tuple, list, set, frozenset)):
        texts = [describe(value, seen) for value in x]
        return f"({', '.join(texts if isinstance(x, (tuple, list)) else sorted(texts))})"
    if isinstance(x, Mapping):
        return f"{{{', '.join(f'{key}: {describe(value, seen)}' for key, value in x.items())}}}"
    if isinstance(x, (type, Op)):
        return x.__name__
    if isinstance(x, functools.partial):
        given = {**{str(i): value for i, value in enumerate(x.args)}, **x.keywords}
        return describe(x.func, seen) + _in_brackets(given, seen)
    if isinstance(x, types.MethodType):
        return f"{describe(x.__func__, seen)} of {describe(x.__self__, seen)}"
    if isinstance(x, types.FunctionType):
        return _describe_function(x, seen)
    text = repr(x)
    # Where an object says nothing of itself, its address is another in each run.
    return type(x).__qualname__ + _in_brackets(_settings(x), seen) if " at 0x" in text else text


def _in_brackets(settings: Mapping[str, Any], seen: tuple[int, ...] = ()) -> str:
    return f"({', '.join(f'{name}={describe(x, seen)}' for name, x in settings.items())})" if settings else ""


def _settings(x: Any) -> dict[str, str]:
    """The public attributes that are arguments of the constructor or hold a plain value."""
    try:
        arguments: Iterable[str] = inspect.signature(type(x)).parameters
    except (TypeError, ValueError):
        arguments = ()
    return {
        name: describe(value, (id(x),))
        for name, value in getattr(x, "__dict__", {}).items()
        if not name.startswith("_") and (name in arguments or isinstance(value, _Plain))
    }


def _describe_function(f: types.FunctionType, seen: tuple[int, ...]) -> str:
    if (f.__module__ or "").split(".")[0] in _SHIPPED:
        return f.__qualname__
    names = inspect.getclosurevars(f)
    read = {**(f.__kwdefaults__ or {}), **names.globals, **names.nonlocals}
    read |= {f"default {i}": value for i, value in enumerate(f.__defaults__ or ())}
    known = (*_Plain, np.ndarray, functools.partial)
    settings = {name: value for name, value in read.items() if isinstance(value, known) and value is not f}
    return f"{f.__qualname__} of code {_checksum(f.__code__, f.__doc__):08x}{_in_brackets(settings, seen)}"


def _checksum(code: types.CodeType, documentation: str | None) -> int:
    """Of the instructions and constants, wherever in the file they stand."""
    constants = [
        _checksum(x, None) if isinstance(x, types.CodeType)
        else sorted(map(repr, x)) if isinstance(x, frozenset) else x
        for x in code.co_consts if x != documentation or x is None
    ]  # fmt: skip
    return zlib.crc32(repr((code.co_code, code.co_names, constants)).encode())


def _describe_array(array: NDArray) -> str:
    """Shape, dtype and checksum; of arrays above 64 MiB, the checksum of evenly spaced parts."""
    rows = len(array) if array.ndim else 1
    if array.nbytes <= _HASHED_BYTES:
        parts = [slice(None)]
    else:
        length = max(1, rows * _HASHED_BYTES // (array.nbytes * _SLICES))
        parts = [slice(start, start + length) for start in np.linspace(0, rows - length, _SLICES).astype(int)]
    checksum = 0
    for part in parts:
        flat = np.ascontiguousarray(np.atleast_1d(array)[part]).reshape(-1)
        checksum = zlib.crc32(flat.view(np.uint8).data, checksum)
    return f"{array.dtype} {array.shape} with checksum {checksum:08x}"
