"""Arrays in ``.safetensors`` files. The format has no checksum; ours is in its metadata."""

from __future__ import annotations

import hashlib
import json
from types import ModuleType
from typing import Any

import numpy as np

from tensorgrad.nn.files import Arrays, PathLike, SavedFileError, parsed_header, refusing, write_atomically

_HEADER, _DIGEST = "tensorgrad", "sha256"


def write_safetensors(path: PathLike, header: str, arrays: Arrays) -> None:
    """Write the header, as metadata, and the arrays, atomically."""
    # The package writes memory as it lies, and scrambles arrays that are not in C order.
    ordered = {name: np.array(array, order="C") for name, array in arrays.items()}
    metadata = {_HEADER: header, _DIGEST: _digest(header, ordered)}
    contents = _package("writing", path).save(ordered, metadata)
    write_atomically(path, lambda file: file.write(contents))


def read_safetensors(path: PathLike) -> tuple[dict[str, Any] | None, Arrays]:
    """The header, None in a file that another program wrote, and the arrays.

    Raises
    ------
    SavedFileError
        If the file is anything but an intact safetensors file.
    """
    package = _package("reading", path)
    with open(path, "rb") as file:
        contents = file.read()
    with refusing(path):
        arrays: Arrays = package.load(contents)
        length = int.from_bytes(contents[:8], "little")
        metadata = json.loads(contents[8 : 8 + length]).get("__metadata__") or {}
        if _HEADER not in metadata:
            return None, arrays
        header = metadata[_HEADER]
        if metadata.get(_DIGEST) != _digest(header, arrays):
            raise SavedFileError("the file is damaged: its checksum does not fit")
        return parsed_header(header), arrays


def _package(doing: str, path: PathLike) -> ModuleType:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ImportError(
            f"{doing} {path} needs safetensors; install it with pip install 'tensorgrad-numpy[safetensors]', "
            "or use .npz"
        ) from error
    package: ModuleType = safetensors.numpy
    return package


def _digest(header: str, arrays: Arrays) -> str:
    digest = hashlib.sha256(header.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(json.dumps([name, str(array.dtype), array.shape]).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
