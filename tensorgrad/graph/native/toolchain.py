"""C source turned into a loaded library by the system's compiler, once: a folder of the user's keeps it."""

from __future__ import annotations

__all__ = ["NoCompilerError"]

import ctypes
import hashlib
import importlib.util
import os
import platform
import shlex
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from multiprocessing.util import Finalize
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen, TimeoutExpired, run

TIME_LIMIT = 120.0  # seconds for a compiler
ROOM = 2**22  # bytes that a compiler may need
MOST_FILES = 200  # in the cache; a network's is a tenth of a megabyte

# Nothing that takes away NaN, infinities or the order of sums. Contraction makes fused multiply-adds, which
# round once instead of twice; nobody reads errno or the processor's exception flags.
# A pointer of the wrong type, which takes whole numbers for real ones, is no warning.
FLAGS = (
    "-std=gnu11", "-fPIC", "-pthread", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math",
    "-Werror=incompatible-pointer-types",
)  # fmt: skip

_FORMAT = "1"  # to be raised when libraries of an earlier version must not be loaded
_ADVICE = "install a C compiler (pip install ziglang), or name one that works in the variable CC"

# Stands behind every source: a new library shows in a process of its own that this processor knows its
# instructions and counts right with them.
_TEST = """
typedef float tensorgrad_lanes __attribute__((vector_size(64)));
int tensorgrad_test(void) {
    volatile float start = 1.5f;
    tensorgrad_lanes sum = {0};
    for (int i = 0; i < 8; i++) sum += (start - (tensorgrad_lanes){0}) * (float)i;
    return sum[0] != 42 || sum[15] != 42;
}
"""
_RUN = "import ctypes, sys; sys.exit(ctypes.CDLL(sys.argv[1]).tensorgrad_test() and 'wrong sums')"


class NoCompilerError(RuntimeError):
    """Nothing here makes machine code that runs here. One line says what was tried and what to do."""


@dataclass(frozen=True)
class Built:
    """A library in memory, and how it came there."""

    functions: ctypes.CDLL
    compiler: str  # as the user calls it: cc
    seconds: float  # that `build` took
    cached: bool
    path: Path
    note: str  # why the user's cache was not used, or nothing


def build(source: str, *, optimize: str = "-O3") -> Built:
    """The library of a C source: compiled, or from the cache if it has been compiled before.

    The compiler is the one in the variable CC, else the first of ``cc``, ``gcc``, ``clang`` and ``zig cc``
    (in the package ziglang) whose code passes a test in a process of its own. It compiles for this processor
    or, if that code does not run, for any of its kind. What a compiler made of a source is kept in
    ``~/.cache/tensorgrad/native`` (macOS: ``~/Library/Caches``; the variables XDG_CACHE_HOME and, before it,
    TENSORGRAD_CACHE_DIR name another place); of many, those used last stay. Where that cannot be written,
    or others than the user could change it, the library stands in a temporary folder until the process ends.

    A library that is in memory already is handed out again, with what its variables hold.

    Parameters
    ----------
    source : str
        C11 with GCC's vector types. It may use the C library, its mathematics and threads.
    optimize : str
        Flags that come after all others, so that they win.

    Raises
    ------
    NoCompilerError
        If there is no compiler, it fails, takes more than 120 seconds, or makes code that does not run; if no
        folder can be written; on systems other than Linux and macOS.

    >>> from tensorgrad.graph.native.toolchain import build
    >>> build("int answer(void) { return 42; }").functions.answer()
    42
    """
    start = time.perf_counter()
    if platform.system() not in ("Linux", "Darwin"):
        raise NoCompilerError(f"machine code is loaded on Linux and macOS only, not on {platform.system()}")
    try:
        compilers = _find_compilers(optimize)
        folder, note = _open_cache()
        try:
            compiler, path, cached = _find_or_make(source, compilers, folder)
        except OSError as error:  # the disk is full, or read only
            folder, note = _private_folder(os.getpid()), f"not kept: {error}"
            compiler, path, cached = _find_or_make(source, compilers, folder)
        library = ctypes.CDLL(str(path))
    except TimeoutExpired as error:
        raise NoCompilerError(f"{error.cmd[0]} was ended after {TIME_LIMIT:g} s; {_ADVICE}") from None
    except (OSError, ValueError) as error:  # no room for temporary files; a quote in CC that is not closed
        raise NoCompilerError(f"nothing can be compiled: {error}; {_ADVICE}") from error
    return Built(library, compiler.name, time.perf_counter() - start, cached, path, note)


