"""What the machine can do, and what a framework costs beside time: rates, time of import, peak memory."""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def description() -> dict[str, Any]:
    """The machine and the versions in use."""
    from importlib import metadata

    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
    versions = {}
    for name in ("numpy", "torch", "jax", "autograd", "mygrad"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": model,
        "cores": cores,
        "system": platform.system(),
        "python": platform.python_version(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        **versions,
    }


def apart(function: str, *args: Any) -> Any:
    """What a function of this file gives in a fresh process, which imports nothing else before."""
    code = f"import json, machine; print(json.dumps(machine.{function}(*json.loads({json.dumps(args)!r}))))"
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, cwd=HERE
    )
    if found.returncode:
        raise RuntimeError(found.stderr.strip().splitlines()[-1])
    return json.loads(found.stdout.splitlines()[-1])


def sgemm_rates(
    repeats: int = 40, size: int = 1024, clock: str = "perf_counter"
) -> dict[str, dict[str, float]]:
    """GFLOP/s of a float32 product of square matrices, by one thread of the BLAS library and by all."""
    import numpy as np
    from threadpoolctl import threadpool_limits

    rng, read = np.random.default_rng(0), getattr(time, clock)
    a, b = (rng.random((size, size), np.float32) for _ in range(2))
    out = a @ b
    seconds: dict[str, list[float]] = {"1 thread": [], "all threads": []}
    for _ in range(repeats):
        for label, threads in (("1 thread", 1), ("all threads", None)):
            with threadpool_limits(threads, user_api="blas"):
                for timed in (False, True):
                    start = read()
                    np.matmul(a, b, out=out)
                    if timed:
                        seconds[label].append(read() - start)
    flops = 2e-9 * size**3
    return {
        label: {"median": flops / statistics.median(values), "best": flops / min(values)}
        for label, values in seconds.items()
    }


def copy_rates(repeats: int = 60) -> dict[int, float]:
    """GB/s of copying, by bytes read and written: the better of one thread and of all, at several sizes.

    Small arrays stay in the caches, so their rate is several times that of large ones.
    """
    import numpy as np

    from tensorgrad.core.parallel import cores, share

    rates = {}
    for exponent in range(12, 27, 2):
        a = np.zeros(1 << (exponent - 3), np.float32)  # as many bytes are read as are written
        b = np.ones_like(a)
        count = cores()
        pieces = list(zip(np.array_split(a, count), np.array_split(b, count), strict=True))

        def copy(pair: Any) -> None:
            np.copyto(*pair)

        def all_threads(pieces: Any = pieces) -> None:
            share(copy, pieces)

        def one_thread(pair: Any = (a, b)) -> None:
            copy(pair)

        best = min(_seconds(f, repeats) for f in (one_thread, all_threads))
        rates[1 << exponent] = (1 << exponent) / best / 1e9
    return rates


def _seconds(function: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def import_times(rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds that imports take in fresh interpreters, which take turns.

    The last is the time of ``import tensorgrad`` where NumPy has been imported before, in one process: it
    does not suffer from the difference of two noisy numbers.
    """
    clock = "import time; {before}; t = time.perf_counter(); {what}; print(time.perf_counter() - t)"
    programs = {
        "import numpy": clock.format(before="pass", what="import numpy"),
        "import tensorgrad": clock.format(before="pass", what="import tensorgrad"),
        "import tensorgrad after numpy": clock.format(before="import numpy", what="import tensorgrad"),
    }
    times: dict[str, list[float]] = {name: [] for name in programs}
    with tempfile.TemporaryDirectory() as compiled:
        # Compiled files are used, as they are of what is installed, even where none may be written elsewhere.
        environment = {key: v for key, v in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTHONPYCACHEPREFIX"] = compiled
        for turn in range(rounds + 1):
            for name, program in programs.items():
                printed = subprocess.check_output([sys.executable, "-c", program], env=environment)
                if turn:  # the first turn compiles, and reads the files from the disk
                    times[name].append(1e3 * float(printed))
    found = {
        name: {"median": statistics.median(values), "minimum": min(values)} for name, values in times.items()
    }
    numpy, ours = found["import numpy"], found["import tensorgrad"]
    found["import tensorgrad - import numpy"] = {key: ours[key] - numpy[key] for key in ours}
    return found


def peak_mib() -> float:
    """The most memory that this process has held.

    On Linux from /proc: what getrusage says there includes the peak of the process that started this one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10  # macOS counts in bytes


MODULES = {"numpy": ["tensorgrad"], "autograd": ["autograd.numpy", "autograd.scipy.signal"]}


def training_memory(label: str, name: str, batch: int, steps: int = 30) -> dict[str, float]:
    """MiB at the peak: after the imports, after a step on one image (frameworks import more when they are
    used first, and compile), and after some training steps.
    """
    from contextlib import nullcontext
    from importlib import import_module

    from networks import NETWORKS
    from workers import COMPETITORS

    competitor = COMPETITORS[label]
    for module in MODULES.get(competitor.module, [competitor.module]):
        import_module(module)
    if competitor.process is None:
        settings: Any = nullcontext()
    else:
        import threadpoolctl  # noqa: F401 - before the memory of the imports is measured

        from tensorgrad.nn import tuned_process

        settings = tuned_process(**competitor.process)
    imported = peak_mib()
    with settings:
        competitor.make(NETWORKS[name], *NETWORKS[name].batch(1)).train()
        started = peak_mib()
        made = competitor.make(NETWORKS[name], *NETWORKS[name].batch(batch))
        for _ in range(steps):
            made.train()
        return {"imported": imported, "started": started, "peak": peak_mib()}
