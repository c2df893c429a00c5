"""The geometry of windows that slide over images: what convolution and pooling have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, wraps
from typing import Any, Literal, TypeAlias, TypeVar

from tensorgrad.core import Array
from tensorgrad.core.checks import pair

Shape: TypeAlias = tuple[int, ...]
Size: TypeAlias = int | tuple[int, int]
Sides: TypeAlias = int | tuple[int, int] | tuple[tuple[int, int], tuple[int, int]]
Padding: TypeAlias = Sides | Literal["same", "valid"]
Index: TypeAlias = tuple[slice, ...]
Geometry = TypeVar("Geometry")


def _is_plain(value: Any) -> bool:
    """Whether ``value`` is an integer, or a tuple of them or of such tuples: (1, 1) equals (True, 1.0)."""
    kind = type(value)
    return kind is int or (kind is tuple and all(map(_is_plain, value)))


def remember(function: Callable[..., Geometry]) -> Callable[..., Geometry]:
    """A function of (name, shapes, *options) that keeps its results: each training step asks the same."""
    known = lru_cache(maxsize=512, typed=True)(function)
    words = frozenset({bool, str, type(None)})  # which ``typed`` tells apart from integers

    @wraps(function)
    def recall(name: str, shapes: Any, *options: Any) -> Geometry:
        plain = _is_plain(shapes) and all(type(x) in words or _is_plain(x) for x in options)
        return (known if plain else function)(name, shapes, *options)

    return recall


@dataclass(frozen=True, slots=True)
class Windows:
    """How windows lie along one axis of the images: ``count`` windows of ``size`` taps each."""

    length: int
    size: int
    stride: int
    dilation: int
    before: int
    after: int
    count: int

    @property
    def is_tiled(self) -> bool:
        """Whether the windows lie side by side from the first pixel on, with nothing between or around."""
        return (
            self.dilation == 1
            and not self.before
            and self.size == self.stride
            and (self.count * self.size <= self.length)
        )

    def tap(self, k: int, first: int = 0, last: int | None = None) -> tuple[slice, slice]:
        """The windows whose tap ``k`` is a pixel, not padding, and those pixels.

        Of the windows from ``first`` to ``last`` only, and counted from ``first``.
        """
        offset = k * self.dilation - self.before
        low = max(first, -(offset // self.stride))
        high = min(self.count if last is None else last, (self.length - 1 - offset) // self.stride + 1)
        if low >= high:
            return slice(0, 0), slice(0, 0)
        start = low * self.stride + offset
        stop = start + (high - low - 1) * self.stride + 1
        return slice(low - first, high - first), slice(start, stop, self.stride)

    def bounds(self, with_padding: bool) -> tuple[int, int]:
        """Where the pixels along the axis begin and end, those of the padding among them or not."""
        return (-self.before, self.length + self.after) if with_padding else (0, self.length)


def find_taps(rows: Windows, columns: Windows) -> Iterator[tuple[Index, Index]]:
    """For every tap, in row-major order: indices of the windows whose tap is a pixel, and of those pixels."""
    for k in range(rows.size * columns.size):
        (down, ys), (across, xs) = rows.tap(k // columns.size), columns.tap(k % columns.size)
        yield (slice(None), down, across), (slice(None), ys, xs)


def sides(name: str, padding: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    """Padding as ((top, bottom), (left, right)); a word counts as none, as "valid" means."""
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise ValueError(f"{name}: expected padding in pixels, 'same' or 'valid', got {padding!r}")
        return (0, 0), (0, 0)
    both = padding if isinstance(padding, (tuple, list)) and len(padding) == 2 else (padding, padding)
    return pair(name, "padding", both[0], 0), pair(name, "padding", both[1], 0)


def slide(
    name: str,
    lengths: Shape,
    size: Any,
    stride: Size,
    padding: Padding,
    dilation: Size,
    *,
    ceil_mode: bool = False,
    shapes: str,
) -> tuple[Windows, Windows]:
    """How windows lie along the rows and the columns of images, whose two ``lengths`` are given.

    Raises
    ------
    TypeError, ValueError
        If metadata are not integers or too small, or a window is larger than the padded images.
    """
    sizes, strides = pair(name, "size", size, 1), pair(name, "stride", stride, 1)
    dilations, pads = pair(name, "dilation", dilation, 1), sides(name, padding)
    axes = []
    for i, along in enumerate(("rows", "columns")):
        length, step, (before, after) = lengths[i], strides[i], pads[i]
        span = dilations[i] * (sizes[i] - 1) + 1
        if padding == "same":
            total = max((-(-length // step) - 1) * step + span - length, 0)
            before, after = total // 2, total - total // 2
        room = length + before + after - span
        if room < 0:
            raise ValueError(
                f"{name}: a window spans {span} {along}, the padded images have {room + span} ({shapes})"
            )
        count = room // step + 1
        # One more window takes in what is left over, unless it would start in the padding at the end.
        if ceil_mode and room % step and count * step < length + before:
            count += 1
        axes.append(Windows(length, sizes[i], step, dilations[i], before, after, count))
    return axes[0], axes[1]


def slide_pooling(
    name: str,
    images: Shape,
    size: Any = 2,
    stride: Any = None,
    padding: Padding = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    shapes: str = "",
) -> tuple[Windows, Windows]:
    """The same by the options of pooling, of which those left out are what they are to `max_pool`."""
    steps = size if stride is None else stride
    return slide(name, images[1:3], size, steps, padding, dilation, ceil_mode=ceil_mode, shapes=shapes)


def require_images(name: str, **arrays: Array) -> None:
    """TypeError or ValueError unless the arrays have four axes, none empty, and one floating dtype."""
    for what, x in arrays.items():
        if not hasattr(x, "ndim"):
            raise TypeError(f"{name}: expected {what} to be an array, got {type(x).__name__}")
        if x.ndim != 4 or not x.size:
            layout = "(F, C, KH, KW)" if what == "filters" else "(N, H, W, C)"
            raise ValueError(f"{name}: expected {what} {layout}, no axis empty, got {x.shape}")
    dtypes = {x.dtype for x in arrays.values()}
    if len(dtypes) > 1 or (first := next(iter(dtypes))).kind != "f" or first.itemsize > 8:
        raise TypeError(
            f"{name}: expected {' and '.join(arrays)} of one floating dtype, "
            f"got {' and '.join(str(x.dtype) for x in arrays.values())}"
        )


def require_shape(name: str, y: Array, expected: Shape, what: str = "a cotangent") -> None:
    """ValueError unless ``y`` has the shape ``expected``."""
    if y.shape != expected:
        raise ValueError(f"{name}: expected {what} of shape {expected}, got {y.shape}")
