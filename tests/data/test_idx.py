"""read_idx against bytes that struct wrote."""

import contextlib
import gzip
import math
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensorgrad.data import DataError, read_idx

# type code, struct format, dtype, as the format's description lists them
TYPES = [
    (0x08, "B", np.uint8),
    (0x09, "b", np.int8),
    (0x0B, "h", np.int16),
    (0x0C, "i", np.int32),
    (0x0D, "f", np.float32),
    (0x0E, "d", np.float64),
]
VALUES = {
    "B": st.integers(0, 2**8 - 1),
    "b": st.integers(-(2**7), 2**7 - 1),
    "h": st.integers(-(2**15), 2**15 - 1),
    "i": st.integers(-(2**31), 2**31 - 1),
    "f": st.floats(width=32),
    "d": st.floats(),
}


def header(code, *shape):
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, code, len(shape), *shape)


LABELS = header(0x08, 3) + bytes([5, 0, 4])


@given(st.data(), st.sampled_from(TYPES), st.lists(st.integers(0, 3), max_size=4), st.booleans())
def test_what_was_written_by_the_format_is_read_back(tmp_path_factory, data, kind, shape, zipped):
    code, letter, dtype = kind
    count = math.prod(shape)
    values = data.draw(st.lists(VALUES[letter], min_size=count, max_size=count))
    content = header(code, *shape) + struct.pack(f">{count}{letter}", *values)
    path = tmp_path_factory.getbasetemp() / "round-trip"
    path.write_bytes(gzip.compress(content) if zipped else content)

    array = read_idx(path)

    assert array.dtype == dtype
    assert array.dtype.isnative
    assert array.shape == tuple(shape)
    np.testing.assert_array_equal(array.ravel(), np.array(values, dtype))


def test_elements_are_in_c_order_and_big_endian(tmp_path):
    path = tmp_path / "a.idx"
    path.write_bytes(header(0x0B, 2, 3) + bytes([0, 1, 0, 2, 0, 3, 1, 0, 2, 0, 255, 255]))
    assert read_idx(path).tolist() == [[1, 2, 3], [256, 512, -1]]


def test_the_content_decides_what_is_gzipped(tmp_path):
    plain, zipped = tmp_path / "plain.gz", tmp_path / "zipped"
    plain.write_bytes(LABELS)
    zipped.write_bytes(gzip.compress(LABELS))
    assert read_idx(str(plain)).tolist() == read_idx(zipped).tolist() == [5, 0, 4]


def test_the_array_can_be_written_to(tmp_path):
    path = tmp_path / "a.idx"
    path.write_bytes(LABELS)
    array = read_idx(path)
    array += 1
    assert array.tolist() == [6, 1, 5]


def flipped(content, at):
    return content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :]


