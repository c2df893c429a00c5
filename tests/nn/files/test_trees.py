"""Checkpoints: what they hold, that they are written whole or not at all, and every bad file refused."""

import errno
import functools
import hashlib
import io
import itertools
import json
import math
import os
import pickle
import signal
import stat
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from helpers import LAYOUTS, assert_refused, refused_calls
from hypothesis import given
from hypothesis import strategies as st

import tensorgrad as tg
from tensorgrad.nn.files import archive

TREE = {
    "epoch": 3,
    "history": {"loss": [0.5, 0.25], "": []},
    "weights": [np.arange(6, dtype=np.float32).reshape(2, 3), np.array(2.5)],
    "best": None,
}


def same(one, other):
    """Whether two trees are equal, bit by bit and type by type."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, np.ndarray):
        return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
    if isinstance(one, float):
        return np.float64(one).tobytes() == np.float64(other).tobytes() or (one != one and other != other)
    return one == other


def saved(path, tree=TREE):
    tg.save_checkpoint(path, tree)
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.npz"


# What goes in comes out


@pytest.mark.parametrize("value", [
    0, -1, 2**127 + 1, True, False, None, "", "ü\n\0\ud800", 0.1, -0.0, math.inf, -math.inf, math.nan, 5e-324,
    [], {}, [[], [{}]], {"array": "0"}, {"dict": {"dict": 1}}, {"array": np.ones(1)},
], ids=repr)  # fmt: skip
def test_values_come_back_with_every_bit_and_their_type(path, value):
    assert same(tg.load_checkpoint(saved(path, value)), value)
    assert same(tg.load_checkpoint(saved(path, {"a": [value]})), {"a": [value]})


ARRAYS = [
    *(np.array([0, 1, 100], kind) for kind in "?bBhHiIqQefdgFD"),
    np.array([[np.nan, -0.0, np.inf]]),
    np.array(["a", "", "été"]),
    np.array([b"a", b"bc"]),
    np.zeros((0, 3), np.float32),
    np.array(3.5),
    np.arange(3, dtype=">f8"),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda a: f"{a.dtype.str}-{a.shape}")
def test_arrays_come_back_with_dtype_and_values_as_the_callers_own(path, array):
    found = tg.load_checkpoint(saved(path, [array, array]))
    assert same(found, [array, array])
    assert all(a.flags.writeable and a.flags.owndata for a in found)
    assert not np.shares_memory(*found)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_arrays_of_every_layout_come_back_in_value(path, layout):
    array = LAYOUTS[layout](np.arange(24.0).reshape(2, 3, 4))
    found = tg.load_checkpoint(saved(path, {"a": array}))["a"]
    np.testing.assert_array_equal(found, array)
    assert found.flags.f_contiguous == array.flags.f_contiguous


trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(tree=trees)
def test_any_tree_comes_back(tree, tmp_path_factory):
    path = tmp_path_factory.mktemp("trees") / "tree.npz"
    assert same(tg.load_checkpoint(saved(path, tree)), tree)


def test_scalars_of_numpy_that_are_python_numbers_become_those(path):
    assert same(tg.load_checkpoint(saved(path, [np.float64(0.1), np.str_("a")])), [0.1, "a"])


def test_numpy_reads_the_file_and_the_same_tree_makes_the_same_file(path, tmp_path):
    saved(path)
    with np.load(path) as archive:
        np.testing.assert_array_equal(archive["0"], TREE["weights"][0])
        assert json.loads(archive["tensorgrad.json"])["format"] == "tensorgrad checkpoint"
    assert saved(tmp_path / "again").read_bytes() == path.read_bytes()


itself = []
itself.append(itself)


@refused_calls(
    ("save((1, 2))", TypeError, "tree is a tuple"),
    ("save({'a': [1, {'b': (1,)}]})", TypeError, r"tree\['a'\]\[1\]\['b'\] is a tuple"),
    ("save({1: 2})", TypeError, "keys of tree to be str, got 1"),
    ("save([np.float32(1)])", TypeError, r"tree\[0\] is a float32"),
    ("save([b'bytes'])", TypeError, "bytes"),
    ("save([{1, 2}])", TypeError, "set"),
    ("save([1j])", TypeError, "complex"),
    ("save([np.array([None])])", TypeError, r"tree\[0\] is an array of object"),
    ("save([np.zeros(2, [('a', 'f4')])])", TypeError, "array of"),
    ("save([np.array(['2020'], 'M8[D]')])", TypeError, "array of datetime64"),
    ("save([tg.Tensor([1.0])])", TypeError, r"tree\[0\] is a Tensor"),
    ("save([np.random.default_rng()])", TypeError, r"tree\[0\] is a Generator"),
    ("save(itself)", ValueError, "contains itself"),
    ("save(10**5000)", ValueError, "digits"),
)
def test_what_a_file_cannot_hold_is_refused_before_anything_is_written(path, call, error, message):
    assert_refused(call, error, message, save=functools.partial(tg.save_checkpoint, path), itself=itself)
    assert list(path.parent.iterdir()) == []


# Generators


KINDS = ["PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("drawn", [0, 1, 7, 700])
def test_a_generator_continues_from_its_state(path, kind, drawn):
    rng = np.random.Generator(getattr(np.random, kind)(5))
    rng.integers(0, 9, drawn, dtype=np.uint32)  # which keeps half a draw for the next
    saved(path, tg.generator_state(rng))
    expected = rng.integers(0, 99, 50, dtype=np.uint32), rng.standard_normal(700)
    other = np.random.Generator(getattr(np.random, kind)(6))
    tg.set_generator_state(other, tg.load_checkpoint(path))
    np.testing.assert_array_equal(other.integers(0, 99, 50, dtype=np.uint32), expected[0])
    np.testing.assert_array_equal(other.standard_normal(700), expected[1])


def test_a_generators_state_is_a_copy():
    rng = np.random.Generator(np.random.MT19937(5))
    state = tg.generator_state(rng)
    kept = state["state"]["key"].copy()
    rng.random(1000)
    np.testing.assert_array_equal(state["state"]["key"], kept)
    tg.set_generator_state(rng, state)
    state["state"]["key"][:] = 0
    assert rng.random() == np.random.Generator(np.random.MT19937(5)).random()


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("PCG64", lambda s: s.update(tg.generator_state(np.random.Generator(np.random.SFC64(6))))),
        ("PCG64", lambda s: s.clear()),
        ("PCG64", lambda s: s.update(bit_generator="MT19937")),
        ("PCG64", lambda s: s["state"].update(state=-1)),
        ("PCG64", lambda s: s["state"].update(state=2**200)),
        ("PCG64", lambda s: s["state"].update(state=1.5)),
        ("PCG64", lambda s: s["state"].pop("inc")),
        ("PCG64", lambda s: s.update(has_uint32="no")),
        ("PCG64", lambda s: s.update(more=1)),
        ("MT19937", lambda s: s["state"].update(pos=100_000)),
        ("MT19937", lambda s: s["state"].update(pos=-1)),
        ("MT19937", lambda s: s["state"].update(key=s["state"]["key"][:5])),
        ("MT19937", lambda s: s["state"].update(key=s["state"]["key"].astype(float))),
        ("Philox", lambda s: s.update(buffer_pos=99)),
        ("Philox", lambda s: s.update(buffer_pos=-1)),
    ],
    ids=itertools.count(),
)
def test_a_state_that_a_generator_cannot_have_is_refused_and_it_goes_on(kind, change):
    rng, twin = (np.random.Generator(getattr(np.random, kind)(5)) for _ in range(2))
    state = tg.generator_state(np.random.Generator(getattr(np.random, kind)(6)))
    change(state)
    with pytest.raises(ValueError, match=f"set_generator_state: this is no state of {kind}"):
        tg.set_generator_state(rng, state)
    assert rng.random() == twin.random()


def test_only_a_generator_has_a_state():
    for wrong in (None, np.random.RandomState(0), np.random.PCG64(0)):
        with pytest.raises(TypeError, match=r"expected a numpy\.random\.Generator"):
            tg.generator_state(wrong)


# Damage


def refused(path, part=None):
    with pytest.raises(tg.SavedFileError, match=part) as caught:
        tg.load_checkpoint(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_a_file_that_is_cut_off_anywhere_is_refused(path):
    whole = saved(path).read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        refused(path, "empty|cut off|damaged|no archive|checksum")
    path.write_bytes(whole)
    assert same(tg.load_checkpoint(path), TREE)


def test_a_file_with_any_byte_changed_or_added_is_refused(path):
    whole = saved(path).read_bytes()
    rng = np.random.default_rng(0)
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        refused(path)
    for more in (b"\0", b"PK\5\6", whole):
        for changed in (whole + more, more + whole, whole[:100] + more + whole[100:]):
            path.write_bytes(changed)
            refused(path)


@pytest.mark.parametrize("contents", [
    b"", b"P", b"PK", b"PK\3\4", b"PK\5\6", b"not a checkpoint" * 50, b"\x93NUMPY\1\0",
    pickle.dumps({"epoch": 3}), b"PK\5\6" + bytes(18),
], ids=range(9))  # fmt: skip
def test_a_foreign_file_is_refused(path, contents):
    path.write_bytes(contents)
    refused(path, "empty|starts with|cut off|damaged|expected a tensorgrad checkpoint")


def test_files_of_numpy_are_not_checkpoints(path):
    np.savez(path, a=np.ones(2))
    refused(path, "no header of tensorgrad")
    np.savez_compressed(path, a=np.ones(2))
    refused(path, "compressed")
    np.savez(path, a=np.array([{"an": "object"}]))
    refused(path, "object")
    tg.save_weights(path, tg.Dense(1, 1, rng=0))
    refused(path, "'tensorgrad weights'")


# Files that were made to do harm, with a checksum that fits


def member(array, allow_pickle=False):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, allow_pickle=allow_pickle)
    return buffer.getvalue()


def header_of(shape, dtype="'<f8'", order="False"):
    """The start of an .npy member."""
    text = f"{{'descr': {dtype}, 'fortran_order': {order}, 'shape': {shape}}}"
    text = text.ljust(117) + "\n"
    return b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text.encode()


def header(tree, version=1, form="tensorgrad checkpoint", **more):
    return json.dumps({"format": form, "version": version, "tree": tree, **more}).encode()


def sealed(path, members, compression=zipfile.ZIP_STORED):
    """An archive of (name, bytes) with the comment that `save_checkpoint` would have written."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, contents in members:
            archive.writestr(name, contents)
    seal(path, path.read_bytes())
    return path


