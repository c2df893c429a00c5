"""The command ``tensorgrad predict``: the images that it reads, and those that it refuses."""

import gzip
import os
import pickle
import struct
import zlib

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.cli.images import read_images
from tensorgrad.data import load

DIGITS = load("digits")
IMAGES = np.round(DIGITS.x_test[:5, ..., 0] * 255).astype(np.uint8)  # (5, 8, 8)


def idx_bytes(array):
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def rows(out):
    return [line.split("\t") for line in out.splitlines()]


def expected(model, images):
    """Class and probability of images (N, 8, 8) of bytes, by NumPy from the network's outputs."""
    network = tg.load_network(model)
    logits = network.predict(images[..., None].astype(np.float32) / 255).astype(float)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return [[str(row.argmax()), f"{row.max():.4f}"] for row in p]


@pytest.mark.parametrize(
    "shaped",
    [
        lambda x: x,
        lambda x: x[..., None],
        lambda x: (x / 255).astype(np.float32),
        lambda x: x / 255,
        lambda x: np.asfortranarray(x.astype(">i4")),
    ],
    ids=["bytes", "channel", "float32", "float64", "big-endian"],
)
def test_many_images_of_npy(command, model, tmp_path, shaped):
    np.save(tmp_path / "many.npy", shaped(IMAGES))
    status, out, err = command("predict", model, tmp_path / "many.npy")
    assert (status, err) == (0, "")
    assert [row[0] for row in rows(out)] == [f"{tmp_path / 'many.npy'}[{i}]" for i in range(5)]
    assert [row[1:] for row in rows(out)] == expected(model, IMAGES)


@pytest.mark.parametrize("image", [IMAGES[0], IMAGES[0, ..., None], IMAGES[:1]])
def test_one_image_of_npy(command, model, tmp_path, image):
    np.save(tmp_path / "one.npy", image)
    status, out, _ = command("predict", model, tmp_path / "one.npy")
    assert status == 0
    assert rows(out) == [[str(tmp_path / "one.npy"), *expected(model, IMAGES[:1])[0]]]


def test_idx_and_several_files(command, model, tmp_path):
    (tmp_path / "images-idx3-ubyte").write_bytes(idx_bytes(IMAGES))
    (tmp_path / "images.gz").write_bytes(gzip.compress(idx_bytes(IMAGES)))
    status, out, _ = command("predict", model, tmp_path / "images.gz", tmp_path / "images-idx3-ubyte")
    assert status == 0
    assert [row[1:] for row in rows(out)] == 2 * expected(model, IMAGES)


def test_png_grey_and_coloured(command, model, tmp_path):
    image = pytest.importorskip("PIL.Image", reason="Pillow, which comes with matplotlib, writes the files")
    grey = IMAGES[0]
    opaque = np.full_like(grey, 255)
    coloured = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    luma = np.round(coloured @ np.array([299, 587, 114]) / 1000).astype(np.uint8)
    files = {
        "grey": grey,
        "rgb": np.stack([grey, grey, grey], axis=-1),
        "rgba": np.stack([grey, grey, grey, opaque], axis=-1),
        "alpha": np.stack([grey, opaque], axis=-1),
        "colour": coloured,
    }
    for name, pixels in files.items():
        image.fromarray(pixels).save(tmp_path / f"{name}.png")
    status, out, err = command("predict", model, *(tmp_path / f"{name}.png" for name in files))
    assert (status, err) == (0, "")
    *same, colour = [row[1:] for row in rows(out)]
    assert same == 4 * expected(model, IMAGES[:1])
    (label, probability) = expected(model, luma[None])[0]
    assert colour[0] == label
    assert float(colour[1]) == pytest.approx(float(probability), abs=5e-3)  # luma is not rounded there


def test_the_squared_errors_outputs_are_printed_as_they_are(command, tmp_path):
    assert command("train", "dense", "--epochs", 1, "--out", tmp_path)[0] == 0
    np.save(tmp_path / "one.npy", IMAGES[0])
    _, out, _ = command("predict", tmp_path / "network.npz", tmp_path / "one.npy")
    output = tg.load_network(tmp_path / "network.npz").predict(IMAGES[:1, ..., None] / np.float32(255))[0]
    assert rows(out)[0][1:] == [str(output.argmax()), f"{output.max():.4f}"]


# The scale of whole numbers


def refused(command, model, path):
    status, out, err = command("predict", model, path)
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert err.startswith(f"tensorgrad: {path}: ")
    return err


