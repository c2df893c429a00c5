"""Saved weights and networks, in ``.npz`` or ``.safetensors`` files."""

from __future__ import annotations

from typing import Any

from tensorgrad.core.refusals import hint_network
from tensorgrad.nn.description import build, describe
from tensorgrad.nn.files.archive import (
    Arrays,
    PathLike,
    SavedFileError,
    check_header,
    read_arrays,
    refusing,
    write_arrays,
)
from tensorgrad.nn.layer import Layer

__all__ = ["load_network", "load_notes", "load_weights", "save_network", "save_weights"]

_WEIGHTS, _NETWORK = "tensorgrad weights", "tensorgrad network"
_VERSION = 1


def save_weights(path: PathLike, layer: Layer) -> None:
    """Write the parameters and buffers of a layer, by path such as ``Dense0.weights``; see `Layer.state`.

    Parameters
    ----------
    path : path
        Ends in ``.npz``, which ``np.load`` reads, or in ``.safetensors``, which needs the package of that
        name. The file is written whole or not at all.
    layer : Layer
        Also one of your own.

    Raises
    ------
    ValueError
        If the path has another ending.
    OSError
        If the folder is missing or cannot be written, or the disk is full. The old file is as it was.
    ImportError
        If safetensors is not installed and needed.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> trained, fresh = tg.Dense(2, 1, rng=0), tg.Dense(2, 1, rng=1)
    >>> tg.save_weights(f"{folder.name}/dense.npz", trained)
    >>> tg.load_weights(f"{folder.name}/dense.npz", fresh)
    >>> bool(np.all(fresh.weights.data == trained.weights.data))
    True
    >>> folder.cleanup()
    """
    write_arrays(path, {"format": _WEIGHTS, "version": _VERSION}, _take_state("save_weights", layer))


def load_weights(path: PathLike, layer: Layer) -> None:
    """Set the parameters and buffers of a layer to those in a file: the same paths, shapes and dtypes.

    The file may be of `save_weights` or `save_network`, or one of ``np.savez`` or safetensors that another
    program wrote with the paths as names. Arrays of bfloat16 become float32, exactly.

    Raises
    ------
    SavedFileError
        If the file is damaged, of another kind or a newer version, or does not fit the layer, with a line for
        each misfit. The layer is as it was then.
    ValueError
        If the path ends neither in ``.npz`` nor in ``.safetensors``.
    OSError
        If the file is missing or cannot be read.
    ImportError
        If safetensors is not installed and needed.
    """
    if not isinstance(layer, Layer):
        how = "; write load_weights(path, layer)" if isinstance(path, Layer) else ""
        raise TypeError(f"load_weights: expected a Layer, got {layer!r}{how}")
    header, arrays = read_arrays(path)
    with refusing(path):
        if header is not None:
            if header.get("format") == _NETWORK:
                check_header(header, _NETWORK, _VERSION, {"network", "notes"})
            else:
                check_header(header, _WEIGHTS, _VERSION, set())
    try:
        layer.load_state(arrays)
    except ValueError as error:
        raise SavedFileError(f"{path}: {error}") from error


def save_network(path: PathLike, network: Layer, notes: dict[str, Any] | None = None) -> None:
    """Write a network made of tensorgrad's layers, weights and architecture, for `load_network`.

    The architecture is stored as names of classes and their options, never as code. What belongs to training
    (the loss, the optimizer, random generators) is not stored; see `save_checkpoint`.

    Parameters
    ----------
    path : path
        As in `save_weights`.
    network : Layer
        A `Network`, or a single layer.
    notes : dict, optional
        What else whoever loads the network should know, such as the names of the classes: nested dicts (with
        str keys) and lists of str, numbers, bool and None. `load_notes` gives them back.

    Raises
    ------
    TypeError
        If a layer is not one of tensorgrad's own, or the notes hold something else.
    ValueError, OSError, ImportError
        As in `save_weights`; ValueError also if the layers, made anew, would have other parameters, as where
        two layers share one.
    """
    what = "save_network"
    state = _take_state(what, network)
    form = describe(network)
    try:
        build(form, state)
    except SavedFileError as error:
        raise ValueError(
            f"{what}: the network could not be made anew from its description: {error}"
        ) from error
    notes = {} if notes is None else notes
    if not isinstance(notes, dict) or not _is_plain(notes):
        raise TypeError(f"{what}: expected notes of dicts, lists, str, numbers, bool and None, got {notes!r}")
    write_arrays(path, {"format": _NETWORK, "version": _VERSION, "network": form, "notes": notes}, state)


def load_network(path: PathLike) -> Layer:
    """The network that `save_network` wrote.

    Nothing in the file is executed: it can only name tensorgrad's own layers.

    Raises
    ------
    SavedFileError
        If the file is damaged, of another kind or a newer version, or names an unknown layer.
    ValueError, OSError, ImportError
        As in `load_weights`.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> network = tg.Network([tg.Dense(2, 3, rng=0), tg.ReLU()])
    >>> tg.save_network(f"{folder.name}/model.npz", network, notes={"classes": ["a", "b", "c"]})
    >>> tg.load_network(f"{folder.name}/model.npz")
    Network([Dense(2, 3), ReLU()])
    >>> tg.load_notes(f"{folder.name}/model.npz")
    {'classes': ['a', 'b', 'c']}
    >>> folder.cleanup()
    """
    header, arrays = read_arrays(path)
    with refusing(path):
        return build(_check_network_header(header)["network"], arrays)


def load_notes(path: PathLike) -> dict[str, Any]:
    """The notes of a file of `save_network`. Raises what `load_network` raises."""
    header, _ = read_arrays(path)
    with refusing(path):
        notes = _check_network_header(header)["notes"]
        if not isinstance(notes, dict):
            raise SavedFileError(f"expected the notes to be a dict, got {notes!r}")
        return notes


def _check_network_header(header: dict[str, Any] | None) -> dict[str, Any]:
    if header is not None and header.get("format") == _WEIGHTS:
        raise SavedFileError("it holds weights alone; make the network and call load_weights")
    return check_header(header, _NETWORK, _VERSION, {"network", "notes"})


def _take_state(what: str, layer: Layer) -> Arrays:
    if not isinstance(layer, Layer):
        raise TypeError(f"{what}: expected a Layer, got {layer!r}{hint_network(layer)}")
    return layer.state()


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(part) for key, part in value.items())
    if isinstance(value, list):
        return all(_is_plain(part) for part in value)
    return value is None or type(value) in (str, int, float, bool)
