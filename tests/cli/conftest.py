"""A command line that runs in this process."""

import contextlib
import io

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


def leave_plots_out(monkeypatch):
    monkeypatch.setattr(report, "_write_plot", lambda path, figure: path.write_bytes(b""))


@pytest.fixture
def no_plots(monkeypatch):
    """They take a second."""
    leave_plots_out(monkeypatch)


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The folder of a command line that trained from beginning to end, without plots: each is run once."""
    folders = {}

    def finish(*arguments):
        if arguments not in folders:
            path = tmp_path_factory.mktemp("finished")
            unheard = contextlib.redirect_stdout(io.StringIO())
            with pytest.MonkeyPatch.context() as patch, threadpool_limits(1), unheard:
                leave_plots_out(patch)
                assert cli.main([*map(str, arguments), "--out", str(path)]) == 0
            folders[arguments] = path
        return folders[arguments]

    return finish


@pytest.fixture
def folder(finished):
    """A trained network in network.npz, and what training reported."""
    return finished("train", "modern", "--epochs", 2)


@pytest.fixture
def model(folder):
    return folder / "network.npz"