ZIPPED = gzip.compress(LABELS)
MALFORMED = {
    "empty": (b"", "two zero bytes"),
    "three bytes": (LABELS[:3], "two zero bytes"),
    "text": (b"not an idx file", "two zero bytes"),
    "little-endian": (struct.pack("<II", 2049, 3) + bytes(3), "two zero bytes"),
    "npy": (b"\x93NUMPY\x01\x00", "two zero bytes"),
    "type code 0x0A": (header(0x0A, 3) + bytes(3), "0x0A"),
    "type code 0": (bytes(8), "0x00"),
    "no dimensions": (LABELS[:4], "4 bytes of dimensions for rank 1, found 0"),
    "half the dimensions": (header(0x08, 2, 2)[:9], "8 bytes of dimensions for rank 2, found 5"),
    "data too short": (LABELS[:-1], r"3 bytes of data for shape \(3,\) of uint8, found 2"),
    "no data": (header(0x0E, 2, 2), "32 bytes of data .* float64, found 0"),
    "data not whole elements": (header(0x0C, 1) + bytes(3), "4 bytes of data .* int32, found 3"),
    "data too long": (LABELS + b"\0", "3 bytes of data .* found more"),
    "data after 0 elements": (header(0x08, 0, 28) + b"\0", "0 bytes of data .* found more"),
    "16 EiB": (header(0x0E, 2**31, 2**30) + bytes(8), "found 8 bytes"),
    "2**160 elements": (header(0x08, *[2**32 - 1] * 5), "found 0 bytes"),
    "rank 255, huge": (header(0x0E, *[2**32 - 1] * 255), "found 0 bytes"),
    "rank 65": (header(0x08, *[1] * 65) + b"\0", "a shape NumPy can hold, found rank 65"),
    "0 of a huge shape": (header(0x08, 0, *[2**32 - 1] * 3), "a shape NumPy can hold, found rank 4"),
    "gz magic only": (b"\x1f\x8b", "cannot be read"),
    "gz of nothing": (gzip.compress(b""), "two zero bytes"),
    "gz of gz": (gzip.compress(ZIPPED), "two zero bytes"),
    "gz of text": (gzip.compress(b"text"), "two zero bytes"),
    "gz of too much": (gzip.compress(LABELS + bytes(10**7)), "found more"),
    "gz cut in its header": (ZIPPED[:5], "cannot be read"),
    "gz cut in its data": (ZIPPED[:14], "cannot be read"),
    "gz cut in its CRC": (ZIPPED[:-6], "cannot be read"),
    "gz cut in its length": (ZIPPED[:-2], "cannot be read"),
    "gz with a wrong CRC": (flipped(ZIPPED, -8 % len(ZIPPED)), "CRC"),
    "gz with a wrong length": (flipped(ZIPPED, -4 % len(ZIPPED)), "length"),
    "gz with another method": (flipped(ZIPPED, 2), "method"),
    "gz with corrupt blocks": (ZIPPED[:10] + b"\xff" * 20, "cannot be read"),
    "gz followed by rubbish": (ZIPPED + b"rubbish", "cannot be read"),
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_a_malformed_file_is_refused_with_what_was_expected_and_found(tmp_path, kind):
    content, message = MALFORMED[kind]
    path = tmp_path / "broken-idx.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_idx(path)
    assert str(caught.value).startswith(f"{path}: expected ")
    assert "get the file again" in str(caught.value)


@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any-bytes"
    for prefix in (b"", b"\0\0", b"\x1f\x8b"):
        path.write_bytes(prefix + content)
        with contextlib.suppress(DataError):  # anything else fails the test
            read_idx(path)


def test_every_truncation_and_every_flipped_byte_of_the_data_is_refused(tmp_path):
    path = tmp_path / "broken.gz"
    # Bytes 4 to 9 of a gzip header (time, flags, system) mean nothing here.
    damaged = [ZIPPED[:n] for n in range(len(ZIPPED))]
    damaged += [flipped(ZIPPED, at) for at in range(10, len(ZIPPED))]
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(DataError):
            read_idx(path)


def test_no_file_and_no_plain_file(tmp_path):
    with pytest.raises(DataError, match="absent: expected an idx file, found no such file"):
        read_idx(tmp_path / "absent")
    with pytest.raises(DataError, match="found a directory"):
        read_idx(tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        read_idx(tmp_path / ("long" * 100))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_named_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="found no such file"):
        read_idx(tmp_path / "pipe")


def test_memory_follows_the_file_and_not_its_header(tmp_path):
    pytest.importorskip("resource", reason="this system has no limits to set")
    # 3 GiB promised where 8 bytes are, 8 bytes promised where 3 GiB are; and a process that may not have 1.5
    few = header(0x08, 3, 2**30) + bytes(8)
    paths = [tmp_path / "plain", tmp_path / "zipped", tmp_path / "bomb"]
    paths[0].write_bytes(few)
    paths[1].write_bytes(gzip.compress(few))
    paths[2].write_bytes(gzip.compress(header(0x08, 8)) + 96 * gzip.compress(bytes(2**25)))
    script = """
import resource, sys
import tensorgrad.data as data
resource.setrlimit(resource.RLIMIT_AS, (3 * 2**29, 3 * 2**29))
for path in sys.argv[1:]:
    try:
        data.read_idx(path)
    except data.DataError as error:
        print(str(error).split("found ")[1].split(";")[0])
"""
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script, *paths],
        cwd=root,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("8 bytes\n8 bytes\nmore\n", "")