def seal(path, archive):
    mark = b"tensorgrad sha256 "
    body = archive[:-2] + (len(mark) + 64).to_bytes(2, "little")
    path.write_bytes(body + mark + hashlib.sha256(body).hexdigest().encode())


ONE = {"array": "0"}
NAME = "tensorgrad.json"


def test_an_archive_made_by_these_helpers_is_read(path):
    sealed(path, [(NAME, header([ONE, 5])), ("0.npy", member(np.ones(2)))])
    assert same(tg.load_checkpoint(path), [np.ones(2), 5])


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(("members", "part"), [
    ([(NAME, header(1, version=2))], r"newer tensorgrad wrote it.*version 2.*reads up to 1"),
    ([(NAME, header(1, version=0))], "version 0"),
    ([(NAME, header(1, version=True))], "version True"),
    ([(NAME, header(1, version="1"))], "version '1'"),
    ([(NAME, header(1, form="recipe"))], "'recipe'"),
    ([(NAME, header(1, more=2))], "entries format, version, tree, more"),
    ([(NAME, b"[1]")], "no JSON object"),
    ([(NAME, b"{")], "damaged"),
    ([(NAME, b"\xff\xfe")], "damaged"),
    ([(NAME, b'{"format": "a", "format": "b"}')], "twice"),
    ([(NAME, header("x").replace(b'"x"', b"[" * 100_000 + b"]" * 100_000))], "damaged: RecursionError"),
    ([(NAME, header("x").replace(b'"x"', b"9" * 10_000))], "damaged: ValueError"),
    ([], "no header"),
    ([("0.npy", member(np.ones(2)))], "no header"),
    ([(NAME, header(ONE))], "array 0 is missing"),
    ([(NAME, header([ONE, ONE])), ("0.npy", member(np.ones(2)))], "two places"),
    ([(NAME, header(1)), ("0.npy", member(np.ones(2)))], "array 0 is no part"),
    ([(NAME, header({"array": 0})), ("0.npy", member(np.ones(2)))], "neither dict nor array"),
    ([(NAME, header({"object": "os.system"}))], "neither dict nor array"),
    ([(NAME, header({"dict": [1]}))], "neither dict nor array"),
    ([(NAME, header({"dict": {}, "array": "0"})), ("0.npy", member(np.ones(2)))], "neither"),
    ([(NAME, header(ONE)), ("0.npy", member(np.ones(2))), ("0.npy", member(np.ones(3)))], "two members"),
    ([(NAME, header(1)), (NAME, header(2))], "two members"),
    ([(NAME, header(1)), ("../../evil.npy", member(np.ones(2)))], "no part of the tree"),
    ([(NAME, header(1)), ("/etc/passwd", b"x")], "no array"),
    ([(NAME, header(1)), ("code.py", b"x")], "no array"),
    ([(NAME, header(ONE)), ("0.npy", member(np.array([print]), allow_pickle=True))], "object"),
    ([(NAME, header(ONE)), ("0.npy", header_of("(2,)", "'O'") + bytes(16))], "object"),
    ([(NAME, header(ONE)), ("0.npy", header_of("(2,)", "[('a', '<f8')]") + bytes(16))], "dtype"),
    ([(NAME, header(ONE)), ("0.npy", header_of("(2,)", "'<M8[D]'") + bytes(16))], "dtype"),
    ([(NAME, header(ONE)), ("0.npy", header_of("(2,)", "'V8'") + bytes(16))], "dtype"),
    ([(NAME, header(ONE)), ("0.npy", header_of("(10**12,)") + bytes(16))], "damaged"),
    ([(NAME, header(ONE)), ("0.npy", header_of("(1000000000000,)") + bytes(16))], "needs 8000000000000 "),
    ([(NAME, header(ONE)), ("0.npy", header_of(f"({2**62}, 4)") + bytes(16))], "needs"),
    ([(NAME, header(ONE)), ("0.npy", header_of(f"({2**40},)", "'<U0'"))], "dtype"),
    ([(NAME, header(ONE)), ("0.npy", header_of(f"(0, {2**80})"))], "damaged"),
    ([(NAME, header(ONE)), ("0.npy", header_of("(-2,)") + bytes(16))], "negative"),
    ([(NAME, header(ONE)), ("0.npy", header_of("(2,)") + bytes(15))], "expected 16 bytes"),
    ([(NAME, header(ONE)), ("0.npy", header_of("(2,)") + bytes(17))], "expected 16 bytes"),
    ([(NAME, header(ONE)), ("0.npy", header_of("(2,)", "'|b1'") + b"\1\7")], "neither True nor False"),
    ([(NAME, header(ONE)), ("0.npy", header_of("(2,)", "__import__('os')") + bytes(16))], "damaged"),
    ([(NAME, header(ONE)), ("0.npy", b"\x93NUMPY\3\0" + bytes(20))], "npy version"),
    ([(NAME, header(ONE)), ("0.npy", b"\x93NUMPY\2\0" + b"\xff" * 4 + bytes(20))], "damaged"),
    ([(NAME, header(ONE)), ("0.npy", b"")], "damaged"),
], ids=itertools.count())  # fmt: skip
def test_a_file_made_to_do_harm_is_refused_with_its_reason(path, members, part):
    sealed(path, members)
    refused(path, part)


