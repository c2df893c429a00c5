"""A command line that runs in this process."""

import pytest
from threadpoolctl import threadpool_limits

from tensorgrad import cli
from tensorgrad.cli import report


@pytest.fixture(autouse=True)
def one_thread_and_nothing_of_this_machine(monkeypatch):
    """These matrices are small: on busy cores the threads of BLAS wait for one another most of the time."""
    monkeypatch.delenv("TENSORGRAD_DATA_DIR", raising=False)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    with threadpool_limits(1):
        yield


@pytest.fixture
def command(capsys):
    """Runs a command line in this process; gives exit status, output and error output."""

    def run(*arguments):
        try:
            status = cli.main([str(argument) for argument in arguments])
        except SystemExit as end:  # as argparse ends
            status = end.code
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def no_plots(monkeypatch):
    """They take a second."""
    monkeypatch.setattr(report, "_write_plot", lambda path, figure: path.write_bytes(b""))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A trained network in network.npz, and what training reported."""
    path = tmp_path_factory.mktemp("trained")
    arguments = ["train", "modern", "--epochs", "2", "--out", str(path)]
    assert cli.main(arguments) == 0
    return path


@pytest.fixture
def model(folder):
    return folder / "network.npz"
