"""C becomes a library once, and nobody but the user can change what is loaded; each refusal is one line."""

import errno
import importlib.util
import os
import platform
import shutil
import signal
import subprocess
import sys
import threading
import time
from ctypes import c_double
from pathlib import Path

import pytest

from tensorgrad.graph.native import toolchain
from tensorgrad.graph.native.toolchain import NoCompilerError, build

pytestmark = [
    pytest.mark.skipif(
        platform.system() not in ("Linux", "Darwin"), reason="machine code is not loaded here"
    ),
    pytest.mark.skipif(shutil.which("cc") is None, reason="no cc"),
]

SOURCE = "int answer(void) { return 42; }"
CC = shutil.which("cc")
BUILD = f"from tensorgrad.graph.native.toolchain import build; built = build({SOURCE!r}); "
REFUSED = "is a link, belongs to another user or can be written by others"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The folder of the cache, which is not there yet."""
    monkeypatch.setenv("TENSORGRAD_CACHE_DIR", str(tmp_path / "cache"))
    for name in ("CC", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    toolchain._private_folder.cache_clear()
    toolchain._describe_processor.cache_clear()
    return tmp_path / "cache" / "native"


@pytest.fixture
def compiler(tmp_path, monkeypatch):
    """Make a shell script the compiler, alone on the PATH or in CC."""

    def make(script, name="fake", choose=True):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o700)
        if choose:
            monkeypatch.setenv("CC", str(path))
        return path

    return make


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """A PATH without a compiler, and no ziglang."""
    (tmp_path / "bin").mkdir(exist_ok=True)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


@pytest.fixture
def mount(tmp_path):
    """Mount a small disk; the test is skipped where that is not allowed."""
    mounted = []

    def make(options):
        path = tmp_path / f"disk{len(mounted)}"
        path.mkdir()
        if platform.system() != "Linux" or os.getuid() != 0:
            pytest.skip("mounting needs Linux and root")
        command = ["mount", "-t", "tmpfs", "-o", f"mode=0700,{options}", "tmpfs", str(path)]
        if subprocess.run(command, capture_output=True).returncode:
            pytest.skip("mounting is not allowed here")
        mounted.append(path)
        return path

    yield make
    for path in mounted:
        subprocess.run(["umount", "-l", str(path)], check=True)


def refusal(source=SOURCE):
    """The one line of a refusal."""
    with pytest.raises(NoCompilerError) as caught:
        build(source)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def python(code, **variables):
    return subprocess.Popen(
        [sys.executable, "-c", code], env=os.environ | variables, stdout=subprocess.PIPE, text=True
    )


def output_of(code, **variables):
    process = python(code, **variables)
    output = process.communicate(timeout=100)[0]
    assert process.returncode == 0
    return output.strip()


def count_processes(monkeypatch):
    """A list that grows by each process that is started."""
    commands, start = [], toolchain.Popen

    def counting(command, **options):
        commands.append(command)
        return start(command, **options)

    monkeypatch.setattr(toolchain, "Popen", counting)
    return commands


# Built once


def test_built_then_from_the_cache_without_a_process(folder, monkeypatch):
    commands = count_processes(monkeypatch)
    first = build(SOURCE)
    assert (first.functions.answer(), first.compiler, first.cached, first.note) == (42, "cc", False, "")
    assert first.path.parent == folder
    assert os.listdir(folder) == [first.path.name]
    assert folder.stat().st_mode & 0o777 == 0o700
    assert first.path.stat().st_mode & 0o777 == 0o600
    assert len(commands) == 2  # the compiler, and the test

    again = build(SOURCE)
    assert (again.functions.answer(), again.cached, again.path) == (42, True, first.path)
    assert len(commands) == 2
    assert output_of(BUILD + "print(built.functions.answer(), built.cached)") == "42 True"


def test_cache_takes_less_than_50_ms():
    build(SOURCE)
    assert min(build(SOURCE).seconds for _ in range(5)) < 0.05


def test_another_library_for_another_source_flags_processor(monkeypatch):
    paths = [build(SOURCE).path, build(SOURCE + " ").path, build(SOURCE, optimize="-O1").path]
    monkeypatch.setattr(toolchain, "_describe_processor", lambda: "another")
    paths.append(build(SOURCE).path)
    monkeypatch.setattr(toolchain, "_FORMAT", "another")
    paths.append(build(SOURCE).path)
    assert len(set(paths)) == 5


def test_flags_of_the_caller_come_last():
    assert build("int answer(void) { return ANSWER; }", optimize="-O0 -DANSWER=7").functions.answer() == 7


def test_a_new_version_of_the_compiler_compiles_anew(compiler):
    program = compiler(f'exec {CC} "$@"')
    first = build(SOURCE)
    assert build(SOURCE).cached
    program.write_text(f'#!/bin/sh\nexec {CC} -DNEW "$@"\n')
    second = build(SOURCE)
    assert not second.cached
    assert second.path != first.path


def test_two_sources_are_two_libraries_in_one_process():
    libraries = [build(f"int answer(void) {{ return {number}; }}").functions for number in range(3)]
    assert [library.answer() for library in libraries] == [0, 1, 2]


def test_what_the_flags_promise():
    """NaN, infinities and the order of a sum stay; mathematics and threads are linked."""
    library = build("""
        #include <math.h>
        #include <pthread.h>
        static void *set(void *place) { *(int *)place = 1; return 0; }
        int is_nan(double x) { return x != x && isnan(x) && isinf(exp(800 + x * 0) + x) == 0; }
        double add(double x, double y) { return (x + y) - x; }
        int run(void) {
            pthread_t thread; int place = 0;
            pthread_create(&thread, 0, set, &place);
            pthread_join(thread, 0);
            return place;
        }""").functions
    library.add.restype = c_double
    assert library.is_nan(c_double(float("nan"))) == 1
    assert library.add(c_double(1e20), c_double(1.0)) == 0
    assert library.run() == 1


# Compilers


def test_a_compiler_that_fails(compiler):
    compiler('echo "In file step.c:"; echo "step.c:3:1: error: boom" >&2; echo "error: more"; exit 1')
    assert refusal() == (
        "fake fails: step.c:3:1: error: boom; "
        "install a C compiler (pip install ziglang), or name one that works in the variable CC"
    )


@pytest.mark.parametrize(
    ("script", "fault"),
    [("exit 3", "exit 3"), ("echo; echo no licence; exit 1", "no licence"), ("kill -9 $$", "exit -9")],
)
def test_a_compiler_that_fails_with_few_words(compiler, script, fault):
    compiler(script)
    assert refusal().startswith(f"fake fails: {fault}; install")


def test_a_source_that_is_wrong(folder):
    assert "cc fails: step.c:1:" in refusal("int answer(void) { return nothing; }")
    assert os.listdir(folder) == []


def test_a_compiler_that_hangs(compiler, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(toolchain, "TIME_LIMIT", 0.5)
    program = compiler(f"sleep 1000 & echo $! >> {tmp_path}/pids; wait")
    assert refusal().startswith(f"{program} was ended after 0.5 s; install")
    (pid,) = (tmp_path / "pids").read_text().split()  # it was tried once
    assert has_ended(int(pid))
    assert os.listdir(folder) == []


def has_ended(pid):
    """Whether a process ends within some seconds; where nobody waits for it, it stays as a zombie."""
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        state = Path(f"/proc/{pid}/stat")
        if state.exists() and ") Z " in state.read_text():
            return True
        time.sleep(0.05)
    return False


def test_ctrl_c_ends_the_compiler(compiler, folder, tmp_path):
    compiler(f"sleep 1000 & sleep 0.2; echo $! > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid; wait")
    process = python(
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"try:\n    {BUILD}\nexcept KeyboardInterrupt:\n    print('interrupted')"
    )
    while not (tmp_path / "pid").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=50)[0] == "interrupted\n"
    assert has_ended(int((tmp_path / "pid").read_text()))
    assert os.listdir(folder) == []


@pytest.mark.parametrize("script", ["echo garbage > step.so", "rm step.so", "exit 0"])
def test_a_compiler_that_makes_garbage(compiler, folder, script):
    compiler(script)
    assert refusal().startswith("what fake makes does not run here: OSError: ")
    assert os.listdir(folder) == []


ILLEGAL = "#include <signal.h>\n__attribute__((constructor)) static void die(void) { raise(SIGILL); }\n"


def test_instructions_that_this_processor_does_not_know(compiler, folder, tmp_path, monkeypatch):
    """Code for the native processor dies; code for any of its kind runs, and is remembered."""
    (tmp_path / "die.h").write_text(ILLEGAL)
    compiler(f'case "$*" in *=native*) set -- -include {tmp_path}/die.h "$@";; esac; exec {CC} "$@"')
    built = build(SOURCE)
    assert (built.functions.answer(), built.cached, built.note) == (42, False, "")
    assert os.listdir(folder) == [built.path.name]
    monkeypatch.setattr(toolchain, "Popen", None)
    assert build(SOURCE).cached


def test_no_code_that_this_processor_knows(compiler, folder, tmp_path):
    (tmp_path / "die.h").write_text(ILLEGAL)
    compiler(f'exec {CC} -include {tmp_path}/die.h "$@"')
    fault = "what fake makes does not run here: Fatal Python error: Illegal instruction; install"
    assert refusal().startswith(fault)
    assert os.listdir(folder) == []


def test_code_that_counts_wrong(compiler):
    compiler(f'sed "s/42/43/g" step.c > wrong.c; mv wrong.c step.c; exec {CC} "$@"')
    assert refusal().startswith("what fake makes does not run here: wrong sums; install")


def test_cc_with_arguments(compiler, tmp_path, monkeypatch):
    program = compiler(f'echo "$@" >> {tmp_path}/log; exec {CC} "$@"', choose=False)
    monkeypatch.setenv("CC", f"'{program}' -DANSWER='4 + 3' -O0")
    built = build("int answer(void) { return ANSWER; }")
    assert (built.functions.answer(), built.compiler) == (7, "fake -DANSWER=4 + 3 -O0")
    assert (tmp_path / "log").read_text().startswith("-DANSWER=4 + 3 -O0 -std=gnu11 ")


@pytest.mark.skipif(platform.machine() != "x86_64", reason="names a processor of another kind")
def test_a_processor_named_in_cc_stands(monkeypatch):
    monkeypatch.setenv("CC", "cc -march=x86-64")
    source = "int answer(void) {\n#ifdef __AVX__\n    return 1;\n#endif\n    return 0;\n}"
    assert build(source).functions.answer() == 0


@pytest.mark.parametrize(
    ("chosen", "fault"),
    [
        ("no-such-compiler -m64", "no C compiler: no-such-compiler -m64 not found; install"),
        ("'cc", "nothing can be compiled: No closing quotation; install"),
    ],
)
def test_cc_that_cannot_be_used_is_told(monkeypatch, chosen, fault):
    monkeypatch.setenv("CC", chosen)
    assert refusal().startswith(fault)


def test_no_compiler(alone):
    assert refusal() == (
        "no C compiler: cc, gcc, clang, zig cc not found; "
        "install a C compiler (pip install ziglang), or name one that works in the variable CC"
    )


def test_the_first_compiler_that_works(alone, compiler):
    compiler("echo error: cc is broken; exit 1", name="cc", choose=False)
    compiler("exit 0", name="gcc", choose=False)
    assert "cc fails: error: cc is broken; what gcc makes does not run here: OSError" in refusal()
    path = "/usr/bin:/bin"  # of the tools that a compiler needs
    compiler(f'PATH={path} exec {CC} "$@"', name="clang", choose=False)
    assert build(SOURCE).compiler == "clang"
    assert build(SOURCE).cached


def test_ziglang_where_nothing_else_is(compiler, folder, tmp_path, monkeypatch):
    """The package's program is taken, with a folder that can be written: zig hangs without one."""
    package = tmp_path / "site" / "ziglang"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.setenv("PATH", str(tmp_path))
    compiler(f'echo "$ZIG_GLOBAL_CACHE_DIR $1" > {tmp_path}/log; shift; PATH=/usr/bin:/bin exec {CC} "$@"')
    (tmp_path / "bin" / "fake").rename(package / "zig")
    monkeypatch.delenv("CC")
    built = build(SOURCE)
    assert (built.functions.answer(), built.compiler) == (42, "zig cc")
    assert (tmp_path / "log").read_text() == f"{folder}/zig cc\n"


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ziglang") is None, reason="ziglang (411 MB) is not installed")
def test_real_ziglang_where_nothing_else_is(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", "/proc/nobody")  # it is not asked
    first = build(SOURCE)
    assert (first.functions.answer(), first.compiler, first.cached) == (42, "zig cc", False)
    assert build(SOURCE).cached


def test_no_loading_on_other_systems(monkeypatch):
    monkeypatch.setattr(platform, "system", lambda: "Windows")
    assert refusal() == "machine code is loaded on Linux and macOS only, not on Windows"


def test_macos(compiler, tmp_path, monkeypatch):
    """Its flags, its folder and how it tells its processor."""
    compiler(f'echo "$@" > {tmp_path}/log; shift; exec {CC} -shared -fPIC step.c -o step.so')
    for name, value in (("system", "Darwin"), ("machine", "arm64")):
        monkeypatch.setattr(platform, name, lambda value=value: value)
    monkeypatch.delenv("TENSORGRAD_CACHE_DIR")
    monkeypatch.setenv("HOME", str(tmp_path))
    asked = []

    def run(command, **options):
        asked.append(command)
        return subprocess.CompletedProcess(command, 0, stdout="machdep.cpu.brand_string: Apple M2\n")

    monkeypatch.setattr(toolchain, "run", run)
    built = build(SOURCE)
    assert built.path.parent == tmp_path / "Library" / "Caches" / "tensorgrad" / "native"
    assert asked == [["/usr/sbin/sysctl", "machdep.cpu", "hw.optional"]]
    flags = (tmp_path / "log").read_text().split()
    assert {"-dynamiclib", "-mcpu=native"} <= set(flags)
    assert not {"-shared", "-march=native"} & set(flags)


@pytest.mark.skipif(platform.system() != "Linux", reason="reads /proc")
def test_the_processor_is_told_by_model_and_instructions():
    told = toolchain._describe_processor()
    assert told.startswith(platform.machine())
    assert "MHz" not in told  # it changes
    if platform.machine() == "x86_64":
        assert "model name" in told
        assert " sse2 " in told


# The cache


def flip_a_bit(path):
    code = bytearray(path.read_bytes())
    code[len(code) // 2] ^= 1
    path.write_bytes(code)


def truncate(path):
    os.truncate(path, 1000)


def rename(path):
    """Without its hash."""
    path.rename(path.with_stem(path.stem[:33]))


def exchange(path):
    """For a library of another source."""
    other = build("int answer(void) { return 666; }").path
    other.replace(path)


@pytest.mark.parametrize("poison", [flip_a_bit, truncate, rename, exchange])
def test_a_file_that_does_not_match_its_hash_is_made_anew(folder, poison):
    assert output_of(BUILD + "print(built.cached)") == "False"
    (path,) = folder.iterdir()
    before = path.read_bytes()
    poison(path)
    again = build(SOURCE)
    assert (again.functions.answer(), again.cached, again.path) == (42, False, path)
    assert path.read_bytes() == before
    assert os.listdir(folder) == [path.name]


def test_a_link_in_the_folder_is_not_followed(folder, tmp_path):
    path = build(SOURCE).path
    path.rename(tmp_path / "elsewhere.so")
    path.symlink_to(tmp_path / "elsewhere.so")
    assert not build(SOURCE).cached
    assert not path.is_symlink()


@pytest.mark.parametrize("mode", [0o770, 0o702])
def test_a_folder_that_others_can_write(folder, mode):
    build(SOURCE)
    folder.chmod(mode)
    built = build(SOURCE)
    assert (built.functions.answer(), built.cached, built.note) == (
        42,
        False,
        f"not kept: {folder} {REFUSED}",
    )
    assert folder not in built.path.parents
    assert built.path.parent.stat().st_mode & 0o777 == 0o700
    assert build(SOURCE).cached  # for this process
    folder.chmod(0o700)
    assert (build(SOURCE).path.parent, build(SOURCE).note) == (folder, "")


def test_a_file_that_others_can_write(folder):
    path = build(SOURCE).path
    path.chmod(0o622)
    built = build(SOURCE)
    assert (built.cached, built.path, built.note) == (False, path, "")
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_folder_that_is_a_link(folder, tmp_path):
    build(SOURCE)
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    built = build(SOURCE)
    assert (built.functions.answer(), built.cached, built.note) == (
        42,
        False,
        f"not kept: {folder} {REFUSED}",
    )


def test_a_folder_of_another_user(folder, monkeypatch):
    build(SOURCE)
    stranger = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: stranger)
    built = build(SOURCE)
    assert (built.functions.answer(), built.cached, built.note) == (
        42,
        False,
        f"not kept: {folder} {REFUSED}",
    )


@pytest.mark.parametrize(
    ("mode", "group", "fine"),
    [(0o777, "ann", False), (0o1777, "all", True), (0o775, "ann", True), (0o775, "all", False)],
)
def test_a_folder_above_that_others_can_write(folder, mode, group, fine, monkeypatch):
    """They could exchange the one below; but not in a sticky folder, and a user's own group is the user."""
    monkeypatch.setattr(Path, "owner", lambda path: "ann")
    monkeypatch.setattr(Path, "group", lambda path: group)
    build(SOURCE)
    folder.parent.chmod(mode)
    built = build(SOURCE)
    assert (built.cached, built.note) == (fine, "" if fine else f"not kept: {folder.parent} {REFUSED}")


def test_a_cache_reached_by_a_link(folder, tmp_path, monkeypatch):
    """As where ~/.cache is on another disk: what it leads to is checked and taken."""
    (tmp_path / "link").symlink_to(tmp_path / "cache")
    monkeypatch.setenv("TENSORGRAD_CACHE_DIR", str(tmp_path / "link"))
    folder.parent.mkdir()
    assert build(SOURCE).path.parent == folder


def test_places_of_the_cache(tmp_path, monkeypatch):
    monkeypatch.delenv("TENSORGRAD_CACHE_DIR")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    if platform.system() == "Linux":
        assert build(SOURCE).path.parent == tmp_path / "home" / ".cache" / "tensorgrad" / "native"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert build(SOURCE).path.parent == tmp_path / "xdg" / "tensorgrad" / "native"
    monkeypatch.setenv("TENSORGRAD_CACHE_DIR", str(tmp_path / "own"))
    assert build(SOURCE).path.parent == tmp_path / "own" / "native"


def test_no_home(monkeypatch):
    def fail():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("TENSORGRAD_CACHE_DIR")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(Path, "home", fail)
    built = build(SOURCE)
    assert (built.functions.answer(), built.note) == (42, "not kept: Could not determine home directory.")


def test_a_home_that_is_no_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("TENSORGRAD_CACHE_DIR")
    (tmp_path / "home").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    built = build(SOURCE)
    assert built.functions.answer() == 42
    assert built.note.startswith("not kept: [Errno")
    assert "Not a directory" in built.note


def test_a_read_only_home(mount, monkeypatch):
    """What it holds is used; what is new is kept for this process."""
    home = mount("size=64m")
    monkeypatch.delenv("TENSORGRAD_CACHE_DIR")
    monkeypatch.setenv("HOME", str(home))
    kept = build(SOURCE).path
    subprocess.run(["mount", "-o", "remount,ro", str(home)], check=True)
    assert (build(SOURCE).path, build(SOURCE).cached) == (kept, True)
    for cached in (False, True):
        built = build(SOURCE + " ")
        assert (built.functions.answer(), built.cached) == (42, cached)
        assert built.note.startswith("not kept: [Errno 30] Read-only file system: ")
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "new"))
    assert build(SOURCE).note.startswith("not kept: [Errno 30] Read-only file system: ")


