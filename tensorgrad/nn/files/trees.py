"""Checkpoints: a tree of arrays, numbers and strings in one file that is written whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from tensorgrad.nn.files.archive import (
    KINDS,
    Arrays,
    PathLike,
    SavedFileError,
    check_header,
    read_npz,
    refusing,
    write_npz,
)

__all__ = ["generator_state", "load_checkpoint", "save_checkpoint", "set_generator_state"]

#: Nested dicts (with str keys) and lists of arrays, str, int, float, bool and None.
Tree: TypeAlias = Any

_FORMAT = "tensorgrad checkpoint"
_VERSION = 1
_POSITIONS = {"pos": 624, "buffer_pos": 4}  # in the buffers of MT19937 and Philox, at most


def save_checkpoint(path: PathLike, tree: Tree) -> None:
    """Write a tree to a file, in one step: whenever the process dies, the file is the old one or the new one.

    Arrays keep their dtype and memory order, numbers every digit. The file is uncompressed, contains no
    pickle, and carries a checksum.

    Parameters
    ----------
    path : path
        Taken as it is; no suffix is added. ``.npz`` is usual.
    tree : nested dicts and lists
        Of arrays, str, int, float, bool and None. Keys are str. States of random generators come from
        `generator_state`.

    Raises
    ------
    TypeError
        If the tree holds anything else; the message says where. Nothing is written then.
    OSError
        If the folder is missing or cannot be written, or the disk is full. The old file is as it was.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> tg.save_checkpoint(f"{folder.name}/run.npz", {"epoch": 3, "weights": [np.ones(2), None]})
    >>> tg.load_checkpoint(f"{folder.name}/run.npz")
    {'epoch': 3, 'weights': [array([1., 1.]), None]}
    >>> folder.cleanup()
    """
    arrays: Arrays = {}
    try:
        form = _encode(tree, "tree", arrays)
        write_npz(path, {"format": _FORMAT, "version": _VERSION, "tree": form}, arrays)
    except RecursionError:
        raise ValueError("save_checkpoint: the tree is nested too deeply, or contains itself") from None


def load_checkpoint(path: PathLike) -> Tree:
    """The tree that `save_checkpoint` wrote. Arrays are fresh and writable.

    The whole file is checked before anything is returned, and nothing in it is executed. A file may be
    trusted to be intact, but whoever can write to it can write another one.

    Raises
    ------
    SavedFileError
        If the file is cut off, damaged, of another kind, or of a newer version.
    OSError
        If it is missing or cannot be read.
    """
    header, arrays = read_npz(path)
    with refusing(path):
        tree = _decode(check_header(header, _FORMAT, _VERSION, {"tree"})["tree"], unused := dict(arrays))
        if unused:
            raise SavedFileError(f"the array {min(unused)} is no part of the tree")
    return tree


def generator_state(generator: np.random.Generator) -> Tree:
    """The state of a random generator as a tree for `save_checkpoint`.

    What it will draw is part of the state; what `numpy.random.Generator.spawn` will give is not.

    >>> rng = np.random.default_rng(0)
    >>> state = tg.generator_state(rng)
    >>> first = rng.random()
    >>> tg.set_generator_state(rng, state)
    >>> rng.random() == first
    True
    """
    if not isinstance(generator, np.random.Generator):
        raise TypeError(f"generator_state: expected a numpy.random.Generator, got {generator!r}")
    return _copy(generator.bit_generator.state)


def set_generator_state(generator: np.random.Generator, state: Tree) -> None:
    """Let a generator go on from what `generator_state` gave.

    Raises
    ------
    ValueError
        If the state is not one of the generator's kind, such as PCG64. The generator is not changed then.
    """
    own = generator.bit_generator
    kind = type(own).__name__
    try:
        trial = type(own)(0)
        if _form(state) != (expected := _form(trial.state)):
            raise ValueError(f"expected {expected}")
        for name, position in [*state.items(), *state["state"].items()]:
            # NumPy does not check these, and would read outside of its buffer.
            if name in _POSITIONS and not 0 <= position <= _POSITIONS[name]:
                raise ValueError(f"{name} is {position}")
        trial.state = _copy(state)  # which may fail halfway
    except (TypeError, ValueError, KeyError, OverflowError, AttributeError, IndexError) as error:
        raise ValueError(f"set_generator_state: this is no state of {kind}: {error}") from error
    own.state = _copy(state)


def _copy(state: Tree) -> Tree:
    if isinstance(state, Mapping):
        return {key: _copy(value) for key, value in state.items()}
    if isinstance(state, np.ndarray):
        return state.copy()
    return int(state) if isinstance(state, np.integer) else state


def _form(state: Tree) -> Tree:
    """Keys, types, shapes and dtypes."""
    if isinstance(state, Mapping):
        return {key: _form(value) for key, value in state.items()}
    if isinstance(state, np.ndarray):
        return state.shape, str(state.dtype)
    return "int" if isinstance(state, (int, np.integer)) else type(state).__name__


def _encode(x: Tree, place: str, arrays: Arrays) -> Any:
    """``x`` as JSON. Dicts and arrays are marked, so that no dict of the tree is taken for a mark."""
    if x is None or isinstance(x, (bool, str)) or type(x) in (int, float):
        return x
    if isinstance(x, (int, float)):  # subclasses, such as numpy.float64
        return float(x) if isinstance(x, float) else int(x)
    if isinstance(x, np.ndarray):
        if x.dtype.kind not in KINDS:
            raise TypeError(f"save_checkpoint: {place} is an array of {x.dtype}, which cannot be saved")
        name = str(len(arrays))
        arrays[name] = x
        return {"array": name}
    if isinstance(x, list):
        return [_encode(value, f"{place}[{i}]", arrays) for i, value in enumerate(x)]
    if isinstance(x, dict):
        for key in x:
            if not isinstance(key, str):
                raise TypeError(f"save_checkpoint: expected keys of {place} to be str, got {key!r}")
        return {"dict": {key: _encode(value, f"{place}[{key!r}]", arrays) for key, value in x.items()}}
    raise TypeError(
        f"save_checkpoint: {place} is a {type(x).__name__}; a checkpoint holds dicts, lists, arrays, str, "
        "int, float, bool and None"
    )


def _decode(form: Any, arrays: Arrays) -> Tree:
    if isinstance(form, list):
        return [_decode(value, arrays) for value in form]
    if not isinstance(form, dict):
        return form
    if form.keys() == {"dict"} and isinstance(form["dict"], dict):
        return {key: _decode(value, arrays) for key, value in form["dict"].items()}
    if form.keys() == {"array"} and isinstance(form["array"], str):
        if form["array"] not in arrays:
            raise SavedFileError(f"the array {form['array']} is missing, or stands in two places")
        return arrays.pop(form["array"])
    raise SavedFileError(f"the tree has an entry that is neither dict nor array: {', '.join(form)}")