@dataclass(frozen=True)
class _Compiler:
    name: str
    command: list[str]
    flags: list[str]

    def key(self, source: str) -> str:
        """What the library of a source is kept under: another key if anything that makes it changes.

        A program is known by its path, time and size, one of which changes when its version does.
        """
        facts = [_FORMAT, _describe_processor(), *platform.libc_ver(), *self.command, *self.flags, source]
        for program in filter(None, map(shutil.which, self.command)):
            status = os.stat(program)
            facts.append(f"{os.path.realpath(program)} {status.st_mtime_ns} {status.st_size}")
        return hashlib.sha256("\0".join(facts).encode()).hexdigest()[:32]

    def make(self, source: str, folder: Path) -> Path:
        """The library in a folder: compiled beside, tested and renamed, so there as a whole or not at all."""
        with tempfile.TemporaryDirectory(dir=folder, suffix=".so") as work:
            library = Path(work, "step.so")
            library.write_bytes(bytes(ROOM))  # a full disk is found here: compilers tell it in many ways
            Path(work, "step.c").write_text(source + _TEST, encoding="utf-8")
            command = [*self.command, *self.flags, "step.c", "-o", "step.so", "-lm"]
            # zig keeps what it made of the C library; where it cannot, it hangs.
            zig = {"ZIG_GLOBAL_CACHE_DIR": str(folder / "zig"), "ZIG_LOCAL_CACHE_DIR": work}
            _run(f"{self.name} fails", command, work, **zig)
            command = [sys.executable, "-I", "-S", "-X", "faulthandler", "-c", _RUN, str(library)]
            _run(f"what {self.name} makes does not run here", command, work)
            library.chmod(0o600)
            digest = hashlib.sha256(library.read_bytes()).hexdigest()
            return library.rename(folder / f"{self.key(source)}-{digest}.so")


def _find_compilers(optimize: str) -> list[_Compiler]:
    """What to try: each compiler for this processor, then for any of its kind; CC alone if there is one.

    A processor that is named in CC stands, as ``gcc -march=x86-64-v3``.
    """
    chosen = shlex.split(os.environ.get("CC", ""))
    last = [word for word in chosen if word.startswith("-m") and word != "-m"] + shlex.split(optimize)
    package = importlib.util.find_spec("ziglang")
    zig = str(Path(package.origin).with_name("zig")) if package and package.origin else "zig"
    commands = [chosen] if chosen else [["cc"], ["gcc"], ["clang"], [zig, "cc"]]
    common = [*FLAGS, "-dynamiclib" if platform.system() == "Darwin" else "-shared"]
    native = "-march=native" if platform.machine() == "x86_64" else "-mcpu=native"
    compilers = [
        _Compiler(" ".join([Path(program).name, *words]), [os.path.abspath(path), *words], [*flags, *last])
        for program, *words in commands
        if (path := shutil.which(program)) is not None
        for flags in ([*common, native], common)
    ]
    if not compilers:
        raise NoCompilerError(f"no C compiler: {', '.join(map(shlex.join, commands))} not found; {_ADVICE}")
    return compilers


def _find_or_make(source: str, compilers: list[_Compiler], folder: Path) -> tuple[_Compiler, Path, bool]:
    """The library from any of the compilers, or from the first whose code runs; whether it was there."""
    for compiler in compilers:
        for path in _find(folder, compiler.key(source)):
            with suppress(OSError):  # read only
                os.utime(path)
            return compiler, path, True
    faults = []
    for compiler in compilers:
        try:
            path = compiler.make(source, folder)
            _make_room(folder)
            return compiler, path, False
        except NoCompilerError as error:
            faults.append(str(error))
    raise NoCompilerError(f"{'; '.join(dict.fromkeys(faults))}; {_ADVICE}")


