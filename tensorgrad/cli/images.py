"""Images in files, as networks take them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tensorgrad.core.checks import NDArray
from tensorgrad.data import read_idx

__all__ = ["read_images"]

GREY = (0.299, 0.587, 0.114)  # of red, green and blue: ITU-R BT.601, as Pillow takes it


def read_images(path: Path, shape: tuple[int, ...]) -> NDArray:
    """The images in a file of .npy, .png or idx, as (N, H, W, C) float32 in [0, 1].

    Raises
    ------
    ValueError
        If the file is none of these, or the images are not of ``shape`` or not in the range.
    """
    name = path.name.lower()
    if name.endswith(".npy"):
        images = _read_npy(path)
    elif name.endswith(".png"):
        images = _read_png(path, shape[2])
    elif name.endswith((".gz", "-ubyte", ".idx")):
        images = read_idx(path)
    else:
        raise ValueError(f"{path}: expected images in a file of .npy, .png, idx or idx .gz")
    if images.dtype.kind not in "fiu":
        raise ValueError(f"{path}: expected pixels that are numbers, got {images.dtype}")
    batch = _as_batch(images, shape)
    if batch is None:
        raise ValueError(f"{path}: expected images of shape {shape}, got {images.shape}")
    top = 1 if images.dtype.kind == "f" else 255
    wrong = batch[~((batch >= 0) & (batch <= top))]  # so that NaN is wrong
    if wrong.size:
        kind = "whole numbers" if top == 255 else "fractions"
        raise ValueError(f"{path}: expected pixels from 0 to {top}, as they are {kind}, got {wrong[0]}")
    return batch.astype(np.float32) / np.float32(top)


def _as_batch(images: NDArray, shape: tuple[int, ...]) -> NDArray | None:
    """``images`` as a batch, if they are one when an axis of the channel or of the batch is added."""
    candidates = (images, images[None], images[..., None], images[None, ..., None])
    return next((batch for batch in candidates if batch.shape[1:] == shape and len(batch)), None)


def _read_npy(path: Path) -> NDArray:
    with path.open("rb") as file:
        try:
            images: NDArray = np.lib.format.read_array(file, allow_pickle=False)
        except (ValueError, EOFError, MemoryError) as error:
            raise ValueError(f"{path}: expected an array of numbers in a whole .npy file: {error}") from error
    return images


def _read_png(path: Path, channels: int) -> NDArray:
    try:
        from matplotlib.image import imread
    except ImportError:
        raise ImportError(
            "predict: reading .png needs matplotlib; install it with pip install 'tensorgrad-numpy[plot]'"
        ) from None
    with path.open("rb") as file:
        try:
            pixels: NDArray = imread(file, format="png")  # in [0, 1]
        except Exception as error:  # Pillow raises nearly everything, SyntaxError too
            raise ValueError(f"{path}: expected a whole .png file: {error}") from error
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        if pixels[..., -1].min() < 1:
            raise ValueError(f"{path}: expected an image without transparent pixels")
        pixels = pixels[..., :-1]
    if channels == 1 and pixels.ndim == 3 and pixels.shape[2] == 3:
        pixels = np.clip(pixels @ np.array(GREY, pixels.dtype), 0, 1)
    return pixels