def test_a_zip_bomb_is_not_inflated(path):
    sealed(path, [(NAME, header(ONE)), ("0.npy", member(np.zeros(10**6)))], zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 20_000
    refused(path, "compressed")


def test_members_that_overlap_or_claim_more_than_the_file_are_refused(path):
    contents = member(np.zeros(1000))
    sealed(path, [(NAME, header([ONE])), ("0.npy", contents)])
    archive = bytearray(path.read_bytes())
    directory = archive.rindex(b"PK\1\2")
    for place in (20, 24):  # the sizes in the central directory
        archive[directory + place : directory + place + 4] = (len(contents) * 100).to_bytes(4, "little")
    seal(path, bytes(archive[: archive.rindex(b"PK\5\6") + 22]))
    refused(path, "its members claim")


def test_a_member_whose_crc_does_not_fit_is_refused(path):
    sealed(path, [(NAME, header(ONE)), ("0.npy", member(np.zeros(100)))])
    archive = bytearray(path.read_bytes())
    archive[archive.index(bytes(64)) + 5] ^= 1
    seal(path, bytes(archive[: archive.rindex(b"PK\5\6") + 22]))
    refused(path, "CRC")


def test_an_archive_without_its_checksum_or_with_another_comment_is_refused(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(NAME, header(1))
    refused(path, "lost its checksum")
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"hello"
    refused(path, "did not write: b'hello'")


def test_a_missing_file_is_missing_and_not_damaged(path):
    with pytest.raises(FileNotFoundError):
        tg.load_checkpoint(path)


# Written whole or not at all


def left_over(path):
    return [p.name for p in path.parent.iterdir() if p.name != path.name]


def test_a_new_checkpoint_replaces_the_old_and_keeps_its_mode_and_what_links_to_it(path):
    saved(path, 1)
    path.chmod(0o640)
    link = path.parent / "latest"
    link.symlink_to(path.name)
    tg.save_checkpoint(link, 2)
    assert link.is_symlink()
    assert tg.load_checkpoint(path) == 2
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    fresh = saved(path.parent / "fresh")
    plain = path.parent / "plain"
    plain.touch()
    assert fresh.stat().st_mode == plain.stat().st_mode  # as the umask says


@pytest.mark.parametrize("step", ["write", "fsync", "replace", "copymode"])
@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()], ids=repr
)
def test_a_failure_at_any_step_leaves_the_old_file_and_nothing_else(path, monkeypatch, step, error):
    saved(path, "old")

    def fail(*args, **kwargs):
        raise error

    owner, name = {
        "write": (np.lib.format, "write_array"),
        "fsync": (os, "fsync"),
        "replace": (os, "replace"),
        "copymode": (archive.shutil, "copymode"),
    }[step]
    monkeypatch.setattr(owner, name, fail)
    with pytest.raises(type(error)) as caught:
        saved(path)
    monkeypatch.undo()
    if isinstance(error, OSError):
        assert caught.value.errno == errno.ENOSPC
        assert f"cannot write {path}: No space left on device; what was there is as" in str(caught.value)
    assert tg.load_checkpoint(path) == "old"
    assert left_over(path) == []


