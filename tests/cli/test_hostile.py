"""Sweeps over damaged files of every kind and random command lines: an error in a line, or the right answer.

A loader may raise what its documentation says, and nothing else: an exception that the command does not turn
into a line would be a traceback. Warnings are errors here, and whatever takes 20 seconds fails as a hang.
"""

import contextlib
import gzip
import io
import itertools
import json
import os
import random
import shlex
import signal
import struct
import zlib

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad import cli
from tensorgrad.cli import models, report, train
from tensorgrad.cli.arguments import parse
from tensorgrad.cli.images import read_images
from tensorgrad.data import Dataset
from tensorgrad.data.dataset import CLASS_NAMES

SHAPE = (8, 8, 1)
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 17, (2, 8, 8)).astype(np.uint8)
IMAGES[:, 0, 0] = 16
TREE = {"epoch": 3, "weights": [np.arange(6.0).reshape(2, 3), None, {"flag": np.array([True, False])}]}
TOML = (
    b'network = "dense" # the network\nepochs = 3\nlearning-rate = 0.5\nflip = true\n'
    b'schedule = "cosine"\nweight-decay = 0\nout = "a/b"\nseed = 4\n'
)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png():
    lines = b"".join(bytes([n % 5]) + line.tobytes() for n, line in enumerate(IMAGES[0] * np.uint8(15)))
    header = struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0)
    chunks = [chunk(b"IHDR", header), chunk(b"tEXt", b"Title\0a digit"), chunk(b"IDAT", zlib.compress(lines))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + chunk(b"IEND", b"")


def idx():
    return bytes([0, 0, 8, 3]) + struct.pack(">3I", *IMAGES.shape) + IMAGES.tobytes()


def npy():
    file = io.BytesIO()
    np.save(file, IMAGES)
    return file.getvalue()


def network():
    return tg.Network([tg.Flatten(), tg.BatchNorm(64), tg.Dense(64, 10, rng=0), tg.ReLU()])


NOTES = {
    "classes": list(CLASS_NAMES["digits"]), "image_shape": list(SHAPE), "loss": "squared-error",
    "pixel_maximum": 16, "options": {"data": "digits"},
}  # fmt: skip


def saved(suffix):
    def make(path):
        tg.save_network(path.with_suffix(suffix), network(), NOTES)

    return make


def contents_of(tree):
    """A tree as JSON, so that two can be compared."""
    return json.dumps(tree, default=lambda array: [str(array.dtype), array.tolist()])


def load_network(path):
    return contents_of([tg.load_network(path).state(), tg.load_notes(path)])


def images(path):
    return read_images(path, SHAPE, 16)


def options(path):
    return parse(["train", "--config", str(path)])


# How a file is made and read, what is raised at damage, and how much of it can pass without a trace: nothing
# (sealed), what means the same (same), or what is another file that is as good (other).
KINDS = {
    "network.npz": (saved(".npz"), load_network, tg.SavedFileError, "sealed"),
    "network.safetensors": (saved(".safetensors"), load_network, tg.SavedFileError, "same"),
    "checkpoint.npz": (
        lambda path: tg.save_checkpoint(path, TREE),
        lambda path: contents_of(tg.load_checkpoint(path)),
        tg.SavedFileError,
        "sealed",
    ),
    "x.png": (lambda path: path.write_bytes(png()), images, ValueError, "same"),
    "x.gz": (lambda path: path.write_bytes(gzip.compress(idx(), mtime=0)), images, ValueError, "same"),
    "x.idx": (lambda path: path.write_bytes(idx()), images, ValueError, "other"),
    "x.npy": (lambda path: path.write_bytes(npy()), images, ValueError, "other"),
    "x.toml": (lambda path: path.write_bytes(TOML), options, SystemExit, "other"),
}
every_kind = pytest.mark.parametrize("name", KINDS)


@pytest.fixture(autouse=True)
def _no_hang():
    def late(number, frame):
        raise AssertionError("this took more than 20 seconds")

    if not hasattr(signal, "setitimer"):
        pytest.skip("this system has no alarms")
    before = signal.signal(signal.SIGALRM, late)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def watch():
    signal.setitimer(signal.ITIMER_REAL, 20)


@pytest.fixture
def kind(name, tmp_path):
    """The file, whole, and a function that tries other contents: whether they are read, and rightly so."""
    if name.endswith("png"):
        pytest.importorskip("PIL", reason="Pillow, which reads the files, is not installed")
    if name.endswith("safetensors"):
        pytest.importorskip("safetensors", reason="safetensors is not installed")
    make, load, error, passes = KINDS[name]
    path = tmp_path / name
    make(path)
    whole, expected = path.read_bytes(), load(path)

    def attempt(contents):
        watch()
        path.write_bytes(contents)
        told = io.StringIO()
        try:
            with contextlib.redirect_stderr(told):
                found = load(path)
        except error as raised:
            told.write(str(raised))
            found = None
        if found is None:
            assert str(path) in told.getvalue()
            return False
        if passes != "other":
            assert passes == "same"
            np.testing.assert_array_equal(found, expected)
        elif name != "x.toml":
            assert found.shape[1:] == SHAPE
            assert found.min() >= 0
            assert found.max() <= 1
        return True

    assert passes == "sealed" or attempt(whole)
    return whole, attempt


@every_kind
def test_a_file_cut_off_at_any_byte_is_refused(kind, name):
    whole, attempt = kind
    read = sum(attempt(whole[:length]) for length in range(len(whole)))
    assert read == 0 or name == "x.toml"


@pytest.mark.slow
@every_kind
def test_thousands_of_flipped_bits_are_refused_or_mean_the_same(kind, name):
    whole, attempt = kind
    chance = random.Random(0)
    for _ in range(4000):
        damaged = bytearray(whole)
        for _ in range(chance.choice([1, 1, 1, 2, 5])):
            damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        attempt(damaged)


@pytest.mark.slow
@every_kind
def test_pieces_lost_doubled_swapped_and_overwritten_are_refused_or_mean_the_same(kind, name):
    whole, attempt = kind
    chance = random.Random(1)
    for _ in range(1000):
        low, middle, high = sorted(chance.choices(range(len(whole) + 1), k=3))
        first, second = whole[low:middle], whole[middle:high]
        rubbish = chance.randbytes(chance.choice([1, 4, 50]))
        for piece in (b"", first, 2 * first + second, second + first, rubbish, first + rubbish + second):
            if (contents := whole[:low] + piece + whole[high:]) != whole:
                attempt(contents)


# Command lines


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with files of every kind, whole and damaged, in which a training takes a moment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(report, "_write_plot", lambda path, figure: path.write_bytes(b""))
    x, y = RNG.random((20, *SHAPE), np.float32), np.arange(20) % 10

    def load(name, data_dir):
        if data_dir is not None:
            raise tg.data.DataError(f"{data_dir}: expected the files of MNIST there")
        return Dataset(name, x, y, x[:10], y[:10], CLASS_NAMES[name], 16)

    for module in (train, models):
        monkeypatch.setattr(module, "load", load)
    for name, (make, *_) in KINDS.items():
        if not name.endswith("safetensors"):
            make(tmp_path / name)
            (tmp_path / f"half-{name}").write_bytes((tmp_path / name).read_bytes()[:-40])
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "empty.npy").write_bytes(b"")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.npz")
        os.mkfifo(tmp_path / "pipe.npy")
    return tmp_path


