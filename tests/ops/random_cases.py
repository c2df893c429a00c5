"""A check run for many random cases, in which a warning is an error."""

import warnings

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st


def many(check, cases, examples):
    """Run ``check(rng, case)`` for so many examples of the strategy ``cases``; how many that were."""
    seen = 0

    @settings(max_examples=examples)
    @given(case=cases, seed=st.integers(0, 2**32 - 1))
    def run(case, seed):
        nonlocal seen
        check(np.random.default_rng(seed), case)
        seen += 1

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run()
    return seen