FILL = """
import resource, signal, sys
import numpy as np
import tensorgrad as tg
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for limit in range(0, 40_000, 1_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        tg.save_checkpoint(sys.argv[1], np.zeros(4_000))
    except OSError as error:
        print(type(error).__name__, error)
    else:
        print("written")
"""


def test_a_disk_that_is_full_at_any_byte_leaves_the_old_file_and_nothing_else(path):
    """The system refuses to let the file grow beyond a limit, as a full disk does."""
    saved(path, "old")
    done = subprocess.run([sys.executable, "-c", FILL, path], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    full = [line for line in lines if "cannot write" in line and "what was there is as it was" in line]
    assert len(full) >= 30
    assert lines == [*full, *["written"] * (len(lines) - len(full))]
    assert lines[-1] == "written"
    assert left_over(path) == []
    np.testing.assert_array_equal(tg.load_checkpoint(path), np.zeros(4_000))


@pytest.fixture
def read_only():
    """A folder with a checkpoint in it, which this process may read but not write, not even as root."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tg.save_checkpoint(folder / "run.npz", "old")
        folder.chmod(0o555)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)  # nobody
        try:
            yield folder
        finally:
            if root:
                os.seteuid(0)
            folder.chmod(0o700)


def test_a_read_only_folder_is_refused(read_only):
    with pytest.raises(PermissionError, match=r"cannot write .*run\.npz: Permission denied"):
        saved(read_only / "run.npz")
    assert tg.load_checkpoint(read_only / "run.npz") == "old"
    assert left_over(read_only / "run.npz") == []


def test_a_missing_folder_and_a_folder_in_the_files_place_are_refused(path):
    with pytest.raises(FileNotFoundError, match=r"cannot write .*missing"):
        tg.save_checkpoint(path.parent / "missing" / "run.npz", 1)
    with pytest.raises(IsADirectoryError, match="it is a folder"):
        tg.save_checkpoint(path.parent, 1)
    assert left_over(path) == []


def test_what_a_killed_process_left_is_removed_after_an_hour_and_nothing_else(path):
    names = [
        ".run.npz.0123456789abcdef.tmp",
        ".run.npz.x.tmp",
        ".other.npz.0123456789abcdef.tmp",
        "run.npz.tmp",
    ]
    for name in names:
        (path.parent / name).touch()
    saved(path)
    assert sorted(left_over(path)) == sorted(names)
    for name in names:
        os.utime(path.parent / name, (time.time() - 4_000,) * 2)
    saved(path)
    assert sorted(left_over(path)) == sorted(names[1:])


SAVE_FOREVER = """
import sys, itertools
import numpy as np
import tensorgrad as tg
for i in itertools.count():
    tg.save_checkpoint(sys.argv[1], {"number": i, "array": np.full(20_000 + i % 7, i)})
    if not i:
        print("started", flush=True)
"""


@pytest.mark.parametrize("kills", [8, pytest.param(60, marks=pytest.mark.slow)])
def test_a_process_killed_at_any_moment_leaves_a_whole_file(path, kills):
    rng = np.random.default_rng(0)
    numbers, cut = set(), 0
    for _ in range(kills):
        with subprocess.Popen([sys.executable, "-c", SAVE_FOREVER, path], stdout=subprocess.PIPE) as process:
            assert process.stdout.readline() == b"started\n"
            time.sleep(rng.uniform(0, 0.05))
            process.send_signal(signal.SIGKILL)
        tree = tg.load_checkpoint(path)
        number = tree["number"]
        np.testing.assert_array_equal(tree["array"], np.full(20_000 + number % 7, number))
        numbers.add(number)
        cut += bool(left_over(path))
        for name in left_over(path):
            (path.parent / name).unlink()
    assert len(numbers) > 1  # some had saved again
    assert cut  # some were killed while they wrote
