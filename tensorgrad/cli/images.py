"""Images in files, as networks take them."""

from __future__ import annotations

import os
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np

from tensorgrad.core.checks import NDArray, open_file
from tensorgrad.data import read_idx
from tensorgrad.nn.files.archive import read_array

__all__ = ["read_images"]

GREY = (0.299, 0.587, 0.114)  # of red, green and blue: ITU-R BT.601, as Pillow takes it
WHITE = {"1": 1, "L": 255, "I;16": 65535, "I": 65535}  # in grey images, by Pillow's mode


def read_images(path: Path, shape: tuple[int, ...], maximum: int) -> NDArray:
    """The images in a file of .npy, .png or idx, as (N, H, W, C) float32 in [0, 1].

    A .png says what white is. Elsewhere whole numbers are taken to be on the scale of the images that the
    network was trained on, from 0 to ``maximum``, or of bytes, from 0 to 255: whichever the largest of the
    file lies in the upper half of.

    Raises
    ------
    ValueError
        If the file is none of these, or the images are not of ``shape`` or not on the scale.
    """
    name = path.name.lower()
    if name.endswith(".npy"):
        images = _read_npy(path)
    elif name.endswith(".png"):
        images = _read_png(path, shape)
    elif name.endswith((".gz", "-ubyte", ".idx")):
        images = read_idx(path)
    else:
        raise ValueError(f"{path}: expected images in a file of .npy, .png, idx or idx .gz")
    if images.dtype.kind not in "fiu":
        raise ValueError(f"{path}: expected pixels that are numbers, got {images.dtype}")
    batch = _as_batch(images, shape)
    if batch is None:
        raise ValueError(f"{path}: expected images of shape {shape}, got {images.shape}")
    top = 1 if images.dtype.kind == "f" else max(255, maximum)
    wrong = batch[~((batch >= 0) & (batch <= top))]  # so that NaN is wrong
    if wrong.size:
        kind = "fractions" if images.dtype.kind == "f" else "whole numbers"
        raise ValueError(f"{path}: expected pixels from 0 to {top}, as they are {kind}, got {wrong[0]}")
    if images.dtype.kind != "f":
        top = _choose_scale(path, int(batch.max()), maximum)
    return batch.astype(np.float32) / np.float32(top)


def _choose_scale(path: Path, largest: int, maximum: int) -> int:
    scales = dict.fromkeys((maximum, 255))
    for scale in scales:
        if scale < 2 * largest <= 2 * scale or not largest:  # black is black on every scale
            return scale
    raise ValueError(
        f"{path}: expected whole numbers from 0 to {' or '.join(map(str, scales))}, but the largest is "
        f"{largest}; divide by the number that is white, and give fractions from 0 to 1"
    )


def _as_batch(images: NDArray, shape: tuple[int, ...]) -> NDArray | None:
    """``images`` as a batch, if they are one when an axis of the channel or of the batch is added."""
    candidates = (images, images[None], images[..., None], images[None, ..., None])
    return next((batch for batch in candidates if batch.shape[1:] == shape and len(batch)), None)


def _read_npy(path: Path) -> NDArray:
    with open_file(path) as file:
        try:
            return read_array(file, os.fstat(file.fileno()).st_size)
        except Exception as error:  # NumPy raises nearly everything, SyntaxError too
            reason = " ".join(str(error).split())
            raise ValueError(
                f"{path}: expected an array of numbers in a whole .npy file: {reason}"
            ) from error


def _read_png(path: Path, shape: tuple[int, ...]) -> NDArray:
    try:
        from PIL.PngImagePlugin import PngImageFile
    except ImportError:
        raise ImportError(
            "predict: reading .png needs matplotlib; install it with pip install 'tensorgrad-numpy[plot]'"
        ) from None
    with open_file(path) as file:
        contents = file.read()
    try:
        chunks = _check_chunks(contents)
        with PngImageFile(BytesIO(contents)) as image:
            size, white = image.size[::-1], WHITE.get(image.mode)
            if size == shape[:2]:  # others are not unpacked
                pixels = np.asarray(image if white else image.convert("RGBA"), np.float32)
            clear = b"tRNS" in chunks and image.mode != "P"  # one colour is transparent
    except Exception as error:  # Pillow raises nearly everything, SyntaxError too
        raise ValueError(f"{path}: expected a whole .png file: {error}") from error
    if size != shape[:2]:
        raise ValueError(f"{path}: expected images of shape {shape}, got {size}")
    if clear or (not white and pixels[..., 3].min() < 255):
        raise ValueError(f"{path}: expected an image without transparent pixels")
    if white:
        return pixels / np.float32(white)
    colours = pixels[..., :3] / np.float32(255)
    return np.clip(colours @ np.array(GREY, np.float32), 0, 1) if shape[2] == 1 else colours


def _check_chunks(contents: bytes) -> set[bytes]:
    """The kinds of the chunks; ValueError if one is damaged. Pillow passes over the checksums of pixels."""
    kinds: set[bytes] = set()
    place = 8
    while b"IEND" not in kinds:
        body = contents[place + 4 : place + 8 + int.from_bytes(contents[place : place + 4])]
        place += 8 + len(body)
        if len(body) < 4 or zlib.crc32(body) != int.from_bytes(contents[place - 4 : place]):
            raise ValueError("it is cut off, or a checksum does not fit")
        kinds.add(body[:4])
    return kinds
