"""The command ``tensorgrad predict``: the images that it reads, and those that it refuses."""

import gzip
import pickle
import struct

import numpy as np
import pytest

import tensorgrad as tg
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
