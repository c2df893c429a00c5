"""Hypothesis draws the same examples in every run, and no slow machine fails a deadline.

What was collected is out of the garbage collector's way: it would look through all tests each time.
"""

import gc

import helpers  # noqa: F401 - notes which ops are shipped before any test module can register one
import pytest
from browser import EXECUTABLE, Browser
from hypothesis import settings

settings.register_profile("tensorgrad", max_examples=50, derandomize=True, deadline=None, database=None)
settings.load_profile("tensorgrad")


def pytest_collection_finish():
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module")
def browser():
    """A page of Chromium, for all tests of a file."""
    if EXECUTABLE is None:
        pytest.skip("Chromium is not installed")
    browser = Browser()
    yield browser
    browser.close()


# Files of this name have no tests in them, and are all one module to whoever looks for doctests.
collect_ignore_glob = ["conftest.py", "*/conftest.py"]
