"""Graphviz, which lays a drawing out: the command dot, or what pygraphviz brings along."""

from __future__ import annotations

import re
import subprocess
from typing import Any

TIMEOUT = 60  # seconds
HINT = "install Graphviz (apt, brew, conda or choco install graphviz), or pip install pygraphviz"


def lay_out(source: str, form: str, timeout: float = TIMEOUT) -> bytes:
    """Make a picture of DOT text: svg, png or pdf.

    Raises
    ------
    RuntimeError
        If there is no Graphviz, or none that did it. Its cause is what dot said: ExecutableNotFound, of the
        package graphviz, where there is no dot.
    """
    try:
        return _run_dot(source, form, timeout)
    except Exception as error:  # whatever is wrong with dot, the other may do
        try:
            return _run_pygraphviz(source, form)
        except ImportError:
            pass
        except Exception as second:
            error.add_note(f"pygraphviz failed too: {second}")
        raise RuntimeError(_explain(error, timeout)) from error


def _run_dot(source: str, form: str, timeout: float) -> bytes:
    from graphviz.backend.dot_command import command
    from graphviz.backend.execute import run_check

    sharp = ["-Gdpi=192"] if form == "png" else []  # other forms have no pixels
    done = run_check(
        [*command("dot", form), *sharp],
        input=source.encode(),
        capture_output=True,
        timeout=timeout,
        quiet=True,
    )
    picture: bytes = done.stdout
    if not picture:
        raise RuntimeError("dot wrote nothing")
    return picture


def _run_pygraphviz(source: str, form: str) -> bytes:
    import pygraphviz

    graph: Any = pygraphviz.AGraph(string=source)
    if form == "png":
        graph.graph_attr["dpi"] = "192"
    return bytes(graph.draw(format=form, prog="dot"))


def _explain(error: Exception, timeout: float) -> str:
    from graphviz import ExecutableNotFound

    if isinstance(error, ExecutableNotFound):
        return f"there is no Graphviz to lay the drawing out: {HINT}; .source is the drawing as text"
    if isinstance(error, subprocess.TimeoutExpired):
        return f"dot was not ready after {timeout:g} s; fold more of the graph, or draw a part of it"
    return f"dot failed: {error}"


def strip_svg(picture: bytes) -> str:
    """The SVG as it may stand in a page: without what precedes it in a file."""
    text = picture.decode("utf-8")
    return re.sub(r"<!--.*?-->\s*", "", text[text.index("<svg") :], flags=re.DOTALL)
