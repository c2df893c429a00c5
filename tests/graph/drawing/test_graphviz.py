"""Rendering: with dot, without it, with one that is broken or hangs, and by pygraphviz."""

import shutil
import stat
import subprocess
import sys
import time
import types
from xml.etree import ElementTree

import graphviz
import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.graph.drawing.graphviz import lay_out

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def drawing():
    return tg.draw(np.sin(tg.Tensor(1.0, requires_grad=True, name="x")) * 2.0)


@pytest.fixture
def no_pygraphviz(monkeypatch):
    monkeypatch.setitem(sys.modules, "pygraphviz", None)


@pytest.fixture
def on_path(monkeypatch, tmp_path):
    """A function that makes a script the only dot there is."""

    def place(script):
        if script is not None:
            path = tmp_path / "bin" / "dot"
            path.parent.mkdir()
            path.write_text(f"#!/bin/sh\n{script}\n")
            path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))
        return tmp_path

    return place


@pytest.fixture
def dot():
    return shutil.which("dot") or pytest.skip("Graphviz's command dot is not installed")


# With dot


@pytest.mark.parametrize(
    ("suffix", "start"), [("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF"), ("SVG", b"<?xml")]
)
def test_files_are_rendered_by_their_suffix(dot, drawing, tmp_path, suffix, start):
    path = drawing.render(tmp_path / f"graph.{suffix}")
    assert path.read_bytes().startswith(start)


def test_a_notebook_shows_a_bare_svg(dot, drawing):
    bundle = drawing._repr_mimebundle_()
    root = ElementTree.fromstring(bundle["image/svg+xml"])
    assert root.tag == f"{SVG}svg"
    assert bundle["image/svg+xml"].startswith("<svg")
    texts = [element.text.replace("\N{NO-BREAK SPACE}", " ") for element in root.iter(f"{SVG}text")]
    assert sorted(texts) == sorted(["x", "() float64", "sin", "() float64", "2.0", "multiply", "() float64"])
    assert "text/plain" in bundle


NAMES = ['"', "\\", "\\N", "<b>&amp;", "größe 😀", "{a|b}<c>:d", "two\nlines", "]]>-->", "a\x01b"]


@pytest.mark.parametrize("name", NAMES)
def test_graphviz_shows_any_name(dot, name):
    x = tg.Tensor(1.0, requires_grad=True, name=name)
    done = subprocess.run(
        [dot, "-Tsvg"], input=tg.draw(x * 2.0).source, capture_output=True, encoding="utf-8", check=True
    )
    assert done.stderr == ""
    root = ElementTree.fromstring(done.stdout)
    texts = [e.text.replace("\N{NO-BREAK SPACE}", " ") for e in root.iter(f"{SVG}text")]
    assert texts[: name.count("\n") + 1] == name.replace("\x01", "\\x01").split("\n")


def test_every_kind_of_drawing_is_understood_without_a_warning(dot):
    network = tg.Network([layer for i in range(4) for layer in (tg.Dense(3, 3, rng=i), tg.ReLU())])
    loss = tg.mse(network(np.ones((2, 3), np.float32)), np.zeros((2, 3), np.float32))
    x = tg.Tensor(2.0, requires_grad=True)
    np.exp(np.sin(x)).backward(create_graph=True)
    for drawing in (
        tg.draw(loss),
        tg.draw(loss, depth=0, rankdir="LR"),
        tg.draw(loss, gradients="norms", values=True, repeats=False),
        tg.draw(loss, step=7),
        tg.draw(loss, highlight="Dense2.weights", depth=1),
        tg.draw(x.grad, gradients="direction"),
    ):
        done = subprocess.run(
            [dot, "-Tsvg"], input=drawing.source, capture_output=True, text=True, check=True
        )
        assert done.stderr == ""


def placed(dot, drawing):
    """Canvas, nodes and their places and sizes, as Graphviz lays them out."""
    done = subprocess.run(
        [dot, "-Tplain"], input=drawing.source, capture_output=True, text=True, check=True
    ).stdout
    lines = [line.split() for line in done.splitlines()]
    return [line[:6] for line in lines if line[0] in ("graph", "node")]