FILES = [
    *KINDS, *(f"half-{name}" for name in KINDS), "folder.npz", "empty.npy", "pipe.npz", "pipe.npy",
    "none.npz", "none.npy", "", ".", "/dev/null", "/dev/zero", "a\0b", "\udcff.npy", "x" * 300, "-", "~", "*",
    "x.npy/", "x.npy/y", "a\nb.npy", "ü", "%s", "{}", "--", "--out", "-x.npy",
]  # fmt: skip
NUMBERS = [
    "0", "1", "2", "7", "8", "-1", "-0", "1.5", "1e3", "1e-3", "1e400", "-1e400", "1e-400", "nan", "inf",
    "-inf", "0x10", "1_0", "٣", " 1", "1 ", "", "one", "None", "True", "999999999999999999999999",
    "9" * 5000, "0.999", "1j", "1,5", "½", "\0",
]  # fmt: skip
OPTIONS = {
    "--data": ["digits", "mnist", "fashion-mnist", "cifar", "Digits", ""],
    "--data-dir": FILES,
    "--batch-size": NUMBERS,
    "--loss": ["squared-error", "cross-entropy", "mse", ""],
    "--optimizer": ["sgd", "adam", "Adam", "adamw", ""],
    "--learning-rate": NUMBERS,
    "--momentum": NUMBERS,
    "--weight-decay": NUMBERS,
    "--schedule": ["constant", "cosine", "one-cycle", "warm-up-cosine", "step"],
    "--shift": NUMBERS,
    "--rotate": NUMBERS,
    "--flip": None,
    "--no-flip": None,
    "--seed": NUMBERS,
    "--dtype": ["float32", "float64", "float16", "f4"],
    "--out": ["new", "new/deep", *FILES],
    "--resume": None,
    "--config": FILES,
    "--help": None,
    "--depth": NUMBERS,
    "--order": ["x", "-1", "0", "99", "1e9"],
    "--version": None,
}
WORDS = [
    "train", "predict", "evaluate", "draw", "dense", "cnn", "modern", "--", "-", "", "-h", "@x.toml",
    "--epoch", "--=", "--epochs=", "---", "–epochs", "trian", "\0", "\udcff", "a b", "-1", "--no-resume",
]  # fmt: skip


