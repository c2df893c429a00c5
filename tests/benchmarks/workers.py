"""Each competitor in a process of its own, and the turns that they take."""

import importlib.util
import multiprocessing
import random
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from competitors import (
    Made,
    with_autograd,
    with_compiled,
    with_fit,
    with_jax,
    with_mygrad,
    with_tensorgrad,
    with_torch,
)  # fmt: skip
from networks import NETWORKS, NOTEBOOK
from notebook_step import with_loops

#: Options of `tuned_process` by which a peer too keeps freed memory, its threads being left as they are.
KEEPS: dict[str, Any] = {"blas_threads": None}


@dataclass(frozen=True)
class Competitor:
    module: str  # what must be installed
    make: Callable[..., Made]
    process: dict[str, Any] | None = None  # options of tuned_process; None: the process as it is
    networks: tuple[str, ...] = tuple(NETWORKS)


PLAIN, TUNED, TUNED_BLAS = "tensorgrad", "tensorgrad tuned", "tensorgrad tuned, BLAS threads"
COMPILED = "tensorgrad compiled"
COMPILED_ALONE, COMPILED_LOOP, COMPILED_FIT = (
    f"{COMPILED}, {how}" for how in ("1 thread", "own loop", "fit")
)
TORCH, TORCH_LAST, JAX = "PyTorch", "PyTorch channels_last", "JAX jit"
AUTOGRAD, MYGRAD, LOOPS = "autograd", "MyGrad", "notebook's loops, float64"
ALONE = "PyTorch channels_last, keeps memory, 1 thread"
OURS = (PLAIN, TUNED, TUNED_BLAS, COMPILED, COMPILED_ALONE, COMPILED_LOOP, COMPILED_FIT)

_last = partial(with_torch, channels_last=True)
COMPETITORS = {
    PLAIN: Competitor("numpy", with_tensorgrad),
    TUNED: Competitor("numpy", with_tensorgrad, {}),
    TUNED_BLAS: Competitor("numpy", with_tensorgrad, KEEPS),
    COMPILED: Competitor("numpy", with_compiled),
    COMPILED_ALONE: Competitor("numpy", partial(with_compiled, threads=1)),
    COMPILED_LOOP: Competitor("numpy", partial(with_compiled, own_loop=True)),
    COMPILED_FIT: Competitor("numpy", with_fit),
    TORCH: Competitor("torch", with_torch),
    TORCH_LAST: Competitor("torch", _last),
    "PyTorch, keeps memory": Competitor("torch", with_torch, KEEPS),
    "PyTorch channels_last, keeps memory": Competitor("torch", _last, KEEPS),
    ALONE: Competitor("torch", partial(_last, threads=1), KEEPS),
    "PyTorch compiled": Competitor("torch", partial(with_torch, compiled=True)),
    "PyTorch compiled channels_last, keeps memory": Competitor("torch", partial(_last, compiled=True), KEEPS),
    JAX: Competitor("jax", with_jax),
    "JAX jit, keeps memory": Competitor("jax", with_jax, KEEPS),
    # Convolutions of the larger networks take them seconds to minutes.
    AUTOGRAD: Competitor("autograd", with_autograd, networks=NOTEBOOK),
    MYGRAD: Competitor("mygrad", with_mygrad, networks=NOTEBOOK),
    LOOPS: Competitor("numpy", with_loops, networks=NOTEBOOK),
    f"{LOOPS}, without conv's backward": Competitor(
        "numpy", partial(with_loops, whole=False), networks=("cnn",)
    ),
}


def missing() -> list[str]:
    """The peers that are not installed."""
    return sorted({c.module for c in COMPETITORS.values() if importlib.util.find_spec(c.module) is None})


@dataclass(frozen=True)
class Case:
    network: str
    batch: int
    training: bool

    def __str__(self) -> str:
        kind = "training step" if self.training else "inference"
        return f"{self.network}, batch {self.batch}, {kind}"


def timed_turn(made: Made, training: bool, clock: Callable[[], float]) -> list[float]:
    """Milliseconds of some steps in a row."""
    if training and made.time_steps is not None:
        return made.time_steps(8)[2:]
    return timed(made.train if training else made.infer, clock)


def timed(
    step: Callable[[], object], clock: Callable[[], float], most: int = 8, budget: float = 0.4
) -> list[float]:
    """Milliseconds of steps in a row, after two to warm up; of fewer, at least one, if they are slow."""
    times: list[float] = []
    start = time.perf_counter()
    while len(times) < most and not (times and time.perf_counter() - start > budget):
        before = clock()
        step()
        times.append(1e3 * (clock() - before))
    return times[2:] or times[-1:]


def _serve(connection: Any, label: str, clock: Callable[[], float]) -> None:
    """Answer cases with the times of steps, or with the reason why there are none."""
    competitor = COMPETITORS[label]
    if competitor.process is None:
        settings: Any = nullcontext()
    else:
        from tensorgrad.nn import tuned_process

        settings = tuned_process(**competitor.process)
    made: dict[tuple[str, int], Made] = {}
    warm: set[bool] = set()
    with settings:
        while True:
            case = connection.recv()
            try:
                key = case.network, case.batch
                if key not in made:
                    made.clear()  # one case at a time: what waits must not fill the caches and the memory
                    network = NETWORKS[case.network]
                    made[key] = competitor.make(network, *network.batch(case.batch))
                    warm = set()
                if case.training not in warm:
                    (made[key].train if case.training else made[key].infer)()  # imports and compiles
                    warm.add(case.training)
                connection.send(timed_turn(made[key], case.training, clock))
            except Exception as error:  # torch.compile without a compiler, for one
                connection.send(f"{type(error).__name__}: {str(error).strip().splitlines()[0]}")


@dataclass
class Race:
    """The processes of some competitors, which take turns of a few steps.

    The order of the turns changes from round to round, so that nobody always follows the same one. A pause
    before each turn lets threads that wait for work in a busy loop fall asleep.
    """

    labels: list[str]
    clock: Callable[[], float] = time.perf_counter
    pause: float = 0.05
    silent: dict[str, str] = field(default_factory=dict)  # who failed, and how

    def __enter__(self) -> "Race":
        context = multiprocessing.get_context("spawn")
        self.connections: dict[str, Any] = {}
        self.processes = []
        for label in self.labels:
            self.connections[label], theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, label, self.clock), daemon=True)
            process.start()
            self.processes.append(process)
            theirs.close()
        return self

    def __exit__(self, *error: object) -> None:
        for process in self.processes:
            process.terminate()  # they hold nothing, and one may be in the middle of a long step
            process.join()

    def run(self, case: Case, rounds: int) -> dict[str, list[float]]:
        """Milliseconds of the steps of all who can run the case, in the order of the labels."""
        times: dict[str, list[float]] = {
            label: []
            for label in self.labels
            if label not in self.silent and case.network in COMPETITORS[label].networks
        }
        due = dict.fromkeys(times, 0)
        order = random.Random(0)
        for turn in range(rounds + 1):
            for label in order.sample(sorted(times), len(times)):
                if due[label] > turn:
                    continue
                time.sleep(self.pause)
                self.connections[label].send(case)
                answer = self.connections[label].recv()
                if isinstance(answer, str):
                    del times[label]
                    self.silent[label] = answer
                    continue
                if turn:  # the first turn warms up
                    times[label] += answer
                # One whose turn takes seconds skips as many rounds, but not the last.
                due[label] = max(min(turn + 1 + int(sum(answer) / 1000), rounds), turn + 1)
        return times