def points_of(spline):
    """Points along a chain of Bezier curves, given by their control points."""
    t = np.linspace(0, 1, 50)[:, None]
    for k in range(0, len(spline) - 3, 3):
        a, b, c, d = spline[k : k + 4]
        yield from a * (1 - t) ** 3 + 3 * b * t * (1 - t) ** 2 + 3 * c * t**2 * (1 - t) + d * t**3


def network_with_dropout():
    layers = [
        tg.Dense(3, 4, rng=0),
        tg.BatchNorm(4),
        tg.ReLU(),
        tg.Dropout(0.5, rng=0),
        tg.Dense(4, 2, rng=1),
    ]
    network = tg.Network(layers)
    return tg.mse(network(np.ones((4, 3), np.float32)), np.ones((4, 2), np.float32))


def gradient_graph():
    x = tg.Tensor(0.5, requires_grad=True, name="x")
    y = np.tanh(x * x) * x
    y.backward(create_graph=True)
    return x.grad


def loop():
    state, weights = tg.Tensor(np.zeros(3), name="state"), tg.Parameter(np.eye(3), name="weights")
    for _ in range(20):
        state = np.tanh(state @ weights)
    return state


@pytest.mark.parametrize("build", [network_with_dropout, gradient_graph, loop])
@pytest.mark.parametrize("rankdir", ["TB", "LR"])
def test_no_arrow_crosses_the_title_of_a_frame(dot, build, rankdir):
    source = tg.draw(build(), rankdir=rankdir).source
    done = subprocess.run([dot, "-Tplain"], input=source, capture_output=True, text=True, check=True)
    lines = [line.split() for line in done.stdout.splitlines()]
    titles = [
        np.array(line[2:6], float) for line in lines if line[0] == "node" and line[1].startswith("title")
    ]
    assert titles
    for line in lines:
        if line[0] == "edge" and "invis" not in line:
            count = int(line[3])
            for point in points_of(np.array(line[4 : 4 + 2 * count], float).reshape(-1, 2)):
                for x, y, width, height in titles:
                    assert abs(point[0] - x) > width / 2 or abs(point[1] - y) > height / 2


@pytest.mark.parametrize("options", [{}, {"values": True, "rankdir": "LR"}, {"depth": 1}])
def test_all_steps_have_one_layout(dot, options):
    network = tg.Network([tg.Dense(3, 2, rng=0), tg.Tanh(), tg.Dense(2, 1, rng=1)])
    loss = tg.mse(network(np.ones((2, 3), np.float32)), np.zeros((2, 1), np.float32))
    x = tg.Tensor([0.001234, -5.0], requires_grad=True, name="x")
    for output in (loss, np.sum(np.exp(x * x) * x - 1e6 * x)):
        steps = range(len(output.backward_steps()) + 1)
        layouts = [placed(dot, tg.draw(output, step=k, **options)) for k in steps]
        different = {tg.draw(output, step=k, **options).source for k in steps}
        assert "depth" in options or len(different) == len(layouts)
        assert all(layout == layouts[0] for layout in layouts)


def test_all_steps_are_written_by_one_call(dot, tmp_path):
    x = tg.Tensor(1.0, requires_grad=True, name="x")
    out = np.sin(x) * 2.0
    names = [path.name for path in tg.draw_steps(out, tmp_path / "walk.png", values=True)]
    assert names == sorted(path.name for path in tmp_path.iterdir()) == [f"walk-0{k}.png" for k in range(3)]
    paths = tg.draw_steps(out, tmp_path / "new" / "steps")
    assert [path.relative_to(tmp_path / "new").as_posix() for path in paths] == [
        f"steps/step-0{k}.svg" for k in range(3)
    ]
    (last,) = tg.draw_steps(x, tmp_path / "leaf.dot")
    assert last.read_text() == tg.draw(x, step=0).source
    with pytest.raises(ValueError, match=r"ending in \.svg"):
        tg.draw_steps(out, tmp_path / "walk.gif")
    with pytest.raises(TypeError, match="step"):
        tg.draw_steps(out, tmp_path / "walk.dot", step=1)