def _run(failure: str, command: list[str], folder: str, **variables: str) -> None:
    """Run a program, or say in a line how it failed. At the time limit it ends with all that it started."""
    env = os.environ | variables | {"LC_ALL": "C", "TMPDIR": folder}
    with Popen(command, cwd=folder, env=env, process_group=0, stdout=PIPE, stderr=STDOUT) as process:
        try:
            output = process.communicate(timeout=TIME_LIMIT)[0].decode(errors="replace")
        except BaseException:  # Ctrl-C too, of which a group of its own is not told
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode:
        lines = [line.strip() for line in output.splitlines() if line.strip()]
        lines = [line for line in lines if "error" in line.lower()] or lines or [f"exit {process.returncode}"]
        raise NoCompilerError(f"{failure}: {lines[0]}")


def _open_cache() -> tuple[Path, str]:
    """The user's folder of libraries, or a private one and why."""
    caches = "Library/Caches" if platform.system() == "Darwin" else ".cache"
    try:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / caches
        folder = Path(os.environ.get("TENSORGRAD_CACHE_DIR") or Path(home, "tensorgrad"), "native")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = folder.parent.resolve() / folder.name
        _require_private(folder)
        return folder, ""
    except (OSError, RuntimeError, KeyError) as error:  # KeyError: the user or a group has no name
        return _private_folder(os.getpid()), f"not kept: {error}"


def _require_private(path: Path) -> None:
    """PermissionError if others than the user and root could change a file or folder."""
    for place in (path, *path.parents):
        status = place.lstat()
        owners, shared = {os.getuid()}, status.st_mode & 0o022
        if place != path:
            owners |= {0, 65534}  # root, and root as a container with its own numbers shows it
            own_group = shared == 0o020 and place.owner() == place.group()  # as many systems make them
            shared = 0 if own_group or status.st_mode & 0o1000 else shared  # sticky: others rename nothing
        if shared or status.st_uid not in owners or place.is_symlink():
            raise PermissionError(f"{place} is a link, belongs to another user or can be written by others")


@cache
def _private_folder(process: int) -> Path:
    """A folder of this process and no other, removed when it ends."""
    folder = Path(tempfile.mkdtemp(prefix="tensorgrad-"))
    # Unlike atexit it is told when a child of multiprocessing ends, and leaves a parent's folder alone.
    Finalize(None, shutil.rmtree, (folder, True), exitpriority=0)
    return folder


def _find(folder: Path, key: str) -> Iterator[Path]:
    """The libraries kept under a key; one that does not hold what its name says is removed."""
    for path in folder.glob(f"{key}-*.so"):
        with suppress(OSError):  # another process has removed it, or others could change it
            _require_private(path)
            if path.stem == f"{key}-{hashlib.sha256(path.read_bytes()).hexdigest()}":
                yield path
            else:
                path.unlink()


def _make_room(folder: Path) -> None:
    """Remove what was used the longest ago, if there is much: also the work of a process that was killed."""
    with suppress(OSError):  # another process has removed it
        for path in sorted(folder.glob("*.so"), key=lambda path: -path.stat().st_mtime)[MOST_FILES:]:
            (shutil.rmtree if path.is_dir() else os.remove)(path)


@cache
def _describe_processor() -> str:
    """The processor's model and instructions."""
    if platform.system() == "Darwin":
        return run(["/usr/sbin/sysctl", "machdep.cpu", "hw.optional"], capture_output=True, text=True).stdout
    known = ("model name", "flags", "CPU ", "Features", "isa", "cpu\t")  # on x86, ARM, RISC-V, POWER
    first = Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("\n\n")[0]
    return platform.machine() + "".join(line for line in first.splitlines() if line.startswith(known))
