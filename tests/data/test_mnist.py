"""MNIST and Fashion-MNIST: the real files where they lie here, tiny ones for search and download."""

import gzip
import hashlib
import http.server
import shutil
import socket
import struct
import sys
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tensorgrad.data import DataError, load, mnist

FILES = [
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
]
SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"


@pytest.fixture
def shared_data():
    if not all((SHARED / name / file).is_file() for name in ("mnist", "fashion-mnist") for file in FILES):
        pytest.skip(f"the original MNIST and Fashion-MNIST files are not in {SHARED}")
    return SHARED


@pytest.fixture(autouse=True)
def nothing_of_this_machine(monkeypatch, tmp_path):
    monkeypatch.delenv("TENSORGRAD_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(mnist, "MIRRORS", {"mnist": (), "fashion-mnist": ()})
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(variable, "127.0.0.1")


# The label counts, means and deviations are those of the data sets' descriptions.
@pytest.mark.parametrize(("name", "train", "test", "mean", "std", "first", "third"), [
    ("mnist", [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
     [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009], 0.1307, 0.3081, "5", "4"),
    ("fashion-mnist", [6000] * 10, [1000] * 10, 0.2860, 0.3530, "Ankle boot", "T-shirt/top"),
])  # fmt: skip
def test_the_original_files_hold_what_is_known_of_them(
    shared_data, name, train, test, mean, std, first, third
):
    data = load(name, shared_data / name)
    assert data.name == name
    assert (data.x_train.shape, data.x_test.shape) == ((60000, 28, 28, 1), (10000, 28, 28, 1))
    for x, y in ((data.x_train, data.y_train), (data.x_test, data.y_test)):
        assert (x.dtype, y.dtype) == (np.float32, np.int64)
        assert (x.min(), x.max()) == (0, 1)
    assert np.bincount(data.y_train).tolist() == train
    assert np.bincount(data.y_test).tolist() == test
    assert data.x_train.mean(dtype=np.float64) == pytest.approx(mean, abs=5e-5)
    assert data.x_train[::7].std(dtype=np.float64) == pytest.approx(std, abs=5e-4)
    assert len(data.class_names) == 10
    assert data.class_names[data.y_train[0]] == first
    assert data.class_names[data.y_train[2 if name == "mnist" else 1]] == third


def test_an_original_of_the_other_data_set(shared_data, tmp_path):
    for file in FILES:
        source = "fashion-mnist" if file == "t10k-labels-idx1-ubyte.gz" else "mnist"
        shutil.copy(shared_data / source / file, tmp_path)
    wrong = "this is Fashion-MNIST's t10k-labels-idx1-ubyte.gz, not MNIST's t10k-labels-idx1-ubyte.gz"
    with pytest.raises(DataError, match=f"{tmp_path}/t10k-labels-idx1-ubyte.gz: {wrong}"):
        load("mnist", tmp_path)


def idx(array):
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return gzip.compress(header + array.astype(np.uint8).tobytes())


def write(folder, seed):
    """Four tiny files in the folder; their SHA-256."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    arrays = [rng.integers(256, size=(6, 28, 28)), np.arange(6), rng.integers(256, size=(2, 28, 28)), [8, 9]]
    for file, array in zip(FILES, arrays, strict=True):
        (folder / file).write_bytes(idx(np.asarray(array)))
    return {file: hashlib.sha256((folder / file).read_bytes()).hexdigest() for file in FILES}


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """A folder with tiny files of both data sets, which count as the originals."""
    folder = tmp_path / "tiny"
    monkeypatch.setattr(mnist, "SHA256", {name: write(folder / name, len(name)) for name in mnist.SHA256})
    contents = {
        name: tuple(
            hashlib.sha256(gzip.decompress((folder / name / file).read_bytes())).hexdigest() for file in FILES
        )
        for name in mnist.SHA256
    }
    monkeypatch.setattr(mnist, "CONTENT", contents)
    return folder


# What counts is the content

FORMS = {
    "unpacked": (lambda name: name.removesuffix(".gz"), lambda packed: gzip.decompress(packed)),
    "dotted": (
        lambda name: name.removesuffix(".gz").replace("-idx", ".idx"), lambda packed: gzip.decompress(packed)
    ),
    "packed anew": (lambda name: name, lambda packed: gzip.compress(gzip.decompress(packed), 1, mtime=7)),
    "dotted and packed": (lambda name: name.replace("-idx", ".idx"), lambda packed: packed),
    "unpacked in name only": (lambda name: name.removesuffix(".gz"), lambda packed: packed),
    "packed in name only": (lambda name: name, lambda packed: gzip.decompress(packed)),
    "in two members": (lambda name: name, lambda packed: gzip.compress(b"") + packed),
}  # fmt: skip


def reform(folder, target, form):
    """The files in another form, in another folder."""
    rename, pack = FORMS[form]
    target.mkdir(parents=True)
    for file in FILES:
        (target / rename(file)).write_bytes(pack((folder / file).read_bytes()))
    return target


def assert_same_data(found, expected):
    for name in ("x_train", "y_train", "x_test", "y_test"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


@pytest.mark.parametrize("form", FORMS)
def test_files_are_taken_by_their_content(tiny, tmp_path, monkeypatch, form):
    folder = reform(tiny / "mnist", tmp_path / "other", form)
    assert_same_data(load("mnist", folder), load("mnist", tiny))
    reform(tiny / "mnist", tmp_path / "cache" / "tensorgrad" / "mnist", form)
    assert_same_data(load("mnist"), load("mnist", tiny))
    with pytest.raises(DataError, match=rf"this is MNIST's {FILES[0]}, not Fashion-MNIST's {FILES[0]}"):
        load("fashion-mnist", folder)


@pytest.mark.parametrize("form", ["unpacked", "packed anew"])
def test_a_bit_flipped_in_another_form_never_changes_the_data(tiny, tmp_path, form):
    folder = reform(tiny / "mnist", tmp_path / "other", form)
    path, expected = folder / FORMS[form][0](FILES[3]), load("mnist", tiny)
    whole, taken = path.read_bytes(), 0
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            found = load("mnist", folder)
        except DataError:
            continue
        assert_same_data(found, expected)
        taken += 1
    # In a gzip header the time, the system and some flags mean nothing here; so do the bits that fill a byte.
    assert taken == 0 if form == "unpacked" else taken < 8 * 7 + 8


@pytest.mark.slow
def test_the_originals_are_taken_unpacked_and_packed_anew(shared_data, tmp_path):
    for name in mnist.SHA256:
        expected = load(name, shared_data)
        for form in ("dotted", "packed anew"):
            assert_same_data(load(name, reform(shared_data / name, tmp_path / name / form, form)), expected)


def test_each_data_set_has_its_class_names(tiny):
    assert load("mnist", tiny).class_names == ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
    clothes = "T-shirt/top, Trouser, Pullover, Dress, Coat, Sandal, Shirt, Sneaker, Bag, Ankle boot"
    assert ", ".join(load("fashion-mnist", tiny).class_names) == clothes


def test_pixels_become_float32_of_a_255th(tiny):
    data = load("mnist", tiny / "mnist")
    pixels = np.frombuffer(gzip.decompress((tiny / "mnist" / FILES[0]).read_bytes())[16:], np.uint8)
    np.testing.assert_array_equal(data.x_train.ravel(), np.float32(pixels) / np.float32(255))
    assert data.x_train.shape == (6, 28, 28, 1)
    assert data.x_train.flags.c_contiguous
    assert data.y_train.tolist() == [0, 1, 2, 3, 4, 5]
    assert data.y_test.tolist() == [8, 9]


def test_data_dir_is_the_folder_or_its_parent(tiny):
    for folder in (tiny, tiny / "mnist", str(tiny)):
        assert len(load("mnist", folder).x_train) == 6
    # The more specific place wins: MNIST's files lie there now, but so does a folder named fashion-mnist.
    for file in FILES:
        shutil.copy(tiny / "mnist" / file, tiny)
    assert len(load("fashion-mnist", tiny).x_train) == 6


def test_the_environment_variable_serves_where_no_data_dir_is_given(tiny, monkeypatch, tmp_path):
    monkeypatch.setenv("TENSORGRAD_DATA_DIR", str(tiny))
    assert len(load("mnist").x_train) == 6
    with pytest.raises(DataError, match=f"{tmp_path}/elsewhere: expected the files of MNIST"):
        load("mnist", tmp_path / "elsewhere")
    monkeypatch.setenv("TENSORGRAD_DATA_DIR", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match=f"{tmp_path}/nowhere: expected the files of MNIST"):
        load("mnist")


def test_a_home_folder_is_understood(tiny, monkeypatch):
    monkeypatch.setenv("HOME", str(tiny.parent))
    monkeypatch.setenv("TENSORGRAD_DATA_DIR", "~/tiny")
    assert len(load("mnist").x_train) == 6


def test_missing_files_are_named(tiny):
    (tiny / "mnist" / FILES[1]).unlink()
    (tiny / "mnist" / FILES[3]).unlink()
    (tiny / "mnist" / FILES[3]).mkdir()
    with pytest.raises(DataError, match=f"found no {FILES[1]}, {FILES[3]}; put them there or give another"):
        load("mnist", tiny)


def test_the_other_data_sets_file_is_recognised(tiny):
    for name, other in (("mnist", "Fashion-MNIST"), ("fashion-mnist", "MNIST")):
        with pytest.raises(DataError, match=rf"/{FILES[0]}: this is {other}'s {FILES[0]}, not "):
            load(name, tiny / ("mnist" if other == "MNIST" else "fashion-mnist"))
    shutil.copy(tiny / "mnist" / FILES[2], tiny / "mnist" / FILES[0])
    with pytest.raises(DataError, match=f"this is MNIST's {FILES[2]}, not MNIST's {FILES[0]}"):
        load("mnist", tiny)


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b"", lambda b: b[:-9] + b"\0" + b[-8:]],
                         ids=["truncated", "emptied", "changed"])  # fmt: skip
def test_a_damaged_file_is_refused(tiny, damage):
    path = tiny / "mnist" / FILES[2]
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(
        DataError, match=f"{path}: this is truncated, corrupt or another file than MNIST's"
    ) as caught:
        load("mnist", tiny)
    assert mnist.SHA256["mnist"][FILES[2]] in str(caught.value)
    assert f"({path.stat().st_size} bytes); replace it with the original" in str(caught.value)


class Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def server(tiny, monkeypatch):
    """The tiny files by HTTP on this machine: the address, with mirrors that point there."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=tiny)) as httpd:
        threading.Thread(target=httpd.serve_forever, args=(0.01,)).start()
        url = f"http://127.0.0.1:{httpd.server_port}"
        monkeypatch.setattr(mnist, "MIRRORS", {name: (f"{url}/{name}/",) for name in mnist.SHA256})
        yield url
        httpd.shutdown()


@pytest.fixture
def refused():
    """An address at which nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/"


def test_download_into_the_cache(server, tmp_path, monkeypatch):
    monkeypatch.setenv("TENSORGRAD_DATA_DIR", "")  # as good as unset
    data = load("mnist")
    assert data.y_test.tolist() == [8, 9]
    cache = tmp_path / "cache" / "tensorgrad" / "mnist"
    assert sorted(path.name for path in cache.iterdir()) == sorted(FILES)
    # From now on neither a network nor pooch is needed.
    monkeypatch.setattr(mnist, "MIRRORS", {})
    monkeypatch.setitem(sys.modules, "pooch", None)
    np.testing.assert_array_equal(load("mnist").x_train, data.x_train)


def test_mirrors_are_tried_in_order(server, refused, monkeypatch):
    absent, wrong, right = f"{server}/absent/", f"{server}/fashion-mnist/", f"{server}/mnist/"
    monkeypatch.setitem(mnist.MIRRORS, "mnist", (refused, absent, wrong, right))
    assert load("mnist").y_train.tolist() == [0, 1, 2, 3, 4, 5]


def test_a_download_with_a_wrong_checksum_is_not_kept(server, tmp_path, monkeypatch):
    monkeypatch.setitem(mnist.MIRRORS, "mnist", (f"{server}/fashion-mnist/",))
    with pytest.raises(DataError, match=rf"(?s)could not be downloaded.*{FILES[0]}: SHA256 hash"):
        load("mnist")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_without_a_network_every_mirror_and_the_way_by_hand_are_told(tiny, refused, monkeypatch):
    monkeypatch.setitem(mnist.MIRRORS, "fashion-mnist", (refused, refused + "second/"))
    with pytest.raises(DataError, match=r"Fashion-MNIST could not be downloaded") as caught:
        load("fashion-mnist")
    message = str(caught.value)
    assert f"put {', '.join(FILES)} into a folder and pass it as data_dir" in message
    assert f"{refused}{FILES[0]}: " in message
    assert f"{refused}second/{FILES[0]}: " in message


def test_a_damaged_file_in_the_cache_is_refused_and_loads_again_once_deleted(server, tmp_path):
    load("mnist")
    path = tmp_path / "cache" / "tensorgrad" / "mnist" / FILES[0]
    path.write_bytes(b"damaged")
    with pytest.raises(DataError, match=f"{path}: .*delete it and load again"):
        load("mnist")
    path.unlink()
    assert len(load("mnist").x_train) == 6


def test_without_pooch_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(ImportError, match=r'pip install "tensorgrad-numpy\[train\]"; or put train-images'):
        load("mnist")
