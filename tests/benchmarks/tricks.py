"""What makes convolution and pooling fast in NumPy: each trick alone, beside the plain way to do the same.

    python tests/benchmarks/tricks.py

Every pair computes the same numbers, which is checked, and takes turns, so that a change of the machine's
speed hits both. The sizes are those of the notebook's convolutional network, for a batch of 32.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import numpy as np
from numpy.lib.stride_tricks import as_strided

import tensorgrad as tg

Way = Callable[[], object]
RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def page_faults() -> tuple[Way, Way]:
    """Memory that was freed and is used again, beside memory fresh from the system (8 MB)."""

    def fill() -> None:
        np.empty(1 << 21, np.float32).fill(1)

    return fill, fill


def memory_order() -> tuple[Way, Way]:
    """All windows of 3 x 3 pixels of images that lie in memory as (C, H, W, N), beside (N, H, W, C)."""
    nhwc = normal(32, 13, 13, 16)
    chwn = np.ascontiguousarray(nhwc.transpose(3, 1, 2, 0))
    outer, inner = np.empty((32, 11, 11, 3, 3, 16), np.float32), np.empty((16, 3, 3, 11, 11, 32), np.float32)

    def pixels_apart() -> np.ndarray:
        for k in range(3):
            for m in range(3):
                outer[:, :, :, k, m] = nhwc[:, k : k + 11, m : m + 11]
        return outer.transpose(5, 3, 4, 1, 2, 0)

    def rows_together() -> np.ndarray:
        for k in range(3):
            for m in range(3):
                inner[:, k, m] = chwn[:, k : k + 11, m : m + 11]
        return inner

    return pixels_apart, rows_together


def shared_rows() -> tuple[Way, Way]:
    """Windows copied by column alone and read as a view by row, beside nine copies; and multiplied."""
    x, w = normal(16, 13, 13, 32), normal(32, 16, 3, 3)
    by_tap, by_row = w.reshape(32, 144), w.swapaxes(1, 2).reshape(32, 144)

    def nine_copies() -> np.ndarray:
        patches = np.empty((16, 3, 3, 11, 11, 32), np.float32)
        for k in range(3):
            for m in range(3):
                patches[:, k, m] = x[:, k : k + 11, m : m + 11]
        return (by_tap @ patches.reshape(144, -1)).reshape(32, 11, -1)

    def one_copy() -> np.ndarray:
        channel, row, pixel, item = x.strides
        # Strips (row of the image, channel, column of the filter, column of the output, image).
        strips = as_strided(x, (13, 16, 3, 11, 32), (row, channel, pixel, pixel, item)).copy()
        # Row i of the output sees strips i, i + 1 and i + 2, which lie behind one another: (11, 144, 352)
        windows = as_strided(strips, (11, 144, 352), [n * 4 for n in (48 * 352, 352, 1)])
        return (by_row @ windows).swapaxes(0, 1)

    return nine_copies, one_copy


def parts_in_cache() -> tuple[Way, Way]:
    """Three passes over 44 MB, part by part of 512 kB, beside the whole array three times."""
    x = normal(11 << 20)

    def whole() -> np.ndarray:
        return np.maximum(x * 0.5, 0.1) + x

    def in_parts() -> np.ndarray:
        out = np.empty_like(x)
        for start in range(0, len(x), 1 << 17):
            part = slice(start, start + (1 << 17))
            np.multiply(x[part], 0.5, out=out[part])
            np.maximum(out[part], 0.1, out=out[part])
            np.add(out[part], x[part], out=out[part])
        return out

    return whole, in_parts


def whole_rows() -> tuple[Way, Way]:
    """The second layer's products, one for each row of the output, beside one for each 32 columns."""
    w, windows = normal(32, 144), normal(11, 144, 352)
    rows, pieces = np.empty((11, 32, 352), np.float32), np.empty((11, 32, 352), np.float32)

    def in_pieces() -> np.ndarray:
        columns = windows.reshape(11, 144, 11, 32).swapaxes(1, 2)
        np.matmul(w, columns, out=pieces.reshape(11, 32, 11, 32).swapaxes(1, 2))
        return pieces

    return in_pieces, lambda: np.matmul(w, windows, out=rows)


def gradient_by_rows() -> tuple[Way, Way]:
    """The images' gradient summed over the filter's rows by the product, beside nine scattered additions."""
    y, w = normal(32, 11, 11, 32), normal(32, 16, 3, 3)
    by_tap = np.ascontiguousarray(w.reshape(32, 144).T)
    by_row = np.ascontiguousarray(w[:, :, ::-1].transpose(1, 3, 2, 0).reshape(48, 96))

    def nine_additions() -> np.ndarray:
        patches = (by_tap @ y.reshape(32, -1)).reshape(16, 3, 3, 11, 11, 32)
        x = np.zeros((16, 13, 13, 32), np.float32)
        for k in range(3):
            for m in range(3):
                x[:, k : k + 11, m : m + 11] += patches[:, k, m]
        return x

    def three_additions() -> np.ndarray:
        rows = np.zeros((15, 32, 352), np.float32)
        rows[2:13] = y.reshape(32, 11, 352).swapaxes(0, 1)
        windows = as_strided(rows, (13, 96, 352), [n * 4 for n in (32 * 352, 352, 1)])
        sums = (by_row @ windows).reshape(13, 16, 3, 11, 32)
        x = np.zeros((16, 13, 13, 32), np.float32)
        for m in range(3):
            x[:, :, m : m + 11] += sums[:, :, m].swapaxes(0, 1)
        return x

    return nine_additions, three_additions