def command_line(chance):
    """Words at random, more often than not such as make sense."""
    run = chance.choices(["train", "predict", "evaluate", "draw", "audit", None], [8, 5, 2, 2, 1, 1])[0]
    line = [] if run is None else [run]
    known = {
        "train": list(OPTIONS), "predict": ["--help"], "evaluate": ["--data", "--data-dir"],
        "draw": ["--out", "--depth"], "audit": ["--order"], None: ["--version", "--help"],
    }[run]  # fmt: skip
    if run == "train":
        # At most two epochs: a training of a million is no hang, and takes as long as one.
        line += [*chance.choice([["dense"], ["cnn"], ["modern"], []]), "--epochs", chance.choice("1122")]
    if run == "audit":
        line += ["--order", chance.choice(OPTIONS["--order"])]
    if run in ("predict", "evaluate", "draw"):
        line.append("network.npz" if chance.random() < 0.7 else chance.choice(FILES))
    if run == "predict":
        line += chance.choices(FILES, k=chance.choice([1, 1, 2, 3]))
    for _ in range(chance.choice([0, 1, 1, 2, 3, 4])):
        option = chance.choice(known if chance.random() < 0.8 else list(OPTIONS))
        values = OPTIONS[option]
        if values is None:
            line.append(option)
        elif chance.random() < 0.5:
            line.append(f"{option}={chance.choice(values)}")
        else:
            line += [option, chance.choice(values)]
    while chance.random() < 0.15:
        line.insert(chance.randrange(len(line) + 1), chance.choice(WORDS))
    return line


def run(line):
    """Exit status, output and error output; whatever is raised but the end of the program is a failure."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = cli.main(line)
        except SystemExit as end:
            status = end.code
    return status, out.getvalue(), err.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_a_thousand_command_lines_end_with_a_status_and_a_line(place, seed):
    chance = random.Random(seed)
    statuses = []
    for number in itertools.count():
        if number == 1000:
            break
        line = command_line(chance)
        watch()
        try:
            status, out, err = run(line)
        except BaseException as error:
            pytest.fail(f"{shlex.join(line)}: {error!r}")
        statuses.append(status)
        assert status in (0, 1, 2), line
        assert "Traceback" not in out + err, line
        if status == 2:
            assert out == "", line
            assert err.count("\n") == 2, line
        elif status == 1:
            assert err.startswith("tensorgrad: "), line
            assert err.count("\n") == 1 or any("\n" in word for word in line), (line, err)
        elif not {"-h", "--help"} & set(line):
            assert err == "", line
    for status in (0, 1, 2):
        assert statuses.count(status) > 100
