"""Run the checks of some random programs in code that watches its memory and its arithmetic.

``python sanitized.py COUNT`` stops at the first fault; AddressSanitizer's library is to be loaded first.
"""

import os
import sys

import numpy as np
import test_random_programs

import tensorgrad as tg
from tensorgrad.graph.native import variant

FLAGS = "-O0 -g -fsanitize=address,undefined -fno-sanitize-recover=all"


def overrun() -> None:
    """Let a program write behind an array, to see that this is found."""
    w = tg.Parameter(np.ones((6, 3)), name="w")
    loss = tg.compile(lambda x: tg.sum(x @ w))
    x = np.ones((20, 6))
    loss(x)
    (code,) = loss._variants.values()
    code.run([x[:3].copy()], 1)


if __name__ == "__main__":
    os.environ.pop("LD_PRELOAD", None)  # of this process, not of the compiler
    variant.build = test_random_programs.make_builder(sys.argv[2], *FLAGS.split())
    if sys.argv[1] == "overrun":
        overrun()
    for seed in range(int(sys.argv[1])):
        with np.errstate(all="ignore"):
            test_random_programs.check(seed)
    print(f"{sys.argv[1]} programs")