@pytest.mark.skipif(os.name != "posix" or os.getuid() == 0, reason="root writes everywhere")
def test_a_folder_without_the_right_to_write(folder):
    folder.mkdir(parents=True)
    folder.chmod(0o500)
    built = build(SOURCE)
    assert built.functions.answer() == 42
    assert built.note.startswith("not kept: [Errno 13] Permission denied: ")


def test_a_full_disk(mount, monkeypatch):
    disk = mount("size=256k")
    monkeypatch.setenv("TENSORGRAD_CACHE_DIR", str(disk))
    for cached in (False, True):
        built = build(SOURCE)
        assert (built.functions.answer(), built.cached) == (42, cached)
        assert built.note == "not kept: [Errno 28] No space left on device"
    assert os.listdir(disk / "native") == []


def test_a_full_disk_without_mounting(folder, monkeypatch):
    write = Path.write_bytes

    def full(path, data):
        if folder in path.parents:
            raise OSError(errno.EDQUOT, "Disk quota exceeded")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    built = build(SOURCE)
    assert built.functions.answer() == 42
    assert built.note.endswith("Disk quota exceeded")


def test_no_room_anywhere(monkeypatch):
    def full(path, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert refusal().startswith(f"nothing can be compiled: [Errno {errno.ENOSPC}] No space left on device; ")


def test_processes_at_once(folder):
    """All succeed, and one file stays."""
    code = BUILD + "print(built.functions.answer(), built.note, built.path)"
    processes = [python(code) for _ in range(4)]
    outputs = [process.communicate(timeout=100)[0] for process in processes]
    (path,) = folder.iterdir()
    assert outputs == [f"42  {path}\n"] * 4


def test_threads_at_once(folder):
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(build(SOURCE))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [built.functions.answer() for built in answers] == [42] * 4
    assert len(os.listdir(folder)) == 1


def test_the_longest_unused_make_room(folder, monkeypatch):
    monkeypatch.setattr(toolchain, "MOST_FILES", 3)
    folder.mkdir(mode=0o700, parents=True)
    killed = folder / "tmpkilled.so"  # the work of a process that was killed
    killed.mkdir()
    (killed / "step.c").touch()
    os.utime(killed, (1, 1))
    paths = []
    for number in range(3):
        paths.append(build(f"int answer(void) {{ return {number}; }}").path)
        os.utime(paths[-1], (10 + number, 10 + number))
    assert not killed.exists()
    assert build("int answer(void) { return 0; }").cached  # used again
    build("int answer(void) { return 3; }")
    assert [path.exists() for path in paths] == [True, False, True]


def test_private_folders_end_with_their_process(folder, tmp_path):
    """Also that of a child, which leaves its parent's alone."""
    folder.mkdir(parents=True)
    folder.chmod(0o770)
    code = f"""
import multiprocessing, os
{BUILD}
def again():
    from tensorgrad.graph.native.toolchain import build
    built = build({SOURCE!r})
    print(built.path, built.cached, built.functions.answer(), built.path.exists(), flush=True)
child = multiprocessing.get_context("fork").Process(target=again)
child.start()
child.join()
print(built.path, built.cached, built.functions.answer(), built.path.exists())
"""
    (tmp_path / "temporary").mkdir()
    lines = output_of(code, TMPDIR=str(tmp_path / "temporary")).splitlines()
    parents = {Path(line.split()[0]).parent for line in lines}
    assert [line.split()[1:] for line in lines] == [["False", "42", "True"]] * 2
    assert len(parents) == 2
    assert {path.parent for path in parents} == {tmp_path / "temporary"}
    assert os.listdir(tmp_path / "temporary") == []


def test_a_child_that_was_forked_builds(folder):
    code = f"""
import os
{BUILD}
child = os.fork()
if child == 0:
    new = build("int answer(void) {{ return 43; }}")
    print(built.functions.answer(), build({SOURCE!r}).cached, new.functions.answer(), flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""
    assert output_of(code) == "42 True 43"
    assert len(os.listdir(folder)) == 2
