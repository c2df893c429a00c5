"""What the command line takes: options in a file, the version, exit statuses, pipes."""

import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from tensorgrad.cli import train
from tensorgrad.cli.arguments import parse
from tensorgrad.cli.train import NETWORKS, choose_options


@pytest.fixture
def config(tmp_path):
    """Writes a file of options, and gives its path."""

    def write(text):
        path = tmp_path / "run.toml"
        path.write_text(text)
        return path

    return write


def test_the_options_of_a_file_are_taken_and_overruled(config):
    path = config(
        'network = "modern"\ndata = "mnist"\ndata-dir = "here"\nepochs = 3\nlearning-rate = 0.5\n'
        'flip = true\nschedule = "cosine"\nweight-decay = 0\nout = "runs/a"\nseed = 4\n'
    )
    found = vars(parse(["train", "--config", str(path)]))
    words = (
        "train modern --data mnist --data-dir here --epochs 3 --learning-rate 0.5 --flip --schedule cosine "
        "--weight-decay 0 --out runs/a --seed 4"
    )
    assert found == {**vars(parse(words.split())), "config": path}
    found = parse(["train", "dense", "--config", str(path), "--epochs", "5", "--no-flip"])
    assert (found.network, found.epochs, found.flip, found.learning_rate) == ("dense", 5, False, 0.5)
    assert vars(parse(["train"])) == vars(parse(["train", "--config", str(config(""))])) | {"config": None}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("epoch = 3", "there is no option 'epoch'; there are network, data, data-dir, epochs, batch-size"),
        ("epoch = 3", "dtype, out; did you mean epochs?\n"),
        ("lr = 3", "did you mean learning-rate?\n"),
        ("learning_rate = 3", "there is no option 'learning_rate'"),
        ('config = "x"', "there is no option 'config'"),
        ("resume = true", "there is no option 'resume'"),
        ("help = true", "there is no option 'help'"),
        ("[train]\nepochs = 3", "there is no option 'train'"),
        ("epochs = 0", "argument --epochs: expected an integer of at least 1, got '0'"),
        ("epochs = 1.5", "argument --epochs: expected an integer of at least 1, got '1.5'"),
        ("epochs = true", "expected epochs to be a string or a number, got True"),
        ("epochs = [1]", "expected epochs to be a string or a number, got [1]"),
        ("learning-rate = nan", "argument --learning-rate: expected a number of at least 0, got 'nan'"),
        ("flip = 1", "expected flip to be true or false, got 1"),
        ('network = "transformer"', "argument network: invalid choice: 'transformer'"),
        ('network = "--resume"', "argument network: invalid choice: '--resume'"),
        ('loss = "mae"', "argument --loss: invalid choice: 'mae'"),
        ("epochs 3", "expected a file of TOML"),
        (f"epochs = {'[' * 5000}", "expected a file of TOML"),
        (f"epochs = {'9' * 5000}", "expected a file of TOML"),
        ('out = ""', "argument --out: expected a path, got ''"),
        ('out = "a\\u0000b"', "argument --out: expected a path, got 'a\\x00b'"),
        ('data-dir = ""', "argument --data-dir: expected a path, got ''"),
    ],
)
def test_a_wrong_file_exits_with_2_and_names_itself_and_the_option(command, config, text, told):
    path = config(text)
    status, out, err = command("train", "--config", path)
    assert (status, out) == (2, "")
    assert err.startswith(f"tensorgrad train: error: {path}: ")
    assert told in err


def told_default(text, network):
    """What the help of an option calls the default for a network."""
    for each in re.search(r"\(default: (.*?)(?:; .*)?\)$", text)[1].split(", "):
        value, _, networks = each.partition(" for ")
        if not networks or network in networks.split(" and "):
            return value
    return None


@pytest.mark.parametrize("network", sorted(NETWORKS))
def test_the_help_tells_the_defaults_that_are_used(command, monkeypatch, network):
    monkeypatch.setenv("COLUMNS", "500")  # no word is broken
    options = re.split(r"\n  --(?=[a-z])", command("train", "--help")[1])[1:]
    texts = {re.match(r"[a-z-]+", option)[0].replace("-", "_"): option.rstrip() for option in options}
    used = choose_options(parse(["train", network]))
    del used["network"], used["flip"]
    assert {name: type(value)(told_default(texts[name], network)) for name, value in used.items()} == used
    rate = choose_options(parse(["train", network, "--optimizer", "adam"]))["learning_rate"]
    assert texts["learning_rate"].endswith(f"; {rate} with adam)")