def test_the_scale_that_the_network_was_trained_on_is_in_its_file(command, model, tmp_path):
    assert tg.load_notes(model)["pixel_maximum"] == 16
    from sklearn.datasets import load_digits

    digits = load_digits()
    originals = digits.images.astype(np.uint8)  # from 0 to 16
    np.save(tmp_path / "digits.npy", originals)
    (tmp_path / "digits.idx").write_bytes(idx_bytes(originals))
    status, out, _ = command("predict", model, tmp_path / "digits.npy", tmp_path / "digits.idx")
    assert status == 0
    labels = [int(row[1]) for row in rows(out)]
    network = tg.load_network(model)
    right = network.predict(originals[..., None].astype(np.float32) / 16).argmax(axis=1)
    np.testing.assert_array_equal(labels, [*right, *right])
    assert np.mean(right == digits.target) > 0.7


@pytest.mark.parametrize("largest", [1, 3, 7, 8, 17, 100, 127, 256, 65535])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int64, ">u2"])
def test_what_is_on_no_known_scale_is_refused(command, model, tmp_path, largest, dtype):
    if largest > np.iinfo(dtype).max:
        pytest.skip("the dtype does not hold it")
    images = np.zeros((2, 8, 8), dtype)
    images[1, 3, 4] = largest
    np.save(tmp_path / "x.npy", images)
    told = refused(command, model, tmp_path / "x.npy")
    assert str(largest) in told
    assert "whole numbers" in told
    # Fractions are taken at their word.
    np.save(tmp_path / "x.npy", images / largest)
    assert command("predict", model, tmp_path / "x.npy")[0] == 0


@pytest.mark.parametrize(("largest", "white"), [(0, 1), (9, 16), (16, 16), (128, 255), (255, 255)])
def test_what_is_on_a_known_scale_is_divided_by_it(command, model, tmp_path, largest, white):
    image = np.random.default_rng(0).integers(0, largest + 1, (8, 8), np.uint8)
    image[0, 0] = largest
    np.save(tmp_path / "whole.npy", image)
    np.save(tmp_path / "fractions.npy", image / white)
    status, out, _ = command("predict", model, tmp_path / "whole.npy", tmp_path / "fractions.npy")
    assert status == 0
    first, second = rows(out)
    assert first[1:] == second[1:]


def notes_of(model, **changes):
    notes = {**tg.load_notes(model), **changes}
    return {name: value for name, value in notes.items() if value is not ...}


def test_networks_of_mnist_are_for_bytes(command, model, tmp_path):
    path = tmp_path / "network.npz"
    tg.save_network(path, tg.load_network(model), notes_of(model, pixel_maximum=255))
    np.save(tmp_path / "dark.npy", IMAGES // 16)
    told = refused(command, path, tmp_path / "dark.npy")
    assert "expected whole numbers from 0 to 255, but the largest is 15; divide by" in told
    np.save(tmp_path / "bytes.npy", IMAGES)
    assert [row[1:] for row in rows(command("predict", path, tmp_path / "bytes.npy")[1])] == expected(
        model, IMAGES
    )


def test_a_network_without_the_note_has_the_scale_of_its_data(command, model, tmp_path):
    path = tmp_path / "network.npz"
    tg.save_network(path, tg.load_network(model), notes_of(model, pixel_maximum=...))
    np.save(tmp_path / "x.npy", np.full((8, 8), 16))
    assert command("predict", path, tmp_path / "x.npy")[1] == command("predict", model, tmp_path / "x.npy")[1]
    tg.save_network(
        path, tg.load_network(model), notes_of(model, pixel_maximum=..., options={"data": "mnist"})
    )
    refused(command, path, tmp_path / "x.npy")


# PNG, made by hand


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(values, depth, more=b""):
    """A grey image of the values, ``depth`` bits each."""
    height, width = np.shape(values)
    bits = (np.asarray(values)[..., None] >> np.arange(depth)[::-1]) & 1
    lines = np.packbits(bits.reshape(height, -1).astype(np.uint8), axis=1)
    pixels = zlib.compress(b"".join(b"\0" + line.tobytes() for line in lines))
    header = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + more + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_a_png_says_itself_what_white_is(command, model, tmp_path, depth):
    pytest.importorskip("PIL", reason="Pillow, which comes with matplotlib, reads the files")
    values = np.random.default_rng(0).integers(0, 1 << depth, (8, 8))
    (tmp_path / "x.png").write_bytes(png(values, depth))
    np.save(tmp_path / "x.npy", (values / ((1 << depth) - 1)).astype(np.float32))
    status, out, err = command("predict", model, tmp_path / "x.png", tmp_path / "x.npy")
    assert (status, err) == (0, "")
    first, second = rows(out)
    assert first[1:] == second[1:]
    clear = struct.pack(">H", int(values[0, 0]))
    (tmp_path / "x.png").write_bytes(png(values, depth, chunk(b"tRNS", clear)))
    assert "without transparent pixels" in refused(command, model, tmp_path / "x.png")


def test_a_png_with_a_flipped_bit_or_cut_off_is_refused(command, model, tmp_path):
    pytest.importorskip("PIL", reason="Pillow, which comes with matplotlib, reads the files")
    path, whole = tmp_path / "x.png", png(IMAGES[0], 8, chunk(b"tEXt", b"Title\0digit"))
    path.write_bytes(whole)
    read_images(path, (8, 8, 1), 16)
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        for contents in (damaged, whole[:place]):
            path.write_bytes(contents)
            with pytest.raises(ValueError, match=r"x\.png: expected a whole \.png file: "):
                read_images(path, (8, 8, 1), 16)
    assert "expected a whole .png file: it is cut off" in refused(command, model, path)


def test_a_png_of_another_size_is_not_unpacked(command, model, tmp_path):
    pytest.importorskip("PIL", reason="Pillow, which comes with matplotlib, reads the files")
    header = struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 6, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(10**6))) + chunk(b"IEND", b"")
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    told = refused(command, model, tmp_path / "x.png")
    assert "expected images of shape (8, 8, 1), got (2147483647, 2147483647)" in told


