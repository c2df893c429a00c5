"""Whether C can be written for an op: found by writing it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgrad.audit.sample import Sample
from tensorgrad.core import Op
from tensorgrad.core.checks import NDArray
from tensorgrad.graph.export.lowerings import C_RULES
from tensorgrad.graph.native.expansions import Expansion
from tensorgrad.graph.native.record import UncompilableError, record
from tensorgrad.graph.native.variant import plan_program


def is_written(op: Op[Any], sample: Sample) -> bool:
    """Whether a call of an op can be written in C; no compiler is asked."""
    function, arrays = bind(op, sample)
    try:
        with np.errstate(all="ignore"):
            recording = record(function, arrays, [f"x{i}" for i in range(len(arrays))], False)
            plan_program(Expansion(recording, C_RULES), None)
    except UncompilableError:
        return False
    return True


def bind(op: Op[Any], sample: Sample, dtype: str = "float64") -> tuple[Callable[..., Any], list[NDArray]]:
    """A sample as a function of its arrays, and these, of that dtype if they are real."""
    args = sample.args(np.random.default_rng(0))
    arrays = [x for x in args if isinstance(x, np.ndarray)]

    def call(*given: Any) -> Any:
        rest = iter(given)
        return op(*(next(rest) if isinstance(x, np.ndarray) else x for x in args), **sample.params)

    return call, [x.astype(dtype) if x.dtype.kind == "f" else x for x in arrays]