def test_a_file_that_cannot_be_read_exits_with_2(command, tmp_path):
    status, out, err = command("train", "--config", tmp_path / "none.toml")
    assert (status, out) == (2, "")
    assert f"error: {tmp_path / 'none.toml'}: No such file or directory" in err
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    status, out, err = command("train", "--config", tmp_path / "bytes.toml")
    assert (status, out) == (2, "")
    assert f"error: {tmp_path / 'bytes.toml'}: expected a file of TOML" in err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("train", "--resume"), "argument --resume: needs --out"),
        (("train", "--data-dir", "x"), "argument --data-dir: needs --data mnist or fashion-mnist"),
        (("train", "--epoch=1"), "there is no option --epoch; did you mean --epochs?"),
        (("predict", "model.npz"), "the following arguments are required: images"),
        (("draw",), "the following arguments are required: model"),
        (("draw", "model.npz", "--depth", "-1"), "argument --depth: expected an integer of at least 0"),
        (("evaluate", "model.npz", "--data", "cifar"), "argument --data: invalid choice"),
        (("paint",), "invalid choice: 'paint'"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_why(command, arguments, told):
    status, out, err = command(*arguments)
    assert (status, out) == (2, "")
    assert told in err
    line, hint, nothing = err.split("\n")
    assert line.startswith("tensorgrad")
    assert ": error: " in line
    assert re.fullmatch(r"Try tensorgrad( \w+)? --help\.", hint)
    assert nothing == ""


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("trian", "train"), ("train --epoch 5", "--epochs"), ("train --epoch=5", "--epochs"),
        ("train -epochs 5", "--epochs"), ("train --EPOCHS 5", "--epochs"), ("train –epochs 5", "--epochs"),
        ("train --epochs5", "--epochs"), ("train dense --lr 0.1", "--learning-rate"),
        ("train --learning_rate 0.1", "--learning-rate"), ("train --wd 0", "--weight-decay"),
        ("train --bs 3", "--batch-size"), ("train --batch 3", "--batch-size"),
        ("train --optim adam", "--optimizer"), ("train --noflip", "--no-flip"), ("train --sede 1", "--seed"),
        ("train --resum --out x", "--resume"), ("predict --modle m x.npy", None),
        ("evaluate m --dat digits", "--data"), ("draw m --output x.svg", "--out"),
        ("draw m --dept 1", "--depth"), ("audit --ordre 1", "--order"), ("--versoin", "--version"),
        ("train --xyzzy", None),
    ],
)  # fmt: skip
def test_what_is_misspelt_is_told_as_such(command, words, meant):
    status, out, err = command(*words.split())
    assert (status, out) == (2, "")
    assert err.count("\n") == 2
    assert "there is no option " in err or "invalid choice: 'trian'" in err
    assert re.findall(r"did you mean (\S+)\?", err) == ([meant] if meant else [])


def test_the_documentation_shows_what_is_printed(command):
    page = Path(__file__).parents[2] / "docs" / "reference" / "command-line.md"
    shown = re.findall(r"```console\n\$ tensorgrad (.+)\n((?:.+\n)+)```", page.read_text(encoding="utf-8"))
    assert shown
    for words, printed in shown:
        assert command(*words.split())[2] == printed


def test_what_follows_two_dashes_is_no_option(command):
    assert "-x.npz: No such file" in command("predict", "--", "-x.npz", "-x.npy")[2]


PATHS = [
    "train --out {}", "train --data mnist --data-dir {}", "train --config {}", "predict {} x.npy",
    "predict m {}", "evaluate {}", "evaluate m --data mnist --data-dir {}", "draw {}", "draw m --out {}",
]  # fmt: skip


@pytest.mark.parametrize("words", PATHS)
@pytest.mark.parametrize("path", ["", "a\0b", "\0"])
def test_what_can_be_no_path_is_refused(command, words, path):
    status, out, err = command(*(path if word == "{}" else word for word in words.split()))
    assert (status, out) == (2, "")
    assert f": expected a path, got {path!r}\n" in err


# Options that would do nothing


@pytest.mark.parametrize(
    ("words", "option"),
    [
        ("train --optimizer adam --momentum 0.9", "momentum"),
        ("train modern --momentum 0 --optimizer adam", "momentum"),
        ("train --resume", "resume"),
        ("train --data-dir x", "data-dir"),
        ("train --data digits --data-dir x", "data-dir"),
        ("evaluate m --data digits --data-dir x", "data-dir"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(command, config, words, option):
    status, out, err = command(*words.split())
    assert (status, out) == (2, "")
    assert f": error: argument --{option}: needs " in err


def test_so_is_one_in_a_file(command, config):
    path = config("momentum = 0.9\nnetwork = 'modern'")
    assert command("train", "--config", path, "--optimizer", "adam")[:2] == (2, "")
    path = config("momentum = 0.9\noptimizer = 'adam'")
    assert parse(["train", "--config", str(path), "--optimizer", "sgd"]).momentum == 0.9
    assert command("train", "--config", path)[0] == 2


def test_an_angle_that_is_none_exits_with_1_before_anything_is_printed(command):
    status, out, err = command("train", "--rotate", 200)
    assert (status, out) == (1, "")
    assert "180 degrees" in err


def test_the_version_is_printed(command):
    assert command("--version") == (0, f"tensorgrad {version('tensorgrad-numpy')}\n", "")


def test_memory_that_is_not_there_is_told(command, monkeypatch):
    def load(name, data_dir):
        raise MemoryError("Unable to allocate 1 TiB")

    monkeypatch.setattr(train, "load", load)
    assert command("train") == (1, "", "tensorgrad: out of memory: Unable to allocate 1 TiB\n")


PROGRAM = [sys.executable, "-m", "tensorgrad"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no pipes that end a writer")
@pytest.mark.parametrize("arguments", [["train", "dense", "--epochs", "2"], ["--help"]])
def test_a_reader_that_has_seen_enough_is_no_error_to_tell(arguments):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as closed:
        done = subprocess.run([*PROGRAM, *arguments], stdout=closed, stderr=subprocess.PIPE, text=True)
    assert done.stderr == ""
    assert done.returncode in (0, 1)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full on this system")
def test_output_that_cannot_be_written_is_an_error():
    with open("/dev/full", "wb") as full:
        done = subprocess.run([*PROGRAM, "--version"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (1, "tensorgrad: No space left on device\n")


@pytest.mark.skipif(os.name == "nt", reason="Windows closes no streams of a new process")
@pytest.mark.parametrize(
    ("closed", "arguments", "status"),
    [(1, ["--version"], 0), (1, ["draw", "none.npz"], 1), (2, ["paint"], 2)],
)
def test_streams_that_were_closed_are_done_without(closed, arguments, status):
    done = subprocess.run([*PROGRAM, *arguments], preexec_fn=lambda: os.close(closed), capture_output=True)
    assert done.returncode == status
    assert b"Traceback" not in done.stdout + done.stderr