def rows_then_columns() -> tuple[Way, Way]:
    """The maximum of 2 x 2 pixels along rows, then along columns, beside four pixels at once."""
    x = normal(16, 26, 26, 32)

    def four_at_once() -> np.ndarray:
        top, bottom = (np.maximum(x[:, i::2, ::2], x[:, i::2, 1::2]) for i in (0, 1))
        return np.maximum(top, bottom)

    def rows_first() -> np.ndarray:
        rows = np.maximum(x[:, ::2], x[:, 1::2])
        return np.maximum(rows[:, :, ::2], rows[:, :, 1::2])

    return four_at_once, rows_first


def gradient_of_tiles() -> tuple[Way, Way]:
    """The gradient of the maxima of 2 x 2 pixels in whole rows, beside pixel by pixel of the tiles."""
    x, g = normal(16, 26, 26, 32), normal(16, 13, 13, 32)
    largest = np.maximum(
        np.maximum(x[:, ::2, ::2], x[:, ::2, 1::2]), np.maximum(x[:, 1::2, ::2], x[:, 1::2, 1::2])
    )

    def pixel_by_pixel() -> np.ndarray:
        out, waiting = np.empty_like(x), np.ones_like(largest, bool)
        for i, j in np.ndindex(2, 2):
            hit = waiting & (x[:, i::2, j::2] == largest)
            waiting ^= hit
            bits = np.multiply(g.view(np.int32), hit.view(np.int8))
            out[:, i::2, j::2] = bits.view(np.float32)
        return out

    def in_rows() -> np.ndarray:
        out, rows = np.empty_like(x), (16, 13, 2, 26, 32)
        hit = ~np.less(x.reshape(rows), np.repeat(largest, 2, axis=2)[:, :, None])
        assert np.count_nonzero(hit) == largest.size  # no two are equal, or the first is to be found
        wide = np.repeat(g, 2, axis=2)[:, :, None].view(np.int32)
        np.multiply(wide, hit.view(np.int8), out=out.reshape(rows).view(np.int32))
        return out

    return pixel_by_pixel, in_rows


def bits_times_one() -> tuple[Way, Way]:
    """Numbers where a condition holds, else 0: their bits times 0 or 1, beside numpy.where."""
    y = normal(16, 13, 13, 32)
    hit = y > 0
    return (
        lambda: np.where(hit, y, np.float32(0)),
        lambda: np.multiply(y.view(np.int32), hit.view(np.int8)).view(np.float32),
    )


TRICKS: dict[str, tuple[Callable[[], tuple[Way, Way]], Callable[[], AbstractContextManager[None]]]] = {
    "keep freed memory": (page_faults, tg.tuned_process),
    "batch innermost in memory": (memory_order, nullcontext),
    "windows share their rows": (shared_rows, nullcontext),
    "products of whole rows": (whole_rows, nullcontext),
    "parts that fit the cache": (parts_in_cache, nullcontext),
    "image gradient row by row": (gradient_by_rows, nullcontext),
    "pool rows, then columns": (rows_then_columns, nullcontext),
    "gradient of tiles in rows": (gradient_of_tiles, nullcontext),
    "bits times 0 or 1": (bits_times_one, nullcontext),
}


def timed(way: Way, context: Callable[[], AbstractContextManager[None]], times: int = 5) -> list[float]:
    found = []
    with context():
        way()
        for _ in range(times):
            start = time.perf_counter()
            way()
            found.append(1e3 * (time.perf_counter() - start))
    return found


def main() -> None:
    print(f"{'trick':28}{'plain, ms':>11}{'with it':>9}{'ratio':>7}   medians of 100, one BLAS thread")
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"):
        for name, (make, context) in TRICKS.items():
            plain, quick = make()
            a, b = plain(), quick()
            if a is not None:
                np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3)
            # In all but the first, both ways run with memory kept, so that each trick is measured alone.
            usual = nullcontext if context is not nullcontext else tg.tuned_process
            inside = context if context is not nullcontext else tg.tuned_process
            times: tuple[list[float], list[float]] = ([], [])
            for _ in range(20):
                times[0].extend(timed(plain, usual))
                times[1].extend(timed(quick, inside))
            slow, fast = map(statistics.median, times)
            print(f"{name:28}{slow:11.3f}{fast:9.3f}{fast / slow:7.2f}")


if __name__ == "__main__":
    main()
