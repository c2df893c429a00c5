"""The idx file format of MNIST: a big-endian header, then the elements.

Bytes 0 and 1 are zero, byte 2 says the element type, byte 3 the rank; one unsigned 32-bit integer per
dimension follows, then the elements in C order. Source: http://yann.lecun.com/exdb/mnist/
"""

import gzip
import io
import math
import os
import struct
import zlib
from pathlib import Path

import numpy as np

from tensorgrad.core.checks import NDArray

__all__ = ["DataError", "read_idx"]

DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
CHUNK = 1 << 20


class DataError(ValueError):
    """A data file is missing, damaged or another one; the message names it and says what to do."""


def read_idx(path: str | os.PathLike[str]) -> NDArray:
    """The array in an idx file, gzipped or plain: its content decides, not its name.

    The dtype is uint8, int8, int16, int32, float32 or float64, in native byte order.

    Raises
    ------
    DataError
        There is no such file, it cannot be read, it is a pipe, it is not idx, its gzip stream is cut short
        or corrupt, or it holds fewer or more elements than its header says.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "labels-idx1-ubyte")
    ...     _ = path.write_bytes(bytes([0, 0, 0x08, 1, 0, 0, 0, 3, 5, 0, 4]))
    ...     read_idx(path)
    array([5, 0, 4], dtype=uint8)
    """
    path = Path(path)
    try:
        # Asked before opening, because opening a named pipe would wait for its writer.
        if not path.is_file():
            raise _damaged(path, "an idx file", _what_is_there(path))
        with path.open("rb") as file:
            gzipped = file.peek(2)[:2] == b"\x1f\x8b"
            return _read(gzip.GzipFile(fileobj=file) if gzipped else file, path)
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(path, "an idx file, gzipped or plain", f"one that cannot be read ({error})") from error


def _read(stream: io.BufferedIOBase, path: Path) -> NDArray:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise _damaged(path, "an idx file, which begins with two zero bytes, a type and a rank", repr(magic))
    code, rank = magic[2:]
    if code not in DTYPES:
        known = ", ".join(f"0x{known:02X}" for known in DTYPES)
        raise _damaged(path, f"one of the idx element types {known}", f"0x{code:02X}")
    dimensions = stream.read(4 * rank)
    if len(dimensions) < 4 * rank:
        raise _damaged(path, f"{4 * rank} bytes of dimensions for rank {rank}", f"{len(dimensions)}")
    shape = struct.unpack(f">{rank}I", dimensions)
    dtype = np.dtype(DTYPES[code])
    promised = math.prod(shape) * dtype.itemsize
    # In chunks, because read(promised) would allocate whatever a damaged header promises. The read that
    # finds the end of a gzip stream also checks its CRC.
    data = bytearray()
    while len(data) <= promised and (chunk := stream.read(CHUNK)):
        data += chunk
    if len(data) != promised:
        found = f"{len(data)} bytes" if len(data) < promised else "more"
        raise _damaged(path, f"{promised} bytes of data for shape {shape} of {dtype.name}", found)
    try:
        array = np.frombuffer(data, dtype).reshape(shape)
    except ValueError as error:  # more than 64 dimensions, or 0 elements in a shape beyond the address space
        raise _damaged(path, "a shape NumPy can hold", f"rank {rank} ({error})") from error
    return array.astype(dtype.newbyteorder("="), copy=False)


def _what_is_there(path: Path) -> str:
    return "a directory" if path.is_dir() else "no such file" + ", but a pipe or a device" * path.exists()


def _damaged(path: Path, expected: str, found: str) -> DataError:
    return DataError(f"{path}: expected {expected}, found {found}; get the file again or give another path")
