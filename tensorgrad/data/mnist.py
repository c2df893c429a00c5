"""MNIST and Fashion-MNIST: four idx files each, found on this machine or downloaded, and always verified.

Sources: LeCun, Cortes and Burges, "The MNIST database of handwritten digits",
http://yann.lecun.com/exdb/mnist/; Xiao, Rasul and Vollgraf (2017), "Fashion-MNIST: a novel image dataset
for benchmarking machine learning algorithms", https://arxiv.org/abs/1708.07747.
"""

import hashlib
import os
from pathlib import Path
from typing import TypeAlias

import numpy as np

from tensorgrad.core.checks import NDArray
from tensorgrad.data.idx import DataError, read_idx

__all__: list[str] = []

Split: TypeAlias = tuple[NDArray, NDArray, NDArray, NDArray]  #: x_train, y_train, x_test, y_test

TITLES = {"mnist": "MNIST", "fashion-mnist": "Fashion-MNIST"}
MIRRORS = {
    "mnist": (
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
    ),
    "fashion-mnist": ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
}
SHA256 = {  # the files in the order in which read_mnist returns them
    "mnist": {
        "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    },
    "fashion-mnist": {
        "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    },
}


def read_mnist(name: str, data_dir: str | os.PathLike[str] | None) -> Split:
    """x_train, y_train, x_test, y_test of "mnist" or "fashion-mnist", as `load` describes them."""
    paths = _locate(name, data_dir)
    for file, path in paths.items():
        _verify(name, file, path)
    x_train, y_train, x_test, y_test = (read_idx(path) for path in paths.values())
    return _images(x_train), y_train.astype(np.int64), _images(x_test), y_test.astype(np.int64)


def _images(pixels: NDArray) -> NDArray:
    return np.divide(pixels[..., np.newaxis], 255, dtype=np.float32)


def _locate(name: str, data_dir: str | os.PathLike[str] | None) -> dict[str, Path]:
    """The path of each file: in `data_dir`, else in TENSORGRAD_DATA_DIR, else in the cache."""
    given = (os.environ.get("TENSORGRAD_DATA_DIR") or None) if data_dir is None else data_dir
    if given is None:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "tensorgrad", name)
        return {
            file: cache / file if (cache / file).is_file() else _download(name, file, cache)
            for file in SHA256[name]
        }
    folder = Path(given).expanduser()
    paths = {
        file: path
        for file in SHA256[name]
        for path in (folder / file, folder / name / file)  # where both exist, the second replaces the first
        if path.is_file()
    }
    missing = ", ".join(file for file in SHA256[name] if file not in paths)
    if missing:
        raise DataError(
            f"{folder}: expected the files of {TITLES[name]} there or in its folder {name}, "
            f"found no {missing}; put them there or give another data_dir"
        )
    return paths


def _download(name: str, file: str, cache: Path) -> Path:
    by_hand = f"put {', '.join(SHA256[name])} into a folder and pass it as data_dir"
    try:
        import pooch
    except ImportError as error:
        raise ImportError(
            f"{TITLES[name]} is not on this machine and downloading it needs pooch: "
            f'pip install "tensorgrad-numpy[train]"; or {by_hand}'
        ) from error
    failures = []
    for mirror in MIRRORS[name]:
        try:
            return Path(pooch.retrieve(mirror + file, "sha256:" + SHA256[name][file], file, cache))
        except (OSError, ValueError) as error:  # no network, no such file, no room; or a wrong SHA-256
            failures.append(f"{mirror}{file}: {error}")
    raise DataError(f"{TITLES[name]} could not be downloaded; {by_hand}. Tried:\n" + "\n".join(failures))


def _verify(name: str, file: str, path: Path) -> None:
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    expected = SHA256[name][file]
    if found == expected:
        return
    owners = {
        sha: f"{TITLES[known]}'s {its}" for known, files in SHA256.items() for its, sha in files.items()
    }
    what = f"{owners[found]}, not" if found in owners else "truncated, corrupt or another file than"
    raise DataError(
        f"{path}: this is {what} {TITLES[name]}'s {file}; expected SHA-256 {expected}, found {found} "
        f"({path.stat().st_size} bytes); replace it with the original, or delete it and load again"
    )