# Names and kinds of files


@pytest.mark.parametrize("name", ["a b.npy", "tab\t.npy", "line\n.npy", "ü.npy", "\udcff.npy"])
def test_a_line_has_three_fields_whatever_the_name(command, model, tmp_path, name):
    np.save(tmp_path / "x.npy", IMAGES[0])
    try:
        (tmp_path / "x.npy").rename(tmp_path / name)
    except OSError:
        pytest.skip("this system has no such names")
    status, out, _ = command("predict", model, tmp_path / name)
    assert status == 0
    ((shown, *found),) = rows(out)
    assert found == expected(model, IMAGES[:1])[0]
    path = str(tmp_path / name)
    assert shown in (path, repr(path))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize(
    "name", ["x.npy", "x.png", "x.idx", "x.gz", "x.npz", "x.safetensors", "x.toml", "x.svg"]
)
def test_a_named_pipe_is_refused_without_waiting(command, model, tmp_path, name):
    path = tmp_path / name
    os.mkfifo(path)
    lines = {
        ".npz": [("predict", path, "x.npy"), ("evaluate", path), ("draw", path)],
        ".toml": [("train", "--config", path)],
        ".svg": [("draw", model, "--out", path)],
        ".safetensors": [("evaluate", path)],
    }.get(path.suffix, [("predict", model, path)])  # fmt: skip
    for line in lines:
        status, out, err = command(*line)
        assert (status, out) == (2 if path.suffix == ".toml" else 1, "")
        assert str(path) in err
        assert "a pipe or a device" in err


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="this system has no /dev/zero")
@pytest.mark.parametrize("name", ["x.npy", "x.png", "x.idx", "x.npz", "x.toml"])
def test_a_device_without_an_end_is_refused(command, model, tmp_path, name):
    (tmp_path / name).symlink_to("/dev/zero")
    line = {"x.npz": ("evaluate",), "x.toml": ("train", "--config")}.get(name, ("predict", model))
    status, out, err = command(*line, tmp_path / name)
    assert (status, out) == (2 if name == "x.toml" else 1, "")
    assert "a pipe or a device" in err


# Files that hold no images


def npy_header(text):
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(5 * 64)


def truncated_png():
    from io import BytesIO

    from PIL import Image

    file = BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8)).save(file, "png")
    return file.getvalue()[:-40]


def transparent_png():
    from io import BytesIO

    from PIL import Image

    file = BytesIO()
    Image.fromarray(np.zeros((8, 8, 4), np.uint8)).save(file, "png")
    return file.getvalue()


