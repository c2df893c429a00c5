"""Augmentation: images shifted, rotated and mirrored at random, so that a network sees more of them.

`Network.fit` augments a batch right before it trains on it. A thread that prepared batches ahead was measured
to gain nothing beyond the noise on two cores, for the notebook's networks, and was left out.
"""

from __future__ import annotations

import numpy as np

from tensorgrad.core.checks import NDArray, flag, is_integer
from tensorgrad.core.refusals import require_values

__all__ = ["Augment"]


class Augment:
    """A function (images, rng) -> images that mirrors, rotates and then shifts each image at random.

    Parameters
    ----------
    shift : int
        Whole pixels, down and right, drawn from -shift to shift each.
    rotate : float
        Degrees, drawn uniformly from -rotate to rotate; counter-clockwise if positive.
    flip : bool
        Mirror left and right with a probability of one half. Not for digits or letters.
    fill : float
        Of what comes in from outside of the image.

    Raises
    ------
    ValueError, TypeError
        If a number is out of range, nothing is to be done, the images are not (N, H, W, C) of a floating
        dtype, or they are no larger than the shift.

    >>> augment = tg.data.Augment(shift=1, rotate=10)
    >>> images = np.ones((8, 6, 6, 1), np.float32)
    >>> augment(images, np.random.default_rng(0)).shape
    (8, 6, 6, 1)
    """

    def __init__(self, *, shift: int = 0, rotate: float = 0.0, flip: bool = False, fill: float = 0.0) -> None:
        if not is_integer(shift) or shift < 0:
            raise ValueError(f"Augment: expected shift to be a whole number of pixels, got {shift!r}")
        if isinstance(rotate, bool) or not 0 <= rotate <= 180:
            raise ValueError(f"Augment: expected rotate from 0 to 180 degrees, got {rotate!r}")
        self.flip = flag("Augment", "flip", flip)
        if not np.isfinite(fill):
            raise ValueError(f"Augment: expected a finite fill, got {fill!r}")
        if not (shift or rotate or self.flip):
            raise ValueError("Augment: nothing to do; set shift, rotate or flip")
        self.shift, self.rotate, self.fill = int(shift), float(rotate), float(fill)

    def __call__(self, images: NDArray, rng: np.random.Generator) -> NDArray:
        """New images of the same shape and dtype."""
        _require_images("Augment", images)
        n, height, width, _ = images.shape
        if self.shift >= min(height, width):
            raise ValueError(f"Augment: a shift by {self.shift} leaves nothing of images {height} x {width}")
        if self.flip:
            images = flip(images, rng.random(n) < 0.5)
        if self.rotate:
            images = rotate(images, rng.uniform(-self.rotate, self.rotate, n), fill=self.fill)
        if self.shift:
            images = shift(
                images, rng.integers(-self.shift, self.shift, (n, 2), endpoint=True), fill=self.fill
            )
        return images

    def __repr__(self) -> str:
        return f"Augment(shift={self.shift}, rotate={self.rotate}, flip={self.flip}, fill={self.fill})"


def flip(images: NDArray, which: NDArray) -> NDArray:
    """Mirror those images (N, H, W, C) left and right for which ``which`` (N,) is true."""
    _require_images("flip", images)
    which = np.asarray(which)
    if which.shape != (len(images),) or which.dtype != bool:
        raise ValueError(f"flip: expected {len(images)} booleans, got {which.dtype} {which.shape}")
    out: NDArray = np.where(which[:, None, None, None], images[:, :, ::-1], images)
    return out


def shift(images: NDArray, offsets: NDArray, *, fill: float = 0.0) -> NDArray:
    """Move images (N, H, W, C) by whole pixels, down and right: a pair for each in ``offsets`` (N, 2).

    >>> print(shift(np.array([[1.0, 2.0, 3.0]]).reshape(1, 1, 3, 1), np.array([[0, 1]])).ravel())
    [0. 1. 2.]
    """
    _require_images("shift", images)
    offsets = np.asarray(offsets)
    if offsets.shape != (len(images), 2) or offsets.dtype.kind not in "iu":
        raise ValueError(
            f"shift: expected {len(images)} pairs of integers, got {offsets.dtype} {offsets.shape}"
        )
    n, height, width, _ = images.shape
    rows = np.arange(height) - offsets[:, :1]  # (N, H): where each row comes from
    columns = np.arange(width) - offsets[:, 1:]
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None]
    moved: NDArray = images[
        np.arange(n)[:, None, None],
        np.clip(rows, 0, height - 1)[:, :, None],
        np.clip(columns, 0, width - 1)[:, None],
    ]
    moved[~inside] = fill
    return moved


def rotate(images: NDArray, degrees: NDArray, *, fill: float = 0.0) -> NDArray:
    """Rotate images (N, H, W, C) about their centres, each by its own angle in ``degrees`` (N,).

    Bilinear interpolation. Outside of the image there is ``fill``. Positive angles turn counter-clockwise as
    images are drawn, rows downwards: 90 is ``np.rot90``.

    All images are computed at once. A loop over ``scipy.ndimage`` gives the same numbers (its mode is called
    "grid-constant"), in two to four times the time for batches of small images.
    """
    _require_images("rotate", images)
    degrees = np.asarray(degrees)
    if degrees.shape != (len(images),):
        raise ValueError(f"rotate: expected {len(images)} angles, got shape {degrees.shape}")
    n, height, width, channels = images.shape
    angles = np.radians(degrees.astype(np.float64))[:, None, None]
    cos, sin = np.cos(angles), np.sin(angles)
    y = np.arange(height)[:, None] - (height - 1) / 2  # from the centre
    x = np.arange(width) - (width - 1) / 2
    # A pixel is read where turning it back leads to; one frame of fill lies around the image.
    rows = np.clip(cos * y + sin * x + (height - 1) / 2, -1, height) + 1
    columns = np.clip(cos * x - sin * y + (width - 1) / 2, -1, width) + 1
    top = np.minimum(rows.astype(np.intp), height)
    left = np.minimum(columns.astype(np.intp), width)
    down = (rows - top).astype(images.dtype)[..., None]
    right = (columns - left).astype(images.dtype)[..., None]
    framed = np.full((n, height + 2, width + 2, channels), fill, images.dtype)
    framed[:, 1:-1, 1:-1] = images
    corner = (np.arange(n)[:, None, None] * (height + 2) + top) * (width + 2) + left
    pixels = framed.reshape(-1, channels)
    upper: NDArray = np.take(pixels, corner, axis=0)
    upper += right * (np.take(pixels, corner + 1, axis=0) - upper)
    lower = np.take(pixels, corner + width + 2, axis=0)
    lower += right * (np.take(pixels, corner + width + 3, axis=0) - lower)
    upper += down * (lower - upper)
    return upper


def _require_images(name: str, images: NDArray) -> None:
    require_values(images, name)
    if not isinstance(images, np.ndarray) or images.ndim != 4 or images.dtype.kind != "f":
        came = f"{images.dtype} {images.shape}" if isinstance(images, np.ndarray) else repr(images)[:60]
        raise ValueError(f"{name}: expected floating images (N, H, W, C), got {came}")