# Without


def test_without_graphviz_a_notebook_shows_the_text_and_one_hint(drawing, on_path, no_pygraphviz):
    on_path(None)
    (text,) = drawing._repr_mimebundle_().values()
    assert text.startswith(drawing.source)
    assert text.removeprefix(drawing.source).count("or pip install pygraphviz") == 1
    assert len(text.removeprefix(drawing.source).strip().splitlines()) == 1


def test_without_graphviz_rendering_raises_and_says_what_to_install(drawing, on_path, no_pygraphviz):
    folder = on_path(None)
    with pytest.raises(RuntimeError, match=r"install Graphviz .* or pip install pygraphviz") as caught:
        drawing.render(folder / "graph.png")
    assert isinstance(caught.value.__cause__, graphviz.ExecutableNotFound)
    assert not (folder / "graph.png").exists()
    assert drawing.render(folder / "graph.dot").read_text() == drawing.source


@pytest.mark.parametrize("script", ["echo no fonts >&2; exit 1", "exit 0", "kill -9 $$"])
def test_a_broken_dot_is_reported_and_a_notebook_still_shows_the_text(
    drawing, on_path, no_pygraphviz, script
):
    folder = on_path(script)
    with pytest.raises(RuntimeError, match="dot"):
        drawing.render(folder / "graph.svg")
    assert drawing._repr_mimebundle_()["text/plain"].startswith(drawing.source)


def test_what_dot_says_is_passed_on(drawing, on_path, no_pygraphviz):
    folder = on_path("echo no fonts >&2; exit 1")
    with pytest.raises(RuntimeError, match=r"dot failed: .*no fonts"):
        drawing.render(folder / "graph.svg")


def test_a_dot_that_hangs_is_stopped(drawing, on_path, no_pygraphviz):
    on_path("/bin/sleep 60")
    start = time.perf_counter()
    with pytest.raises(RuntimeError, match=r"not ready after 0\.5 s"):
        lay_out(drawing.source, "svg", timeout=0.5)
    assert time.perf_counter() - start < 20


def test_a_dot_that_is_no_program_is_reported(drawing, on_path, no_pygraphviz):
    folder = on_path("")
    (folder / "bin" / "dot").write_bytes(b"\x7fELF rubbish")
    assert drawing._repr_mimebundle_().keys() == {"text/plain"}


def test_pygraphviz_takes_over(drawing, on_path, monkeypatch):
    calls = []

    class Graph:
        def __init__(self, string):
            self.string, self.graph_attr = string, {}

        def draw(self, *, format, prog):
            calls.append((self.string, format, prog))
            return b"<svg/>"

    monkeypatch.setitem(sys.modules, "pygraphviz", types.SimpleNamespace(AGraph=Graph))
    folder = on_path("exit 1")
    assert drawing.render(folder / "graph.svg").read_bytes() == b"<svg/>"
    assert calls == [(drawing.source, "svg", "dot")]


def test_pygraphviz_itself_draws(drawing, on_path):
    pytest.importorskip("pygraphviz", reason="pygraphviz is not installed")
    folder = on_path(None)
    for suffix, start in (("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF")):
        assert drawing.render(folder / f"graph.{suffix}").read_bytes().startswith(start)


# Paths


@pytest.mark.parametrize("name", ["graph", "graph.jpg", "graph.svg.gz"])
def test_other_suffixes_are_refused(drawing, tmp_path, name):
    with pytest.raises(ValueError, match=r"ending in \.svg, \.png, \.pdf or \.dot"):
        drawing.render(tmp_path / name)


def test_a_folder_that_is_not_there_is_reported_by_the_system(drawing, tmp_path):
    with pytest.raises(FileNotFoundError):
        drawing.render(tmp_path / "nowhere" / "graph.dot")