def npy(array, **options):
    from io import BytesIO

    file = BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def huge_npy():
    header = "{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000000, 8, 8), }"
    header = header.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode()


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("x.npy", npy(IMAGES[:, :7]), "expected images of shape (8, 8, 1), got (5, 7, 8)"),
        ("x.npy", npy(IMAGES[:0]), "expected images of shape (8, 8, 1), got (0, 8, 8)"),
        ("x.npy", npy(np.uint8(3)), "expected images of shape (8, 8, 1), got ()"),
        ("x.npy", npy(IMAGES > 9), "expected pixels that are numbers, got bool"),
        ("x.npy", npy(IMAGES.astype("U3")), "expected pixels that are numbers"),
        ("x.npy", npy(IMAGES * 1.0), "expected pixels from 0 to 1, as they are fractions, got"),
        ("x.npy", npy(np.full((8, 8), np.nan)), "from 0 to 1"),
        (
            "x.npy",
            npy(IMAGES.astype(int) - 1),
            "expected pixels from 0 to 255, as they are whole numbers, got -1",
        ),
        ("x.npy", npy(IMAGES)[:-1], "expected an array of numbers in a whole .npy file"),
        ("x.npy", npy(IMAGES)[:20], "expected an array of numbers in a whole .npy file"),
        ("x.npy", b"", "expected an array of numbers in a whole .npy file"),
        ("x.npy", huge_npy(), "expected an array of numbers in a whole .npy file"),
        (
            "x.npy",
            npy(np.array([print]), allow_pickle=True),
            "expected an array of numbers in a whole .npy file",
        ),
        ("x.npy", npy(IMAGES) + b"\0", "expected an array of numbers in a whole .npy file"),
        ("x.npy", npy_header(b"{'descr': '|u1', 'shape': (8, 8"), "expected an array of numbers in"),
        ("x.npy", npy_header(b"{'descr': '|u1'  'fortran_order': False}"), "expected an array of numbers in"),
        ("x.npy", npy_header(b"\0\1\2"), "expected an array of numbers in a whole .npy file"),
        ("x.npy", npy_header(b"  " * 50 + b"\n   )"), "expected an array of numbers in a whole .npy file"),
        ("x.npy", npy_header(b"(" * 9000), "expected an array of numbers in a whole .npy file"),
        ("x.npy", npy_header(b"(" * 60000), "expected an array of numbers in a whole .npy file"),
        ("x.npy", npy_header(b"{[]: 1}"), "expected an array of numbers in a whole .npy file"),
        ("x.npy", npy_header(b"{'descr': ('f4', -1), 'fortran_order': 0, 'shape': 8}"), "expected an array"),
        ("x.npy", npy_header(b"{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 8, 8)}"), "negative"),
        ("x.npy", npy_header(b"{'descr': '|V1', 'fortran_order': False, 'shape': (8, 8)}"), "dtype"),
        ("x.npy", pickle.dumps(IMAGES), "expected an array of numbers in a whole .npy file"),
        ("x.npy", b"PK\x03\x04" + bytes(100), "expected an array of numbers in a whole .npy file"),
        ("x.gz", gzip.compress(idx_bytes(IMAGES))[:-20], "x.gz"),
        ("x.gz", gzip.compress(idx_bytes(IMAGES[0, 0])), "expected images of shape (8, 8, 1), got (8,)"),
        ("x-ubyte", idx_bytes(IMAGES)[:-1], "x-ubyte"),
        ("x.png", truncated_png(), "expected a whole .png file"),
        ("x.png", b"", "expected a whole .png file"),
        ("x.png", transparent_png(), "expected an image without transparent pixels"),
        ("x.jpg", b"", "expected images in a file of .npy, .png, idx or idx .gz"),
    ],
)
def test_files_that_hold_no_such_images_are_refused(command, model, tmp_path, name, content, told):
    np.save(tmp_path / "good.npy", IMAGES)
    (tmp_path / name).write_bytes(content)
    status, out, err = command("predict", model, tmp_path / "good.npy", tmp_path / name)
    assert (status, out) == (1, "")
    assert err.startswith(f"tensorgrad: {tmp_path / name}: ")
    assert told in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("name", ["missing.npy", "missing.png", "missing.gz", "folder.npy", "folder.png"])
def test_a_missing_file_or_a_folder_is_named(command, model, tmp_path, name):
    (tmp_path / "folder.npy").mkdir()
    (tmp_path / "folder.png").mkdir()
    status, out, err = command("predict", model, tmp_path / name)
    assert (status, out) == (1, "")
    assert err.startswith(f"tensorgrad: {tmp_path / name}: ")
