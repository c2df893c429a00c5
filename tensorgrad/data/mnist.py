"""MNIST and Fashion-MNIST: four idx files each, found on this machine or downloaded, and always verified.

What counts is the content: a file may be unpacked, or packed anew.

Sources: LeCun, Cortes and Burges, "The MNIST database of handwritten digits",
http://yann.lecun.com/exdb/mnist/; Xiao, Rasul and Vollgraf (2017), "Fashion-MNIST: a novel image dataset
for benchmarking machine learning algorithms", https://arxiv.org/abs/1708.07747.
"""

import contextlib
import hashlib
import os
import struct
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

CONTENT = {  # the same, unpacked
    "mnist": (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    "fashion-mnist": (
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
}


def read_mnist(name: str, data_dir: str | os.PathLike[str] | None) -> Split:
    """x_train, y_train, x_test, y_test of "mnist" or "fashion-mnist", as `load` describes them."""
    paths = _locate(name, data_dir)
    x_train, y_train, x_test, y_test = (_read(name, file, path) for file, path in paths.items())
    return _images(x_train), y_train.astype(np.int64), _images(x_test), y_test.astype(np.int64)


def _images(pixels: NDArray) -> NDArray:
    return np.divide(pixels[..., np.newaxis], 255, dtype=np.float32)


def _locate(name: str, data_dir: str | os.PathLike[str] | None) -> dict[str, Path]:
    """The path of each file: in `data_dir`, else in TENSORGRAD_DATA_DIR, else in the cache."""
    given = (os.environ.get("TENSORGRAD_DATA_DIR") or None) if data_dir is None else data_dir
    if given is None:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "tensorgrad", name)
        return {file: _find(file, cache) or _download(name, file, cache) for file in SHA256[name]}
    folder = Path(given).expanduser()
    paths = {
        # Where both exist, the folder of the data set's name counts.
        file: path
        for file in SHA256[name]
        if (path := _find(file, folder / name) or _find(file, folder))
    }
    missing = ", ".join(file for file in SHA256[name] if file not in paths)
    if missing:
        raise DataError(
            f"{folder}: expected the files of {TITLES[name]} there or in its folder {name}, "
            f"found no {missing}; put them there or give another data_dir"
        )
    return paths


def _find(file: str, folder: Path) -> Path | None:
    """The file in the folder, packed or not; unpacking programs write a dot for the second dash."""
    plain = file.removesuffix(".gz")
    dotted = plain.replace("-idx", ".idx")
    paths = (folder / name for name in (file, plain, f"{dotted}.gz", dotted))
    return next((path for path in paths if path.is_file()), None)


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


def _read(name: str, file: str, path: Path) -> NDArray:
    """The array in the file, if its content is that of the original."""
    with path.open("rb") as stream:
        packed = found = hashlib.file_digest(stream, "sha256").hexdigest()
    known = {
        (title, its): (sha, content)
        for title, files in SHA256.items()
        for (its, sha), content in zip(files.items(), CONTENT[title], strict=True)
    }
    array = None
    if not any(packed in both for both in known.values()):
        with contextlib.suppress(DataError):  # damaged
            array = read_idx(path)
            found = _hash(array)
    if found in known[name, file]:
        return read_idx(path) if array is None else array
    owner = next(
        (f"{TITLES[title]}'s {its}, not" for (title, its), both in known.items() if found in both), None
    )
    what = owner or "truncated, corrupt or another file than"
    raise DataError(
        f"{path}: this is {what} {TITLES[name]}'s {file}; expected SHA-256 {SHA256[name][file]}, "
        f"found {packed} ({path.stat().st_size} bytes); replace it with the original, or delete it and load "
        "again"
    )


def _hash(array: NDArray) -> str:
    """SHA-256 of the unpacked file that holds the array, if it is one of bytes."""
    if array.dtype != np.uint8:
        return ""
    header = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return hashlib.sha256(header + array.tobytes()).hexdigest()
